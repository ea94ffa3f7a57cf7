# SPDX-License-Identifier: Apache-2.0
"""Linked masks assigned anew to the objects that the other views render in their place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import sparse
from scipy.optimize import linear_sum_assignment

from panoptic_gs.associate.evidence import ViewEvidence

ACCEPT = 0.25
"""A mask whose overlap with its object is no larger abstains."""
NONE = -1
"""The object of a mask that abstains."""


@dataclass(frozen=True, eq=False)
class Overlaps:
    """The masks of one view against the objects as the other views know them, without rendering.

    ``intersection[m, o]`` = Σ_i v_i(n, m) p_i(o), where p_i(o) is the share of object o in the votes of the *other*
    views for Gaussian i; ``mask[m]`` = Σ v_i(n, m) over the Gaussians that other views see; ``object[o]`` =
    Σ_i V_i(n) p_i(o).
    """

    intersection: np.ndarray  # [M, O]
    mask: np.ndarray  # [M]
    object: np.ndarray  # [O]

    @property
    def iou(self) -> np.ndarray:
        """``[M, O]``."""
        union = self.mask[:, None] + self.object[None] - self.intersection
        return self.intersection / np.maximum(union, 1e-9)


class ObjectVotes:
    """The votes of all views for objects, from which the part of one view can be taken out.

    Args:
        views: the evidence.
        objects: the object of each mask of each view, :data:`NONE` where it abstains.
        count: O, the number of objects.
        num_gaussians: N.
    """

    def __init__(
        self, views: Sequence[ViewEvidence], objects: Sequence[np.ndarray], count: int, num_gaussians: int
    ) -> None:
        self.views, self.count = views, count
        self._own = [_by_object(view, of, count) for view, of in zip(views, objects)]
        self.total = np.zeros(num_gaussians)
        rows, columns, data = [], [], []
        for view, own in zip(views, self._own):
            self.total[view.gaussians] += view.total
            entries = own.tocoo()
            rows.append(view.gaussians[entries.row])
            columns.append(entries.col)
            data.append(entries.data)
        self.votes = sparse.csr_matrix(
            (np.concatenate(data), (np.concatenate(rows), np.concatenate(columns))), (num_gaussians, count)
        )

    def overlaps(self, number: int) -> Overlaps:
        """What the other views say about the masks of view ``number``."""
        view = self.views[number]
        elsewhere = np.maximum(self.total[view.gaussians] - view.total, 0)
        seen = elsewhere > 1e-3 * view.total
        weight = np.where(seen, 1 / np.where(seen, elsewhere, 1), 0).astype(np.float32)
        share = (self.votes[view.gaussians] - self._own[number]).multiply(weight[:, None]).tocsr()
        both = (view.votes.T @ share).toarray()
        return Overlaps(
            np.maximum(both, 0), view.votes.T @ seen.astype(np.float32), np.maximum(share.T @ view.total, 0)
        )


def _by_object(view: ViewEvidence, objects: np.ndarray, count: int) -> sparse.csr_matrix:
    kept = np.flatnonzero(objects >= 0)
    table = sparse.csr_matrix((np.ones(len(kept), np.float32), (kept, objects[kept])), (view.votes.shape[1], count))
    return (view.votes @ table).tocsr()


def refine(
    views: Sequence[ViewEvidence], objects: Sequence[np.ndarray], count: int, num_gaussians: int, accept: float = ACCEPT
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """One round: in each view the masks are matched to the objects one to one, by overlap with the other views.

    Returns:
        For each view, the object of each mask and its overlap with it.
    """
    votes = ObjectVotes(views, objects, count, num_gaussians)
    result, overlap = [], []
    for number, view in enumerate(views):
        iou = votes.overlaps(number).iou
        matched = np.full(len(view.ids), NONE)
        quality = np.zeros(len(view.ids))
        rows, columns = linear_sum_assignment(iou, maximize=True)
        good = iou[rows, columns] > accept
        matched[rows[good]] = columns[good]
        quality[rows] = iou[rows, columns]
        result.append(matched)
        overlap.append(quality)
    return result, overlap
