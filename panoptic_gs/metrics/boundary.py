# SPDX-License-Identifier: Apache-2.0
"""How far predicted outlines are from true ones, in pixels."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.spatial import KDTree

from panoptic_gs.errors import InputError


@dataclass(frozen=True)
class OutlineError:
    """The distance of outlines of segments that were found; a sum over views.

    In each view a predicted and a true segment of one class match where their IoU in this view exceeds one half, so
    that each has at most one match. The outline of a segment are the midpoints of the edges between its pixels and
    others, without the image's border and without edges at pixels of void truth. Each point of either outline counts
    with its distance to the nearest point of the other one: long outlines weigh more than short ones. Segments without
    a match do not count; panoptic quality counts them.
    """

    distance: float = 0.0
    """Summed over all points, pixels."""
    points: int = 0
    found: int = 0
    """Matched segments, over all views."""
    true: int = 0
    """True segments, over all views."""

    @property
    def mean(self) -> float:
        """Mean distance in pixels; NaN where no segment was found."""
        return self.distance / self.points if self.points else math.nan

    @property
    def share_found(self) -> float:
        """Share of the true segments of single views that have a match; NaN without any."""
        return self.found / self.true if self.true else math.nan

    def __add__(self, other: OutlineError) -> OutlineError:
        return OutlineError(
            self.distance + other.distance, self.points + other.points, self.found + other.found, self.true + other.true
        )


def outline_error(
    pred: np.ndarray, true: np.ndarray, pred_category: np.ndarray, true_category: np.ndarray
) -> OutlineError:
    """The error of the outlines of one view.

    Args:
        pred: predicted segment ids ``[H, W]``, 0 = void.
        true: true segment ids ``[H, W]``, 0 = void.
        pred_category: lookup from predicted ids to categories, as ``Labelling.category_of`` gives it.
        true_category: the same of true ids.

    Raises:
        InputError: the maps are of different sizes.
    """
    if pred.shape != true.shape or pred.ndim != 2:
        raise InputError("outlines", f"maps of shape {list(pred.shape)} and {list(true.shape)}", "equal [H, W]",
                         "Resample the prediction to the truth by nearest neighbour.")  # fmt: skip
    result = OutlineError(true=len(np.setdiff1d(true, [0])))
    known = true != 0
    for p, t in _matches(pred, true, pred_category, true_category).items():
        one, other = _outline(pred == p, known), _outline(true == t, known)
        distance = 0.0
        if len(one) and len(other):
            there, back = KDTree(other).query(one)[0], KDTree(one).query(other)[0]
            distance = math.fsum(there) + math.fsum(back)
            result += OutlineError(distance, len(one) + len(other))
        result += OutlineError(found=1)
    return result


def _matches(
    pred: np.ndarray, true: np.ndarray, pred_category: np.ndarray, true_category: np.ndarray
) -> Mapping[int, int]:
    """Predicted → true id of segments of one class whose IoU in the view, without void truth, exceeds one half."""
    seen = true != 0
    pred_ids, p = np.unique(pred[seen], return_inverse=True)
    true_ids, t = np.unique(true[seen], return_inverse=True)
    shared = np.zeros((len(pred_ids), len(true_ids)), dtype=np.int64)
    np.add.at(shared, (p, t), 1)
    union = shared.sum(1, keepdims=True) + shared.sum(0, keepdims=True) - shared
    alike = (pred_category[pred_ids][:, None] == true_category[true_ids]) & (pred_ids != 0)[:, None]
    return {int(pred_ids[i]): int(true_ids[j]) for i, j in np.argwhere(alike & (2 * shared > union))}


def _outline(mask: np.ndarray, known: np.ndarray) -> np.ndarray:
    """``[P, 2]`` row and column of the midpoints of a mask's edges, in pixels, between two pixels of known truth."""
    rows, columns = np.nonzero((mask[1:] != mask[:-1]) & known[1:] & known[:-1])
    across = np.stack([rows + 0.5, columns.astype(np.float64)], axis=1)
    rows, columns = np.nonzero((mask[:, 1:] != mask[:, :-1]) & known[:, 1:] & known[:, :-1])
    return np.concatenate([across, np.stack([rows.astype(np.float64), columns + 0.5], axis=1)])
