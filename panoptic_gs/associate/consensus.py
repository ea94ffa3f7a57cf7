# SPDX-License-Identifier: Apache-2.0
# scipy has no types: what is inferred of its sparse matrices is wrong.
# pyright: reportOptionalSubscript=false, reportAttributeAccessIssue=false, reportArgumentType=false, reportCallIssue=false
"""Patches of Gaussians joined to objects by how often views put them under one mask."""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from typing import NamedTuple

import numpy as np
from scipy import sparse
from scipy.spatial import KDTree

from panoptic_gs.associate.superpoints import SATURATION, Sums

JOIN = 0.1
"""Clusters that fewer views put under one mask stay apart."""
PARTED = 0.2
"""A share of views that part two halves of a cluster cleanly, from which on they may be two objects."""
JOINED = 0.2
"""A share of views that put both under one mask, from which on one object is cut, or two are fused."""
CUT = 0.12
"""The same share over all pairs of a scene that may be halves of one object, from which on its masks are cut in general
and no pair is two objects for being joined in few views."""
CONTACT = 0.35
"""Clusters that touch by a smaller part of their cross-sections are not of one body."""
CROSS_SECTION = 0.7
"""A cut through one object shows at least this part of its cross-section."""
BODY = 12
"""Patches that make a body: what touches a smaller cluster, or rarely shows beside it, says little."""
LARGE_BODY = 36
"""Patches of either of two bodies that do not touch, from which on neither is a piece that an occluder cuts off."""
APART = 0.75
"""Two such bodies that are under one mask less than this, on average, are two objects."""
SCANT = 0.2
"""A share of the views of a cluster that is too small to tell much about another one."""
TOGETHER = 0.3
"""Two bodies that are under one mask less than this, on average, are two objects, however untidily views part them."""
OTHER_CLASS = 0.5
"""Clusters of different classes that are under one mask less than this, on average, are two objects."""
OTHER_JOINED = 0.35
"""A share of views that put both under one mask, from which on they are not told apart by their classes alone."""
OTHER_PATCHES = 2
"""Patches of the smaller one of them."""
LEAST_ALONE = 2
"""Views that have to show each of two clusters alone before their classes alone tell."""
LEAST_VIEWS = 2
"""Views that have to part two objects."""
SEEN = 4.0
"""A view sees a cluster that covers at least this many pixels, in pixels of the reference image."""
NEIGHBOURS = 6
"""Patches that a patch touches."""
LEAST_EVIDENCE = 0.5
"""Clusters that views see together by less are not compared, in pixels of the reference image."""


ADVANTAGE = 0.1
"""A patch goes to another object only where views join the two more often by at least this."""


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


class Verdict(NamedTuple):
    """What the views that see two clusters say about them."""

    patches: int
    """Patches of the smaller one."""
    views: int
    most: int
    """Views that see the one that fewer views see."""
    parted: int
    """Views that put each under a mask of its own."""
    joined: int
    """Views that put both under one mask; the rest do neither."""
    together: float
    """What two pixels of them have in common in a view, on average: 1 under one mask, 0 under two."""
    one_class: bool
    """Whether masks that part them call both the same."""
    alone_one_class: bool
    """Whether masks that do not join them call both the same."""
    contact: float
    """How much of them touches: 1 is a whole cross-section."""

    @property
    def may_be_cut(self) -> bool:
        """Whether these may be halves of one object that views cut at one place."""
        return self.one_class and self.contact >= CROSS_SECTION and self._often_parted

    @property
    def _often_parted(self) -> bool:
        neither = self.views - self.parted - self.joined
        return self.parted >= max(LEAST_VIEWS, PARTED * self.views) and neither <= self.parted

    def two_objects(self, cut: bool) -> bool:
        """Whether they are two objects; ``cut`` tells that the scene's masks are cut in general.

        Two objects are parted in some views; pieces of one that is cut anew in every view are mostly neither parted nor
        joined. Where many views part and many join them, one object was cut at one place, or two were fused: two of one
        class that touch as the sides of a cut do are one.

        Two that are fused wherever both are seen are told apart where they do not touch and are of different classes
        alone, or both large and not quite always fused. Where hardly any view sees both, most of these have to join
        them.
        """
        if (
            self.patches >= OTHER_PATCHES
            and self.views > LEAST_VIEWS
            and not self.alone_one_class
            and self.together < OTHER_CLASS
            and self.joined <= (JOINED if cut else OTHER_JOINED) * self.views
        ):
            return True
        if self.patches >= BODY:
            far = self.patches >= LARGE_BODY and self.together < APART
            if self.contact < CONTACT and (far or not self.alone_one_class):
                return True
            if self.views <= SCANT * self.most and (not self.views or self.joined < 0.7 * self.views):
                return True
            one_body = self.alone_one_class and self.contact >= CROSS_SECTION
            if self.views > LEAST_VIEWS and self.together < TOGETHER and not (cut and one_body):
                return True
        if not self._often_parted:
            return False
        if self.may_be_cut:
            return not cut and self.joined < JOINED * self.views
        return not self.one_class or self.contact < CONTACT or self.joined < JOINED * self.views


