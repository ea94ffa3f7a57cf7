# SPDX-License-Identifier: Apache-2.0
"""Weighted, robust registration of corresponding points by a rigid transform."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_ITERATIONS = 15
_INLIER_SCALE = 3 * 1.4826  # three standard deviations, from the median of absolute values
_FLAT = 1e-4  # second to first singular value below which points lie on a line


class DegenerateError(ValueError):
    """The points do not determine the transform: too few, or all on one line."""


@dataclass(frozen=True, eq=False)
class Similarity:
    """x ↦ scale · rotation · x + translation; rigid where the scale is 1."""

    scale: float
    rotation: np.ndarray  # [3, 3] float64
    translation: np.ndarray  # [3] float64

    def __call__(self, points: np.ndarray) -> np.ndarray:
        """Transformed points ``[..., 3]``, in the dtype of the input."""
        moved = self.scale * (points @ self.rotation.T.astype(points.dtype)) + self.translation.astype(points.dtype)
        return moved.astype(points.dtype, copy=False)

    def move_viewmats(self, viewmats: np.ndarray) -> np.ndarray:
        """World-to-camera transforms ``[N, 4, 4]`` of the same cameras in the transformed world."""
        moved = np.tile(np.eye(4), (len(viewmats), 1, 1))
        moved[:, :3, :3] = viewmats[:, :3, :3] @ self.rotation.T
        moved[:, :3, 3] = self.scale * viewmats[:, :3, 3] - moved[:, :3, :3] @ self.translation
        return moved


def fit_rigid(source: np.ndarray, target: np.ndarray, weights: np.ndarray) -> Similarity:
    """The rotation and translation that minimise Σ w ‖target − (R · source + t)‖².

    Kabsch, A solution for the best rotation to relate two sets of vectors, 1976; without mirroring as in Umeyama,
    Least-squares estimation of transformation parameters between two point patterns, 1991, Eq. 39.

    Args:
        source: ``[P, 3]``.
        target: ``[P, 3]``.
        weights: ``[P]`` not negative.

    Raises:
        DegenerateError: the points do not determine the rotation.
    """
    if np.count_nonzero(weights > 0) < 3:
        raise DegenerateError(f"{np.count_nonzero(weights > 0)} points of positive weight")
    w = weights / weights.sum()
    source_mean, target_mean = w @ source, w @ target
    a, b = source - source_mean, target - target_mean
    u, singular, vt = np.linalg.svd((w[:, None] * b).T @ a)
    if not singular[1] > _FLAT * singular[0]:
        raise DegenerateError("points on a line, or all at one place")
    sign = np.array([1.0, 1.0, np.sign(np.linalg.det(u) * np.linalg.det(vt))])
    rotation = (u * sign) @ vt
    return Similarity(1.0, rotation, target_mean - rotation @ source_mean)


def register_rigid(source: np.ndarray, target: np.ndarray, weights: np.ndarray) -> tuple[Similarity, np.ndarray, float]:
    """`fit_rigid` that outliers do not pull.

    Iteratively reweighted least squares with Geman and McClure's weights; what counts as an outlier follows the median
    residual, so it needs no unit. Bears up to about a third of arbitrary outliers.

    Returns:
        The transform, the weights ``[P]`` in which outliers count little, and the median distance that remains.
    """
    source, target, weights = (np.asarray(values, np.float64) for values in (source, target, weights))
    fitted = fit_rigid(source, target, weights)
    center = np.average(target, axis=0, weights=weights)
    spread = float(np.sqrt(np.average(((target - center) ** 2).sum(axis=1), weights=weights)))
    reweighted = weights
    for _ in range(_ITERATIONS):
        distance = np.linalg.norm(target - fitted(source), axis=1)
        inlier = max(_INLIER_SCALE * weighted_median(distance, weights), 1e-7 * spread)
        reweighted = weights * robust_weights(distance, inlier)
        fitted = fit_rigid(source, target, reweighted)
    distance = np.linalg.norm(target - fitted(source), axis=1)
    return fitted, reweighted, weighted_median(distance, weights)


def robust_weights(distance: np.ndarray, inlier: float) -> np.ndarray:
    """Geman and McClure's weights 1 / (1 + (d/σ)²)² of residuals."""
    return 1 / (1 + (distance / inlier) ** 2) ** 2


def weighted_median(values: np.ndarray, weights: np.ndarray) -> float:
    """The smallest value that at least half of the weight does not exceed."""
    order = np.argsort(values)
    cumulated = np.cumsum(weights[order])
    return float(values[order[np.searchsorted(cumulated, 0.5 * cumulated[-1])]])
