# SPDX-License-Identifier: Apache-2.0
# scipy has no types: what is inferred of its sparse matrices is wrong.
# pyright: reportOptionalSubscript=false, reportAttributeAccessIssue=false, reportArgumentType=false, reportCallIssue=false
"""Gaussians grouped into patches that most views put under one mask."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from panoptic_gs.associate.evidence import ViewEvidence

SATURATION = 8.0
"""What a view says about a patch counts as much as this many pixels say, at most."""
LEAST_SHARE = 0.4
"""Gaussians of which a smaller share of the labelled weight lies under things belong to no object."""
LARGE = 60.0
"""A patch covers at most this many pixels of a view on average, in pixels of the reference image; more in a scene that
would fall into more than half of :data:`MOST` of these."""
SMALL = 4.0
"""A patch that covers fewer is not divided further."""
AGREEMENT = 0.9
"""A patch about which views agree less is divided while it is larger than :data:`SMALL`."""
VOID = 0.1
"""Void says this share of what masks say: networks miss objects, but what is mostly void where a mask overhangs it is
not that mask's object."""
MOST = 2000, 5000
"""Patches in all: the first number, in a large scene one for every :data:`PIXELS`, up to the second. Where there would
be more, those are divided about which views disagree most."""
PIXELS = 30.0
"""Pixels for each patch of a large scene, in pixels of the reference image."""


@dataclass(frozen=True, eq=False)
class Sums:
    """What views say, summed over the Gaussians of each row: one Gaussian, a patch, or a cluster of patches.

    ``masks[s, m]`` is the weight under mask m; where k masks overlap each gets 1/√k, so that a region agrees with
    itself by 1 and with one that shares half of its masks by ½. ``labelled[s, n]`` is the weight in view n under any
    mask, stuff included; ``total[s, n]`` that of void pixels, too.
    """

    masks: sparse.csr_matrix  # [S, M]
    labelled: sparse.csr_matrix  # [S, V]
    total: sparse.csr_matrix  # [S, V]
    view: np.ndarray  # [M], of each mask
    category: np.ndarray  # [M]

    def grouped(self, group: np.ndarray, count: int) -> Sums:
        """Sums over groups; rows of group −1 are left out."""
        rows = np.flatnonzero(group >= 0)
        table = sparse.csr_matrix((np.ones(len(rows), np.float32), (group[rows], rows)), (count, len(group)))
        sums = ((table @ part).tocsr() for part in (self.masks, self.labelled, self.total))
        return Sums(*sums, self.view, self.category)

    def shares(self) -> tuple[sparse.csr_matrix, np.ndarray]:
        """√weight times each mask's share ``[S, M]``, and √weight of each view ``[S, V]``.

        With ``known`` = labelled / total, the weight of a view is ``known`` min(labelled, 8) + (1 − ``known``) times
        :data:`VOID` min(total, 8).
        """
        labelled, total = self.labelled.toarray(), self.total.toarray()
        known = np.divide(labelled, total, out=np.zeros_like(labelled), where=total > 0)
        weight = known * np.minimum(labelled, SATURATION) + (1 - known) * VOID * np.minimum(total, SATURATION)
        root = np.sqrt(weight)
        factor = np.divide(root, total, out=np.zeros_like(total), where=total > 0)
        entries = self.masks.tocoo()
        data = entries.data * factor[entries.row, self.view[entries.col]]
        return sparse.csr_matrix((data, (entries.row, entries.col)), entries.shape), root

    def agreement(self) -> np.ndarray:
        """How probable it is that a view puts two pixels of a row under one mask, ``[S]``."""
        share, root = self.shares()
        same = np.asarray(share.multiply(share).sum(axis=1)).ravel()
        return same / np.maximum((root**2).sum(axis=1), 1e-9)


