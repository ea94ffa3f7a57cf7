# SPDX-License-Identifier: Apache-2.0
"""``panoptic-gs evaluate-points``: score labelled splats, or predicted points, against a true point cloud in 3D."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from rich import box
from rich.markup import escape
from rich.table import Table
from tyro.conf import Positional

from panoptic_gs.camera import Camera
from panoptic_gs.cli.output import Output
from panoptic_gs.errors import InputError
from panoptic_gs.files import read_image, read_json
from panoptic_gs.panoptic import Category, PanopticScene, category_from_json
from panoptic_gs.ply import read_vertices
from panoptic_gs.scene import Scene

if TYPE_CHECKING:
    from panoptic_gs.metrics import LabelledPoints

_MILLIMETRES = 1000.0


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

        console = self.console()
        with console.status("Reading"):
            pred = _prediction(self.labelled, self.panoptic, self.min_opacity)
            truth = _truth(self.gt, self.voxel, self.categories, pred.categories)
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


class _Cloud(NamedTuple):
    points: LabelledPoints
    categories: tuple[Category, ...]
    scores: Mapping[int, float] | None = None


def _prediction(path: Path, panoptic: Path | None, min_opacity: float) -> _Cloud:
    if (path / "segments.json").is_file():
        return labelled_splats(path, min_opacity)
    if (path / "predictions.json").is_file() or path.name == "predictions.safetensors":
        return _predicted_points(path, panoptic)
    if path.is_file():
        return _Cloud(_read_ply(path), _categories_beside(path, None) or ())
    raise InputError(
        path,
        "neither segments.json nor predictions.json" if path.is_dir() else "no such file or folder",
        "labelled splats, raw predictions or a PLY",
        "Make labelled splats with 'panoptic-gs uplift'.",
    )


def labelled_splats(folder: Path, min_opacity: float) -> _Cloud:
    """The centres of labelled Gaussians; a segment's score is its own, or its Gaussians' mean confidence."""
    from panoptic_gs.metrics import LabelledPoints
    from panoptic_gs.uplift import load_labelled_scene

    scene = load_labelled_scene(folder)
    segment, confidence = (values.numpy() for values in scene.labels.best())
    category_of = scene.labelling.category_of()
    opaque = scene.splats.opacities.numpy() >= min_opacity
    segment, confidence = segment[opaque], confidence[opaque]
    points = LabelledPoints(scene.splats.means.numpy()[opaque], category_of[segment], segment)
    sums = np.bincount(segment, confidence) / np.maximum(np.bincount(segment), 1)
    scores = {s.id: float(sums[s.id]) if s.id < len(sums) else 0.0 for s in scene.segments}
    scores |= {s.id: s.score for s in scene.segments if s.score is not None}
    return _Cloud(points, scene.categories, scores)


def _predicted_points(path: Path, panoptic: Path | None) -> _Cloud:
    from panoptic_gs.metrics import LabelledPoints
    from panoptic_gs.raw_predictions import RawPredictions

    raw = RawPredictions.load(path)
    if raw.points is None:
        raise InputError(path, "no tensor 'points'", "raw predictions with points", "Export the point maps, too.")
    folder = path if path.is_dir() else path.parent
    maps = PanopticScene.load(panoptic or folder.parent / "panoptic")
    category_of = maps.category_of()
    positions, segments = [], []
    for index, image in enumerate(raw.images):
        if image.stem not in maps.maps:
            continue
        ids = maps.maps[image.stem]
        width, height = raw.network_sizes[index]
        pixels = np.stack(np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5), axis=-1)
        if raw.to_original is None:
            original = pixels * [image.width / width, image.height / height]
        else:
            A = raw.to_original[index].numpy()
            original = pixels @ A[:2, :2].T + A[:2, 2]
        columns = (original[..., 0] * ids.shape[1] / image.width).astype(int).clip(0, ids.shape[1] - 1)
        rows = (original[..., 1] * ids.shape[0] / image.height).astype(int).clip(0, ids.shape[0] - 1)
        points = raw.points[index].numpy()
        valid = np.isfinite(points).all(axis=-1)
        positions.append(points[valid])
        segments.append(ids[rows, columns][valid])
    if not positions:
        raise InputError(folder, "no image that has a merged map", "maps named as the images", "Merge them again.")
    segment = np.concatenate(segments)
    scores = {s.id: s.score for s in maps.segments if s.score is not None}
    return _Cloud(LabelledPoints(np.concatenate(positions), category_of[segment], segment), maps.categories, scores)


def _truth(path: Path, voxel: float, categories: Path | None, others: tuple[Category, ...]) -> _Cloud:
    if path.is_file():
        known = _categories_beside(path, categories) or others
        if not known:
            raise InputError(path, "no categories", "a JSON that names them", "Pass it with --categories.")
        return _Cloud(_read_ply(path), known)
    return depth_truth(Scene.load(path), voxel)


def depth_truth(scene: Scene, voxel: float) -> _Cloud:
    """The true maps back-projected by ``depth/<stem>.png`` (16 bit, millimetres along z), one point a voxel."""
    from panoptic_gs.metrics import LabelledPoints

    truth = scene.load_panoptic("panoptic_gt")
    category_of = truth.category_of()
    frames = [f for f in scene.frames if f.stem in truth.maps and (scene.root / "depth" / f"{f.stem}.png").is_file()]
    if not frames:
        raise InputError(
            scene.root / "depth",
            "no depth of a view that has a true map",
            "depth/<image name>.png, 16 bit, millimetres",
            "Prepare the scene with 'panoptic-gs prepare', or give a labelled PLY as truth.",
        )

    def views() -> Iterator[tuple[Camera, np.ndarray, np.ndarray, np.ndarray]]:
        for frame in frames:
            file = scene.root / "depth" / f"{frame.stem}.png"
            depth = read_image(file, expected="a 16-bit depth map in millimetres")
            if depth.ndim != 2:
                raise InputError(file, f"shape {list(depth.shape)}", "one channel", "Write depth as 16-bit grey.")
            ids = frame.fit_labels(truth.maps[frame.stem])
            yield frame.camera, frame.fit_labels(depth) / _MILLIMETRES, category_of[ids], ids

    return _Cloud(LabelledPoints.from_depth(views(), voxel), truth.categories)


def _read_ply(path: Path) -> LabelledPoints:
    from panoptic_gs.metrics import LabelledPoints

    vertices = read_vertices(path, "a PLY of labelled points")
    missing = [n for n in ("x", "y", "z", "segment_id", "category_id") if n not in (vertices.dtype.names or ())]
    if missing:
        raise InputError(
            path, f"no property {', '.join(missing)}", "x, y, z, segment_id and category_id for each point",
            "Write the labels as integer properties; 0 is void.",
        )  # fmt: skip
    positions = np.stack([vertices[axis] for axis in "xyz"], axis=-1)
    category, segment = (np.asarray(vertices[name]).astype(np.int64) for name in ("category_id", "segment_id"))
    return LabelledPoints(positions, category, segment)


def _categories_beside(path: Path, named: Path | None) -> tuple[Category, ...] | None:
    file = named or path.parent / "segments.json"
    if named is None and not file.is_file():
        return None
    try:
        return tuple(category_from_json(entry) for entry in read_json(file)["categories"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(file, f"a missing or malformed field ({error})", "categories (id, name, isthing)",
                         "Write them as panoptic.json does.") from error  # fmt: skip


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
