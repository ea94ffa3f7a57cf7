# SPDX-License-Identifier: Apache-2.0
"""``panoptic-gs evaluate-points``: score labelled splats, or predicted points, against a true point cloud in 3D."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich import box
from rich.markup import escape
from rich.table import Table
from tyro.conf import Positional

from panoptic_gs.cli.output import Output
from panoptic_gs.errors import InputError


@dataclass(frozen=True)
class EvaluatePoints(Output):
    """Score labels in 3D: each true point takes the label of the nearest predicted one.

    Prints AP, AP50, AP25, precision and recall of things (ScanNet's definition), mIoU, mAcc, mCov and mWCov of points,
    and the share of true points that have a predicted one in reach, in percent.
    """

    labelled: Positional[Path]
    """What to score: a folder made by 'panoptic-gs uplift' (its Gaussians' centres), a folder of raw predictions with
    points (--panoptic names their maps), or a PLY with segment_id and category_id."""
    gt: Positional[Path]
    """The truth: a PLY with segment_id and category_id, or a scene folder with depth/ and panoptic_gt/."""
    max_distance: float = 0.1
    """How far the nearest predicted point may be, in world units (metres in the datasets)."""
    min_points: int = 100
    """Instances of fewer true points are not scored."""
    min_opacity: float = 0.1
    """Gaussians of less opacity are left out."""
    voxel: float = 0.02
    """Side of the cubes that hold one true point, where the truth comes from depth maps; in world units."""
    panoptic: Path | None = None
    """Merged maps of raw predictions; by default panoptic/ beside their folder."""
    categories: Path | None = None
    """A JSON with the categories of a true PLY (panoptic.json or segments.json); by default segments.json beside it, or
    the prediction's."""
    per_class: bool = False
    """Print the classes too."""

    def run(self) -> None:
        from panoptic_gs.metrics import average_precision, match_instances, point_table, score_points
        from panoptic_gs.metrics.point_sources import predicted_cloud, true_cloud

        console = self.console()
        with console.status("Reading"):
            pred = predicted_cloud(self.labelled, self.panoptic, self.min_opacity)
            truth = true_cloud(self.gt, self.voxel, self.categories, pred.categories)
        known = {category.id for category in truth.categories}
        unknown = np.setdiff1d(pred.points.category, [0, *known])
        if unknown.size:
            raise InputError(
                self.labelled,
                f"category id {unknown[0]}",
                f"categories of the truth: {sorted(known)}",
                "Predict with the class list of the truth, or name the list with --categories.",
            )
        with console.status("Scoring"):
            table = point_table(pred.points, truth.points, self.max_distance)
            scores = score_points(table, truth.categories, pred.scores, self.min_points)
            matches = match_instances(table, truth.categories, pred.scores, self.min_points)
            classes = average_precision(matches, truth.categories).per_class()
        console.print(_summary(len(truth.points), len(pred.points), scores))
        if self.per_class:
            console.print(_class_table(classes))
        settings = {"max_distance": self.max_distance, "min_points": self.min_points,
                    "min_opacity": self.min_opacity, "voxel": self.voxel}  # fmt: skip
        self.finish(prediction=str(self.labelled), truth=str(self.gt), settings=settings, scores=dict(scores),
                    per_class={str(c): row for c, row in classes.items()})  # fmt: skip


def _percent(value: float) -> str:
    return "–" if math.isnan(value) else f"{100 * value:.1f}"


_COLUMNS = {
    "AP": "ap", "AP50": "ap50", "AP25": "ap25", "prec.\n@50": "precision50", "recall\n@50": "recall50",
    "mIoU": "miou", "mAcc": "macc", "mCov": "mcov", "mWCov": "mwcov", "in\nreach": "covered",
}  # fmt: skip


def _summary(true_points: int, points: int, scores: Mapping[str, float]) -> Table:
    table = Table(title=f"{true_points:,} true points, {points:,} predicted ones", title_justify="left",
                  box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)  # fmt: skip
    for heading in _COLUMNS:
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_row(*(_percent(scores[key]) for key in _COLUMNS.values()))
    return table


def _class_table(classes: Mapping[int, Mapping]) -> Table:
    table = Table(title="Things", title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("class", overflow="fold")
    columns = {"AP50": "ap50", "AP25": "ap25", "precision": "precision50", "recall": "recall50"}
    for heading in columns:
        table.add_column(heading, justify="right", no_wrap=True)
    for row in classes.values():
        table.add_row(escape(row["name"]), *(_percent(row[key]) for key in columns.values()))
    return table