def sums_of(views: list[ViewEvidence], things: list[np.ndarray], num_gaussians: int) -> Sums:
    """The sums of each Gaussian; only masks of things, ``things[n] [M] bool``, have columns of their own."""
    masks, labelled, total, view, category = [], [], [], [], []
    for number, (evidence, thing) in enumerate(zip(views, things)):
        votes = evidence.divided[:, np.flatnonzero(thing)]
        masks.append(spread(votes, evidence.gaussians, num_gaussians))
        for columns, values in ((labelled, evidence.labelled), (total, evidence.total)):
            columns.append(spread(sparse.csr_matrix(values[:, None]), evidence.gaussians, num_gaussians))
        view.append(np.full(votes.shape[1], number))
        category.append(evidence.category_ids[thing])
    return Sums(
        sparse.hstack(masks, format="csr", dtype=np.float32),
        sparse.hstack(labelled, format="csr", dtype=np.float32),
        sparse.hstack(total, format="csr", dtype=np.float32),
        np.concatenate(view),
        np.concatenate(category),
    )


def spread(block: sparse.csr_matrix, rows: np.ndarray, count: int) -> sparse.csr_matrix:
    """The same rows at their places in a matrix of ``count`` rows."""
    lengths = np.zeros(count + 1, np.int64)
    lengths[rows.astype(np.int64) + 1] = np.diff(block.indptr)
    return sparse.csr_matrix((block.data, block.indices, np.cumsum(lengths)), (count, block.shape[1]))


def superpoints(means: np.ndarray, sums: Sums) -> np.ndarray:
    """Halve groups of Gaussians in space until views agree about each.

    Returns:
        The patch ``[N]`` of each Gaussian, −1 where it lies mostly under no thing.
    """
    labelled = np.asarray(sums.labelled.sum(axis=1)).ravel()
    under = np.asarray(sums.masks.sum(axis=1)).ravel()
    inside = np.flatnonzero((labelled > 0) & (under >= LEAST_SHARE * labelled))
    patch = np.full(len(means), -1)
    if not len(inside):
        return patch
    rows = Sums(sums.masks[inside], sums.labelled[inside], sums.total[inside], sums.view, sums.category)
    points = means[inside]
    size = labelled[inside] / np.maximum(np.diff(rows.labelled.indptr), 1)
    most = int(np.clip(float(size.sum()) / PIXELS, *MOST))
    large = max(LARGE, 2 * float(size.sum()) / most)
    node = np.zeros(len(inside), np.int64)
    open_ = np.ones(1, bool)
    while open_.any():
        count = len(open_)
        weight, members = np.bincount(node, size, count), np.bincount(node, minlength=count)
        split = open_ & (members > 1) & (weight > SMALL)
        doubt = np.where(split, weight, 0)
        unsure = np.flatnonzero(split & (weight <= large))
        if len(unsure):
            number = np.full(count, -1)
            number[unsure] = np.arange(len(unsure))
            agreement = rows.grouped(number[node], len(unsure)).agreement()
            split[unsure] = agreement < AGREEMENT
            doubt[unsure] *= 1 - agreement
        split[np.argsort(-np.where(split, doubt, -1), kind="stable")[max(most - count, 0) :]] = False
        _halve(points, size, node, np.flatnonzero(split), count)
        open_ = np.concatenate([split, np.ones(int(split.sum()), bool)])
    patch[inside] = np.unique(node, return_inverse=True)[1]
    return patch


def _halve(points: np.ndarray, size: np.ndarray, node: np.ndarray, split: np.ndarray, count: int) -> None:
    """Give the far half of each node in ``split``, by weight along its longest axis, the numbers from ``count`` on."""
    if not len(split):
        return
    number = np.full(count, -1)
    number[split] = np.arange(len(split))
    chosen = np.flatnonzero(number[node] >= 0)
    of, weight = number[node[chosen]], size[chosen] + 1e-12
    total = np.bincount(of, weight, len(split))
    spread = []
    for axis in range(3):
        values = points[chosen, axis]
        mean = np.bincount(of, weight * values, len(split)) / total
        spread.append(np.bincount(of, weight * (values - mean[of]) ** 2, len(split)))
    axis = np.argmax(spread, axis=0)
    order = np.lexsort((points[chosen, axis[of]], of))
    before = np.cumsum(weight[order]) - weight[order]
    first = np.searchsorted(of[order], np.arange(len(split)))
    far = before - before[first][of[order]] > 0.5 * total[of[order]]
    last = np.r_[first[1:], len(order)] - 1
    far[last] = True  # one heavy Gaussian must not stay together with all others
    far[first] = False
    node[chosen[order[far]]] = count + of[order[far]]
