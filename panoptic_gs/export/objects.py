# SPDX-License-Identifier: Apache-2.0
"""The objects of a labelled scene with the Gaussians and the boxes that other programs get."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from panoptic_gs.objects.boxes import Box
from panoptic_gs.objects.table import ObjectTable, SceneObject


class PlacedObject(NamedTuple):
    """An object, the numbers ``[G]`` of its Gaussians, and the upright box around them in world units."""

    object: SceneObject
    members: np.ndarray
    box: Box

    @property
    def id(self) -> int:
        """The segment's id."""
        return self.object.id

    @property
    def label(self) -> str:
        """Name and id: unique, and readable in the outline of another program."""
        return f"{self.object.name} {self.id}"


def placed_objects(table: ObjectTable, up: np.ndarray) -> list[PlacedObject]:
    """Every segment that has Gaussians, things first.

    Args:
        table: the scene's objects; a Gaussian belongs to the segment with its largest share.
        up: ``[3]`` direction away from the ground, in which boxes stand.
    """
    placed = []
    for row in table:
        box = table.box(row.id, up)
        if box is not None:
            placed.append(PlacedObject(row, table.members(row.id), box))
    return placed
