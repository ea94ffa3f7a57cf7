# SPDX-License-Identifier: Apache-2.0
"""Boxes around objects: upright, turned to fit, and blind to floaters."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage
from scipy.spatial import KDTree

from panoptic_gs.objects.flatness import flat_axis, sharp_ends
from panoptic_gs.objects.quantiles import quantiles, sorted_quantiles

_GAP = 0.1  # that connected parts may leave, as a share of the object's radius
_MOST_CELLS = 200  # of the grid in which clusters are found, along the longest side
_CLUSTER = 0.2  # of the main cluster's weight that another one must have to belong to the object
_BESIDE = 0.05  # of it, that one beside it must have, where it is said how far off that is
ONE_PLACE = 0.3
"""Radii of its main cluster that another one may be off it in a thing, which is in one place."""
_MAIN = 1 / 3  # of all weight that a cluster must have to say where the object is
_NEAR_POINTS = 3000  # of the main cluster and of another, between which their distance is measured
_STRAY = 0.0025  # share of an object's weight that may lie beyond each side of its box
THIN = 0.05
"""Of its mean density: what is thinner at an end of the object is haze, and left out."""
_RESOLVED = 4.0  # standard deviations of its surface's blur that a flat thing must be thick to be more than blur
_SLICES = 60
_TURN_POINTS = 3000  # that a box is turned by


@dataclass(frozen=True, eq=False)
class Box:
    """A box of any orientation.

    Args:
        center: ``[3]`` in the world.
        axes: ``[3, 3]`` orthonormal, one axis a column; the third is the world's up where the box is upright.
        size: ``[3]`` full edge lengths along the axes.
        left_out: share of the object's weight that lies outside: floaters, haze, far pieces.
        unresolved: the axis along which the object is no thicker than its surface is blurred, so that the size there
            is the blur's; None where it has no such axis.
    """

    center: np.ndarray  # [3]
    axes: np.ndarray  # [3, 3]
    size: np.ndarray  # [3]
    left_out: float = 0.0
    unresolved: int | None = None

    def contains(self, points: np.ndarray, margin: float = 0.0) -> np.ndarray:
        """Which of the points ``[N, 3]`` lie inside, or at most ``margin`` beyond each side, ``[N]`` bool."""
        return (np.abs((points - self.center) @ self.axes) <= 0.5 * self.size + margin).all(axis=1)

    def leaving_out(self, points: np.ndarray, weights: np.ndarray) -> Box:
        """The same box, knowing how much of these points ``[N, 3]`` and weights ``[N]`` lies outside."""
        return replace(self, left_out=float(1 - weights[self.contains(points)].sum() / weights.sum()))

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


def fit_box(
    points: np.ndarray,
    up: np.ndarray,
    weights: np.ndarray | None = None,
    thin: float = THIN,
    apart: float = np.inf,
) -> Box | None:
    """The upright box around the points, or None where there are none; floaters do not count.

    Points are joined where less than a tenth of the object's radius parts them; the cluster of most weight and those
    with at least a fifth of that are the object. Where it is in one place (``apart``), those near it are that have a
    twentieth, as the tap of a sink. The box is turned about ``up`` such that
    its sides lie closest to the points (the closeness criterion of Zhang et al., Efficient L-Shape Fitting for Vehicle
    Detection Using Laser Scanners, 2017, weighed with the side of the rectangle), which a few points on a corner do not
    sway as they do the rectangle of least area. Along each axis 0.25 % of the weight is trimmed from each end, then
    whatever stretch at an end is thinner than ``thin`` times the mean density. What is flat ends where its surface
    does, not where the blur about it does (:mod:`~panoptic_gs.objects.flatness`).

    Args:
        points: ``[N, 3]`` in the world.
        up: ``[3]``.
        weights: ``[N]`` what each point counts, not negative; by default all the same.
        thin: of the mean density, what an end must have.
        apart: how far other clusters may lie off the one of most weight, in radii of that one within which 80 % of its
            weight lies; by default anywhere.
    """
    if len(points) == 0:
        return None
    points = np.asarray(points, dtype=np.float64)
    counts = np.ones(len(points)) if weights is None else np.asarray(weights, dtype=np.float64)
    if not counts.sum() > 0:
        counts = np.ones(len(points))
    everything, of_everything = points, counts
    kept = _belonging(points, counts, apart)
    points, counts = points[kept], counts[kept]
    axes = _turned(points, counts, upright_axes(up), thin)
    local = points @ axes
    ends = [_extent(local[:, axis], counts, thin) for axis in range(3)]
    flat = flat_axis(local, counts)
    unresolved = None
    if flat is not None:
        axis, blur = flat
        ends[axis] = sharp_ends(local[:, axis], counts, ends[axis], blur)
        unresolved = axis if ends[axis][1] - ends[axis][0] <= _RESOLVED * blur else None
    low, high = np.array(ends).T
    box = Box(axes @ ((low + high) / 2), axes, high - low, unresolved=unresolved)
    return box.leaving_out(everything, of_everything)


def clusters(points: np.ndarray, weights: np.ndarray, gap: float | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Connected parts of an object: the cluster ``[N]`` of each point, and the weight ``[C]`` of each cluster.

    Args:
        points: ``[N, 3]``.
        weights: ``[N]``.
        gap: what parts may be apart to be one, in world units (to within a factor of two: cells of a grid touch or do
            not); by default a tenth of the radius within which 80 % of the weight lies.
    """
    low, high = points.min(axis=0), points.max(axis=0)
    if gap is None:
        middle = np.array([_quantile(points[:, axis], weights, 0.5) for axis in range(3)])
        gap = _GAP * _quantile(np.linalg.norm(points - middle, axis=1), weights, 0.8)
    cell = max(gap, float((high - low).max()) / _MOST_CELLS, 1e-9)
    index = ((points - low) / cell).astype(np.int64)
    taken = np.zeros(index.max(axis=0) + 1, dtype=bool)
    taken[tuple(index.T)] = True
    cells = np.asarray(ndimage.label(taken, structure=np.ones((3, 3, 3), dtype=int))[0], dtype=np.int64)  # pyright: ignore
    number = np.unique(cells[tuple(index.T)], return_inverse=True)[1].ravel()
    return number, np.bincount(number, weights)


