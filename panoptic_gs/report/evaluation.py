# SPDX-License-Identifier: Apache-2.0
"""What a report says about rendered views: scores, the confusion of classes, and pictures of some of them."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

import numpy as np
from PIL import Image

from panoptic_gs.label_maps import resize_nearest
from panoptic_gs.labelling import Labelling
from panoptic_gs.metrics import STRICT, ContingencyTable, SceneScores, Scorer
from panoptic_gs.palette import colorized, colors_of, paired_colors
from panoptic_gs.progress import Progress, silent
from panoptic_gs.report.confusion import Confusion
from panoptic_gs.report.contact_sheet import CORRECT, NOT_SCORED, error_map, match_segments
from panoptic_gs.report.views import MeshView, SceneViews, View

LAYERS = ("photo", "rendered", "panoptic", "mesh", "truth", "errors")
"""The pictures of a view, in order."""


@dataclass(frozen=True, eq=False)
class PicturedView:
    """A view as it is shown: layer → picture ``[h, w, 3]`` uint8."""

    name: str
    pictures: Mapping[str, np.ndarray]
    psnr: float | None = None
    wrong: float | None = None
    """Share of its pixels with truth that have another class or object; None without truth."""


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What became of the views.

    Args:
        num_views: all that were added.
        num_scored: those with truth.
        scores: protocol → scores; empty without truth.
        metrics: means over the views, as ``psnr`` in dB.
        confusion: of classes; None without truth.
        views: the ones that are shown.
        colors: predicted segment id → its colour in the pictures.
        true_colors: the same of true segments.
        true_names: what true segments are called.
        iou: predicted segment id → IoU with the true segment that it stands for, over all scored views.
    """

    num_views: int
    num_scored: int = 0
    scores: Mapping[str, SceneScores] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    confusion: Confusion | None = None
    views: tuple[PicturedView, ...] = ()
    colors: Mapping[int, tuple[int, int, int]] = field(default_factory=dict)
    true_colors: Mapping[int, tuple[int, int, int]] = field(default_factory=dict)
    true_names: Mapping[int, str] = field(default_factory=dict)
    iou: Mapping[int, float] = field(default_factory=dict)


def evaluate_views(
    views: SceneViews, most_shown: int, width: int, progress: Progress = silent, *, color_by_truth: bool = False
) -> Evaluation:
    """Score all views of a scene, and picture some.

    Args:
        views: rendered and read one after the other.
        most_shown: how many are pictured, evenly spread.
        width: of the pictures, at most.
        progress: called after each view.
        color_by_truth: as of :class:`Evaluator`.

    Raises:
        InputError: a category id means another class on the two sides.
    """
    evaluator = Evaluator(views.meaning, views.truth, evenly(views.names, most_shown), width, color_by_truth)
    for number, view in enumerate(views, start=1):
        evaluator.add(view)
        progress("Views", number, len(views.names))
    return evaluator.finish()