class Division(NamedTuple):
    """What a tree falls into."""

    objects: np.ndarray
    """The object ``[S]`` of each patch."""
    cut: bool
    """Whether the scene's masks are cut in general: most are pieces of things."""


def divide(tree: Tree, sums: Sums, centers: np.ndarray) -> Division:
    """Clusters of the tree, divided where views part them as they part two objects.

    ``centers [S, 3]`` are where the patches lie.
    """
    count = sums.masks.shape[0]
    total = _Subtrees(tree, sums, centers)
    weight = total.labelled.sum(axis=1)
    verdicts = [
        total.verdict(a, b)
        if min(weight[a], weight[b]) >= 0.05 * weight[count + k]
        or min(total.patches[a], total.patches[b]) >= OTHER_PATCHES
        else None
        for k, (a, b) in enumerate(tree.children.tolist())
    ]
    doubtful = [verdict for verdict in verdicts if verdict is not None and verdict.may_be_cut]
    cut = sum(v.joined for v in doubtful) >= CUT * max(sum(v.views for v in doubtful), 1)
    two = [verdict is not None and verdict.two_objects(cut) for verdict in verdicts]
    result = np.full(count, -1)
    number = 0
    for root in tree.roots.tolist():
        for cluster in _divided(root, tree, count, total, two):
            result[[leaf for member in cluster for leaf in total.leaves(member)]] = number
            number += 1
    return Division(result, cut)


class _Row(NamedTuple):
    """A sparse row: what lies under each mask that sees any of it."""

    masks: np.ndarray  # ascending
    values: np.ndarray

    def at(self, masks: np.ndarray) -> np.ndarray:
        """The values of ``masks``, which are ascending and contain all of this row's."""
        result = np.zeros(len(masks), np.float32)
        result[np.searchsorted(masks, self.masks)] = self.values
        return result

    def __add__(self, other: _Row) -> _Row:  # pyright: ignore[reportIncompatibleMethodOverride]
        masks = np.union1d(self.masks, other.masks)
        return _Row(masks, self.at(masks) + other.at(masks))


