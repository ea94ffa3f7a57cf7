# SPDX-License-Identifier: Apache-2.0
"""Poses that agree with the rays of matched pixels, whatever their depths are.

A pixel says exactly where its point is to be looked for, and a small network's depth only roughly how far. So poses are
adjusted until rays that match meet (Longuet-Higgins, A computer algorithm for reconstructing a scene from two
projections, 1981): the first-order angle between two rays and their epipolar plane,
r = d_b · (B × d_a) / √(‖B × d_a‖² + ‖B × d_b‖²) with B from one camera to the other, Sampson's distance on the sphere.
Depths say how long the ways between cameras are, each view's up to a scale that is found with its pose. Matches count
by the robust kernel of Geman and McClure, which is narrowed step by step; steps are those of Levenberg and Marquardt.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

ANGLES = (0.06, 0.04, 0.02)
"""Radians from the epipolar plane at which a match counts a quarter, one after the other."""
DEPTH = 0.35
"""The same, of the distance of two matched points over their depth."""
SCALE = 0.15
"""How far the scales of views differ: their standard deviation in logarithms,"""
SCALE_COUNTS = 30.0
"""which counts as much as so many matches."""
STEPS = 4
"""For each of the `ANGLES`."""
_LARGEST_TURN = 0.5  # radians in one step
_PARAMETERS = 7  # of a view: rotation, place, logarithm of scale


@dataclass(frozen=True, eq=False)
class Rays:
    """P matched pixels of views i and j.

    Args:
        i, j: the views.
        a, b: ``[P, 3]`` points in the frames of i and j, at the depths that the network says.
        weights: ``[P]``.
    """

    i: int
    j: int
    a: np.ndarray
    b: np.ndarray
    weights: np.ndarray


@dataclass(frozen=True, eq=False)
class _Matches:
    """All matches, those of a pair of views after each other."""

    i: np.ndarray
    j: np.ndarray
    a: np.ndarray
    b: np.ndarray
    distance_a: np.ndarray
    distance_b: np.ndarray
    weights: np.ndarray
    pairs: list[tuple[int, int, slice]]


def bundled(
    poses: np.ndarray, rays: Sequence[Rays], fixed: Collection[int] = (0,), angles: Sequence[float] = ANGLES
) -> tuple[np.ndarray, np.ndarray]:
    """Poses ``[N, 3, 4]``, camera to world, and scales ``[N]`` of the views' points, under which matches agree best.

    What is minimised is Σ w u / (1 + u) with u = (r / angle)² + (‖x_a − x_b‖ / depth / DEPTH)², and what scales cost.

    Args:
        poses: ``[N, 3, 4]`` to begin with.
        rays: of pairs of views; a view without any stays where it is.
        fixed: the views whose poses stay.
        angles: see `ANGLES`.
    """
    matches = _all_matches(rays)
    rotation, place = poses[:, :, :3].astype(np.float64), poses[:, :, 3].astype(np.float64)
    scale = np.zeros(len(poses))
    if not matches.pairs:
        return poses, np.ones(len(poses))
    free = np.array([
        _PARAMETERS * view + k for view in range(len(poses)) for k in range(_PARAMETERS) if view not in fixed or k == 6
    ])  # fmt: skip
    for angle in angles:
        damping = 1e-4
        state = (rotation, place, scale)
        seen = _Seen.of(matches, *state)
        cost = _cost(matches, seen, scale, angle)
        H, g = _normal_equations(matches, seen, scale, angle)
        for _ in range(STEPS):
            part = H[np.ix_(free, free)]
            part = part + damping * np.diag(np.diag(part)) + 1e-6 * np.eye(len(free))
            step = np.zeros(len(H))
            step[free] = -np.linalg.solve(part, g[free])
            step = step.reshape(-1, _PARAMETERS)
            step *= min(1.0, _LARGEST_TURN / max(1e-9, float(np.linalg.norm(step[:, :3], axis=1).max())))
            moved = (turned(step[:, :3]) @ state[0], state[1] + step[:, 3:6], state[2] + step[:, 6])
            seen = _Seen.of(matches, *moved)
            after = _cost(matches, seen, moved[2], angle)
            if after > cost:
                damping *= 30
                continue
            if cost - after < 1e-3 * cost:
                state = moved
                break
            state, cost, damping = moved, after, max(damping / 3, 1e-6)
            H, g = _normal_equations(matches, seen, moved[2], angle)
        rotation, place, scale = state
    return np.concatenate([rotation, place[..., None]], -1), np.exp(scale)


def turned(vectors: np.ndarray) -> np.ndarray:
    """Rotations ``[..., 3, 3]`` about axes by the angles that are their lengths, ``[..., 3]`` (Rodrigues)."""
    angle = np.linalg.norm(vectors, axis=-1)[..., None, None]
    K = _cross_matrices(vectors / np.maximum(angle[..., 0], 1e-12))
    return np.eye(3) + np.sin(angle) * K + (1 - np.cos(angle)) * (K @ K)


def _all_matches(rays: Sequence[Rays]) -> _Matches:
    ends = np.cumsum([0, *(len(pair.weights) for pair in rays)])
    pairs = [(pair.i, pair.j, slice(s, e)) for pair, s, e in zip(rays, ends[:-1], ends[1:], strict=True)]
    stacked = [np.concatenate([getattr(pair, name) for pair in rays]) if rays else np.zeros((0, 3)) for name in "ab"]
    distance_a, distance_b = (np.maximum(np.linalg.norm(points, axis=1), 1e-9) for points in stacked)
    return _Matches(
        np.repeat([pair.i for pair in rays], np.diff(ends)).astype(int),
        np.repeat([pair.j for pair in rays], np.diff(ends)).astype(int),
        stacked[0] / distance_a[:, None], stacked[1] / distance_b[:, None], distance_a, distance_b,
        np.concatenate([pair.weights for pair in rays]) if rays else np.zeros(0), pairs,
    )  # fmt: skip


def agreement(rays: Sequence[Rays], poses: np.ndarray, scales: np.ndarray, angle: float) -> np.ndarray:
    """How much each pair's matches agree with poses, Σ w / (1 + u), see `bundled`; at most the sum of their weights.

    Args:
        rays: of R pairs.
        poses, scales: ``[N, 3, 4]`` and ``[N]`` of the views.
        angle: radians from the epipolar plane at which a match counts a quarter.
    """
    matches = _all_matches(rays)
    if not matches.pairs:
        return np.zeros(len(rays))
    seen = _Seen.of(matches, poses[:, :, :3], poses[:, :, 3], np.log(scales))
    counts = matches.weights / (1 + seen.costs(angle))
    lengths = [len(pair.weights) for pair in rays]
    return np.array([part.sum() for part in np.split(counts, np.cumsum(lengths)[:-1])])


@dataclass(frozen=True, eq=False)
class _Seen:
    """Matches under some poses, in the world's axes; angles ``[P]`` and distances over depth ``[P, 3]``."""

    a: np.ndarray
    b: np.ndarray
    far_a: np.ndarray
    far_b: np.ndarray
    base: np.ndarray
    base_a: np.ndarray
    base_b: np.ndarray
    squared: np.ndarray
    across: np.ndarray
    angle: np.ndarray
    depth: np.ndarray
    apart: np.ndarray

    @classmethod
    def of(cls, matches: _Matches, rotation: np.ndarray, place: np.ndarray, scale: np.ndarray) -> _Seen:
        i, j = matches.i, matches.j
        a = (rotation[i] @ matches.a[..., None])[..., 0]
        b = (rotation[j] @ matches.b[..., None])[..., 0]
        base = place[i] - place[j]
        base_a, base_b = (base * a).sum(-1), (base * b).sum(-1)
        squared = np.maximum(2 * (base * base).sum(-1) - base_a**2 - base_b**2, 1e-12)
        across = np.cross(a, b)
        far_a, far_b = matches.distance_a * np.exp(scale[i]), matches.distance_b * np.exp(scale[j])
        depth = (far_a + far_b) / 2
        apart = (a * far_a[:, None] - b * far_b[:, None] + base) / depth[:, None]
        angle = (base * across).sum(-1) / np.sqrt(squared)
        return cls(a, b, far_a, far_b, base, base_a, base_b, squared, across, angle, depth, apart)

    def costs(self, sigma: float) -> np.ndarray:
        """u = (angle / σ)² + (apart / DEPTH)², ``[P]``."""
        return (self.angle / sigma) ** 2 + (self.apart**2).sum(-1) / DEPTH**2

    def derivatives(self) -> np.ndarray:
        """What angles and distances change by, ``[P, 4, 14]``.

        After both views' rotation (about the world's axes), place and logarithm of scale; the depth that distances are
        measured by is held.
        """
        a, b, base, share = self.a, self.b, self.base, (self.angle / self.squared)[:, None]
        base_a, base_b = self.base_a[:, None], self.base_b[:, None]
        length = np.sqrt(self.squared)[:, None]
        by_base = self.across / length - share * (2 * base - base_a * a - base_b * b)
        by_a = np.cross(b, base) / length + share * base_a * base
        by_b = np.cross(base, a) / length + share * base_b * base
        point_a, point_b = a * self.far_a[:, None], b * self.far_b[:, None]
        J = np.zeros((len(a), 4, 14))
        J[:, 0, 0:3], J[:, 0, 3:6] = np.cross(a, by_a), by_base
        J[:, 0, 7:10], J[:, 0, 10:13] = np.cross(b, by_b), -by_base
        J[:, 1:, 0:3], J[:, 1:, 7:10] = -_cross_matrices(point_a), _cross_matrices(point_b)
        J[:, [1, 2, 3], [3, 4, 5]], J[:, [1, 2, 3], [10, 11, 12]] = 1, -1
        J[:, 1:, 6], J[:, 1:, 13] = point_a, -point_b
        J[:, 1:] /= self.depth[:, None, None]
        return J


