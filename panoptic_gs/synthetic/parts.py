# SPDX-License-Identifier: Apache-2.0
"""Objects as unions of primitives, and the box an object takes up in the room."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from panoptic_gs.synthetic.primitives import Primitive
from panoptic_gs.synthetic.textures import Texture

Vector = tuple[float, float, float]


def yaw_rotation(angle: float) -> np.ndarray:
    """[3, 3] rotation about z."""
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1.0]])


class Parts:
    """Collects an object's primitives in its own frame: x right, y to the front, z up; origin on the floor, metres."""

    def __init__(self) -> None:
        self.primitives: list[Primitive] = []

    def box(self, low: Vector, high: Vector, texture: Texture, tilt: float = 0.0, yaw: float = 0.0) -> None:
        """A box between two corners, then leant back by `tilt` radians about x and turned by `yaw` about its centre."""
        a, b = np.array(low, float), np.array(high, float)
        c, s = np.cos(tilt), np.sin(tilt)
        lean = np.array([[1, 0, 0], [0, c, -s], [0, s, c]])
        self.primitives.append(Primitive("box", (a + b) / 2, (b - a) / 2, texture, yaw_rotation(yaw) @ lean))

    def cylinder(
        self,
        at: tuple[float, float],
        z: tuple[float, float],
        radius: float | tuple[float, float],
        texture: Texture,
        taper: float = 1.0,
    ) -> None:
        """An upright (elliptic) cylinder, or a truncated cone with the top `taper` times as wide as the base."""
        rx, ry = radius if isinstance(radius, tuple) else (radius, radius)
        center = np.array([at[0], at[1], (z[0] + z[1]) / 2])
        size = np.array([rx, ry, (z[1] - z[0]) / 2])
        self.primitives.append(Primitive("cone", center, size, texture, taper=taper))

    def rod(self, a: Vector, b: Vector, radius: float, texture: Texture, taper: float = 1.0) -> None:
        """A round rod from `a` to `b`."""
        start, end = np.array(a, float), np.array(b, float)
        axis = (end - start) / np.linalg.norm(end - start)
        helper = np.eye(3)[np.abs(axis).argmin()]
        x = np.cross(helper, axis)
        x /= np.linalg.norm(x)
        rotation = np.stack([x, np.cross(axis, x), axis], 1)
        size = np.array([radius, radius, np.linalg.norm(end - start) / 2])
        self.primitives.append(Primitive("cone", (start + end) / 2, size, texture, rotation, taper))

    def ball(self, center: Vector, radii: float | Vector, texture: Texture) -> None:
        """A ball or an ellipsoid."""
        size = np.array(radii if isinstance(radii, tuple) else (radii,) * 3, float)
        self.primitives.append(Primitive("ball", np.array(center, float), size, texture))

    def add(self, other: Parts, offset: Vector = (0, 0, 0), yaw: float = 0.0) -> None:
        """All primitives of another collection, moved."""
        self.primitives += [p.moved(yaw_rotation(yaw), np.array(offset, float)) for p in other.primitives]


@dataclass(frozen=True, eq=False)
class RoomObject:
    """One object: its category, a name for people, and its primitives in the room's frame."""

    category_id: int
    name: str
    primitives: tuple[Primitive, ...]

    def moved(self, yaw: float, offset: Vector) -> RoomObject:
        shift = np.array(offset, float)
        return RoomObject(
            self.category_id, self.name, tuple(p.moved(yaw_rotation(yaw), shift) for p in self.primitives)
        )

    def bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """Lower and upper corner [3] of the axis-aligned bounding box."""
        lows, highs = zip(*(p.bounds() for p in self.primitives), strict=True)
        return np.min(lows, 0), np.max(highs, 0)


@dataclass(frozen=True)
class Slot:
    """A place in the room: a rectangle in the plan, turned by `yaw`, over a range of heights."""

    center: tuple[float, float]
    half: tuple[float, float]
    yaw: float
    z: tuple[float, float]

    @classmethod
    def of(cls, item: RoomObject, yaw: float, offset: Vector, margin: float = 0.0) -> Slot:
        """The room that `item`, given in its own frame, takes up when turned and moved."""
        low, high = item.bounds()
        middle = yaw_rotation(yaw) @ ((low + high) / 2)
        half = (high - low) / 2 + margin
        center = (middle[0] + offset[0], middle[1] + offset[1])
        return cls(center, (half[0], half[1]), yaw, (low[2] + offset[2], high[2] + offset[2]))

    def corners(self) -> np.ndarray:
        """[4, 2] corners of the rectangle."""
        signs = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * self.half
        return signs @ yaw_rotation(self.yaw)[:2, :2].T + self.center

    def overlaps(self, other: Slot) -> bool:
        """Whether the two places share space (separating axes of the rectangles, then the heights)."""
        if self.z[1] <= other.z[0] or other.z[1] <= self.z[0]:
            return False
        a, b = self.corners(), other.corners()
        for yaw in (self.yaw, other.yaw):
            axes = yaw_rotation(yaw)[:2, :2]
            pa, pb = a @ axes, b @ axes
            if (pa.max(0) <= pb.min(0)).any() or (pb.max(0) <= pa.min(0)).any():
                return False
        return True