class _Subtrees:
    """Sums of the nodes of a tree."""

    def __init__(self, tree: Tree, sums: Sums, centers: np.ndarray) -> None:
        self.tree, self.view = tree, sums.view
        self.classes, self.category = np.unique(sums.category, return_inverse=True)
        nearest = KDTree(centers).query(centers, k=min(NEIGHBOURS + 1, len(centers)))[1].reshape(len(centers), -1)
        self.near = np.stack([np.repeat(np.arange(len(centers)), nearest.shape[1]), nearest.ravel()], axis=1)
        size = sums.masks.shape[0]
        self.size = size
        masks = sums.masks.sorted_indices()
        bounds = list(zip(masks.indptr[:-1].tolist(), masks.indptr[1:].tolist()))
        self.masks = [_Row(masks.indices[start:end], masks.data[start:end]) for start, end in bounds]
        self.labelled = np.zeros((size + len(tree.children), sums.labelled.shape[1]), np.float32)
        self.labelled[:size] = sums.labelled.toarray()
        self.patches = np.ones(size + len(tree.children), np.int64)
        for number, (a, b) in enumerate(tree.children.tolist(), size):
            self.patches[number] = self.patches[a] + self.patches[b]
            self.masks.append(self.masks[a] + self.masks[b])
            self.labelled[number] = self.labelled[a] + self.labelled[b]

    def similarity(self, first: list[int], second: list[int]) -> float:
        """Σ same / Σ both of two clusters of nodes."""
        one, two = (reduce(_Row.__add__, [self.masks[node] for node in of]) for of in (first, second))
        masks = np.intersect1d(one.masks, two.masks)
        both = one.values[np.isin(one.masks, masks)] * two.values[np.isin(two.masks, masks)]
        la, lb = self.labelled[first].sum(0), self.labelled[second].sum(0)
        weight = np.sqrt(np.minimum(la, SATURATION) * np.minimum(lb, SATURATION))
        share = weight / np.maximum(la * lb, 1e-9)
        return float((both * share[self.view[masks]]).sum() / max(weight.sum(), 1e-9))

    def leaves(self, node: int) -> list[int]:
        result, stack = [], [node]
        while stack:
            node = stack.pop()
            if node < self.size:
                result.append(node)
            else:
                stack.extend(self.tree.children[node - self.size].tolist())
        return result

    def verdict(self, first: int, second: int) -> Verdict:
        """What views say about two nodes."""
        masks = np.union1d(self.masks[first].masks, self.masks[second].masks)
        a, b = self.masks[first].at(masks), self.masks[second].at(masks)
        view, category = self.view[masks], self.category[masks]
        la, lb = self.labelled[first], self.labelled[second]
        views = len(la)
        sees_a, sees_b = (of > max(SEEN, 0.25 * of.max()) for of in (la, lb))
        ok = sees_a & sees_b
        sa, sb = a / np.maximum(la, 1e-9)[view], b / np.maximum(lb, 1e-9)[view]
        joint = np.bincount(view, np.minimum(sa, sb), views)
        starts = np.flatnonzero(np.diff(view, prepend=-1))  # masks are in the order of views
        top_a, top_b, both = np.zeros((3, views))
        if len(starts):
            for top, share in ((top_a, sa), (top_b, sb), (both, np.minimum(sa, sb))):
                top[view[starts]] = np.maximum.reduceat(share, starts)
        clean = ok & (joint < 0.15) & (top_a > 0.65) & (top_b > 0.65)
        joined = ok & ~clean & (both > 0.6)
        inside, outside = clean[view], ~joined[view]
        alone = min(int((seen & ~joined).sum()) for seen in (sees_a, sees_b))
        return Verdict(
            int(min(self.patches[first], self.patches[second])),
            int(ok.sum()),
            min(int(sees_a.sum()), int(sees_b.sum())),
            int(clean.sum()),
            int(joined.sum()),
            float(joint[ok].mean()) if ok.any() else 1.0,
            self._one_class(category, a * inside, b * inside),
            alone < LEAST_ALONE or self._one_class(category, a * outside, b * outside),
            self._contact(first, second),
        )

    def _one_class(self, category: np.ndarray, a: np.ndarray, b: np.ndarray) -> bool:
        """Whether weights under masks of these categories agree about the class."""
        classes = [np.bincount(category, side, len(self.classes)) for side in (a, b)]
        shares = [of / max(of.sum(), 1e-9) for of in classes]
        return float(np.minimum(*shares).sum()) >= 0.5

    def _contact(self, first: int, second: int) -> float:
        """How much of two clusters touches, against the square root of their sizes, which a cut through one object has.

        1 is about a whole cross-section; the smaller one of both sides counts.
        """
        side = np.zeros(self.size, np.int8)
        for number, cluster in ((1, first), (2, second)):
            side[self.leaves(cluster)] = number
        a, b = side[self.near[:, 0]], side[self.near[:, 1]]
        touching = []
        for here, there in ((1, 2), (2, 1)):
            cells = np.unique(self.near[(a == here) & (b == there), 0])
            touching.append(len(cells) / np.sqrt((side == here).sum()))
        return min(touching)


def _divided(node: int, tree: Tree, count: int, total: _Subtrees, two: list[bool]) -> list[list[int]]:
    """Clusters of nodes, each an object, that a node falls into."""
    if node < count:
        return [[node]]
    left, right = tree.children[node - count].tolist()
    parts = _divided(left, tree, count, total, two), _divided(right, tree, count, total, two)
    if two[node - count]:
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
        kept = np.where(objects >= 0, value[np.arange(len(value)), np.maximum(objects, 0)], 0)
        moves = value.max(axis=1) >= np.maximum(JOIN, kept + ADVANTAGE)
        moved = np.where(moves, value.argmax(axis=1), objects)
        if (moved == objects).all():
            break
        objects = moved
    return np.where(objects >= 0, np.unique(np.r_[-1, objects], return_inverse=True)[1][1:] - 1, -1)
