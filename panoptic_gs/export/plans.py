# SPDX-License-Identifier: Apache-2.0
"""What lies below, over and around an object, cell by cell of its ground plan.

A box says where an object ends, not where it is: that of a table has air under its top, that of a partition between two
desks all that stands on both. So it is the points of the other object that count.
"""

from __future__ import annotations

import numpy as np
from scipy.spatial import Delaunay, QhullError

from panoptic_gs.objects.boxes import Box

_CELLS = 8  # of a plan, along a side
_SECTORS = 12  # of the directions around an object
_SOME = 2  # points that are more than a stray
_FEW = 5  # points that make no surface
_CLEAR = 3  # times as many points over an object as beside it
_LEVEL = 0.5  # of the points over an object that lie in one level
_FACING = 0.7  # cosine from which a surface faces up or down
_BOARD = 0.25  # of the flat Gaussians over an object that face so; of a table's top about half do, of a wall hardly any
_ABOVE = 0.5  # as many points above a surface as in it


class GroundPlan:
    """The cells of an object's ground plan that it is in.

    Args:
        points: ``[M, 3]`` of the object.
        box: around it.
        low, high: its heights, along the box's third axis.
        least: side of a cell, at least; as far as points of a surface may be apart.
    """

    def __init__(self, points: np.ndarray, box: Box, low: float, high: float, least: float) -> None:
        self._box, self._low, self._high = box, low, high
        self._count = np.clip(box.size[:2] / max(least, 1e-9), 1, _CELLS).astype(int)
        self._taken = np.zeros(self._count, dtype=bool)
        cell, inside = self._cells(points)
        self._taken[tuple(cell[inside].T)] = True

    def carried(self, other: np.ndarray, slack: float) -> float:
        """The share of the plan under which the other's points ``[K, 3]`` have a surface at the lower end, within
        ``slack``; 0 where they go on above it, as a wall's do.

        What stands on a surface hides it, so a surface goes on between the points about the plan.
        """
        local = self._local(other)
        about = (np.abs(local[:, :2]) <= self._box.size[:2] + 3 * slack).all(axis=1)
        level = local[about & (np.abs(local[:, 2] - self._low) <= slack), :2]
        inside = (np.abs(local[:, :2]) <= 0.5 * self._box.size[:2] + slack).all(axis=1)
        if len(level) < _FEW or (inside & (local[:, 2] > self._low + slack)).sum() > _ABOVE * len(level):
            return 0.0
        try:
            under = Delaunay(level).find_simplex(self._middles()) >= 0
        except QhullError:  # all on a line
            return 0.0
        return self._share(under.reshape(self._taken.shape))

    def covered(self, other: np.ndarray, level: np.ndarray, farthest: float, thick: float) -> float:
        """The share of the plan over which the other's points ``[K, 3]`` lie, at most ``farthest`` above the upper end.

        0 where they are no board or top: as many lie beside the object, or they are at all heights, half of them not
        within ``thick``, or few face up or down, as a wall's that it stands before.

        Args:
            other: the points.
            level: ``[K]`` cosines between their normals and up, NaN where they have none.
            farthest: above the upper end.
            thick: of a board.
        """
        height = self._high - self._low
        top = self._high - 0.1 * height
        local = self._local(other)
        about = (np.abs(local[:, :2]) <= self._box.size[:2]).all(axis=1)
        heights = local[about, 2]
        beside = ((heights >= self._low) & (heights < top)).sum()
        among = (heights >= top) & (heights <= self._high + farthest)
        flat = level[about][among]
        flat = flat[~np.isnan(flat)]
        if len(flat) >= _FEW and (flat >= _FACING).mean() < _BOARD:
            return 0.0
        over = np.sort(heights[among])
        within = np.searchsorted(over, over + thick, "right") - np.arange(len(over))
        if len(over) < max(_CLEAR * beside, _FEW) or within.max() < _LEVEL * len(over):
            return 0.0
        return self._share(self._counts(other, top, self._high + farthest) > 0)

    def surrounded(self, other: np.ndarray) -> tuple[float, float]:
        """The share of the directions in which points ``[K, 3]`` of the other lie at the object's own height, and the
        share of those in which they lie on the opposite side, too: few where it is attached to the other's side."""
        local, height = self._local(other), self._high - self._low
        beside = (local[:, 2] >= self._low - 0.25 * height) & (local[:, 2] <= self._high + 0.25 * height)
        angle = np.arctan2(local[beside, 1], local[beside, 0])
        sector = ((angle / (2 * np.pi) + 0.5) * _SECTORS).astype(int).clip(0, _SECTORS - 1)
        there = np.bincount(sector, minlength=_SECTORS) >= _SOME
        return float(there.mean()), float((there & np.roll(there, _SECTORS // 2)).mean())

    def _local(self, points: np.ndarray) -> np.ndarray:
        """Points ``[K, 3]`` in the plan, from its middle, and their heights."""
        axes = self._box.axes
        return np.concatenate([(points - self._box.center) @ axes[:, :2], (points @ axes[:, 2])[:, None]], axis=1)

    def _cells(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        side = np.maximum(self._box.size[:2], 1e-9)
        cell = np.floor((self._local(points)[:, :2] / side + 0.5) * self._count).astype(int)
        return cell, ((cell >= 0) & (cell < self._count)).all(axis=1)

    def _counts(self, points: np.ndarray, low: float, high: float) -> np.ndarray:
        """How many of the points lie over each cell, between two heights."""
        cell, inside = self._cells(points)
        heights = points @ self._box.axes[:, 2]
        inside &= (heights >= low) & (heights <= high)
        found = np.zeros(self._count, dtype=int)
        np.add.at(found, tuple(cell[inside].T), 1)
        return found

    def _middles(self) -> np.ndarray:
        steps = [((np.arange(n) + 0.5) / n - 0.5) * side for n, side in zip(self._count, self._box.size)]
        return np.stack(np.meshgrid(*steps, indexing="ij"), axis=-1).reshape(-1, 2)

    def _share(self, cells: np.ndarray) -> float:
        return float((cells & self._taken).sum() / max(int(self._taken.sum()), 1))
