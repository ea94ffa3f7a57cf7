# SPDX-License-Identifier: Apache-2.0
"""Whose surface it is that views show at a place."""

from __future__ import annotations

import numpy as np

from panoptic_gs.label_maps import Grouped
from panoptic_gs.objects.seen import SeenSurfaces, SurfaceCells

_NEIGHBOURS = 8  # cells that are asked for a point's owner
_REACH = 2.0  # cells' edges that these may lie off


class SurfaceOwners:
    """Which object's surface the views of a labelled scene show, place by place.

    Every pixel of every view votes in its cell of space for the object of the Gaussian that is its surface. A few
    Gaussians that took a neighbour's label, or an outline that one view drew too wide, are outvoted by the views that
    show that place as what it is. The labels are what changes from one labelling to the next; the surfaces stay.

    Args:
        cells: the views' pixels.
        segment_of: ``[N]`` labels of the Gaussians that the views show.
    """

    def __init__(self, cells: SurfaceCells, segment_of: np.ndarray) -> None:
        self._cells = cells
        self._pixels = Grouped(segment_of[cells.gaussian])

    def share(self, points: np.ndarray, segment_id: int) -> np.ndarray:
        """How much of the surface near each point ``[P, 3]`` is this object's, 0 … 1; 0 where no surface is near."""
        cells = self._cells
        mine = self._pixels.of(segment_id)
        taken, inverse = np.unique(cells.cell[mine], return_inverse=True)
        votes = np.append(np.bincount(inverse.ravel(), cells.weight[mine], minlength=len(taken)), 0.0)
        distance, near = cells.tree.query(points, _NEIGHBOURS, distance_upper_bound=_REACH * cells.size)
        found = np.isfinite(distance)
        near = np.where(found, near, 0)
        at = np.searchsorted(taken, near)
        own = np.where(found & (np.append(taken, -1)[at] == near), votes[at], 0.0)
        return own.sum(axis=1) / np.maximum((cells.mass[near] * found).sum(axis=1), 1e-12)


def owners_of(seen: SeenSurfaces, means: np.ndarray, segment_of: np.ndarray) -> SurfaceOwners | None:
    """Whose the surfaces are that views show; None where they show none.

    Args:
        seen: the surfaces.
        means: ``[M, 3]`` float32 centres of the Gaussians as they are now.
        segment_of: ``[M]`` their labels.
    """
    cells = seen.cells()
    return None if cells is None else SurfaceOwners(cells, seen.labels_as_seen(means, segment_of))
