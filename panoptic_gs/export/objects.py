# SPDX-License-Identifier: Apache-2.0
"""The objects of a labelled scene with the Gaussians and the boxes that other programs get."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from panoptic_gs.objects.boxes import Box
from panoptic_gs.objects.cut_out import cut_out
from panoptic_gs.objects.table import ObjectTable, SceneObject


class PlacedObject(NamedTuple):
    """An object, the numbers ``[G]`` of its Gaussians, and the upright box around them in world units."""

    object: SceneObject
    members: np.ndarray
    box: Box
    pieces: tuple[tuple[np.ndarray, Box], ...] = ()
    """The connected pieces of a stuff class, the largest first: the Gaussians of each, and the box around it."""

    @property
    def parts(self) -> tuple[tuple[np.ndarray, Box], ...]:
        """What stands for it among other objects: its pieces, else itself."""
        return self.pieces or ((self.members, self.box),)

    @property
    def id(self) -> int:
        """The segment's id."""
        return self.object.id

    @property
    def label(self) -> str:
        """Name and id: unique, and readable in the outline of another program."""
        return f"{self.object.name} {self.id}"


def cut_out_objects(table: ObjectTable, objects: Sequence[PlacedObject], up: np.ndarray) -> list[PlacedObject]:
    """The same objects with the Gaussians of :func:`~panoptic_gs.objects.cut_out.cut_out`: no floaters, no halo."""
    return [entry._replace(members=cut_out(table, entry.id, up)) for entry in objects]


def placed_objects(
    table: ObjectTable, up: np.ndarray, *, uncertain: bool = True, gap: float = 0.1
) -> list[PlacedObject]:
    """Every segment that has Gaussians, things first.

    Args:
        table: the scene's objects; a Gaussian belongs to the segment with its largest share.
        up: ``[3]`` direction away from the ground, in which boxes stand.
        uncertain: whether to take the objects for which too little speaks, too (:attr:`SceneObject.uncertain`).
        gap: between two pieces of a stuff class, in world units.
    """
    placed = []
    for row in table:
        if not row.count or (row.uncertain and not uncertain):
            continue
        box = table.box(row.id, up)
        if box is None:
            continue
        pieces = () if row.category.isthing else tuple(table.pieces(row.id, up, gap))
        placed.append(PlacedObject(row, table.members(row.id), box, pieces))
    return placed
