# SPDX-License-Identifier: Apache-2.0
"""Scene-level panoptic quality (scene-PQ) as a pure function of the contingency table."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from panoptic_gs.errors import InputError
from panoptic_gs.metrics.contingency import ContingencyTable
from panoptic_gs.metrics.protocol import PANOPTIC_LIFTING, Protocol, as_protocol
from panoptic_gs.panoptic import Category

UNPREDICTED = Category(0, "(unpredicted)", isthing=False)
"""The class that pixels without a prediction form where a protocol scores them as one."""

_VOID = -1
_SEGMENT_BITS = 33
_CROWD = 1 << 32  # the one segment of all crowds of a class; ids of segments are smaller


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
    table: ContingencyTable,
    categories: Collection[Category],
    protocol: str | Protocol = PANOPTIC_LIFTING,
    crowds: Collection[int] = (),
) -> PanopticQualities:
    r"""Scene-PQ: segments of all views of a scene are matched as if the views were one image.

    A predicted and a true segment of one class match when :math:`\mathrm{IoU} = I / U` exceeds the protocol's
    threshold, with :math:`U = |P| - |P \cap \text{void truth}| + |G| - I`, less :math:`|G \cap \text{void prediction}|`
    where the protocol forgives it. Above 0.5 a segment has at most one match; below, every pair that passes counts as a
    true positive. A crowd of the truth has no match and is not missed; an unmatched predicted segment is not counted
    where more than half of it lies on void truth and crowds of its class. Where the protocol knows no crowds they are
    void truth.

    Args:
        table: pixel counts; where the protocol resamples, those of the resampled maps.
        categories: the classes; category 0 is void and not among them.
        protocol: its name or its rules.
        crowds: ids of the true segments that are crowds.

    Raises:
        InputError: the table holds a category that is not listed.

    Reference: Kirillov et al., Panoptic Segmentation, CVPR 2019, and its code's rules for ``iscrowd``; Siddiqui et al.,
    Panoptic Lifting, CVPR 2023.
    """
    rules = as_protocol(protocol)
    scored = {category.id: category for category in categories}
    if rules.unpredicted_is_class:
        scored[0] = UNPREDICTED
    labels = _Labels.of(table, categories, rules, crowds)
    shares = labels.shares(scored)
    smallest = rules.min_share * labels.pixels.sum()
    left_out = tuple(scored[c] for c, sides in shares.items() if any(0 < side < smallest for side in sides))
    labels = labels.without([category.id for category in left_out])
    labels = labels.with_one_segment_a_class([c for c, category in scored.items() if not category.isthing], crowds)
    present = {c for c, sides in shares.items() if any(sides)} - {category.id for category in left_out}

    matches = _Matches.of(_Overlaps.of(labels), rules)
    classes = [
        matches.quality_of(category) for c, category in sorted(scored.items()) if rules.absent_is_zero or c in present
    ]
    if not rules.absent_is_zero and not rules.min_share:
        classes = [c for c in classes if c.tp + c.fp + c.fn > 0]
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
class _Labels:
    """The table's columns, with void as :data:`_VOID` on both sides."""

    pred_category: np.ndarray  # [R]
    pred_segment: np.ndarray
    gt_category: np.ndarray
    gt_segment: np.ndarray
    pixels: np.ndarray

    @classmethod
    def of(
        cls, table: ContingencyTable, categories: Collection[Category], rules: Protocol, crowds: Collection[int]
    ) -> _Labels:
        """The columns as the protocol reads void: which pixels are dropped, and what unpredicted pixels are."""
        pred_category, pred_segment, gt_category, gt_segment, pixels = labels_of(table, categories)
        if rules.crowd_is_void:
            gt_category[np.isin(gt_segment, list(crowds))] = 0
        kept = gt_category != 0 if rules.drops_void_truth else np.ones(len(pixels), dtype=bool)
        gt_category[gt_category == 0] = _VOID
        if not rules.unpredicted_is_class:
            pred_category[pred_category == 0] = _VOID
        return cls(*(column[kept] for column in (pred_category, pred_segment, gt_category, gt_segment, pixels)))

    def shares(self, classes: Iterable[int]) -> dict[int, tuple[float, float]]:
        """Class → its pixels in the prediction and in the truth."""
        return {
            c: (self.pixels[self.pred_category == c].sum(), self.pixels[self.gt_category == c].sum()) for c in classes
        }

    def without(self, classes: Collection[int]) -> _Labels:
        """The pixels of some classes void on both sides."""
        pred = np.where(np.isin(self.pred_category, list(classes)), _VOID, self.pred_category)
        gt = np.where(np.isin(self.gt_category, list(classes)), _VOID, self.gt_category)
        return replace(self, pred_category=pred, gt_category=gt)

    def with_one_segment_a_class(self, stuff: Collection[int], crowds: Collection[int]) -> _Labels:
        """Stuff, void and the crowds of a class have one segment each."""
        one = [_VOID, *stuff]
        pred = np.where(np.isin(self.pred_category, one), 0, self.pred_segment)
        gt = np.where(np.isin(self.gt_category, one), 0, self.gt_segment)
        crowd = np.isin(self.gt_segment, list(crowds)) & (self.gt_category != _VOID)
        return replace(self, pred_segment=pred, gt_segment=np.where(crowd, _CROWD, gt))


