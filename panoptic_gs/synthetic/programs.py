# SPDX-License-Identifier: Apache-2.0
"""What stands in each kind of room."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from panoptic_gs.synthetic import fittings, furniture, materials
from panoptic_gs.synthetic.classes import CATEGORY_IDS
from panoptic_gs.synthetic.layout import Plan, clutter, decorate, shell_fittings
from panoptic_gs.synthetic.parts import RoomObject, Slot


def _opposite(wall: int) -> int:
    return (wall + 2) % 4


def living(plan: Plan) -> None:
    """Sofa before a television, a dining table with chairs, shelves, lamps."""
    rng = plan.rng
    shell_fittings(plan, curtains=True)
    width = rng.uniform(1.7, 2.2)
    placed = plan.at_wall("sofa", "sofa", furniture.sofa(rng, width), _long_walls(plan))
    tv_walls = [_opposite(placed[1])] if placed else [0, 1, 2, 3]
    low = plan.at_wall("cabinet", "sideboard", furniture.cabinet(rng, rng.uniform(1.3, 1.7), 0.55), tv_walls)
    low = low or plan.at_wall("cabinet", "sideboard", furniture.cabinet(rng, 1.2, 0.55))
    if low:
        plan.on_top(plan.last(), 0.55, "television", "television", fittings.screen(rng, 1.05, 0.09), face=True)
    plan.at_wall("shelves", "bookcase", furniture.shelves(rng, rng.uniform(0.8, 1.2), rng.uniform(1.6, 2.0)))
    size = (rng.uniform(1.1, 1.4), rng.uniform(0.75, 0.9))
    table = plan.free("table", "dining table", furniture.table(rng, size), 0.75, rng.choice([0, np.pi / 2]), 0.45)
    if table:
        color = materials.hue(rng, (0.2, 0.55), (0.4, 0.8))
        plan.around(table, lambda: furniture.chair(rng, 0, color), 4)
        clutter(plan, table, 0.74, 2)
    plan.at_wall("chair", "armchair", furniture.chair(rng, 2))
    plan.at_wall("lamp", "standard lamp", fittings.floor_lamp(rng))
    decorate(plan, 3, 1, 2)
    plan.free("other", "plant", fittings.plant(rng))
    plan.lay_rug((2.0, 1.5))


def office(plan: Plan) -> None:
    """Desks with screens and office chairs, shelves, a meeting corner, somebody standing."""
    rng = plan.rng
    shell_fittings(plan, curtains=False)
    color = materials.hue(rng, (0.2, 0.55), (0.3, 0.7))
    for _ in range(3):
        placed = plan.at_wall("table", "desk", furniture.table(rng, (1.4, 0.7), style=2), margin=0.12)
        if placed is None:
            continue
        desk = plan.last()
        plan.on_top(desk, 0.74, "television", "monitor", fittings.screen(rng, rng.uniform(0.5, 0.62)), face=True)
        clutter(plan, desk, 0.74, 1, bag=0.2, lamp=0.5)
        _chair_at(plan, desk, color)
    plan.at_wall("shelves", "bookcase", furniture.shelves(rng, 1.0, rng.uniform(1.7, 2.0)))
    plan.at_wall("cabinet", "cabinet", furniture.cabinet(rng, 0.9, 1.2))
    plan.at_wall("person", "person", fittings.person(rng), gap=rng.uniform(0.15, 0.4))
    table = plan.free("table", "round table", furniture.table(rng, (0.9, 0.9), style=1), 0.8, margin=0.3)
    if table:
        plan.around(table, lambda: furniture.chair(rng, 0), 2)
        clutter(plan, table, 0.74, 1, bag=0.5, lamp=0)
    decorate(plan, 2, 2, 3)


def bedroom(plan: Plan) -> None:
    """A bed or two, a wardrobe, a desk, a television on the wall."""
    rng = plan.rng
    shell_fittings(plan, curtains=True)
    count = 2 if rng.uniform() < 0.5 else 1
    for _ in range(count):
        plan.at_wall("bed", "bed", furniture.bed(rng, 0.95 if count == 2 else 1.6), margin=0.15)
    plan.at_wall("cabinet", "wardrobe", furniture.cabinet(rng, rng.uniform(1.0, 1.5), 1.95, 0.55))
    for _ in range(2):
        if plan.at_wall("other", "night stand", furniture.cabinet(rng, 0.5, 0.5, 0.4)):
            plan.on_top(plan.last(), 0.5, "lamp", "table lamp", fittings.table_lamp(rng))
    if plan.at_wall("table", "desk", furniture.table(rng, (1.15, 0.6), style=2)):
        desk = plan.last()
        plan.on_top(desk, 0.74, "television", "monitor", fittings.screen(rng, 0.5), face=True)
        clutter(plan, desk, 0.74, 1, bag=0.0, lamp=0.0)
        _chair_at(plan, desk, materials.hue(rng, (0.2, 0.55), (0.4, 0.8)))
    plan.at_wall("chair", "armchair", furniture.chair(rng, 2))
    plan.at_wall("television", "television", fittings.screen(rng, 0.95, 0.0), z=1.25, fixed=True)
    plan.lay_rug((1.9, 1.4))
    decorate(plan, 2, 1, 3)


def kitchen(plan: Plan) -> None:
    """Counters with a sink, a refrigerator, a table with chairs, somebody standing."""
    rng = plan.rng
    shell_fittings(plan, curtains=False)
    made = plan.at_wall("counter", "counter", furniture.counter(rng, rng.uniform(1.9, 2.3)), margin=0.02)
    if made:
        top = plan.last()
        plan.on_top(top, 0.9, "sink", "sink", fittings.sink(rng, pedestal=False), face=True)
        clutter(plan, top, 0.9, 2, bag=0.0, lamp=0.0)
    plan.at_wall("refrigerator", "refrigerator", furniture.refrigerator(rng))
    size = (rng.uniform(1.2, 1.5), 0.85)
    table = plan.free("table", "table", furniture.table(rng, size), 0.7, rng.choice([0, np.pi / 2]), 0.5)
    if table:
        color = materials.hue(rng, (0.2, 0.55), (0.4, 0.8))
        plan.around(table, lambda: furniture.chair(rng, 0, color), 5)
        clutter(plan, table, 0.74, 2, bag=0.6, lamp=0.0)
    plan.at_wall("cabinet", "dresser", furniture.cabinet(rng, 1.0, 0.95))
    plan.at_wall("shelves", "shelves", furniture.shelves(rng, 0.8, 1.4))
    plan.at_wall("person", "person", fittings.person(rng), gap=rng.uniform(0.15, 0.4))
    decorate(plan, 2, 2, 2)


def washroom(plan: Plan) -> None:
    """Toilets and basins in a row, a counter, somebody with luggage."""
    rng = plan.rng
    shell_fittings(plan, curtains=False)
    for _ in range(2):
        plan.at_wall("toilet", "toilet", fittings.toilet(rng), margin=0.25)
    if plan.at_wall("counter", "counter", furniture.counter(rng, 1.7), margin=0.05):
        top = plan.last()
        for _ in range(2):
            plan.on_top(top, 0.9, "sink", "sink", fittings.sink(rng, pedestal=False), face=True)
    plan.at_wall("sink", "basin", fittings.sink(rng), margin=0.15)
    plan.at_wall("cabinet", "cabinet", furniture.cabinet(rng, 0.8, 1.7, 0.35))
    for _ in range(2):
        plan.at_wall("chair", "chair", furniture.chair(rng, 0))
    plan.at_wall("person", "person", fittings.person(rng), gap=rng.uniform(0.15, 0.4))
    plan.lay_rug((1.2, 0.8))
    decorate(plan, 2, 2, 3)


PROGRAMS: dict[str, Callable[[Plan], None]] = {
    "living": living,
    "office": office,
    "bedroom": bedroom,
    "kitchen": kitchen,
    "washroom": washroom,
}


def _long_walls(plan: Plan) -> list[int]:
    return [0, 2] if plan.size[0] >= plan.size[1] else [1, 3]


def _chair_at(plan: Plan, desk: Slot, color: tuple[float, float, float]) -> None:
    """An office chair before a desk whose front is +y."""
    item = RoomObject(CATEGORY_IDS["chair"], "office chair", tuple(furniture.chair(plan.rng, 1, color).primitives))
    c, s = np.cos(desk.yaw), np.sin(desk.yaw)
    for gap in (0.35, 0.45, 0.6):
        y = desk.half[1] + gap
        x = plan.rng.uniform(-0.2, 0.1)
        at = (desk.center[0] + c * x - s * y, desk.center[1] + s * x + c * y, 0.0)
        if plan.put(item, desk.yaw + np.pi + plan.rng.normal(0, 0.25), at):
            return
