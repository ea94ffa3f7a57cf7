# SPDX-License-Identifier: Apache-2.0
"""Poses from pixels that views have in common: local points that descriptors match are laid onto each other.

A small network says roughly where a camera is, and better what a pixel looks like. Pairs of views are registered by
their mutual best matches, robustly (Fischler and Bolles, Random sample consensus, 1981); poses of all views then agree
with all pairs as well as they can: a maximum spanning tree to begin with, then rotations and places averaged in turn,
the former by the chordal mean (Hartley et al., Rotation averaging, 2013, Sec. 5.3), pairs that disagree counting less.
All that is only as good as the depths are; from there on poses follow the rays (`bundling`).
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.sparse.csgraph import breadth_first_order, minimum_spanning_tree
from torch import Tensor

from panoptic_gs.network.bundling import ANGLES, DEPTH, Rays, agreement, bundled

TEMPERATURE = 0.07
HYPOTHESES = 192
MATCHES = 256
"""Of a pair of views, at most: the likeliest."""
LIKELY = 0.02
"""Least product of the shares that a match has among all from either side."""
PAIR_ANGLES = (0.06, 0.03)
"""Radians that a match of two views may be off, coarsely and then finely; see `bundling.ANGLES`."""
INLIER = 0.025
"""The same for one that supports a pair."""
FEWEST = 16
"""Inliers below which a pair says nothing."""
OWN = 2.0
"""How much the network's own pose counts, in matches."""
UNCONFIRMED = 10.0
"""Matches that count for and against a pair before any triangle does."""
HOPELESS = 0.2
"""Share of a pair's matches that have to agree, roughly, for its motion to be refined."""
FIRST_MATCHES, START_MATCHES = 128, 64
"""The likeliest matches of a pair, from which at the least effort its motion and the beginnings of poses are found."""
STARTS = 2
"""Beginnings that are tried at the least effort."""
RECONSIDERED = 2
"""Rounds in which all pairs are weighed anew."""
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
    # The root of the product of both softmaxes from one exponential; descriptors of length 1 keep it within 1e-6 … 1e6.
    root = (a.descriptors @ b.descriptors.T).div_(TEMPERATURE).exp_()
    columns_sum = root.sum(0)
    root.mul_(root.sum(1, keepdim=True).rsqrt_()).mul_(columns_sum.rsqrt_())
    best = root.amax(1)
    rows = (best > math.sqrt(LIKELY)).nonzero()[:, 0]
    column = root[rows].argmax(1)
    mutual = root.amax(0)[column] == best[rows]
    rows, column = rows[mutual], column[mutual]
    order = best[rows].argsort(descending=True)[:MATCHES]
    rows, column = rows[order], column[order]
    return rows, column, best[rows].square()


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


def register_pair(a: Describer, b: Describer, generator: torch.Generator, tried: int = 1) -> Pair | None:
    """How two views lie to each other; None where too little of them matches.

    Args:
        a, b: the views.
        generator: draws the matches that hypotheses are made of.
        tried: how many of the best hypotheses are refined.
    """
    rows, columns, likely = matched(a, b)
    if len(rows) < FEWEST:
        return None
    source, target = a.points[rows].float(), b.points[columns].float()
    drawn = torch.multinomial(likely.float().clamp_min(1e-9).cpu(), 3 * HYPOTHESES, True, generator=generator)
    drawn = drawn.view(HYPOTHESES, 3).to(source.device)
    rotation, place = fit_rotations(source[drawn], target[drawn], torch.ones_like(drawn, dtype=source.dtype))
    good = (likely / (1 + pair_costs(source, target, rotation, place, PAIR_ANGLES[0]))).sum(1)
    source, target, likely = source.cpu(), target.cpu(), likely.cpu()
    points, weights = (source.double().numpy(), target.double().numpy()), likely.double().numpy()
    found: Pair | None = None
    highest = 0.0
    for index in good.topk(min(tried, len(good))).indices.tolist():
        start = torch.cat([rotation[index], place[index, :, None]], 1).double().cpu().numpy()
        if float(good[index]) > HOPELESS * float(weights.sum()):
            both = np.stack([np.eye(4)[:3], start])
            few = _first(Rays(1, 0, points[0], points[1], weights), FIRST_MATCHES * tried)
            start = bundled(both, [few], (0,), PAIR_ANGLES)[0][1]
        R, t = start[:, :3], start[:, 3]
        one = torch.from_numpy(start[None]).float()
        cost = pair_costs(source, target, one[..., :3], one[..., 3], INLIER)[0]
        count, score = int((cost < 1).sum()), float((likely / (1 + cost)).sum())
        if count >= FEWEST and score > highest:
            found, highest = Pair(R, t, count * count / len(rows), points, weights), score
    return found


