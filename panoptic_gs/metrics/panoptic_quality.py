# SPDX-License-Identifier: Apache-2.0
"""Scene-level panoptic quality (scene-PQ) as a pure function of the contingency table."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from panoptic_gs.errors import InputError
from panoptic_gs.metrics.contingency import ContingencyTable
from panoptic_gs.metrics.protocol import PANOPTIC_LIFTING, Protocol, as_protocol
from panoptic_gs.panoptic import Category

UNPREDICTED = Category(0, "(unpredicted)", isthing=False)
"""The class that pixels without a prediction form where a protocol scores them as one."""

_VOID = -1


@dataclass(frozen=True)
class ClassQuality:
    """Matches of one class: the sum of their IoUs, true positives, false positives, false negatives."""

    category: Category
    iou_sum: float
    tp: int
    fp: int
    fn: int

    @property
    def pq(self) -> float:
        r"""Panoptic quality :math:`\sum \mathrm{IoU} / (TP + FP/2 + FN/2)`, 0 where nothing was counted."""
        return self.iou_sum / self._denominator if self._denominator else 0.0

    @property
    def sq(self) -> float:
        r"""Segmentation quality :math:`\sum \mathrm{IoU} / TP`, 0 without a match."""
        return self.iou_sum / self.tp if self.tp else 0.0

    @property
    def rq(self) -> float:
        """Recognition quality, the F1 score of the segments."""
        return self.tp / self._denominator if self._denominator else 0.0

    @property
    def _denominator(self) -> float:
        return self.tp + 0.5 * self.fp + 0.5 * self.fn


@dataclass(frozen=True)
class PanopticQualities:
    """Panoptic quality of a scene: per class, and unweighted means over classes (NaN over none)."""

    classes: tuple[ClassQuality, ...]
    """The classes that enter the means."""
    left_out: tuple[Category, ...] = ()
    """Classes that occur but hold too small a share of the pixels for the protocol."""

    pq = property(lambda self: _mean(c.pq for c in self.classes))
    sq = property(lambda self: _mean(c.sq for c in self.classes))
    rq = property(lambda self: _mean(c.rq for c in self.classes))
    pq_things = property(lambda self: _mean(c.pq for c in self.classes if c.category.isthing))
    sq_things = property(lambda self: _mean(c.sq for c in self.classes if c.category.isthing))
    rq_things = property(lambda self: _mean(c.rq for c in self.classes if c.category.isthing))
    pq_stuff = property(lambda self: _mean(c.pq for c in self.classes if not c.category.isthing))
    sq_stuff = property(lambda self: _mean(c.sq for c in self.classes if not c.category.isthing))
    rq_stuff = property(lambda self: _mean(c.rq for c in self.classes if not c.category.isthing))

    def as_dict(self) -> dict[str, Any]:
        """All means by name, and ``per_class``: category id → name, isthing, pq, sq, rq, tp, fp, fn."""
        names = [f"{name}{over}" for over in ("", "_things", "_stuff") for name in ("pq", "sq", "rq")]
        per_class = {
            c.category.id: {"name": c.category.name, "isthing": c.category.isthing, "pq": c.pq, "sq": c.sq, "rq": c.rq,
                            "tp": c.tp, "fp": c.fp, "fn": c.fn}
            for c in self.classes
        }  # fmt: skip
        return {**{name: getattr(self, name) for name in names}, "per_class": per_class}


def panoptic_quality(
    table: ContingencyTable, categories: Collection[Category], protocol: str | Protocol = PANOPTIC_LIFTING
) -> PanopticQualities:
    r"""Scene-PQ: segments of all views of a scene are matched as if the views were one image.

    A predicted and a true segment of one class match when :math:`\mathrm{IoU} = I / U` exceeds the protocol's
    threshold, with :math:`U = |P| - |P \cap \text{void truth}| + |G| - I`, less :math:`|G \cap \text{void prediction}|`
    where the protocol forgives it. Above 0.5 a segment has at most one match; below, every pair that passes counts as a
    true positive.

    Args:
        table: pixel counts; where ``protocol.resize`` is set, those of the resized maps.
        categories: the classes; category 0 is void and not among them.
        protocol: its name or its rules.

    Raises:
        InputError: the table holds a category that is not listed.

    Reference: Kirillov et al., Panoptic Segmentation, CVPR 2019; Siddiqui et al., Panoptic Lifting, CVPR 2023.
    """
    rules = as_protocol(protocol)
    pred_category, pred_segment, gt_category, gt_segment, pixels = labels_of(table, categories)
    if rules.drops_void_truth:
        kept = gt_category != 0
        pred_category, pred_segment, gt_category, gt_segment, pixels = (
            column[kept] for column in (pred_category, pred_segment, gt_category, gt_segment, pixels)
        )
    scored = {category.id: category for category in categories}
    gt_category[gt_category == 0] = _VOID
    if rules.unpredicted_is_class:
        scored[0] = UNPREDICTED
    else:
        pred_category[pred_category == 0] = _VOID

    shares = {c: (pixels[pred_category == c].sum(), pixels[gt_category == c].sum()) for c in scored}
    smallest = rules.min_share * pixels.sum()
    left_out = tuple(scored[c] for c, sides in shares.items() if any(0 < side < smallest for side in sides))
    present = {c for c, sides in shares.items() if any(sides)} - {category.id for category in left_out}
    for category in left_out:
        pred_category[pred_category == category.id] = _VOID
        gt_category[gt_category == category.id] = _VOID

    things = [c for c, category in scored.items() if category.isthing]
    pred_segment[~np.isin(pred_category, things)] = 0
    gt_segment[~np.isin(gt_category, things)] = 0

    overlaps = _Overlaps.of(pred_category, pred_segment, gt_category, gt_segment, pixels)
    gt_void = overlaps.gt_category == _VOID
    pred_void = overlaps.pred_category == _VOID
    pred_on_void = overlaps.pred_sums(gt_void[overlaps.gt])
    gt_on_void = overlaps.gt_sums(pred_void[overlaps.pred])
    union = (overlaps.pred_area - pred_on_void)[overlaps.pred] + overlaps.gt_area[overlaps.gt] - overlaps.pixels
    if rules.forgives_void_prediction:
        union -= gt_on_void[overlaps.gt]

    same_class = overlaps.pred_category[overlaps.pred] == overlaps.gt_category[overlaps.gt]
    candidates = same_class & ~gt_void[overlaps.gt]
    iou = np.where(candidates, overlaps.pixels / np.where(candidates, union, 1.0), 0.0)
    matched = candidates & (iou > rules.iou_threshold)
    false_positive = (pred_on_void <= 0.5 * overlaps.pred_area) & ~pred_void
    false_positive[overlaps.pred[matched]] = False
    false_negative = ~gt_void
    if rules.forgives_void_prediction:
        false_negative &= gt_on_void <= 0.5 * overlaps.gt_area
    false_negative[overlaps.gt[matched]] = False

    match_category = overlaps.gt_category[overlaps.gt]
    classes = (
        ClassQuality(
            category,
            iou_sum=float(iou[matched & (match_category == c)].sum()),
            tp=int((matched & (match_category == c)).sum()),
            fp=int((false_positive & (overlaps.pred_category == c)).sum()),
            fn=int((false_negative & (overlaps.gt_category == c)).sum()),
        )
        for c, category in sorted(scored.items())
        if rules.absent_is_zero or c in present
    )
    if not rules.absent_is_zero and not rules.min_share:
        classes = (c for c in classes if c.tp + c.fp + c.fn > 0)
    return PanopticQualities(tuple(classes), left_out)


def labels_of(table: ContingencyTable, categories: Collection[Category]) -> list[np.ndarray]:
    """The table's five columns as fresh arrays, checked against the category list.

    Raises:
        InputError: the table holds a category that is not listed.
    """
    columns = list(table.rows.cpu().numpy().T.copy())
    listed = [0, *(category.id for category in categories)]
    for name, labels in (("prediction", columns[0]), ("truth", columns[2])):
        unknown = np.setdiff1d(labels, listed)
        if unknown.size:
            raise InputError(
                name,
                f"category id {unknown[0]}",
                "a listed category, or 0 for void",
                "Score with the category list that the maps were written with.",
            )
    return columns


@dataclass(frozen=True)
class _Overlaps:
    """Segments of both sides, with their areas, and the pairs that share pixels."""

    pred_category: np.ndarray  # [P]
    gt_category: np.ndarray  # [G]
    pred: np.ndarray  # [R] index of the predicted segment of a pair
    gt: np.ndarray  # [R]
    pixels: np.ndarray  # [R] float64, exact

    @classmethod
    def of(
        cls,
        pred_category: np.ndarray,
        pred_segment: np.ndarray,
        gt_category: np.ndarray,
        gt_segment: np.ndarray,
        pixels: np.ndarray,
    ) -> _Overlaps:
        pred_keys, pred = np.unique((pred_category << 32) + pred_segment, return_inverse=True)
        gt_keys, gt = np.unique((gt_category << 32) + gt_segment, return_inverse=True)
        pairs, index = np.unique(pred * max(len(gt_keys), 1) + gt, return_inverse=True)
        pred, gt = np.divmod(pairs, max(len(gt_keys), 1))
        return cls(pred_keys >> 32, gt_keys >> 32, pred, gt, np.bincount(index, pixels, minlength=len(pairs)))

    @property
    def pred_area(self) -> np.ndarray:
        return self.pred_sums(np.ones(len(self.pixels)))

    @property
    def gt_area(self) -> np.ndarray:
        return self.gt_sums(np.ones(len(self.pixels)))

    def pred_sums(self, weights: np.ndarray) -> np.ndarray:
        return np.bincount(self.pred, self.pixels * weights, minlength=len(self.pred_category))

    def gt_sums(self, weights: np.ndarray) -> np.ndarray:
        return np.bincount(self.gt, self.pixels * weights, minlength=len(self.gt_category))


def _mean(values: Iterable[float]) -> float:
    collected = list(values)
    return math.fsum(collected) / len(collected) if collected else math.nan