def _cost(matches: _Matches, seen: _Seen, scale: np.ndarray, sigma: float) -> float:
    """Σ w u / (1 + u), with what the scales cost."""
    u = seen.costs(sigma)
    return float((matches.weights * u / (1 + u)).sum() + SCALE_COUNTS * ((scale / SCALE) ** 2).sum())


def _normal_equations(matches: _Matches, seen: _Seen, scale: np.ndarray, sigma: float) -> tuple[np.ndarray, np.ndarray]:
    """JᵀWJ and JᵀWr of half the cost, each match weighted by what it counts now."""
    root = np.sqrt(matches.weights) / (1 + seen.costs(sigma))
    by = np.array([1 / sigma, 1 / DEPTH, 1 / DEPTH, 1 / DEPTH])
    r = np.concatenate([seen.angle[:, None], seen.apart], 1) * by * root[:, None]
    J = seen.derivatives() * (by * root[:, None])[..., None]
    size = _PARAMETERS * len(scale)
    H, g = np.zeros((size, size)), np.zeros(size)
    for i, j, part in matches.pairs:
        own = J[part].reshape(-1, 14)
        index = np.r_[_PARAMETERS * i : _PARAMETERS * (i + 1), _PARAMETERS * j : _PARAMETERS * (j + 1)]
        H[np.ix_(index, index)] += own.T @ own
        g[index] += own.T @ r[part].ravel()
    scales = np.arange(6, size, _PARAMETERS)
    H[scales, scales] += SCALE_COUNTS / SCALE**2
    g[scales] += SCALE_COUNTS / SCALE**2 * scale
    return H, g


def _cross_matrices(vectors: np.ndarray) -> np.ndarray:
    """``[..., 3, 3]`` that multiply as the cross product with ``[..., 3]`` does."""
    x, y, z = vectors[..., 0], vectors[..., 1], vectors[..., 2]
    zero = np.zeros_like(x)
    return np.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).reshape(*vectors.shape[:-1], 3, 3)
