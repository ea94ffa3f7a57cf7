# SPDX-License-Identifier: Apache-2.0
"""Patches of Gaussians joined to objects by how often views put them under one mask."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from panoptic_gs.associate.superpoints import SATURATION, Sums

JOIN = 0.1
"""Clusters that fewer views put under one mask stay apart."""
SEPARATE = 0.2
"""A share of views that part two halves of a cluster cleanly, from which on they are two objects."""


@dataclass(frozen=True, eq=False)
class Tree:
    """A binary tree of merges: node k < S is a patch, node S + k joins ``children[k]``."""

    children: np.ndarray  # [K, 2]
    roots: np.ndarray


def agglomerate(sums: Sums, join: float = JOIN) -> Tree:
    """Merge the two clusters of largest Σ same / Σ both while it is at least ``join``.

    For patches s, t and a view n, with √ωs of at most 8 pixels each: same = √ω_s √ω_t Σ_m share_s(m) share_t(m), both =
    √ω_s √ω_t.
    """
    share, root = sums.shares()
    same = (share @ share.T).toarray().astype(np.float32)
    both = (root @ root.T).astype(np.float32)
    count = len(same)
    np.fill_diagonal(same, 0)
    np.fill_diagonal(both, 0)
    node = np.arange(count)
    alive = np.ones(count, bool)
    best, value = np.zeros(count, np.int64), np.zeros(count)

    def ratio(row: int) -> np.ndarray:
        return np.where(alive & (both[row] > LEAST_EVIDENCE), same[row] / np.maximum(both[row], 1e-9), 0)

    def choose(row: int) -> None:
        values = ratio(row)
        best[row] = values.argmax()
        value[row] = values[best[row]]

    for row in range(count):
        choose(row)
    children = []
    while count and value.max() >= join:
        first = int(value.argmax())
        keep, gone = min(first, int(best[first])), max(first, int(best[first]))
        children.append((node[keep], node[gone]))
        node[keep] = count + len(children) - 1
        for matrix in (same, both):
            matrix[keep] += matrix[gone]
            matrix[:, keep] = matrix[keep]
            matrix[keep, keep] = 0
        alive[gone], value[gone] = False, 0
        choose(keep)
        new = ratio(keep)
        stale = np.flatnonzero(alive & ((best == keep) | (best == gone)))
        for row in stale[stale != keep].tolist():
            choose(row)
        better = alive & (new > value)
        better[keep] = False
        best[better], value[better] = keep, new[better]
    return Tree(np.array(children, np.int64).reshape(-1, 2), node[alive])


LEAST_EVIDENCE = 0.5
"""Clusters that views see together by less are not compared, in pixels of the reference image."""


def divide(tree: Tree, sums: Sums) -> np.ndarray:
    """The object ``[S]`` of each patch: clusters of the tree, divided where views part them cleanly."""
    count = sums.masks.shape[0]
    total = _Subtrees(tree, sums)
    result = np.full(count, -1)
    number = 0
    for root in tree.roots.tolist():
        for cluster in _divided(root, tree, count, total):
            result[[leaf for member in cluster for leaf in total.leaves(member)]] = number
            number += 1
    return result


class _Subtrees:
    """Dense sums of the nodes of a tree."""

    def __init__(self, tree: Tree, sums: Sums) -> None:
        self.tree, self.view = tree, sums.view
        size = sums.masks.shape[0]
        self.size = size
        self.masks = np.zeros((size + len(tree.children), sums.masks.shape[1]), np.float32)
        self.labelled = np.zeros((len(self.masks), sums.labelled.shape[1]), np.float32)
        self.masks[:size], self.labelled[:size] = sums.masks.toarray(), sums.labelled.toarray()
        for number, (a, b) in enumerate(tree.children, size):
            self.masks[number] = self.masks[a] + self.masks[b]
            self.labelled[number] = self.labelled[a] + self.labelled[b]

    def similarity(self, first: list[int], second: list[int]) -> float:
        """Σ same / Σ both of two clusters of nodes."""
        a, b = self.masks[first].sum(0), self.masks[second].sum(0)
        la, lb = self.labelled[first].sum(0), self.labelled[second].sum(0)
        weight = np.sqrt(np.minimum(la, SATURATION) * np.minimum(lb, SATURATION))
        share = weight / np.maximum(la * lb, 1e-9)
        return float((a * b * share[self.view]).sum() / max(weight.sum(), 1e-9))

    def leaves(self, node: int) -> list[int]:
        result, stack = [], [node]
        while stack:
            node = stack.pop()
            if node < self.size:
                result.append(node)
            else:
                stack.extend(self.tree.children[node - self.size].tolist())
        return result

    def parted(self, first: list[int], second: list[int]) -> bool:
        """Whether views part the two as they part two objects.

        Two objects are cleanly parted in some views, and where they are not, one mask covers both: their masks were
        fused. Pieces of one object that is cut anew in every view are mostly neither.
        """
        clean, joined, neither = self.verdicts(first, second)
        return clean >= LEAST_VIEWS and clean >= SEPARATE * (clean + joined + neither) and neither <= clean

    def verdicts(self, first: list[int], second: list[int]) -> tuple[int, int, int]:
        """In how many of the views that see both they are parted cleanly, lie under one mask, or neither."""
        a, b = self.masks[first].sum(0), self.masks[second].sum(0)
        la, lb = self.labelled[first].sum(0), self.labelled[second].sum(0)
        views = len(la)
        ok = (la > max(SEEN, 0.25 * la.max())) & (lb > max(SEEN, 0.25 * lb.max()))
        sa, sb = a / np.maximum(la, 1e-9)[self.view], b / np.maximum(lb, 1e-9)[self.view]
        joint = np.bincount(self.view, np.minimum(sa, sb), views)
        top_a, top_b, both = np.zeros(views), np.zeros(views), np.zeros(views)
        np.maximum.at(top_a, self.view, sa)
        np.maximum.at(top_b, self.view, sb)
        np.maximum.at(both, self.view, np.minimum(sa, sb))
        clean = ok & (joint < 0.15) & (top_a > 0.65) & (top_b > 0.65)
        joined = ok & ~clean & (both > 0.6)
        return int(clean.sum()), int(joined.sum()), int((ok & ~clean & ~joined).sum())


LEAST_VIEWS = 2
"""Views that have to part two objects."""
SEEN = 4.0
"""A view sees a cluster that covers at least this many pixels, in pixels of the reference image."""


def _divided(node: int, tree: Tree, count: int, total: _Subtrees) -> list[list[int]]:
    if node < count:
        return [[node]]
    left, right = tree.children[node - count].tolist()
    parts = _divided(left, tree, count, total), _divided(right, tree, count, total)
    if total.parted([left], [right]):
        return [*parts[0], *parts[1]]
    if len(parts[0]) == 1 and len(parts[1]) == 1:
        return [[node]]
    few, many = sorted(parts, key=len)
    if len(few) > 1:
        return [*few, *many]
    # What is not parted from the whole goes to the part that it agrees with most.
    closest = max(many, key=lambda cluster: (total.similarity(few[0], cluster), -min(cluster)))
    return [cluster + few[0] if cluster is closest else cluster for cluster in many]


def settle(objects: np.ndarray, sums: Sums, rounds: int = 3) -> np.ndarray:
    """Let each patch go to the object that views put it under one mask with most often; −1 where none does."""
    share, root = sums.shares()
    own_same = np.asarray(share.multiply(share).sum(axis=1)).ravel()
    own_both = (root**2).sum(axis=1)
    for _ in range(rounds):
        count = int(objects.max()) + 1
        rows = np.flatnonzero(objects >= 0)
        table = sparse.csr_matrix((np.ones(len(rows), np.float32), (objects[rows], rows)), (count, len(objects)))
        same = (share @ (table @ share).T).toarray()
        both = root @ (table @ root).T
        same[rows, objects[rows]] -= own_same[rows]
        both[rows, objects[rows]] -= own_both[rows]
        value = np.where(both > LEAST_EVIDENCE, same / np.maximum(both, 1e-9), 0)
        moved = np.where(value.max(axis=1) >= JOIN, value.argmax(axis=1), objects)
        if (moved == objects).all():
            break
        objects = moved
    return np.where(objects >= 0, np.unique(np.r_[-1, objects], return_inverse=True)[1][1:] - 1, -1)
