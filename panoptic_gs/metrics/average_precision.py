# SPDX-License-Identifier: Apache-2.0
"""Average precision of instances, as ScanNet's benchmark defines it, from the contingency table of a point cloud."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from panoptic_gs.metrics.contingency import ContingencyTable
from panoptic_gs.metrics.panoptic_quality import labels_of
from panoptic_gs.panoptic import Category

THRESHOLDS = (0.25, *(round(0.5 + 0.05 * step, 2) for step in range(9)))
"""IoU thresholds that instances are matched at: 0.25, and ScanNet's 0.50, 0.55 … 0.90."""

_TRUE_POSITIVE, _FALSE_POSITIVE, _FALSE_NEGATIVE = 1.0, 0.0, -1.0


@dataclass(frozen=True)
class ClassPrecision:
    """Instance scores of one class; NaN for a class without a true instance."""

    category: Category
    ap: Mapping[float, float]
    """IoU threshold → average precision."""
    precision: Mapping[float, float]
    """IoU threshold → TP / (TP + FP) over all predicted instances, whatever their score; 0 without any."""
    recall: Mapping[float, float]
    """IoU threshold → TP / (TP + FN)."""


@dataclass(frozen=True)
class InstancePrecision:
    """Instance scores: per class, and unweighted means over the thing classes that have a true instance."""

    classes: tuple[ClassPrecision, ...]

    ap = property(lambda self: _mean(_mean(c.ap[t] for t in THRESHOLDS if t >= 0.5) for c in self.classes))
    ap50 = property(lambda self: _mean(c.ap[0.5] for c in self.classes))
    ap25 = property(lambda self: _mean(c.ap[0.25] for c in self.classes))
    precision50 = property(lambda self: _mean(c.precision[0.5] for c in self.classes))
    recall50 = property(lambda self: _mean(c.recall[0.5] for c in self.classes))
    precision25 = property(lambda self: _mean(c.precision[0.25] for c in self.classes))
    recall25 = property(lambda self: _mean(c.recall[0.25] for c in self.classes))

    def as_dict(self) -> dict[str, float]:
        """All means by name."""
        names = ("ap", "ap50", "ap25", "precision50", "recall50", "precision25", "recall25")
        return {name: getattr(self, name) for name in names}

    def per_class(self) -> dict[int, dict[str, Any]]:
        """Category id → name, ap50, ap25, precision50, recall50."""
        return {
            c.category.id: {"name": c.category.name, "ap50": c.ap[0.5], "ap25": c.ap[0.25],
                            "precision50": c.precision[0.5], "recall50": c.recall[0.5]}
            for c in self.classes
        }  # fmt: skip


def match_instances(
    table: ContingencyTable,
    categories: Collection[Category],
    scores: Mapping[int, float] | None = None,
    min_points: int = 100,
) -> Tensor:
    r"""Match the predicted things of one scene with its true things, at each of :data:`THRESHOLDS`.

    The rules are those of ScanNet's ``evaluate_semantic_instance.py``, with the thing classes as its valid classes:

    - an instance is a (class, segment) pair of a thing class; segment 0 is no instance. Predicted instances under
      ``min_points`` points are dropped, true ones are neither found nor missed;
    - a true instance is found by a predicted one of its class with :math:`|P \cap G| / |P \cup G|` above the
      threshold; where several qualify, the one of highest score is a true positive, the others are false ones;
    - a predicted instance that qualifies for no true instance is a false positive, unless the share of its points that
      lies on true points of no thing class, of thing classes without an instance, or of small instances of its class,
      exceeds the threshold.

    Args:
        table: how many true points carry each pair of labels; predictions were carried to the true points.
        categories: the classes; those with ``isthing`` are evaluated.
        scores: segment id → confidence of the predicted segment; 1 for all if not given.
        min_points: the least points of an instance.

    Returns:
        ``[M, 4]`` float64 rows (category id, IoU threshold, score, 1 for a true positive, 0 for a false positive, −1
        for a true instance that was not found). The rows of several scenes are joined with ``torch.cat``.

    Raises:
        InputError: the table holds a category that is not listed.

    Reference: Dai et al., ScanNet, CVPR 2017; http://kaldir.vc.in.tum.de/scannet_benchmark/documentation.
    """
    pred_category, pred_segment, gt_category, gt_segment, points = labels_of(table, categories)
    things = [category.id for category in categories if category.isthing]
    unannotated = ~np.isin(gt_category, things) | (gt_segment == 0)
    result: list[tuple[float, float, float, float]] = []
    for c in things:
        is_pred, is_gt = (pred_category == c) & (pred_segment != 0), (gt_category == c) & (gt_segment != 0)
        preds, pred_area = _areas(pred_segment[is_pred], points[is_pred])
        preds, pred_area = preds[pred_area >= min_points], pred_area[pred_area >= min_points]
        gts, gt_area = _areas(gt_segment[is_gt], points[is_gt])
        both = is_pred & is_gt & np.isin(pred_segment, preds)
        shared = np.zeros((len(preds), len(gts)))
        rows, columns = np.searchsorted(preds, pred_segment[both]), np.searchsorted(gts, gt_segment[both])
        np.add.at(shared, (rows, columns), points[both])
        ignored = np.array([points[is_pred & (pred_segment == p) & unannotated].sum() for p in preds], dtype=float)
        ignored += shared[:, gt_area < min_points].sum(axis=1)
        iou = shared / np.maximum(pred_area[:, None] + gt_area[None, :] - shared, 1)
        score = np.array([1.0 if scores is None else scores.get(int(p), 1.0) for p in preds])
        for threshold in THRESHOLDS:
            rows_here = _matches(iou, score, ignored / np.maximum(pred_area, 1), gt_area >= min_points, threshold)
            result += [(c, threshold, s, kind) for s, kind in rows_here]
    return torch.tensor(result, dtype=torch.float64).reshape(-1, 4)


