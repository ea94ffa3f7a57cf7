# SPDX-License-Identifier: Apache-2.0
"""Furnishing a room: five kinds of rooms, everything placed by trial so that no two objects share space."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from panoptic_gs.synthetic import fittings, materials
from panoptic_gs.synthetic.classes import CATEGORY_IDS
from panoptic_gs.synthetic.parts import Parts, RoomObject, Slot, Vector

Rng = np.random.Generator
WALL_GAP = 0.03
TRIALS = 80


@dataclass
class Plan:
    """A room being furnished: `x` and `y` are centred on 0, the floor is at z = 0."""

    rng: Rng
    size: tuple[float, float, float]
    objects: list[RoomObject] = field(default_factory=list)
    slots: list[Slot] = field(default_factory=list)

    def put(self, item: RoomObject, yaw: float, at: Vector, margin: float = 0.0) -> Slot | None:
        """Place the item if it fits between the walls and what is there already; `margin` is kept free around it."""
        slot = Slot.of(item, yaw, at, margin)
        if any(slot.overlaps(other) for other in self.slots):
            return None
        bare = Slot.of(item, yaw, at)
        self.slots.append(bare)
        self.objects.append(item.moved(yaw, at))
        return bare

    def wall_pose(self, wall: int, along: float, out: float, z: float = 0.0) -> tuple[float, Vector]:
        """The yaw and place of an item whose back faces wall 0…3 (-y, +x, +y, -x), `out` metres before it."""
        hx, hy, _ = (s / 2 for s in self.size)
        yaw = (0.0, np.pi / 2, np.pi, 3 * np.pi / 2)[wall]
        place = ((along, -hy + out, z), (hx - out, along, z), (along, hy - out, z), (-hx + out, along, z))[wall]
        return yaw, place

    def wall_length(self, wall: int) -> float:
        return self.size[0] if wall in (0, 2) else self.size[1]

    def at_wall(
        self,
        category: str,
        name: str,
        parts: Parts,
        walls: Sequence[int] = (0, 1, 2, 3),
        z: float = 0.0,
        fixed: bool = False,
        margin: float = 0.06,
        gap: float = WALL_GAP,
    ) -> tuple[RoomObject, int, float] | None:
        """Stand the item with its back `gap` metres from a wall; `fixed` things have their plane y = 0 in the wall."""
        item = RoomObject(CATEGORY_IDS[category], name, tuple(parts.primitives))
        low, high = item.bounds()
        out = 0.0 if fixed else gap - low[1]
        half = (high[0] - low[0]) / 2 + 0.05
        for _ in range(TRIALS):
            wall = int(self.rng.choice(walls))
            room = self.wall_length(wall) / 2 - half
            if room <= 0:
                continue
            along = self.rng.uniform(-room, room)
            yaw, at = self.wall_pose(wall, along, out, z)
            if self.put(item, yaw, at, 0.0 if fixed else margin):
                return self.objects[-1], wall, along
        return None

    def free(
        self, category: str, name: str, parts: Parts, reach: float = 1.0, yaw: float | None = None, margin: float = 0.1
    ) -> Slot | None:
        """Stand the item anywhere within `reach` times the room's half size."""
        item = RoomObject(CATEGORY_IDS[category], name, tuple(parts.primitives))
        low, high = item.bounds()
        radius = float(np.linalg.norm([max(-low[0], high[0]), max(-low[1], high[1])])) + 0.03
        for _ in range(TRIALS):
            angle = self.rng.uniform(0, 2 * np.pi) if yaw is None else yaw
            hx, hy = (reach * s / 2 - radius for s in self.size[:2])
            if min(hx, hy) <= 0:
                hx, hy = max(hx, 0.0), max(hy, 0.0)
            at = (self.rng.uniform(-hx, hx), self.rng.uniform(-hy, hy), 0.0)
            slot = self.put(item, angle, at, margin)
            if slot:
                return slot
        return None

    def on_top(self, support: Slot, height: float, category: str, name: str, parts: Parts, face: bool = False) -> bool:
        """Stand the item on a flat top; `face` keeps the support's orientation (screens)."""
        item = RoomObject(CATEGORY_IDS[category], name, tuple(parts.primitives))
        low, high = item.bounds()
        for trial in range(TRIALS):
            turn = self.rng.normal(0, 0.08) if face else self.rng.uniform(0, 2 * np.pi)
            reach = (high - low)[:2] / 2 if face else np.full(2, np.linalg.norm(np.maximum(-low, high)[:2]))
            half = np.array(support.half) - reach - 0.02
            if (half < 0).any():
                half = np.maximum(half, 0) if face else half
                if (half < 0).any():
                    continue
            shift = self.rng.uniform(-half, half)
            if face and trial < TRIALS // 2:
                shift[1] = -abs(shift[1])
            c, s = np.cos(support.yaw), np.sin(support.yaw)
            x, y = support.center[0] + c * shift[0] - s * shift[1], support.center[1] + s * shift[0] + c * shift[1]
            if self.put(item, support.yaw + turn, (x, y, height + 0.002)):
                return True
        return False

    def around(self, table: Slot, make: Callable[[], Parts], count: int) -> None:
        """Chairs at a table's sides, facing it."""
        spots: list[tuple[float, float, float]] = []
        wide = table.half[0] > 0.75
        for side in (1, -1):
            for x in (-0.5, 0.5) if wide else (0.0,):
                spots.append((x * table.half[0], side * table.half[1], np.pi if side > 0 else 0.0))
            spots.append((side * table.half[0], 0.0, np.pi / 2 if side > 0 else -np.pi / 2))
        order = self.rng.permutation(len(spots))
        for index in order[:count]:
            x, y, facing = spots[index]
            item = RoomObject(CATEGORY_IDS["chair"], "chair", tuple(make().primitives))
            high = item.bounds()[1]
            for gap in (0.05, 0.12, 0.2, 0.3):
                out = gap + high[1] + self.rng.uniform(0, 0.05)
                dx, dy = (0.0, np.sign(y) * out) if abs(facing) != np.pi / 2 else (np.sign(x) * out, 0.0)
                c, s = np.cos(table.yaw), np.sin(table.yaw)
                px, py = x + dx, y + dy
                at = (table.center[0] + c * px - s * py, table.center[1] + s * px + c * py, 0.0)
                turn = table.yaw + facing + self.rng.normal(0, 0.12)
                slot = Slot.of(item, turn, at)
                inside = np.abs(slot.corners()) < np.array(self.size[:2]) / 2 - 0.05
                if inside.all() and self.put(item, turn, at):
                    break

    def lay_rug(self, size: tuple[float, float]) -> None:
        """Lay a rug under whatever stands in the middle of the room; it counts as floor."""
        item = RoomObject(CATEGORY_IDS["floor"], "rug", tuple(fittings.rug(self.rng, size).primitives))
        room = (np.array(self.size[:2]) - size) / 2 - 0.3
        shift = np.minimum(np.maximum(room, 0), 0.5) * self.rng.uniform(-1, 1, 2)
        self.objects.append(item.moved(0.0, (shift[0], shift[1], 0.0)))

    def last(self) -> Slot:
        """The place of the latest object."""
        return self.slots[-1]

    def keep_clear(self, wall: int, along: float, width: float, depth: float) -> None:
        """Reserve the floor before a door."""
        yaw, at = self.wall_pose(wall, along, depth / 2)
        self.slots.append(Slot((at[0], at[1]), (width / 2, depth / 2), yaw, (0.0, 2.0)))


