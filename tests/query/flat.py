# SPDX-License-Identifier: Apache-2.0
"""Objects by hand: two chairs, a window, a table with a cup, a rug, a painting on a wall."""

from __future__ import annotations

import numpy as np

from panoptic_gs.export import PlacedObject, Relation
from panoptic_gs.labelling import Category, Segment
from panoptic_gs.objects.boxes import Box
from panoptic_gs.objects.table import SceneObject

NEAR_CHAIR, FAR_CHAIR, WINDOW, TABLE, CUP, RUG, WALL, PAINTING, LAMP = range(1, 10)
_PLACES = {
    NEAR_CHAIR: ("chair", [0.3, 0, 0.5], [0.5, 0.5, 1]),
    FAR_CHAIR: ("chair", [4, 0, 0.5], [0.5, 0.5, 1]),
    WINDOW: ("window", [0, 0, 1.5], [0.05, 1, 1]),
    TABLE: ("table", [3, 1.5, 0.4], [1, 1, 0.8]),
    CUP: ("cup", [3, 1.5, 0.85], [0.1, 0.1, 0.1]),
    RUG: ("rug", [3, 1.5, 0], [2, 2, 0.02]),
    WALL: ("wall", [-0.1, 0, 1.3], [0.1, 6, 2.6]),
    PAINTING: ("painting", [0, 2, 1.5], [0.05, 0.5, 0.5]),
    LAMP: ("table lamp", [5, 5, 0.3], [0.2, 0.2, 0.6]),
}


def objects() -> list[PlacedObject]:
    found = []
    for segment, (name, center, size) in _PLACES.items():
        row = SceneObject(Segment(segment, segment), Category(segment, name, True), 100, 1.0)
        found.append(PlacedObject(row, np.arange(1), Box(np.array(center, float), np.eye(3), np.array(size, float))))
    return found


RELATIONS = [
    Relation(CUP, "on", TABLE, 0.0),
    Relation(TABLE, "on", RUG, 0.0),
    Relation(PAINTING, "against", WALL, 0.0),
]
