# SPDX-License-Identifier: Apache-2.0
# scipy has no types: what is inferred of its sparse matrices is wrong.
# pyright: reportOptionalSubscript=false, reportAttributeAccessIssue=false, reportArgumentType=false, reportCallIssue=false
# pyright: reportReturnType=false
"""Masks joined where nearly all views that see both have one mask over both, after MaskClustering (CVPR 2024)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from benchmarks.associating.cases import Case
from panoptic_gs.associate import MaskEvidence

INSIDE = 0.5
"""A Gaussian is a point of a mask that most of it lies under."""
VISIBLE = 0.3
"""A view shows a cluster at least this share of whose points it sees under masks."""
CONTAINED = 0.8
"""A mask contains a cluster if at least this share of what the view sees of it are the mask's points."""
SPLIT = 0.3
"""A mask that more than this share of the views that show it do not contain in one mask shows several objects."""
CONSENSUS = 0.9
"""Clusters are joined where at least this share of their observers support it."""
PERCENTILES = range(95, -5, -5)
"""What the least number of observers falls through."""
LEAST_MASKS = 2
"""An object has at least this many masks."""


class _Seen(NamedTuple):
    """Clusters in views."""

    visible: np.ndarray  # [C, V] bool
    container: np.ndarray  # [C, V], the mask that contains the cluster there, −1 for none


def view_consensus(case: Case, evidence: MaskEvidence) -> dict[str, np.ndarray]:
    """The objects ``[M]`` of each view's masks, −1 for none.

    Masks are sets of points. Of two clusters, observers are views that show both, supporters those in which one mask
    contains both. From the largest numbers of observers downward, clusters whose supporters are 0.9 of their observers
    are joined, and seen anew as one set of points.
    """
    points, view, visible = _points(case, evidence)
    seen = _seen(points, points, view, visible)
    shown, contained = seen.visible.sum(1), (seen.container >= 0).sum(1)
    dropped = shown - contained > SPLIT * np.maximum(shown, 1)
    cluster = np.where(dropped, -1, np.cumsum(~dropped) - 1)
    levels = None
    for step in range(len(PERCENTILES)):
        count = int(cluster.max(initial=-1)) + 1
        if not count:
            break
        rows = np.flatnonzero(cluster >= 0)
        table = sparse.csr_matrix((np.ones(len(rows), np.float32), (rows, cluster[rows])), (len(cluster), count))
        joined = points @ table
        joined.data[:] = 1
        seen = _seen(joined, points, view, visible)
        # What lies in a mask of several objects there is not observed there.
        blind = (seen.container >= 0) & dropped[np.maximum(seen.container, 0)]
        sees = (seen.visible & ~blind).astype(np.float32)
        observers = sees @ sees.T
        inside = np.argwhere((seen.container >= 0) & ~blind)
        columns = seen.container[tuple(inside.T)]
        container = sparse.csr_matrix((np.ones(len(inside), np.float32), (inside[:, 0], columns)), (count, len(view)))
        supporters = (container @ container.T).toarray()
        if levels is None:
            pairs = observers[np.triu_indices(count, 1)]
            levels = np.percentile(pairs[pairs > 0], list(PERCENTILES)) if (pairs > 0).any() else np.ones(1)
        if step >= len(levels):
            break
        least = max(levels[step], 1)
        cluster[rows] = connected_components((observers >= least) & (supporters >= CONSENSUS * observers))[1][
            cluster[rows]
        ]
    masks = np.bincount(cluster[cluster >= 0], minlength=int(cluster.max(initial=-1)) + 1)
    cluster = np.where((cluster >= 0) & (masks[np.maximum(cluster, 0)] >= LEAST_MASKS), cluster, -1)
    result, start = {}, 0
    for stem in evidence.views:
        things = np.flatnonzero(case.things(stem))
        result[stem] = np.full(len(case.masks[stem]), -1)
        result[stem][things] = cluster[start : start + len(things)]
        start += len(things)
    return result


def _points(case: Case, evidence: MaskEvidence) -> tuple[sparse.csr_matrix, np.ndarray, sparse.csr_matrix]:
    """Points ``[N, M]`` of all masks of things, the view of each, and which each view sees under masks ``[N, V]``."""
    size, columns, visible, view = evidence.num_gaussians, [], [], []
    for number, (stem, of) in enumerate(evidence.views.items()):
        votes = of.votes[:, np.flatnonzero(case.things(stem))]
        entries = votes.tocoo()
        kept = entries.data > INSIDE * of.total[entries.row]
        place = of.gaussians[entries.row[kept]], entries.col[kept]
        columns.append(sparse.csr_matrix((np.ones(kept.sum(), np.float32), place), (size, entries.shape[1])))
        found = of.gaussians[np.asarray(votes.sum(1)).ravel() > INSIDE * of.total]
        visible.append(sparse.csr_matrix((np.ones(len(found), np.float32), (found, 0 * found)), (size, 1)))
        view += [number] * entries.shape[1]
    return sparse.hstack(columns, format="csr"), np.array(view, int), sparse.hstack(visible, format="csr")


def _seen(
    clusters: sparse.csr_matrix, points: sparse.csr_matrix, view: np.ndarray, visible: sparse.csr_matrix
) -> _Seen:
    number = (clusters.T @ visible).toarray()
    size = np.asarray(clusters.sum(0)).ravel()
    shown = (number >= VISIBLE * size[:, None]) & (number > 0)
    common = (clusters.T @ points).toarray()
    container = np.full(number.shape, -1)
    for v in np.unique(view):
        masks = np.flatnonzero(view == v)
        best = masks[common[:, masks].argmax(1)]
        inside = shown[:, v] & (common[np.arange(len(common)), best] >= CONTAINED * number[:, v])
        container[inside, v] = best[inside]
    return _Seen(shown, container)