def _matches(
    iou: np.ndarray, score: np.ndarray, ignored: np.ndarray, counts: np.ndarray, threshold: float
) -> list[tuple[float, float]]:
    """(score, kind) of every match, false positive and missed instance of one class at one threshold."""
    rows: list[tuple[float, float]] = []
    visited: set[int] = set()
    for g in np.flatnonzero(counts):
        found = [int(p) for p in np.flatnonzero(iou[:, g] > threshold) if int(p) not in visited]
        if not found:
            rows.append((0.0, _FALSE_NEGATIVE))
            continue
        visited.add(found[0])  # as ScanNet's script: only the first is taken away from other true instances
        best, *others = sorted((float(score[p]) for p in found), reverse=True)
        rows += [(best, _TRUE_POSITIVE), *((s, _FALSE_POSITIVE) for s in others)]
    unmatched = ~(iou > threshold).any(axis=1) & (ignored <= threshold)
    return rows + [(float(s), _FALSE_POSITIVE) for s in score[unmatched]]


def average_precision(matches: Tensor, categories: Collection[Category]) -> InstancePrecision:
    """AP, AP50, AP25, precision and recall of the matches of any number of scenes.

    AP is the area under the precision–recall curve over the scores, by the trapezoidal rule, from the point of all
    predictions to (recall 0, precision 1), as ScanNet computes it; ``ap`` averages it over the thresholds 0.50, 0.55 …
    0.90. A class that no true instance has is left out; one that nothing was predicted for has 0.

    Args:
        matches: rows as :func:`match_instances` gives them.
        categories: the classes.

    Example:
        >>> import torch
        >>> from panoptic_gs import Category
        >>> table = ContingencyTable(torch.tensor([[5, 1, 5, 1, 180], [5, 2, 5, 2, 110], [0, 0, 5, 2, 190]]))
        >>> chair = [Category(5, "chair", isthing=True)]
        >>> scores = average_precision(match_instances(table, chair), chair)
        >>> round(scores.ap25, 3), round(scores.ap50, 3)  # the second is found with an IoU of 110 / 300 only
        (1.0, 0.375)
    """
    rows = matches.cpu().numpy()
    classes = []
    for category in sorted(categories, key=lambda category: category.id):
        mine = rows[rows[:, 0] == category.id]
        if not ((mine[:, 3] == _TRUE_POSITIVE) | (mine[:, 3] == _FALSE_NEGATIVE)).any():
            continue
        ap: dict[float, float] = {}
        precision: dict[float, float] = {}
        recall: dict[float, float] = {}
        for threshold in THRESHOLDS:
            score, kind = mine[mine[:, 1] == threshold][:, 2:].T
            predicted = kind != _FALSE_NEGATIVE
            curve = _curve(score[predicted], kind[predicted], int((~predicted).sum()))
            ap[threshold], precision[threshold], recall[threshold] = curve
        classes.append(ClassPrecision(category, ap, precision, recall))
    return InstancePrecision(tuple(classes))


def _curve(score: np.ndarray, true: np.ndarray, missed: int) -> tuple[float, float, float]:
    """Area under the curve; precision and recall of all predictions together."""
    if len(score) == 0:
        return 0.0, 0.0, 0.0
    precision, recall = [], []
    for threshold in np.unique(score):
        kept = true[score >= threshold]
        precision.append(kept.sum() / len(kept))
        recall.append(kept.sum() / (true.sum() + missed) if true.sum() + missed else 0.0)
    p, r = np.array([*precision, 1.0]), np.array([*recall, 0.0])
    area = float((0.5 * (p[:-1] + p[1:]) * (r[:-1] - r[1:])).sum())
    return area, float(precision[0]), float(recall[0])


def _areas(segments: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The segments that occur, ascending, and their points."""
    ids, index = np.unique(segments, return_inverse=True)
    return ids, np.bincount(index, points, minlength=len(ids))


def _mean(values: Iterable[float]) -> float:
    collected = list(values)
    return math.fsum(collected) / len(collected) if collected else math.nan
