# SPDX-License-Identifier: Apache-2.0
"""A furnished room as a list of surfaces, each with its category and its scene-wide segment id."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from panoptic_gs.panoptic import Segment
from panoptic_gs.synthetic import materials
from panoptic_gs.synthetic.classes import CATEGORIES, CATEGORY_IDS
from panoptic_gs.synthetic.layout import Plan
from panoptic_gs.synthetic.parts import RoomObject
from panoptic_gs.synthetic.primitives import Primitive
from panoptic_gs.synthetic.programs import PROGRAMS
from panoptic_gs.synthetic.textures import Texture

SHELL = ("wall", "floor", "ceiling")

SIZES: dict[str, tuple[float, float, float, float]] = {
    "living": (4.7, 5.5, 4.1, 4.8),
    "office": (4.8, 5.6, 4.2, 4.9),
    "bedroom": (4.4, 5.2, 4.0, 4.6),
    "kitchen": (4.3, 5.0, 4.0, 4.6),
    "washroom": (4.0, 4.8, 3.6, 4.2),
}
"""Least and largest width, least and largest depth."""


@dataclass(frozen=True, eq=False)
class Room:
    """A closed room, ``size`` metres, centred on the origin in the plan, its floor at z = 0.

    Surfaces are numbered: 0 wall, 1 floor, 2 ceiling, then every primitive of every object in order.
    """

    kind: str
    seed: int
    size: tuple[float, float, float]
    shell: Primitive
    """The box whose inside is the room."""
    shell_textures: tuple[Texture, Texture, Texture]
    """Of wall, floor and ceiling."""
    objects: tuple[RoomObject, ...]
    segments: tuple[Segment, ...]
    """Stuff first, one segment a class; then one for each thing object."""
    object_segments: tuple[int, ...]
    """The segment id of each object."""

    @property
    def primitives(self) -> list[Primitive]:
        """All primitives of all objects; number i is surface ``i + 3``."""
        return [primitive for item in self.objects for primitive in item.primitives]

    @property
    def object_of_primitive(self) -> np.ndarray:
        """[number of primitives] index into `objects`."""
        return np.repeat(np.arange(len(self.objects)), [len(item.primitives) for item in self.objects])

    @property
    def surface_segments(self) -> np.ndarray:
        """[number of surfaces] int32 segment id of each surface."""
        of_category = {segment.category_id: segment.id for segment in self.segments}
        shell = [of_category[CATEGORY_IDS[name]] for name in SHELL]
        inside = np.array(self.object_segments)[self.object_of_primitive]
        return np.concatenate([shell, inside]).astype(np.int32)

    @property
    def surface_categories(self) -> np.ndarray:
        """[number of surfaces] int32 category id of each surface."""
        table = np.zeros(max(segment.id for segment in self.segments) + 1, np.int32)
        for segment in self.segments:
            table[segment.id] = segment.category_id
        return table[self.surface_segments]


def make_room(seed: int, kind: str | None = None) -> Room:
    """Furnish a room; without `kind` the seed takes the kinds of `KINDS` in turn."""
    kind = KINDS[seed % len(KINDS)] if kind is None else kind
    rng = np.random.default_rng([seed, KINDS.index(kind)])
    x_low, x_high, y_low, y_high = SIZES[kind]
    size = (rng.uniform(x_low, x_high), rng.uniform(y_low, y_high), rng.uniform(2.5, 2.75))
    tiled = kind in ("kitchen", "washroom")
    textures = (
        materials.wall(rng, tiled=kind == "washroom"),
        materials.floor(rng, tiled=tiled),
        materials.ceiling(rng),
    )
    half = np.array(size) / 2
    shell = Primitive("box", np.array([0, 0, half[2]]), half, textures[0])
    plan = Plan(rng, size)
    PROGRAMS[kind](plan)
    segments, object_segments = _number(plan.objects)
    return Room(kind, seed, size, shell, textures, tuple(plan.objects), segments, object_segments)


KINDS = tuple(PROGRAMS)


def _number(objects: list[RoomObject]) -> tuple[tuple[Segment, ...], tuple[int, ...]]:
    things = {category.id for category in CATEGORIES if category.isthing}
    present = {CATEGORY_IDS[name] for name in SHELL} | {item.category_id for item in objects}
    stuff = sorted(present - things)
    segments = [Segment(index, category_id) for index, category_id in enumerate(stuff, 1)]
    stuff_ids = {segment.category_id: segment.id for segment in segments}
    ids: list[int] = []
    for item in objects:
        if item.category_id in stuff_ids:
            ids.append(stuff_ids[item.category_id])
        else:
            segments.append(Segment(len(segments) + 1, item.category_id))
            ids.append(segments[-1].id)
    return tuple(segments), tuple(ids)