def pair_costs(source: Tensor, target: Tensor, rotations: Tensor, places: Tensor, angle: float) -> Tensor:
    """``[H, P]``: what `bundling` minimises of each match, under H motions.

    Args:
        source, target: ``[P, 3]`` matched points in the frames of both views.
        rotations, places: ``[H, 3, 3]`` and ``[H, 3]``, from the first frame to the second.
        angle: in radians, that counts as much as `bundling.DEPTH` of the depth.
    """
    # All from products of matrices: ‖R a + t − b‖², and (b · (t × R a))² over Sampson's denominator.
    far_a, far_b = source.norm(dim=1).clamp_min(1e-9), target.norm(dim=1).clamp_min(1e-9)
    a, b = source / far_a[:, None], target / far_b[:, None]
    outer = (b[:, :, None] * a[:, None, :]).flatten(1).T
    turned = rotations.flatten(1) @ outer
    along_a = (rotations.transpose(1, 2) @ places[..., None])[..., 0] @ a.T
    along_b = places @ b.T
    length = places.square().sum(1, keepdim=True)
    essential = torch.linalg.cross(places[:, :, None].expand_as(rotations), rotations, dim=1)
    angles = (essential.flatten(1) @ outer).square() / (2 * length - along_a**2 - along_b**2).clamp_min(1e-12)
    apart = far_a**2 + far_b**2 + length + 2 * (far_a * along_a - far_b * along_b - far_a * far_b * turned)
    return angles / angle**2 + apart.clamp_min(0) / (DEPTH * (far_a + far_b) / 2) ** 2


def agreed_poses(
    poses: np.ndarray,
    pairs: Mapping[tuple[int, int], Pair],
    fixed: Collection[int] = (0,),
    favours: np.ndarray | None = None,
) -> np.ndarray:
    """Poses ``[N, 3, 4]``, camera to world, that agree with pairs of views, and a little with what they were before.

    Args:
        poses: ``[N, 3, 4]`` as the network says them.
        pairs: (i, j) → x_j = R x_i + t.
        fixed: the views whose poses stay.
        favours: ``[N, N]`` symmetric factors of pairs' supports.
    """
    root = min(fixed)
    count = len(poses)
    support, R, t = _supports(count, pairs)
    support = support if favours is None else support * favours
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


def register(
    views: Sequence[Describer],
    poses: np.ndarray,
    partners: Sequence[tuple[int, int]],
    fixed: Collection[int] = (0,),
    seed: int = 0,
    effort: int = 1,
) -> tuple[np.ndarray, np.ndarray]:
    """Poses ``[N, 3, 4]`` of views, camera to world, and scales ``[N]`` of their points.

    They come from the network's own poses and from pairs of views. Where pairs contradict each other, which of them are
    right is tried: poses begin with other pairs each time, and those remain with which the most matches agree.

    Args:
        views: N of them.
        poses: the network's own.
        partners: the pairs to look at.
        fixed: the views whose poses stay.
        seed: of what is drawn.
        effort: how many hypotheses of a pair are refined, and `STARTS` times as many beginnings tried.
    """
    generator = torch.Generator().manual_seed(seed)
    pairs = {}
    for i, j in partners:
        if (pair := register_pair(views[i], views[j], generator, effort)) is not None:
            pairs[i, j] = pair
    count = len(views)
    support = _supports(count, pairs)[0]
    rays = [Rays(i, j, pair.points[0], pair.points[1], pair.weights) for (i, j), pair in pairs.items()]
    shares = np.array([support[pair.i, pair.j] / len(pair.weights) for pair in rays])
    rng = np.random.default_rng(seed)
    best, most = (poses, np.ones(count)), -1.0
    for number in range(STARTS * effort):
        factors = np.exp(rng.normal(0, 1.0, (count, count))) if number else np.ones((count, count))
        start = agreed_poses(poses, pairs, fixed, np.sqrt(factors * factors.T))
        found = bundled(start, _trusted([_first(pair, START_MATCHES * effort) for pair in rays], shares), fixed)
        if (agreed := _agreed(rays, found)[1]) > most:
            best, most = found, agreed
    # Pairs that nothing confirmed may yet agree with what the others say.
    for _ in range(RECONSIDERED):
        some = [_first(pair, FIRST_MATCHES * effort) for pair in rays]
        found = bundled(best[0], _trusted(some, _agreed(rays, best)[0]), fixed, ANGLES[1:])
        if (agreed := _agreed(rays, found)[1]) <= most:
            break
        best, most = found, agreed
    return best


def _agreed(rays: Sequence[Rays], found: tuple[np.ndarray, np.ndarray]) -> tuple[np.ndarray, float]:
    """The share of each pair's matches that agree with poses and scales, and all that agrees.

    There a pair counts by the square of its share: some matches of false pairs agree with anything.
    """
    counts = agreement(rays, *found, INLIER)
    shares = counts / np.array([max(1e-12, pair.weights.sum()) for pair in rays]) if rays else counts
    return shares, float((counts * shares**2).sum())


def _first(pair: Rays, count: int) -> Rays:
    """The likeliest matches of a pair."""
    return replace(pair, a=pair.a[:count], b=pair.b[:count], weights=pair.weights[:count])


def _trusted(rays: Sequence[Rays], shares: np.ndarray) -> list[Rays]:
    """Matches of pairs that can be relied on, counting by the square of the share of them that is right."""
    return [
        replace(pair, weights=share**2 * pair.weights)
        for pair, share in zip(rays, shares, strict=True)
        if share**2 > SURE
    ]
