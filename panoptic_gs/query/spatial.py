# SPDX-License-Identifier: Apache-2.0
"""Whether an object is where a query says, by the scene graph and by the distances of boxes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from panoptic_gs.export import PlacedObject, Relation
from panoptic_gs.objects.boxes import Box
from panoptic_gs.query.phrases import Where

_NEXT = 1.0  # metres within which things are next to each other
_ON_A_WALL = 0.7  # what touches a wall may hang on it or stand against it
_INVERSE: dict[Where, str] = {"under": "on", "on": "under"}


def agreement(
    where: Where, objects: Sequence[PlacedObject], relations: Sequence[Relation], meters_per_unit: float = 1.0
) -> np.ndarray:
    """How well object i lies ``where`` object j is, ``[N, N]`` in 0 … 1.

    The scene graph counts as it is, an ``on`` from the other side as ``under``. What is on something that is on a third
    counts half for the third. A picture ``on`` a wall is ``against`` it in the graph. ``next to`` falls from 1 where
    boxes touch to 0 at one metre, whatever the graph says: what is on a window sill is next to the window, too.

    Args:
        where: the relation.
        objects: of the scene, N of them.
        relations: between them.
        meters_per_unit: size of the scene's unit.
    """
    number = {entry.id: index for index, entry in enumerate(objects)}
    found = np.zeros((len(objects), len(objects)))
    for relation in relations:
        if relation.subject not in number or relation.object not in number:
            continue
        subject, object_ = number[relation.subject], number[relation.object]
        if relation.relation == where or (where == "next to" and relation.relation == "against"):
            found[subject, object_] = 1
        if where in ("on", "hangs from") and relation.relation == "against":
            found[subject, object_] = max(found[subject, object_], _ON_A_WALL)
        if _INVERSE.get(where) == relation.relation:
            found[object_, subject] = 1
        if where == "next to" and relation.relation == "next to":
            found[object_, subject] = 1
    if where in ("on", "in"):
        np.maximum(found, 0.5 * (found @ found > 0), out=found)
    if where == "next to":
        for i, one in enumerate(objects):
            for j, other in enumerate(objects):
                gap = min(box_gap(a, b) for _, a in one.parts for _, b in other.parts) * meters_per_unit
                found[i, j] = max(found[i, j], 1 - gap / _NEXT)
    np.fill_diagonal(found, 0)
    return found


def box_gap(one: Box, other: Box) -> float:
    """The distance of two boxes, from points on a grid in each to the other; 0 where they overlap."""
    return min(_gap(one, other), _gap(other, one))


def _gap(one: Box, other: Box) -> float:
    steps = np.linspace(-0.5, 0.5, 5)
    grid = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(-1, 3) * one.size
    local = (one.center + grid @ one.axes.T - other.center) @ other.axes
    outside = np.maximum(np.abs(local) - 0.5 * other.size, 0)
    return float(np.linalg.norm(outside, axis=1).min())
