# SPDX-License-Identifier: Apache-2.0
"""Ray casting a room to exact colour, depth, category and segment maps."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from panoptic_gs.camera import Camera
from panoptic_gs.progress import Progress, silent
from panoptic_gs.synthetic.light import PatchLight, bake
from panoptic_gs.synthetic.room import SHELL, Room

NEAR = 1e-3


@dataclass(frozen=True, eq=False)
class RoomView:
    """What a camera sees of a room. Labels and depth are those of the ray through each pixel's centre."""

    color: np.ndarray  # [H, W, 3] uint8, the mean of 2 × 2 rays
    depth: np.ndarray  # [H, W] float32, metres along the camera's z axis
    category: np.ndarray  # [H, W] int32
    segment: np.ndarray  # [H, W] int32


class RoomRenderer:
    """Casts rays into a room; the light is computed when the first colour is asked for."""

    def __init__(self, room: Room) -> None:
        self.room = room
        self._primitives = room.primitives
        self._corners = np.stack([primitive.corners() for primitive in self._primitives])
        self._segments = room.surface_segments
        self._categories = room.surface_categories
        self._light: list[list[PatchLight]] | None = None

    def light(self, progress: Progress = silent, texel: float | None = None) -> list[list[PatchLight]]:
        """The light on all patches (see `light.bake`), computed once; `texel` counts the first time."""
        if self._light is None:
            self._light = bake(self.room, progress, texel)
        return self._light

    def view(self, camera: Camera, *, smooth: bool = True) -> RoomView:
        """Render one view; where it need not be `smooth`, a pixel's colour is that of a single ray, at a third of the
        time.
        """
        if not smooth:
            origin, rays = camera_rays(camera)
            depth, surface = self._cast_image(camera, origin, rays)
            color = self._shade(origin, rays.reshape(3, -1), depth.ravel(), surface.ravel())
            picture = _picture(color.reshape(camera.height, camera.width, 3))
            return RoomView(picture, depth, self._categories[surface], self._segments[surface])
        fine = camera.resized(2 * camera.width, 2 * camera.height)
        origin, rays = camera_rays(fine)
        depth, surface = self._cast_image(fine, origin, rays)
        color = self._shade(origin, rays.reshape(3, -1), depth.ravel(), surface.ravel())
        color = np.clip(color, 0, 1).reshape(camera.height, 2, camera.width, 2, 3).mean((1, 3))
        depth, segment, category = self.geometry(camera)
        return RoomView(_picture(color), depth, category, segment)

    def geometry(self, camera: Camera) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Depth, segment and category ``[H, W]`` of one view, which need no light."""
        origin, rays = camera_rays(camera)
        depth, surface = self._cast_image(camera, origin, rays)
        return depth, self._segments[surface], self._categories[surface]

    def cast(self, origins: np.ndarray, directions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """First hits of single rays ``[3, n]`` that start inside the room: distance in directions [n], surface [n]."""
        _, depth = self.room.shell.interval(origins, directions)
        surface = self._shell_surface(origins, directions, depth)
        for index, primitive in enumerate(self._primitives):
            t_in, t_out = primitive.interval(origins, directions)
            hit = (t_in < t_out) & (t_in > NEAR) & (t_in < depth)
            depth[hit], surface[hit] = t_in[hit], index + len(SHELL)
        return depth, surface

    def _cast_image(self, camera: Camera, origin: np.ndarray, rays: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        flat = rays.reshape(3, -1)
        _, t_out = self.room.shell.interval(origin, flat)
        depth = t_out.reshape(rays.shape[1:])
        surface = self._shell_surface(origin, flat, t_out).reshape(depth.shape)
        for index, rows, columns in screen_windows(self._corners, camera):
            part = rays[:, rows, columns]
            t_in, t_out = self._primitives[index].interval(origin, part.reshape(3, -1))
            t_in, t_out = t_in.reshape(part.shape[1:]), t_out.reshape(part.shape[1:])
            hit = (t_in < t_out) & (t_in > NEAR) & (t_in < depth[rows, columns])
            np.copyto(depth[rows, columns], t_in, where=hit)
            np.copyto(surface[rows, columns], index + len(SHELL), where=hit)
        return depth, surface

    def _shell_surface(self, origins: np.ndarray, directions: np.ndarray, t: np.ndarray) -> np.ndarray:
        o, d = self.room.shell.unit_rays(origins, directions)
        p = np.abs(o + t * d)
        vertical = p[2] > np.maximum(p[0], p[1])
        return np.where(vertical, np.where(d[2] < 0, 1, 2), 0).astype(np.int16)

    def _shade(self, origin: np.ndarray, rays: np.ndarray, depth: np.ndarray, surface: np.ndarray) -> np.ndarray:
        """Linear colour [n, 3] of the hits, tone-mapped to 0…1."""
        lights = self.light()
        color = np.empty((surface.size, 3), np.float32)
        order = np.argsort(surface, kind="stable")
        used, starts = np.unique(surface[order], return_index=True)
        for number, members in zip(used, np.split(order, starts[1:]), strict=True):
            inside = number < len(SHELL)
            primitive = self.room.shell if inside else self._primitives[number - len(SHELL)]
            texture = self.room.shell_textures[number] if inside else primitive.texture
            light = lights[0 if inside else number - len(SHELL) + 1]
            o, d = primitive.unit_rays(origin, rays[:, members])
            unit = o + depth[members] * d
            albedo = texture(unit * primitive.size.astype(np.float32)[:, None]).T
            patch, u, v = primitive.locate(unit)
            received = np.empty_like(albedo, dtype=np.float32)
            for index, patch_light in enumerate(light):
                chosen = patch == index
                if chosen.any():
                    received[chosen] = patch_light(u[chosen], v[chosen])
            color[members] = albedo * (received + 1.6 * texture.glow)
        return 1 - np.exp(-1.7 * color)


def _picture(color: np.ndarray) -> np.ndarray:
    """Linear colour 0…1 as sRGB bytes."""
    return np.round(255 * np.clip(color, 0, 1) ** (1 / 2.2)).astype(np.uint8)


def camera_rays(camera: Camera) -> tuple[np.ndarray, np.ndarray]:
    """The camera's centre [3, 1] float64 and a ray through every pixel's centre [3, H, W] float32.

    Rays are one unit long along the camera's z axis, so their parameter is the depth.
    """
    viewmat, K = camera.viewmat.double().numpy(), camera.K.double().numpy()
    x = (np.arange(camera.width) + 0.5 - K[0, 2]) / K[0, 0]
    y = (np.arange(camera.height) + 0.5 - K[1, 2]) / K[1, 1]
    to_world = viewmat[:3, :3].T
    grid = np.stack(np.broadcast_arrays(x[None, :], y[:, None], np.ones((1, 1))))
    rays = np.einsum("ij,jhw->ihw", to_world, grid).astype(np.float32)
    return (-to_world @ viewmat[:3, 3])[:, None], rays


def screen_windows(corners: np.ndarray, camera: Camera) -> list[tuple[int, slice, slice]]:
    """Which bounding boxes an image can show, and in which rows and columns.

    Args:
        corners: [P, 3, 8] corners of the boxes in the world; two share an edge where their numbers differ in one bit.
        camera: the image's.

    Returns:
        Number of the box, rows, columns; boxes out of sight are left out.
    """
    viewmat, K = camera.viewmat.double().numpy(), camera.K.double().numpy()
    local = viewmat[:3, :3] @ corners + viewmat[:3, 3:]
    in_front = local[:, 2] > NEAR
    windows = []
    for index in np.flatnonzero(in_front.any(1)):
        points, front = local[index], in_front[index]
        if not front.all():
            # The part of the box before the near plane: its corners there, and its edges cut by the plane.
            pairs = [(i, i ^ bit) for i in range(8) for bit in (1, 2, 4) if front[i] and not front[i ^ bit]]
            share = [(points[2, i] - NEAR) / (points[2, i] - points[2, j]) for i, j in pairs]
            cuts = [points[:, i] + t * (points[:, j] - points[:, i]) for t, (i, j) in zip(share, pairs, strict=True)]
            points = np.stack([*points[:, front].T, *cuts], 1)
        x = points[0] / points[2] * K[0, 0] + K[0, 2]
        y = points[1] / points[2] * K[1, 1] + K[1, 2]
        left, right = max(0, math.floor(x.min() - 1)), min(camera.width, math.ceil(x.max() + 1))
        top, bottom = max(0, math.floor(y.min() - 1)), min(camera.height, math.ceil(y.max() + 1))
        if left < right and top < bottom:
            windows.append((int(index), slice(top, bottom), slice(left, right)))
    return windows
