# SPDX-License-Identifier: Apache-2.0
"""What a simulator gets: bodies, and the boxes of the room around them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from panoptic_gs.mesh.convex import Piece
from panoptic_gs.mesh.surface import LabelledMesh


@dataclass(frozen=True, eq=False)
class Body:
    """One object, z up, metres.

    Args:
        id: the segment.
        name: unique among bodies.
        category: its class.
        pieces: convex, in the world.
        visual: the closed mesh, in the world.
        mass: kilograms; 0 where it is part of the room.
        center: ``[3]`` of mass.
        inertia: ``[3, 3]`` about the centre, kg m².
        friction: coefficient of sliding.
        moves: whether it is free.
        why: what makes it free or fixed.
        lifted: metres that it was moved up or down to rest on what it stands on.
        foot: whether a plate was put under it, since what was seen of it could not stand.
        known_density: whether its category is in the table.
        rests_at: the height of what it stands on.
        on_floor: whether that is a floor of the room.
        flat_places: how many places of its top were made flat under what stands on it.
    """

    id: int
    name: str
    category: str
    pieces: tuple[Piece, ...]
    visual: LabelledMesh
    mass: float
    center: np.ndarray
    inertia: np.ndarray
    friction: float
    moves: bool
    why: str
    lifted: float = 0.0
    foot: bool = False
    known_density: bool = True
    rests_at: float = 0.0
    on_floor: bool = False
    flat_places: int = 0


@dataclass(frozen=True, eq=False)
class RoomBox:
    """A wall, floor or ceiling as a box behind its plane; axes are columns, the third into the room, half its sizes."""

    name: str
    center: np.ndarray  # [3]
    axes: np.ndarray  # [3, 3]
    half: np.ndarray  # [3]
