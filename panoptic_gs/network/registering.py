# SPDX-License-Identifier: Apache-2.0
"""Poses from pixels that views have in common: local points that descriptors match are laid onto each other.

A small network says roughly where a camera is, and better what a pixel looks like. Pairs of views are registered by
their mutual best matches, robustly (Fischler and Bolles, Random sample consensus, 1981); poses of all views then agree
with all pairs as well as they can: a maximum spanning tree to begin with, then rotations and places averaged in turn,
the former by the chordal mean (Hartley et al., Rotation averaging, 2013, Sec. 5.3), pairs that disagree counting less.
All that is only as good as the depths are; from there on poses follow the rays (`bundling`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.sparse.csgraph import breadth_first_order, minimum_spanning_tree
from torch import Tensor

from panoptic_gs.network.bundling import Rays, bundled

TEMPERATURE = 0.07
HYPOTHESES = 192
MATCHES = 256
"""Of a pair of views, at most: the likeliest."""
LIKELY = 0.02
"""Least product of the shares that a match has among all from either side."""
INLIER = 0.1
"""Residual of an inlier over its depth."""
FEWEST = 16
"""Inliers below which a pair says nothing."""
OWN = 2.0
"""How much the network's own pose counts, in matches."""
UNCONFIRMED = 10.0
"""Matches that count for and against a pair before any triangle does."""
SURE = 1e-3
"""How much the matches of a pair have to count for their rays to be looked at."""
_TRIANGLE = 0.26  # radians, 15°
_ROUNDS = 30
_ANGLE = 0.35  # radians from which on a pair counts little


@dataclass(frozen=True, eq=False)
class Describer:
    """What of a view can be matched.

    Args:
        points: ``[P, 3]`` in its own frame.
        descriptors: ``[P, C]`` of length 1.
        weights: ``[P]`` of the points.
    """

    points: Tensor
    descriptors: Tensor
    weights: Tensor


@dataclass(frozen=True, eq=False)
class Pair:
    """x_j = R x_i + t for two views i and j, by how many matches, and all matches.

    Args:
        rotation, place: R and t.
        support: the number of inliers times their share.
        points: ``[P, 3]`` matched points in the frames of i and of j.
        weights: ``[P]`` of the matches.
    """

    rotation: np.ndarray
    place: np.ndarray
    support: float
    points: tuple[np.ndarray, np.ndarray]
    weights: np.ndarray


def matched(a: Describer, b: Describer) -> tuple[Tensor, Tensor, Tensor]:
    """Indices of pixels that are each other's best match, and the product of the shares that they have, best first."""
    # The product of both softmaxes from one exponential; descriptors of length 1 keep it within 1e-6 … 1e6.
    strength = (a.descriptors @ b.descriptors.T).div_(TEMPERATURE).exp_()
    rows_sum, columns_sum = strength.sum(1, keepdim=True), strength.sum(0, keepdim=True)
    likely = strength.square_().div_(rows_sum).div_(columns_sum)
    best, column = likely.max(1)
    mutual = (likely.argmax(0)[column] == torch.arange(len(column), device=column.device)) & (best > LIKELY)
    rows = mutual.nonzero()[:, 0]
    rows = rows[best[rows].argsort(descending=True)[:MATCHES]]
    return rows, column[rows], best[rows]


