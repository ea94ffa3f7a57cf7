# SPDX-License-Identifier: Apache-2.0
"""Semantic and instance scores of a scene: mIoU, mAcc, mCov and mWCov, as functions of contingency tables."""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from panoptic_gs.metrics.contingency import ContingencyTable
from panoptic_gs.metrics.panoptic_quality import labels_of
from panoptic_gs.metrics.protocol import PANOPTIC_LIFTING, STRICT, Protocol, as_protocol
from panoptic_gs.panoptic import Category
from panoptic_gs.sums import ViewSum, rows_of_others


class Coverage(NamedTuple):
    """Coverage of the true instances: mean, and mean weighted by their area (NaN where there are none)."""

    mcov: float
    mwcov: float


def class_iou(
    table: ContingencyTable, categories: Collection[Category], protocol: str | Protocol = PANOPTIC_LIFTING
) -> dict[int, float]:
    """IoU of each class, by category id; pixels of void truth are masked, pixels without a prediction are misses.

    Classes that hold less than ``protocol.min_share`` of the pixels in the prediction **and** in the truth are left
    out, as are those on neither side. Where unpredicted pixels are a class of their own they are class 0 here, too: it
    has IoU 0, from that share on. The mean of all is the mIoU.
    """
    pred, _, gt, _, pixels = labels_of(table, categories)
    valid = gt != 0
    pred, gt, pixels = pred[valid], gt[valid], pixels[valid]
    rules = as_protocol(protocol)
    smallest = rules.min_share * pixels.sum()
    classes = {category.id for category in categories} | ({0} if rules.unpredicted_is_class else set())
    result: dict[int, float] = {}
    for c in sorted(classes):
        in_pred, in_gt = pixels[pred == c].sum(), pixels[gt == c].sum()
        both = pixels[(pred == c) & (gt == c)].sum()
        if max(in_pred, in_gt) > 0 and max(in_pred, in_gt) >= smallest:
            result[c] = float(both / (in_pred + in_gt - both))
    return result


def class_accuracy(table: ContingencyTable, categories: Collection[Category]) -> dict[int, float]:
    """Share of each true class that is predicted as this class, by category id; their mean is the mAcc."""
    pred, _, gt, _, pixels = labels_of(table, categories)
    return {
        int(c): float(pixels[(gt == c) & (pred == c)].sum() / pixels[gt == c].sum()) for c in np.unique(gt) if c != 0
    }


class FrameScores(ViewSum):
    """IoU and accuracy of each class in each frame whose truth shows it; a sum over frames, as the table is.

    Args:
        rows: ``[R, 3]`` float64: category, IoU, accuracy.
    """

    def __init__(self, rows: Tensor | None = None) -> None:
        self.rows = torch.zeros((0, 3), dtype=torch.float64) if rows is None else rows

    def add(self, frame: ContingencyTable, categories: Collection[Category]) -> None:
        """Count one frame, given as the table of its pixels."""
        iou, accuracy = class_iou(frame, categories, STRICT), class_accuracy(frame, categories)
        new = torch.tensor([[c, iou[c], accuracy[c]] for c in accuracy], dtype=torch.float64).reshape(-1, 3)
        self.rows = _sorted(torch.cat([self.rows, new.to(self.rows.device)]))

    def merge(self, other: FrameScores) -> FrameScores:
        """Add other frames; returns this object."""
        self.rows = _sorted(torch.cat([self.rows, other.rows.to(self.rows.device)]))
        return self

    def all_reduce(self, group: Any = None) -> FrameScores:
        """Give every process of a ``torch.distributed`` group the frames of all of them; every process calls this."""
        own = self.rows
        for rows in rows_of_others(len(own), lambda first, last: own[first:last], own[:0], group):
            self.rows = _sorted(torch.cat([self.rows, rows]))
        return self

    def empty(self) -> FrameScores:
        """Of no frames."""
        return FrameScores(self.rows[:0])

    def iou(self) -> dict[int, float]:
        """Category id → mean IoU over the frames that show it."""
        return self._means(1)

    def accuracy(self) -> dict[int, float]:
        """Category id → mean accuracy over the frames that show it."""
        return self._means(2)

    def _means(self, column: int) -> dict[int, float]:
        rows = self.rows.cpu().numpy()
        return {
            int(c): math.fsum(rows[rows[:, 0] == c, column]) / int((rows[:, 0] == c).sum())
            for c in np.unique(rows[:, 0])
        }


def coverage(table: ContingencyTable, categories: Collection[Category], crowds: Collection[int] = ()) -> Coverage:
    """mCov and mWCov: how well each true thing is covered by one predicted thing, whatever its class.

    For each true instance of a thing class, the IoU with the predicted instance that shares most pixels with it (the
    larger IoU where two share equally many), 0 where none does. Pixels of void truth are left out, and crowds are no
    instances. Instances are (class, instance) pairs as in scene-PQ.
    """
    things = [category.id for category in categories if category.isthing]
    pred_category, pred_segment, gt_category, gt_segment, pixels = labels_of(table, categories)
    valid = gt_category != 0
    pred_keys, pred = np.unique(((pred_category << 32) + pred_segment)[valid], return_inverse=True)
    gt_keys, gt = np.unique(((gt_category << 32) + gt_segment)[valid], return_inverse=True)
    pixels = pixels[valid]
    pred_area = np.bincount(pred, pixels, minlength=len(pred_keys))
    gt_area = np.bincount(gt, pixels, minlength=len(gt_keys))
    pred_is_thing, gt_is_thing = np.isin(pred_keys >> 32, things), np.isin(gt_keys >> 32, things)
    gt_is_thing &= ~np.isin(gt_keys & ((1 << 32) - 1), list(crowds))

    candidates = pred_is_thing[pred] & gt_is_thing[gt]
    pred, gt, pixels = pred[candidates], gt[candidates], pixels[candidates]
    iou = pixels / (pred_area[pred] + gt_area[gt] - pixels)
    best = np.zeros(len(gt_keys))
    worst_first = np.lexsort((iou, pixels))
    best[gt[worst_first]] = iou[worst_first]
    if not gt_is_thing.any():
        return Coverage(math.nan, math.nan)
    areas = gt_area[gt_is_thing]
    return Coverage(float(best[gt_is_thing].mean()), float((best[gt_is_thing] * areas).sum() / areas.sum()))


def _sorted(rows: Tensor) -> Tensor:
    """The rows in one order, whatever the order of frames and processes."""
    for column in (2, 1, 0):
        rows = rows[rows[:, column].argsort(stable=True)]
    return rows


def mean_over_classes(scores: dict[int, float]) -> float:
    """The unweighted mean; NaN over no classes."""
    return math.fsum(scores.values()) / len(scores) if scores else math.nan
