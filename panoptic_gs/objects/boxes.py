# SPDX-License-Identifier: Apache-2.0
"""Boxes around objects: upright, turned to fit, and blind to a few stray Gaussians."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from scipy.spatial import ConvexHull, KDTree, QhullError

_CELLS = 40  # of the grid in which clusters are found, along the longest side
_CLUSTER = 0.1  # share of an object's Gaussians that a cluster must have to belong to it
_STRAY = 0.01  # share of an object's Gaussians that may lie beyond each side of its box


@dataclass(frozen=True, eq=False)
class Box:
    """A box of any orientation.

    Args:
        center: ``[3]`` in the world.
        axes: ``[3, 3]`` orthonormal, one axis a column; the third is the world's up where the box is upright.
        size: ``[3]`` full edge lengths along the axes.
    """

    center: np.ndarray  # [3]
    axes: np.ndarray  # [3, 3]
    size: np.ndarray  # [3]

    def contains(self, points: np.ndarray) -> np.ndarray:
        """Which of the points ``[N, 3]`` lie inside, ``[N]`` bool."""
        return (np.abs((points - self.center) @ self.axes) <= 0.5 * self.size).all(axis=1)

    def corners(self) -> np.ndarray:
        """The corners ``[8, 3]``; bit k of a corner's number says on which side of axis k it lies."""
        sides = (np.arange(8)[:, None] >> np.arange(3)) & 1
        return self.center + ((sides - 0.5) * self.size) @ self.axes.T


def upright_axes(up: np.ndarray) -> np.ndarray:
    """Orthonormal axes ``[3, 3]`` (columns, right-handed) of which the third is ``up``."""
    up = np.asarray(up, dtype=np.float64)
    up = up / np.linalg.norm(up)
    first = np.cross(np.eye(3)[np.abs(up).argmin()], up)
    first /= np.linalg.norm(first)
    return np.stack([first, np.cross(up, first), up], axis=1)


def fit_box(points: np.ndarray, up: np.ndarray) -> Box | None:
    """The upright box of least ground area around the points ``[N, 3]``, or None where there are none.

    A few Gaussians of every object sit elsewhere. Left out are clusters with less than a tenth of the points, and the
    outermost 1 % of the rest on each side. The rectangle of least area has a side along an edge of the convex hull
    (Freeman and Shapira, 1975).
    """
    if len(points) == 0:
        return None
    axes = upright_axes(up)
    points = points[_in_large_clusters(points)]
    local = (points - points.mean(axis=0)) @ axes
    local = local[_without_strays(local)]
    ground = local[:, :2]
    try:
        hull = ground[ConvexHull(ground).vertices]
    except (QhullError, ValueError):
        hull = ground
    edges = np.roll(hull, -1, axis=0) - hull
    angles = np.unique(np.append(np.arctan2(edges[:, 1], edges[:, 0]) % (np.pi / 2), 0.0))
    turns = np.stack([np.cos(angles), np.sin(angles)], axis=1)  # [A, 2]
    along, across = hull @ turns.T, hull @ np.stack([-turns[:, 1], turns[:, 0]])
    best = int((np.ptp(along, axis=0) * np.ptp(across, axis=0)).argmin())
    cos, sin = turns[best]
    axes = axes @ np.array([[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]])
    inside = (points - points.mean(axis=0)) @ axes
    low, high = np.quantile(inside, [_STRAY, 1 - _STRAY], axis=0)
    return Box(points.mean(axis=0) + axes @ ((low + high) / 2), axes, high - low)


def _in_large_clusters(points: np.ndarray) -> np.ndarray:
    """Which points ``[N]`` bool lie in clusters of some size: touching cells of a grid over the points."""
    low, high = points.min(axis=0), points.max(axis=0)
    some = points[:: max(1, len(points) // 1000)]
    spacing = float(np.median(np.asarray(KDTree(points).query(some, k=2)[0])[:, 1])) if len(points) > 1 else 0.0
    cell = max(float((high - low).max()) / _CELLS, 2 * spacing, 1e-9)  # a surface with gaps is one cluster all the same
    index = ((points - low) / cell).astype(np.int64)
    taken = np.zeros(index.max(axis=0) + 1, dtype=bool)
    taken[tuple(index.T)] = True
    cells = np.asarray(ndimage.label(taken, structure=np.ones((3, 3, 3), dtype=int))[0], dtype=np.int64)  # pyright: ignore
    cluster = cells[tuple(index.T)]
    counts = np.bincount(cluster)
    return counts[cluster] >= min(_CLUSTER * len(points), counts.max())


def _without_strays(local: np.ndarray) -> np.ndarray:
    low, high = np.quantile(local, [_STRAY, 1 - _STRAY], axis=0)
    kept = ((local >= low) & (local <= high)).all(axis=1)
    return kept if kept.any() else np.ones(len(local), dtype=bool)