class Evaluator:
    """Takes views one by one and keeps only sums, and the pictures that will be shown, at their final size.

    Args:
        meaning: what predicted ids mean; its maps are not read.
        truth: what true ids mean; None where there is no truth.
        shown: names of the views to show.
        width: of the pictures, at most.
        color_by_truth: give objects the colours of true ones, which two predictions share, in place of their own.

    Raises:
        InputError: a category id means another class on the other side.
    """

    def __init__(
        self,
        meaning: Labelling,
        truth: Labelling | None,
        shown: Collection[str] = (),
        width: int = 640,
        color_by_truth: bool = False,
    ) -> None:
        self._scorer = None if truth is None else Scorer(meaning, truth)
        self._color_by_truth = color_by_truth
        self._meaning, self._truth, self._shown, self._width = meaning, truth, set(shown), width
        self._small: list[View] = []
        self._psnr: list[float] = []
        self._per_view_psnr: dict[str, float | None] = {}
        self._num_views = 0

    def add(self, view: View) -> None:
        """Count a view."""
        self._num_views += 1
        psnr = view.psnr
        if psnr is not None:
            self._psnr.append(psnr)
        if self._scorer is not None and view.truth is not None:
            self._scorer.add(view.ids, view.truth)
        if view.name in self._shown:
            self._per_view_psnr[view.name] = psnr
            self._small.append(self._shrunken(view))

    def finish(self, metrics: Mapping[str, float] | None = None) -> Evaluation:
        """Score and colour everything.

        Args:
            metrics: means over the views that were measured elsewhere; PSNR is measured here.
        """
        pairs: dict[int, int] = {}
        scores: dict[str, SceneScores] = {}
        confusion, iou = None, {}
        num_scored = 0 if self._scorer is None else self._scorer.num_views
        if self._scorer is not None and num_scored:
            scores = self._scorer.scores()
            exact = self._scorer.table(STRICT)
            pairs = match_segments(exact)
            iou = _ious(exact, pairs)
            confusion = Confusion.of(exact, self._scorer.categories)
        colors, true_colors = self._colors(pairs)
        means = dict(metrics or {})
        if self._psnr and "psnr" not in means:
            means = {"psnr": math.fsum(self._psnr) / len(self._psnr), **means}
        shown = sorted(self._small, key=lambda view: view.name)
        return Evaluation(
            self._num_views, num_scored, scores, means, confusion,
            tuple(self._pictured(view, pairs, colors, true_colors) for view in shown), colors, true_colors,
            self._true_names(), iou,
        )  # fmt: skip

    def _shrunken(self, view: View) -> View:
        height, width = view.ids.shape
        scale = min(1.0, self._width / width)
        size = max(1, round(width * scale)), max(1, round(height * scale))
        colours = [None if p is None else np.asarray(Image.fromarray(p).resize(size, Image.Resampling.LANCZOS))
                   for p in (view.photo, view.rendered)]  # fmt: skip
        truth = None if view.truth is None else resize_nearest(view.truth, *size)
        mesh = None if view.mesh is None else MeshView(*(resize_nearest(values, *size) for values in view.mesh))
        return View(view.name, resize_nearest(view.ids, *size), truth, colours[0], colours[1], mesh=mesh)

    def _colors(
        self, pairs: Mapping[int, int]
    ) -> tuple[dict[int, tuple[int, int, int]], dict[int, tuple[int, int, int]]]:
        """Colours of predicted and true segments; an object has one colour on both sides."""
        if self._truth is None:
            return colors_of(self._meaning), {}
        if self._color_by_truth:
            true_colors, colors = paired_colors(self._truth, self._meaning, {true: one for one, true in pairs.items()})
            return colors, true_colors
        return paired_colors(self._meaning, self._truth, pairs)

    def _true_names(self) -> dict[int, str]:
        if self._truth is None:
            return {}
        names = {category.id: category.name for category in self._truth.categories}
        return {s.id: f"{s.name or names[s.category_id]} · {s.id}" for s in self._truth.segments}

    def _pictured(
        self,
        view: View,
        pairs: Mapping[int, int],
        colors: Mapping[int, tuple[int, int, int]],
        true_colors: Mapping[int, tuple[int, int, int]],
    ) -> PicturedView:
        pictures = {"photo": view.photo, "rendered": view.rendered, "panoptic": colorized(view.ids, colors)}
        if view.mesh is not None:
            pictures["mesh"] = (colorized(view.mesh.ids, colors) * view.mesh.light[..., None]).astype(np.uint8)
        if view.truth is not None and self._truth is not None:
            pictures["truth"] = colorized(view.truth, true_colors)
            pictures["errors"] = error_map(
                view.ids, view.truth, self._meaning.category_of(), self._truth.category_of(), pairs
            )
        found = {name: picture for name, picture in pictures.items() if picture is not None}
        wrong = None
        if "errors" in found:
            scored = (found["errors"] != NOT_SCORED).any(axis=-1)
            right = (found["errors"] == CORRECT).all(axis=-1)
            wrong = float((scored & ~right).sum() / scored.sum()) if scored.any() else None
        return PicturedView(view.name, found, self._per_view_psnr[view.name], wrong)


def evenly(names: Collection[str], most: int) -> list[str]:
    """At most ``most`` of the names, evenly spread, in their order."""
    listed = list(names)
    if len(listed) <= most:
        return listed
    return [listed[int(index)] for index in np.linspace(0, len(listed) - 1, most).round()] if most else []


def _ious(table: ContingencyTable, pairs: Mapping[int, int]) -> dict[int, float]:
    """IoU of each pair of segments; pixels of void truth are left out."""
    _, pred, gt_category, gt, pixels = table.rows.numpy().T
    valid = gt_category != 0
    pred, gt, pixels = pred[valid], gt[valid], pixels[valid]
    result = {}
    for one, other in pairs.items():
        both = pixels[(pred == one) & (gt == other)].sum()
        result[one] = float(both / (pixels[pred == one].sum() + pixels[gt == other].sum() - both))
    return result