@dataclass(frozen=True)
class _Overlaps:
    """Segments of both sides, with their areas, and the pairs that share pixels."""

    pred_category: np.ndarray  # [P]
    gt_category: np.ndarray  # [G]
    gt_is_crowd: np.ndarray  # [G]
    pred: np.ndarray  # [R] index of the predicted segment of a pair
    gt: np.ndarray  # [R]
    pixels: np.ndarray  # [R] float64, exact

    @classmethod
    def of(cls, labels: _Labels) -> _Overlaps:
        pred_category, _, pred = _segments(labels.pred_category, labels.pred_segment)
        gt_category, gt_segment, gt = _segments(labels.gt_category, labels.gt_segment)
        pairs, index = np.unique(pred * max(len(gt_category), 1) + gt, return_inverse=True)
        pred, gt = np.divmod(pairs, max(len(gt_category), 1))
        pixels = np.bincount(index, labels.pixels, minlength=len(pairs))
        return cls(pred_category, gt_category, gt_segment == _CROWD, pred, gt, pixels)

    @property
    def pred_area(self) -> np.ndarray:
        return self.pred_sums(np.ones(len(self.pixels)))

    @property
    def gt_area(self) -> np.ndarray:
        return self.gt_sums(np.ones(len(self.pixels)))

    @property
    def same_class(self) -> np.ndarray:
        """[R] whether both sides of a pair are of one class, which is not void."""
        gt_category = self.gt_category[self.gt]
        return (self.pred_category[self.pred] == gt_category) & (gt_category != _VOID)

    def pred_sums(self, weights: np.ndarray) -> np.ndarray:
        """[P] weighted pixels of each predicted segment."""
        return np.bincount(self.pred, self.pixels * weights, minlength=len(self.pred_category))

    def gt_sums(self, weights: np.ndarray) -> np.ndarray:
        """[G] weighted pixels of each true segment."""
        return np.bincount(self.gt, self.pixels * weights, minlength=len(self.gt_category))


def _segments(category: np.ndarray, segment: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The (category, segment) pairs that occur: both columns ``[S]``, and which pair each row ``[R]`` has."""
    categories, rank = np.unique(category, return_inverse=True)
    keys, index = np.unique((rank << _SEGMENT_BITS) + segment, return_inverse=True)
    return categories[keys >> _SEGMENT_BITS], keys & ((1 << _SEGMENT_BITS) - 1), index


@dataclass(frozen=True)
class _Matches:
    """What became of the segments of both sides."""

    iou: np.ndarray  # [M] of the matched pairs
    category: np.ndarray  # [M]
    false_positive: np.ndarray  # categories of these predicted segments
    false_negative: np.ndarray  # categories of these true segments

    @classmethod
    def of(cls, overlaps: _Overlaps, rules: Protocol) -> _Matches:
        pairs, iou = _matched_pairs(overlaps, rules)
        false_positive, false_negative = _unmatched(overlaps, rules, pairs)
        return cls(
            iou[pairs],
            overlaps.gt_category[overlaps.gt[pairs]],
            overlaps.pred_category[false_positive],
            overlaps.gt_category[false_negative],
        )

    def quality_of(self, category: Category) -> ClassQuality:
        """The counts of one class."""
        mine = self.category == category.id
        return ClassQuality(
            category,
            iou_sum=float(self.iou[mine].sum()),
            tp=int(mine.sum()),
            fp=int((self.false_positive == category.id).sum()),
            fn=int((self.false_negative == category.id).sum()),
        )


def _matched_pairs(overlaps: _Overlaps, rules: Protocol) -> tuple[np.ndarray, np.ndarray]:
    """Which pairs ``[R]`` match, and the IoU ``[R]`` of those that may."""
    on_void = overlaps.pred_sums((overlaps.gt_category == _VOID)[overlaps.gt])
    union = (overlaps.pred_area - on_void)[overlaps.pred] + overlaps.gt_area[overlaps.gt] - overlaps.pixels
    if rules.forgives_void_prediction:
        union -= _covered_by_void(overlaps)[overlaps.gt]
    candidates = overlaps.same_class & ~overlaps.gt_is_crowd[overlaps.gt]
    iou = np.where(candidates, overlaps.pixels / np.where(candidates, union, 1.0), 0.0)
    return candidates & (iou > rules.iou_threshold), iou


def _unmatched(overlaps: _Overlaps, rules: Protocol, matched: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The false positives ``[P]`` and false negatives ``[G]`` that remain."""
    forgiven = (overlaps.gt_category == _VOID)[overlaps.gt] | (overlaps.same_class & overlaps.gt_is_crowd[overlaps.gt])
    false_positive = overlaps.pred_sums(forgiven) <= 0.5 * overlaps.pred_area
    false_positive &= overlaps.pred_category != _VOID
    false_positive[overlaps.pred[matched]] = False
    false_negative = (overlaps.gt_category != _VOID) & ~overlaps.gt_is_crowd
    if rules.forgives_void_prediction:
        false_negative &= _covered_by_void(overlaps) <= 0.5 * overlaps.gt_area
    false_negative[overlaps.gt[matched]] = False
    return false_positive, false_negative


def _covered_by_void(overlaps: _Overlaps) -> np.ndarray:
    """[G] pixels of each true segment that are predicted void."""
    return overlaps.gt_sums((overlaps.pred_category == _VOID)[overlaps.pred])


def _mean(values: Iterable[float]) -> float:
    collected = list(values)
    return math.fsum(collected) / len(collected) if collected else math.nan
