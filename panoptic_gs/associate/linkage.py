# SPDX-License-Identifier: Apache-2.0
"""Masks of different views that saw the same Gaussians, linked to objects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from panoptic_gs.associate.evidence import ViewEvidence

SATURATION = 8.0
"""A Gaussian counts no more than this in a view, in pixels of the reference image: one wall panel is not a wall."""
LEAST_IOU = 0.2
"""Clusters that overlap less stay apart."""
LEAST_UNION = 5.0
"""Clusters that share fewer pixels of evidence are not compared, in pixels of the reference image."""


@dataclass(frozen=True, eq=False)
class Affinities:
    """Overlaps of the masks of all views over the Gaussians that two views both see; co-visible pairs only.

    With shares s_i(m) = v_i(n, m) / V_i(n) and ω_i = √(min(V_i(n), 8) · min(V_i(n'), 8)):
    ``intersection[a, b]`` = Σ_i ω_i s_i(a) s_i(b), and ``seen[a, n']`` = Σ_i ω_i s_i(a), how much of mask a view n'
    sees. So the union of a pair is seen[a, n(b)] + seen[b, n(a)] − intersection[a, b].
    """

    view: np.ndarray  # [M] int, of each mask
    intersection: sparse.csr_matrix  # [M, M] float32, 0 for masks of one view
    seen: np.ndarray  # [M, V] float32, 0 in the mask's own view

    def union(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Σ ω (s_i(a) + s_i(b) − s_i(a) s_i(b)) of pairs of masks."""
        both = np.asarray(self.intersection[a, b]).ravel()
        return self.seen[a, self.view[b]] + self.seen[b, self.view[a]] - both


def affinities(views: Sequence[ViewEvidence], chosen: Sequence[np.ndarray], num_gaussians: int) -> Affinities:
    """Overlaps of all pairs of masks.

    Args:
        views: the evidence.
        chosen: the numbers of the masks of each view that take part.
        num_gaussians: N.
    """
    blocks, weights, view = [], [], []
    for number, (evidence, masks) in enumerate(zip(views, chosen)):
        root = np.sqrt(np.minimum(evidence.total, SATURATION))
        share = evidence.votes[:, masks].multiply((root / evidence.total)[:, None]).tocsr().astype(np.float32)
        blocks.append(_spread(share, evidence.gaussians, num_gaussians))
        column = sparse.csr_matrix((root, np.zeros(len(root), np.int32), np.arange(len(root) + 1)), (len(root), 1))
        weights.append(_spread(column, evidence.gaussians, num_gaussians))
        view.append(np.full(len(masks), number))
    shares = sparse.hstack(blocks, format="csr", dtype=np.float32)
    seen = np.asarray((shares.T @ sparse.hstack(weights, format="csr", dtype=np.float32)).todense())
    of_mask = np.concatenate(view)
    seen[np.arange(len(of_mask)), of_mask] = 0
    both = (shares.T.tocsr() @ shares).tocoo()
    apart = of_mask[both.row] != of_mask[both.col]
    intersection = sparse.csr_matrix((both.data[apart], (both.row[apart], both.col[apart])), both.shape)
    intersection.sort_indices()
    return Affinities(of_mask, intersection, seen)


def _spread(block: sparse.csr_matrix, rows: np.ndarray, count: int) -> sparse.csr_matrix:
    """The same rows at their places in a matrix of ``count`` rows."""
    lengths = np.zeros(count + 1, np.int64)
    lengths[rows + 1] = np.diff(block.indptr)
    return sparse.csr_matrix((block.data, block.indices, np.cumsum(lengths)), (count, block.shape[1]))


def link(pairs: Affinities, least_iou: float = LEAST_IOU, least_union: float = LEAST_UNION) -> np.ndarray:
    """The cluster ``[M]`` of each mask: the two of largest ΣI/ΣU are merged as long as it is at least ``least_iou``.

    Two masks of one view are never joined. Clusters are numbered by their first mask.
    """
    count, views = pairs.seen.shape
    alive = np.ones(count, bool)
    has = np.zeros((count, views), np.float32)
    has[np.arange(count), pairs.view] = 1
    seen = pairs.seen.copy()
    rows = [
        (pairs.intersection.indices[a:b].astype(np.int64), pairs.intersection.data[a:b].astype(np.float64))
        for a, b in zip(pairs.intersection.indptr[:-1], pairs.intersection.indptr[1:])
    ]
    root = np.arange(count)
    best = np.full(count, -1, np.int64)
    value = np.zeros(count)

    def ratios(cluster: int) -> tuple[np.ndarray, np.ndarray]:
        partners, both = rows[cluster]
        union = has[partners] @ seen[cluster] + seen[partners] @ has[cluster] - both
        apart = has[partners] @ has[cluster] == 0
        iou = np.where(apart & (union > least_union), both / np.maximum(union, 1e-9), 0.0)
        return partners, iou

    def choose(cluster: int) -> None:
        partners, iou = ratios(cluster)
        if len(partners) and iou.max() >= least_iou:
            best[cluster], value[cluster] = partners[iou.argmax()], iou.max()
        else:
            best[cluster], value[cluster] = -1, 0.0

    for cluster in range(count):
        choose(cluster)
    while count and value.max() >= least_iou:
        first = int(value.argmax())
        second = int(best[first])
        keep, gone = min(first, second), max(first, second)
        root[root == gone] = keep
        partners = np.concatenate([rows[keep][0], rows[gone][0]])
        both = np.concatenate([rows[keep][1], rows[gone][1]])
        other = (partners != keep) & (partners != gone)
        united, place = np.unique(partners[other], return_inverse=True)
        rows[keep] = united, np.bincount(place, both[other], len(united))
        rows[gone] = np.zeros(0, np.int64), np.zeros(0)
        has[keep] += has[gone]
        seen[keep] += seen[gone]
        alive[gone], value[gone], best[gone] = False, 0.0, -1
        for partner, amount in zip(united.tolist(), rows[keep][1].tolist()):
            names, amounts = rows[partner]
            stays = (names != keep) & (names != gone)
            names, amounts = names[stays], amounts[stays]
            position = int(np.searchsorted(names, keep))
            rows[partner] = np.insert(names, position, keep), np.insert(amounts, position, amount)
        choose(keep)
        for partner, iou in zip(*(v.tolist() for v in ratios(keep))):
            if best[partner] in (keep, gone):
                choose(partner)
            elif iou >= least_iou and iou > value[partner]:
                best[partner], value[partner] = keep, iou
    return np.unique(root, return_inverse=True)[1]
