# SPDX-License-Identifier: Apache-2.0
"""Diffuse light on every surface, computed once for a room and looked up in every view.

Each surface patch has a grid of texels. A texel gets the light of the lamps and the windows, which are areas sampled by
a few points, each with its shadow, and an even light from all around, less what near objects hide of it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from panoptic_gs.progress import Progress, silent
from panoptic_gs.synthetic.classes import CATEGORY_IDS
from panoptic_gs.synthetic.primitives import Patch, Primitive
from panoptic_gs.synthetic.room import Room

SHELL_TEXEL = 0.05
OBJECT_TEXEL = 0.035
BLOCK = 1024
TILE = 32
AMBIENT_REACH = 0.9
AMBIENT_SHARE = 0.34
WARM, DAY, LAMP = (1.0, 0.93, 0.84), (0.86, 0.94, 1.0), (1.0, 0.86, 0.66)


@dataclass(frozen=True, eq=False)
class Emitter:
    """An area that shines: sample points, colour times power, the direction it faces, and the object it belongs to."""

    points: np.ndarray
    """[3, S]."""
    color: np.ndarray
    """[3, 1]."""
    facing: np.ndarray | None
    owner: int


@dataclass(frozen=True, eq=False)
class PatchLight:
    """Light on one patch, ``[nv · nu, 3]`` float32, looked up bilinearly."""

    values: np.ndarray
    nu: int
    nv: int
    wraps: bool

    def __call__(self, u: np.ndarray, v: np.ndarray) -> np.ndarray:
        """Light [n, 3] at the parameters u, v in 0…1."""
        x, y = u * self.nu - 0.5, np.clip(v * self.nv - 0.5, 0, self.nv - 1)
        x = x if self.wraps else np.clip(x, 0, self.nu - 1)
        i0, j0 = np.floor(x).astype(np.int32), y.astype(np.int32)
        fx, fy = (x - i0).astype(np.float32)[:, None], (y - j0).astype(np.float32)[:, None]
        i1 = (i0 + 1) % self.nu if self.wraps else np.minimum(i0 + 1, self.nu - 1)
        i0 %= self.nu
        j1 = np.minimum(j0 + 1, self.nv - 1)
        corners = (j0 * self.nu + i0, j0 * self.nu + i1, j1 * self.nu + i0, j1 * self.nu + i1)
        a, b, c, d = (self.values.take(index, axis=0) for index in corners)
        low, high = a + (b - a) * fx, c + (d - c) * fx
        return low + (high - low) * fy


def bake(room: Room, progress: Progress = silent, texel: float | None = None) -> list[list[PatchLight]]:
    """The light on every patch of the shell (first) and of every primitive, as lists of patches.

    Args:
        room: the room.
        progress: called while it works.
        texel: metres a texel, by default `SHELL_TEXEL` and `OBJECT_TEXEL`.
    """
    solids = Solids(room)
    emitters = find_emitters(room)
    texels = [_Texels.lay(room.shell, texel or SHELL_TEXEL, inward=True)]
    texels += [_Texels.lay(primitive, texel or OBJECT_TEXEL) for primitive in room.primitives]
    points = np.concatenate([t.points for t in texels], 1)
    normals = np.concatenate([t.normals for t in texels], 1)
    direct, ambient = np.zeros((3, points.shape[1]), np.float32), np.zeros(points.shape[1], np.float32)
    directions = _hemisphere(16)
    order = np.concatenate([t.order + offset for t, offset in zip(texels, _offsets(texels), strict=True)])
    for start in range(0, points.shape[1], BLOCK):
        part = order[start : start + BLOCK]
        for emitter in emitters:
            direct[:, part] += solids.direct(points[:, part], normals[:, part], emitter)
        ambient[part] = solids.openness(points[:, part], normals[:, part], directions)
        progress("light", min(start + BLOCK, points.shape[1]), points.shape[1])
    shell_count = texels[0].points.shape[1]
    # Exposure: walls, floor and ceiling get half a unit of direct light on average.
    direct *= 0.5 / max(float(direct[:, :shell_count].mean()), 1e-9)
    total = ((1 - AMBIENT_SHARE) * 1.5 * direct + AMBIENT_SHARE * ambient).T.astype(np.float32)
    lights: list[list[PatchLight]] = []
    start = 0
    for grid in texels:
        patches = []
        for patch, nu, nv in grid.grids:
            values = np.ascontiguousarray(total[start : start + nu * nv])
            patches.append(
                PatchLight(values, nu, nv, patch.shape == "ball" or (patch.shape, patch.index) == ("cone", 0))
            )
            start += nu * nv
        lights.append(patches)
    return lights


def find_emitters(room: Room) -> list[Emitter]:
    """The lit lamps and the windows of a room."""
    emitters = []
    for owner, item in enumerate(room.objects):
        for primitive in item.primitives:
            if primitive.texture.glow <= 0:
                continue
            if item.category_id == CATEGORY_IDS["window"]:
                u, v = (a.ravel() for a in np.meshgrid((np.arange(4) + 0.5) / 2 - 1, (np.arange(3) + 0.5) / 1.5 - 1))
                local = np.stack([u * primitive.size[0], np.full(12, primitive.size[1] + 0.04), v * primitive.size[2]])
                points = primitive.rotation @ local + primitive.center[:, None]
                area = 4 * primitive.size[0] * primitive.size[2]
                emitters.append(Emitter(points, 2.6 * area * _column(DAY), primitive.rotation[:, 1], owner))
            elif item.category_id == CATEGORY_IDS["lamp"]:
                large = item.name == "ceiling lamp"
                count = 12 if large else 4
                points = primitive.center[:, None] + primitive.rotation @ (_sphere(count) * primitive.size[:, None])
                color = 5.0 * _column(WARM) if large else 0.5 * _column(LAMP)
                emitters.append(Emitter(points, color, None, owner))
    return emitters


class Solids:
    """The primitives of a room with their bounds, to ask what hides what."""

    def __init__(self, room: Room) -> None:
        self.primitives = room.primitives
        self.owner = room.object_of_primitive
        bounds = [primitive.bounds() for primitive in self.primitives]
        self.low = np.array([low for low, _ in bounds])
        self.high = np.array([high for _, high in bounds])

    def direct(self, points: np.ndarray, normals: np.ndarray, emitter: Emitter) -> np.ndarray:
        """Light [3, n] from an emitter on points [3, n] with unit normals, shadows included."""
        towards = emitter.points[:, :, None] - points[:, None, :]
        distance2 = (towards * towards).sum(0)
        towards /= np.sqrt(distance2)
        gain = np.maximum((towards * normals[:, None, :]).sum(0), 0) / (distance2 + 0.35)
        if emitter.facing is not None:
            gain *= np.maximum(-np.einsum("i,isn->sn", emitter.facing, towards), 0)
        lit = gain.any(0)
        if lit.any():
            gain[:, lit] *= ~self._hidden(points[:, lit], emitter)
        return (emitter.color * gain.mean(0)).astype(np.float32)

    def openness(self, points: np.ndarray, normals: np.ndarray, directions: np.ndarray) -> np.ndarray:
        """Share [n] of the even light from all around that near objects let through."""
        helper = np.where(np.abs(normals[2]) < 0.9, np.array([[0], [0], [1.0]]), np.array([[1.0], [0], [0]]))
        tangent = np.cross(helper, normals, axis=0)
        tangent /= np.linalg.norm(tangent, axis=0)
        bitangent = np.cross(normals, tangent, axis=0)
        frame = np.stack([tangent, bitangent, normals])
        rays = np.einsum("ks,kin->isn", directions * AMBIENT_REACH, frame)
        near = (self.low < points.max(1) + AMBIENT_REACH).all(1) & (self.high > points.min(1) - AMBIENT_REACH).all(1)
        origins, flat = points.astype(np.float32), rays.reshape(3, -1).astype(np.float32)
        nearest = np.ones(rays.shape[1:], np.float32)
        for index in np.flatnonzero(near):
            primitive = self.primitives[index]
            unit_rays = (primitive.to_unit.astype(np.float32) @ flat).reshape(rays.shape)
            t_in, t_out = primitive.unit_interval(primitive.unit_points(origins)[:, None, :], unit_rays)
            hit = (t_in < t_out) & (t_out > 0)
            np.minimum(nearest, np.maximum(t_in, 0), out=nearest, where=hit)
        # A hit close by hides more than one at the end of the reach.
        return (0.25 + 0.75 * nearest.mean(0)).astype(np.float32)

    def _hidden(self, points: np.ndarray, emitter: Emitter) -> np.ndarray:
        """Whether something is between points [3, n] and each of the emitter's samples, [S, n]."""
        low = np.minimum(points.min(1), emitter.points.min(1))
        high = np.maximum(points.max(1), emitter.points.max(1))
        near = (self.low < high).all(1) & (self.high > low).all(1) & (self.owner != emitter.owner)
        near &= self._in_cone(points, emitter.points)
        points, lamp = points.astype(np.float32), emitter.points.astype(np.float32)
        hidden = np.zeros((lamp.shape[1], points.shape[1]), bool)
        for index in np.flatnonzero(near):
            origins = self.primitives[index].unit_points(lamp)[:, :, None]
            rays = self.primitives[index].unit_points(points)[:, None, :] - origins
            t_in, t_out = self.primitives[index].unit_interval(origins, rays)
            hidden |= (t_in < t_out) & (t_out > 0) & (t_in < 1)
        return hidden

    def _in_cone(self, points: np.ndarray, lamp: np.ndarray) -> np.ndarray:
        """Which primitives can lie between the points and the lamp: bounding balls against a capsule."""
        a, b = points.mean(1), lamp.mean(1)
        ra = np.sqrt(((points - a[:, None]) ** 2).sum(0).max())
        rb = np.sqrt(((lamp - b[:, None]) ** 2).sum(0).max())
        middle, radius = (self.low + self.high) / 2, np.linalg.norm(self.high - self.low, axis=1) / 2
        axis = b - a
        share = np.clip((middle - a) @ axis / max(float(axis @ axis), 1e-12), 0, 1)
        gap = np.linalg.norm(middle - (a + share[:, None] * axis), axis=1)
        return gap < radius + max(ra, rb)