def fit_rotations(source: Tensor, target: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Rotations ``[..., 3, 3]`` and places ``[..., 3]`` that lay points ``[..., P, 3]`` onto others (Kabsch, 1976)."""
    w = weights / weights.sum(-1, keepdim=True).clamp_min(1e-12)
    a, b = (w[..., None] * source).sum(-2), (w[..., None] * target).sum(-2)
    covariance = torch.einsum("...p,...pi,...pj->...ij", w, target - b[..., None, :], source - a[..., None, :])
    u, _, vt = torch.linalg.svd(covariance)
    sign = torch.ones(covariance.shape[:-1], dtype=source.dtype, device=source.device)
    sign[..., 2] = torch.linalg.det(u @ vt).sign()
    rotation = (u * sign[..., None, :]) @ vt
    return rotation, b - (rotation @ a[..., None])[..., 0]


def register_pair(a: Describer, b: Describer, generator: torch.Generator) -> Pair | None:
    """How two views lie to each other; None where too little of them matches."""
    rows, columns, likely = matched(a, b)
    if len(rows) < FEWEST:
        return None
    source, target = a.points[rows].double(), b.points[columns].double()
    weights = likely.double() * (a.weights[rows] * b.weights[columns]).double().sqrt()
    drawn = torch.multinomial(weights.float().clamp_min(1e-9).cpu(), 3 * HYPOTHESES, True, generator=generator)
    drawn = drawn.view(HYPOTHESES, 3).to(source.device)
    rotation, place = fit_rotations(source[drawn], target[drawn], torch.ones_like(drawn, dtype=source.dtype))
    inside = _inliers(source, target, rotation, place)
    best = int((inside * weights).sum(-1).argmax())
    kept = inside[best]
    for _ in range(4):
        if int(kept.sum()) < FEWEST:
            return None
        rotation, place = fit_rotations(source, target, weights * kept)
        kept = _inliers(source, target, rotation[None], place[None])[0]
    count = int(kept.sum())
    if count < FEWEST:
        return None
    points = (source.cpu().numpy(), target.cpu().numpy())
    weights = likely.double().cpu().numpy()
    return Pair(rotation.cpu().numpy(), place.cpu().numpy(), count * count / len(rows), points, weights)


def _inliers(source: Tensor, target: Tensor, rotation: Tensor, place: Tensor) -> Tensor:
    moved = torch.einsum("hij,pj->hpi", rotation, source) + place[:, None]
    return (moved - target).norm(dim=-1) < INLIER * (target[:, 2].abs() + source[:, 2].abs())


def agreed_poses(poses: np.ndarray, pairs: Mapping[tuple[int, int], Pair], fixed: Collection[int] = (0,)) -> np.ndarray:
    """Poses ``[N, 3, 4]``, camera to world, that agree with pairs of views, and a little with what they were before.

    Args:
        poses: ``[N, 3, 4]`` as the network says them.
        pairs: (i, j) → x_j = R x_i + t.
        fixed: the views whose poses stay.
    """
    root = min(fixed)
    count = len(poses)
    support, R, t = _supports(count, pairs)
    own_R, own_t = poses[:, :, :3].astype(np.float64), poses[:, :, 3].astype(np.float64)
    found_R, found_t = own_R.copy(), own_t.copy()
    # What no pair reaches keeps the network's own pose, which every view has towards the fixed one.
    cost = np.where(support > 0, 1 / (1 + support), 0)
    for i in range(count):
        if i in fixed and i != root:
            cost[root, i] = cost[i, root] = 1e-9
        elif i != root and cost[root, i] == 0:
            cost[root, i] = cost[i, root] = 1.0
    tree = minimum_spanning_tree(cost)
    order, before = breadth_first_order(tree, root, directed=False)
    for i in order[1:]:
        j = int(before[i])
        if i not in fixed and support[i, j] > 0:  # x_world = R_j (R_ij x_i + t_ij) + t_j
            found_R[i] = found_R[j] @ R[i, j]
            found_t[i] = found_R[j] @ t[i, j] + found_t[j]
    for _ in range(_ROUNDS):
        for i in range(count):
            if i in fixed:
                continue
            others = np.flatnonzero(support[i] > 0)
            if not len(others):
                continue
            said_R = found_R[others] @ R[i, others]
            said_t = np.einsum("nij,nj->ni", found_R[others], t[i, others]) + found_t[others]
            cosine = (np.einsum("nij,ij->n", said_R, found_R[i]) - 1) / 2
            angle = np.arccos(np.clip(cosine, -1, 1))
            apart = np.linalg.norm(said_t - found_t[i], axis=1)
            spread = 3 * np.median(apart) + 1e-9
            weights = support[i, others] / (1 + (angle / _ANGLE) ** 2) ** 2 / (1 + (apart / spread) ** 2) ** 2
            said_R = np.concatenate([said_R, own_R[i][None]])
            said_t = np.concatenate([said_t, own_t[i][None]])
            agree = (np.trace(own_R[i].T @ found_R[i]) - 1) / 2
            trust = OWN / (1 + (np.arccos(np.clip(agree, -1, 1)) / _ANGLE) ** 2) ** 2
            weights = np.append(weights, trust)
            u, _, vt = np.linalg.svd(np.einsum("n,nij->ij", weights, said_R))
            found_R[i] = (u * np.array([1, 1, np.sign(np.linalg.det(u @ vt))])) @ vt
            found_t[i] = weights @ said_t / weights.sum()
    return np.concatenate([found_R, found_t[..., None]], axis=-1)


def _supports(count: int, pairs: Mapping[tuple[int, int], Pair]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Confirmed supports ``[N, N]`` of pairs, rotations ``[N, N, 3, 3]`` and places ``[N, N, 3]``, both ways."""
    support = np.zeros((count, count))
    R, t = np.zeros((count, count, 3, 3)), np.zeros((count, count, 3))
    for (i, j), pair in pairs.items():
        support[i, j] = support[j, i] = pair.support
        R[i, j], t[i, j] = pair.rotation, pair.place
        R[j, i], t[j, i] = pair.rotation.T, -pair.rotation.T @ pair.place
    return confirmed(support, R), R, t


def confirmed(support: np.ndarray, rotations: np.ndarray) -> np.ndarray:
    """Supports ``[N, N]`` of pairs, less where triangles of pairs disagree: two wrong pairs rarely make a third.

    A pair keeps the share (a + s) / (a + d + 2 s) of its support, where a and d are what triangles with it agree and
    disagree by, each as much as its weaker other pair has, and s is `UNCONFIRMED`.

    Args:
        support: ``[N, N]`` symmetric, 0 where there is no pair.
        rotations: ``[N, N, 3, 3]`` from the first view's axes to the second's.
    """
    around = np.einsum("kjab,ikbc,ijac->ijk", rotations, rotations, rotations)  # trace of R_kj R_ik R_ijᵀ
    angle = np.arccos(np.clip((around - 1) / 2, -1, 1))
    weight = np.minimum(support[:, None, :], support.T[None, :, :])
    agree = (weight * np.exp(-((angle / _TRIANGLE) ** 2))).sum(-1)
    disagree = weight.sum(-1) - agree
    return support * (agree + UNCONFIRMED) / (agree + disagree + 2 * UNCONFIRMED)


def rays_of(count: int, pairs: Mapping[tuple[int, int], Pair]) -> list[Rays]:
    """The matches of N views' pairs that can be relied on, those of well supported pairs counting more.

    Args:
        count: N.
        pairs: (i, j) → x_j = R x_i + t.
    """
    support, found = _supports(count, pairs)[0], []
    for (i, j), pair in pairs.items():
        sure = (support[i, j] / len(pair.weights)) ** 2
        if sure > SURE:
            found.append(Rays(i, j, *pair.points, sure * pair.weights))
    return found


def register(
    views: Sequence[Describer],
    poses: np.ndarray,
    partners: Sequence[tuple[int, int]],
    fixed: Collection[int] = (0,),
    seed: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """Poses ``[N, 3, 4]`` of views, camera to world, and scales ``[N]`` of their points.

    They come from the network's own poses and from pairs of views.

    Args:
        views: N of them.
        poses: the network's own.
        partners: the pairs to look at.
        fixed: the views whose poses stay.
        seed: of what is drawn.
    """
    generator = torch.Generator().manual_seed(seed)
    pairs = {}
    for i, j in partners:
        if (pair := register_pair(views[i], views[j], generator)) is not None:
            pairs[i, j] = pair
    return bundled(agreed_poses(poses, pairs, fixed), rays_of(len(views), pairs), fixed)