def _belonging(points: np.ndarray, weights: np.ndarray, apart: float) -> np.ndarray:
    """Which points ``[N]`` lie in the main cluster, or in one that is large and near enough."""
    cluster, mass = clusters(points, weights)
    main = int(mass.argmax())
    others = np.flatnonzero((mass >= _BESIDE * mass[main]) & (np.arange(len(mass)) != main))
    kept = mass >= _CLUSTER * mass[main]
    if len(others) and np.isfinite(apart) and mass[main] >= _MAIN * mass.sum():
        inside = cluster == main
        some = points[inside]
        middle = np.median(some, axis=0)
        reach = apart * _quantile(np.linalg.norm(some - middle, axis=1), weights[inside], 0.8)
        tree = KDTree(_thinned(some))
        for other in others:
            kept[other] = tree.query(_thinned(points[cluster == other]))[0].min() <= reach
    return kept[cluster]


def _thinned(points: np.ndarray) -> np.ndarray:
    return points[:: -(-len(points) // _NEAR_POINTS)]


def _turned(points: np.ndarray, weights: np.ndarray, axes: np.ndarray, thin: float) -> np.ndarray:
    """The axes turned about the last one to the sides of what is there."""
    step = -(-len(points) // _TURN_POINTS)
    local, weights = (points[::step] - points.mean(axis=0)) @ axes, weights[::step]
    reach = 0.1 * _quantile(np.linalg.norm(local, axis=1), weights, 0.8)

    def misfit(angle: float) -> float:
        ground = local[:, :2] @ np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        ends = [_extent(ground[:, axis], weights, thin) for axis in range(2)]
        off = [np.minimum(abs(ground[:, axis] - low), abs(high - ground[:, axis])) for axis, (low, high) in
               enumerate(ends)]  # fmt: skip
        near = np.average(np.minimum(np.minimum(off[0], off[1]), reach), weights=weights)
        return float((near + 1e-9) * np.sqrt((ends[0][1] - ends[0][0]) * (ends[1][1] - ends[1][0])))

    angle = min(np.radians(np.arange(0, 90, 3)), key=misfit)
    angle = min(angle + np.radians(np.arange(-2, 2.5, 0.5)), key=misfit)
    cos, sin = np.cos(angle), np.sin(angle)
    return axes @ np.array([[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]])


def _extent(values: np.ndarray, weights: np.ndarray, thin: float) -> tuple[float, float]:
    """From where to where an object reaches along an axis.

    Strays are trimmed, then the interval is taken that holds the most weight beyond ``thin`` times the mean
    density (a largest sum of neighbouring slices, Kadane's), twice since the mean grows with the first cut.
    """
    order = np.argsort(values)
    values, weights = values[order], weights[order]
    low, high = sorted_quantiles(values, weights, np.array([_STRAY, 1 - _STRAY]))
    for _ in range(2):
        if not high - low > 1e-9 * (1 + abs(low)):
            break
        inside, edges = _sorted_histogram(values, weights, float(low), float(high))
        if not inside.sum() > 0:
            break
        sums = np.concatenate([[0.0], np.cumsum(inside / inside.sum() - thin / _SLICES)])
        end = int((sums - np.minimum.accumulate(sums)).argmax())
        low, high = float(edges[sums[: end + 1].argmin()]), float(edges[end])
    return float(low), float(high)


def _sorted_histogram(
    values: np.ndarray, weights: np.ndarray, low: float, high: float
) -> tuple[np.ndarray, np.ndarray]:
    """What ``np.histogram`` gives of ascending values, bit for bit: slices of them are found by their edges."""
    edges = np.arange(_SLICES + 1) * ((high - low) / _SLICES) + low
    edges[-1] = high
    ends = np.searchsorted(values, edges)
    ends[-1] = np.searchsorted(values, high, side="right")
    number = np.repeat(np.arange(_SLICES), np.diff(ends))
    return np.bincount(number, weights[ends[0] : ends[-1]], _SLICES), edges


def _quantile(values: np.ndarray, weights: np.ndarray, share: float) -> float:
    return float(quantiles(values, weights, np.array([share]))[0])