def shell_fittings(plan: Plan, curtains: bool) -> None:
    """A door, one or two windows with or without curtains, and a lamp at the ceiling."""
    rng, height = plan.rng, plan.size[2]
    door = plan.at_wall("door", "door", fittings.door(rng), fixed=True)
    assert door is not None
    plan.keep_clear(door[1], door[2], 1.0, 0.7)
    others = [w for w in range(4) if w != door[1]]
    cloth = materials.fabric(rng)
    for wall in rng.permutation(others)[: int(rng.integers(1, 3))]:
        width = rng.uniform(1.2, 1.7)
        made = plan.at_wall("window", "window", fittings.window(rng, width), [int(wall)], fixed=True)
        if made and curtains:
            for side in (-1, 1):
                parts = fittings.curtain(rng, cloth, min(height - 0.2, 2.35))
                yaw, at = plan.wall_pose(int(wall), made[2] + side * (width / 2 + 0.36), 0.0)
                item = RoomObject(CATEGORY_IDS["curtain"], "curtain", tuple(parts.primitives))
                corners = np.abs(Slot.of(item, yaw, at).corners())
                if (corners < np.array(plan.size[:2]) / 2 + 1e-6).all():
                    plan.put(item, yaw, at)
    lamp = RoomObject(CATEGORY_IDS["lamp"], "ceiling lamp", tuple(fittings.pendant(rng, height).primitives))
    plan.put(lamp, 0.0, (rng.uniform(-0.4, 0.4), rng.uniform(-0.4, 0.4), 0.0))


def decorate(plan: Plan, paintings: int, small: int, bags: int) -> None:
    """Pictures on the walls, bags and things on the floor."""
    rng = plan.rng
    for _ in range(paintings):
        width = rng.uniform(0.5, 0.9)
        parts = fittings.painting(rng, width, width * rng.uniform(0.6, 1.0))
        plan.at_wall("other", "painting", parts, z=rng.uniform(1.5, 1.65), fixed=True)
    for k in range(bags):
        plan.free("bag", "bag", fittings.bag(rng, None if k else int(rng.integers(2))), margin=0.05)
    makers = [fittings.plant, fittings.carton, fittings.bin_]
    for k in rng.permutation(3 * small)[:small]:
        plan.at_wall("other", "thing", makers[k % 3](rng))


def clutter(plan: Plan, support: Slot, height: float, count: int, bag: float = 0.3, lamp: float = 0.4) -> None:
    """Small things on a table."""
    rng = plan.rng
    if rng.uniform() < lamp:
        plan.on_top(support, height, "lamp", "table lamp", fittings.table_lamp(rng))
    if rng.uniform() < bag:
        plan.on_top(support, height, "bag", "bag", fittings.bag(rng, int(rng.integers(2))))
    makers = [fittings.vase, fittings.book_stack, fittings.bowl]
    start = int(rng.integers(3))
    for k in range(count):
        plan.on_top(support, height, "other", "thing", makers[(start + k) % 3](rng))