@dataclass(frozen=True, eq=False)
class _Texels:
    points: np.ndarray
    normals: np.ndarray
    order: np.ndarray
    """The texels in an order that keeps neighbours together, so that blocks of them share their occluders."""
    grids: list[tuple[Patch, int, int]]

    @classmethod
    def lay(cls, primitive: Primitive, texel: float, inward: bool = False) -> _Texels:
        points, normals, grids, orders, count = [], [], [], [], 0
        for patch in primitive.patches():
            nu, nv = (max(2, round(extent / texel)) for extent in patch.extent)
            u, v = (a.ravel() for a in np.meshgrid((np.arange(nu) + 0.5) / nu, (np.arange(nv) + 0.5) / nv))
            point, normal = patch.surface(u, v)
            normal = primitive.rotation @ (normal / primitive.size[:, None])
            normal *= (-1 if inward else 1) / np.linalg.norm(normal, axis=0)
            world = primitive.rotation @ (point * primitive.size[:, None]) + primitive.center[:, None]
            points.append(world + 2e-3 * normal)
            normals.append(normal)
            grids.append((patch, nu, nv))
            i, j = np.arange(nu * nv) % nu, np.arange(nu * nv) // nu
            orders.append(count + np.lexsort((i // TILE, j // TILE)))
            count += nu * nv
        return cls(np.concatenate(points, 1), np.concatenate(normals, 1), np.concatenate(orders), grids)


def _offsets(texels: list[_Texels]) -> list[int]:
    return np.concatenate([[0], np.cumsum([t.points.shape[1] for t in texels])])[:-1].tolist()


def _column(color: tuple[float, float, float]) -> np.ndarray:
    return np.array(color)[:, None]


def _sphere(count: int) -> np.ndarray:
    """Evenly spread unit vectors [3, count]."""
    k = np.arange(count) + 0.5
    z, theta = 1 - 2 * k / count, np.pi * (1 + np.sqrt(5)) * k
    radius = np.sqrt(1 - z * z)
    return np.stack([radius * np.cos(theta), radius * np.sin(theta), z])


def _hemisphere(count: int) -> np.ndarray:
    """Cosine-distributed unit vectors [3, count] around z."""
    k = np.arange(count) + 0.5
    radius, theta = np.sqrt(k / count), np.pi * (1 + np.sqrt(5)) * k
    return np.stack([radius * np.cos(theta), radius * np.sin(theta), np.sqrt(1 - k / count)])
