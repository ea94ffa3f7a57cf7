# SPDX-License-Identifier: Apache-2.0
"""The three convex shapes rooms are built of, and their exact intersection with rays.

Each shape is an affine image of a unit shape (cube, cylinder or truncated cone, ball), so a ray is moved into the unit
space and its parameter ``t`` keeps its meaning. Vectors come first: points and directions are ``[3, n]``.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

from panoptic_gs.synthetic.textures import Texture

Shape = Literal["box", "cone", "ball"]

BOX_FACES = tuple((axis, sign) for axis in range(3) for sign in (-1.0, 1.0))


@dataclass(frozen=True)
class Patch:
    """A rectangle of parameters laid over a part of a shape's surface, `extent` metres in each direction."""

    shape: Shape
    index: int
    extent: tuple[float, float]
    taper: float = 1.0

    def surface(self, u: np.ndarray, v: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Unit-space points and unnormalised outward normals `[3, n]` at the parameters ``u, v`` in 0…1."""
        if self.shape == "box":
            axis, sign = BOX_FACES[self.index]
            point = np.empty((3, u.size))
            point[axis], point[(axis + 1) % 3], point[(axis + 2) % 3] = sign, 2 * u - 1, 2 * v - 1
            normal = np.zeros((3, u.size))
            normal[axis] = sign
            return point, normal
        if self.shape == "ball":
            theta, z = 2 * np.pi * u, 2 * v - 1
            radius = np.sqrt(np.maximum(0, 1 - z * z))
            point = np.stack([radius * np.cos(theta), radius * np.sin(theta), z])
            return point, point
        if self.index == 0:
            theta, z = 2 * np.pi * u, 2 * v - 1
            slope = (self.taper - 1) / 2
            radius = 1 + slope * (z + 1)
            cos, sin = np.cos(theta), np.sin(theta)
            return np.stack([radius * cos, radius * sin, z]), np.stack([cos, sin, np.full_like(z, -slope)])
        sign, radius = (-1.0, 1.0) if self.index == 1 else (1.0, self.taper)
        point = np.stack([radius * (2 * u - 1), radius * (2 * v - 1), np.full_like(u, sign)])
        normal = np.zeros_like(point)
        normal[2] = sign
        return point, normal


@dataclass(frozen=True, eq=False)
class Primitive:
    """A box, a (truncated) cone around its z axis or a ball: scaled by `size`, turned by `rotation`, then moved."""

    shape: Shape
    center: np.ndarray
    """[3] metres."""
    size: np.ndarray
    """[3] half extents along the local axes; for a cone the base radii and the half height."""
    texture: Texture
    rotation: np.ndarray = field(default_factory=lambda: np.eye(3))
    """[3, 3], columns are the local axes in the world."""
    taper: float = 1.0
    """A cone's top radius over its base radius."""

    def moved(self, rotation: np.ndarray, offset: np.ndarray) -> Primitive:
        return replace(self, center=rotation @ self.center + offset, rotation=rotation @ self.rotation)

    @property
    def to_unit(self) -> np.ndarray:
        """[3, 3] matrix taking world directions to unit space."""
        return self.rotation.T / self.size[:, None]

    def unit_rays(self, origins: np.ndarray, directions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Rays ``[3, 1 or n]``, ``[3, n]`` in unit space, in the directions' dtype."""
        return self.unit_points(origins).astype(directions.dtype), self.to_unit.astype(directions.dtype) @ directions

    def unit_points(self, points: np.ndarray) -> np.ndarray:
        """Points [3, n] in unit space."""
        return self.to_unit.astype(points.dtype) @ (points - self.center[:, None].astype(points.dtype))

    def interval(self, origins: np.ndarray, directions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Where the rays ``origins + t · directions`` are inside: ``(t_in, t_out)`` [n], a miss where t_in >= t_out."""
        return self.unit_interval(*self.unit_rays(origins, directions))

    def unit_interval(self, o: np.ndarray, d: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """As `interval` for rays in unit space, ``[3, …]`` and ``[3, …]`` that broadcast."""
        # The offset keeps the reciprocals finite where a ray is parallel to a face.
        d = d + d.dtype.type(1e-12)
        if self.shape == "box":
            return box_interval(o, d)
        if self.shape == "ball":
            return ball_interval(o, d)
        return cone_interval(o, d, self.taper)

    def inside(self, points: np.ndarray, margin: float = 0.0) -> np.ndarray:
        """Which points [3, n] lie inside the shape shrunk by `margin` metres (an approximation for tapered cones)."""
        size = np.maximum(self.size - margin, 1e-9)
        p = (self.rotation.T @ (points - self.center[:, None])) / size[:, None]
        if self.shape == "box":
            return (np.abs(p) < 1).all(0)
        if self.shape == "ball":
            return (p * p).sum(0) < 1
        radius = 1 + (self.taper - 1) / 2 * (np.clip(p[2], -1, 1) + 1)
        return (np.abs(p[2]) < 1) & (p[0] ** 2 + p[1] ** 2 < radius * radius)

    def corners(self) -> np.ndarray:
        """[3, 8] corners of the oriented bounding box."""
        signs = np.stack(np.meshgrid([-1, 1], [-1, 1], [-1, 1], indexing="ij")).reshape(3, 8)
        widest = np.array([max(1.0, self.taper)] * 2 + [1.0]) if self.shape == "cone" else np.ones(3)
        return self.center[:, None] + self.rotation @ (signs * (self.size * widest)[:, None])

    def bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """Lower and upper corner [3] of the axis-aligned bounding box."""
        corners = self.corners()
        return corners.min(1), corners.max(1)

    def patches(self) -> list[Patch]:
        """The patches that cover the surface, for textures of light."""
        sx, sy, sz = (float(s) for s in 2 * self.size)
        if self.shape == "box":
            sizes = (sx, sy, sz)
            return [Patch("box", i, (sizes[(a + 1) % 3], sizes[(a + 2) % 3])) for i, (a, _) in enumerate(BOX_FACES)]
        around = np.pi * max(sx, sy) * max(1.0, self.taper)
        if self.shape == "ball":
            return [Patch("ball", 0, (around, np.pi / 2 * sz))]
        base, top = (sx, sy), (sx * self.taper, sy * self.taper)
        extents = [(around, sz), base, top]
        return [Patch("cone", i, extent, self.taper) for i, extent in enumerate(extents)]

    def locate(self, unit_points: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Patch index [n] and parameters ``u, v`` [n] of unit-space surface points [3, n]."""
        p = unit_points
        if self.shape == "box":
            axis = np.abs(p).argmax(0)
            columns = np.arange(p.shape[1])
            index = 2 * axis + (p[axis, columns] > 0)
            return index, (p[(axis + 1) % 3, columns] + 1) / 2, (p[(axis + 2) % 3, columns] + 1) / 2
        u = np.arctan2(p[1], p[0]) / (2 * np.pi) % 1.0
        v = (p[2] + 1) / 2
        if self.shape == "ball":
            return np.zeros(p.shape[1], int), u, v
        radius = 1 + (self.taper - 1) / 2 * (np.clip(p[2], -1, 1) + 1)
        to_side = np.abs(np.hypot(p[0], p[1]) - radius) * self.size[0]
        to_cap = (1 - np.abs(p[2])) * self.size[2]
        index = np.where(to_side <= np.abs(to_cap), 0, np.where(p[2] < 0, 1, 2))
        scale = np.where(index == 2, self.taper, 1.0)
        cap = index > 0
        return index, np.where(cap, (p[0] / scale + 1) / 2, u), np.where(cap, (p[1] / scale + 1) / 2, v)


def box_interval(o: np.ndarray, d: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Slab test against the cube [-1, 1]³."""
    inverse = 1 / d
    middle = -o * inverse
    half = np.abs(inverse)
    return (middle - half).max(0), (middle + half).min(0)


def ball_interval(o: np.ndarray, d: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The unit ball. |d|² − |o × d|² is the discriminant without the cancellation of b² − ac."""
    a = (d * d).sum(0)
    cross = (o[1] * d[2] - o[2] * d[1]) ** 2 + (o[2] * d[0] - o[0] * d[2]) ** 2 + (o[0] * d[1] - o[1] * d[0]) ** 2
    root = np.sqrt(np.maximum(a - cross, 0)) / a
    middle = -(o * d).sum(0) / a
    return middle - root, middle + root


def cone_interval(o: np.ndarray, d: np.ndarray, taper: float) -> tuple[np.ndarray, np.ndarray]:
    """The solid x² + y² <= r(z)², |z| <= 1, with r going from 1 at z = -1 to `taper` at z = 1."""
    slope = d.dtype.type((taper - 1) / 2)
    radius = 1 + slope * (o[2] + 1)
    m = slope * d[2]
    a = d[0] ** 2 + d[1] ** 2 - m * m
    a = np.where(np.abs(a) < 1e-12, d.dtype.type(1e-12), a)
    b = o[0] * d[0] + o[1] * d[1] - m * radius
    # b² − ac, rearranged so that a far and thin cylinder does not lose its digits.
    discriminant = (radius * d[0] - m * o[0]) ** 2 + (radius * d[1] - m * o[1]) ** 2 - (o[0] * d[1] - o[1] * d[0]) ** 2
    root = np.sqrt(np.maximum(discriminant, 0)) / np.abs(a)
    first, second = -b / a - root, -b / a + root
    inverse = 1 / d[2]
    enter = -o[2] * inverse - np.abs(inverse)
    leave = -o[2] * inverse + np.abs(inverse)
    empty = discriminant <= 0
    t_in, t_out = np.maximum(enter, first), np.minimum(leave, second)
    t_out = np.where(empty, t_in, t_out)
    if taper != 1:
        # A ray steeper than the cone is inside outside its two roots; only one side can meet the solid's height.
        steep = a < 0
        before = enter < first
        t_in = np.where(steep, np.where(empty | before, enter, np.maximum(enter, second)), t_in)
        t_out = np.where(steep, np.where(~empty & before, np.minimum(leave, first), leave), t_out)
    return t_in, t_out
