# SPDX-License-Identifier: Apache-2.0
"""A hall of equal chairs in rows: nothing but the place tells them apart."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from benchmarks.associating.cases import Case, renumbered, surface_splats
from panoptic_gs.camera import Camera
from panoptic_gs.panoptic import PanopticScene, Segment
from panoptic_gs.synthetic import CATEGORIES, Room, RoomRenderer, materials
from panoptic_gs.synthetic.furniture import chair
from panoptic_gs.synthetic.parts import RoomObject
from panoptic_gs.synthetic.primitives import Primitive

SPACING = (0.9, 1.0)
"""Metres from chair to chair along a row, and from row to row."""


def hall(rows: int = 6, columns: int = 10, views: int = 120, width: int = 320, seed: int = 0) -> Case:
    """The hall with true masks, renumbered in every view; splats on its surfaces, drawn antialiased.

    No training has fitted these splats to the pixels that far chairs are seen in; drawn the classic way, each would be
    as wide as a pixel there, and a chair a pixel wider than it is on every side.

    The cameras go round the hall once at changing height and look at changing places, so that no two views are alike.
    """
    rng = np.random.default_rng([seed, 31])
    size = (columns * SPACING[0] + 4.0, rows * SPACING[1] + 4.0, 3.2)
    textures = materials.wall(rng), materials.floor(rng), materials.ceiling(rng)
    half = np.array(size) / 2
    of_name = {category.name: category.id for category in CATEGORIES}
    one = RoomObject(of_name["chair"], "chair", tuple(chair(rng, style=0).primitives))
    chairs = [
        one.moved(0.0, ((c - (columns - 1) / 2) * SPACING[0], (r - (rows - 1) / 2) * SPACING[1], 0.0))
        for r in range(rows)
        for c in range(columns)
    ]
    stuff = [Segment(k, of_name[name]) for k, name in enumerate(("wall", "floor", "ceiling"), 1)]
    things = [Segment(len(stuff) + 1 + k, of_name["chair"]) for k in range(len(chairs))]
    shell = Primitive("box", np.array([0, 0, half[2]]), half, textures[0])
    room = Room("hall", seed, size, shell, textures, tuple(chairs), (*stuff, *things), tuple(t.id for t in things))
    renderer = RoomRenderer(room)
    cameras, depths, maps = {}, {}, {}
    for k in range(views):
        turn = 2 * np.pi * k / views
        direction = np.array([np.cos(turn), np.sin(turn)])
        outline = direction / (np.abs(direction) ** 6).sum() ** (1 / 6)
        eye = [*(outline * (half[:2] - 0.5)), 1.5 + 0.6 * np.sin(5 * turn + 0.3)]
        target = [*(rng.uniform(-0.4, 0.4, 2) * half[:2]), 0.4]
        stem = f"{k + 1:04d}"
        cameras[stem] = Camera.look_at(eye, target, [0.0, 0.0, 1.0], np.radians(72.0), width, 3 * width // 4)
        depths[stem], maps[stem], _ = renderer.geometry(cameras[stem])
    truth = PanopticScene(CATEGORIES, room.segments, maps, source="hall of chairs")
    stems = list(cameras)
    splats = surface_splats(list(cameras.values()), list(depths.values()))
    return Case(splats, cameras, renumbered(truth, stems, seed), truth, stems, "antialiased")


@dataclass(frozen=True)
class OneId:
    """How many chairs any view shows, and how many of them have one id of their own."""

    chairs: int
    by_pixels: int
    """Chairs 0.9 of whose pixels have one id, 0.9 of whose pixels are theirs."""
    by_masks: int
    """The same of masks, where a far chair of a few pixels counts as much as one that fills the view."""


def chairs_with_one_id(case: Case, objects: Mapping[str, np.ndarray], least: int = 12) -> OneId:
    """Count chairs that have one id of their own, in masks of at least ``least`` pixels."""
    pixels: defaultdict[tuple[int, int], int] = defaultdict(int)
    masks: defaultdict[tuple[int, int], int] = defaultdict(int)
    for stem, true in case.true_objects().items():
        areas = case.masks[stem].areas()
        large = (areas >= least) & (true > 0)
        for chair_, found, area in zip(true[large].tolist(), objects[stem][large].tolist(), areas[large].tolist()):
            pixels[chair_, found] += area
            masks[chair_, found] += 1
    return OneId(len({chair_ for chair_, _ in masks}), _with_one_id(pixels), _with_one_id(masks))


def _with_one_id(count: Mapping[tuple[int, int], int]) -> int:
    of_chair: Counter[int] = Counter()
    of_object: Counter[int] = Counter()
    for (chair_, found), number in count.items():
        of_chair[chair_] += number
        of_object[found] += number
    return sum(
        found >= 0 and number >= 0.9 * of_chair[chair_] and number >= 0.9 * of_object[found]
        for (chair_, found), number in count.items()
    )
