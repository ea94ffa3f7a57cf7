# SPDX-License-Identifier: Apache-2.0
"""Camera paths through a room: two rounds along the walls, looking across to the other side."""

from __future__ import annotations

import math

import numpy as np

from panoptic_gs.camera import Camera
from panoptic_gs.synthetic.raycast import RoomRenderer, camera_rays
from panoptic_gs.synthetic.room import Room

CLEARANCE = 0.3
FREE_SIGHT = 0.7


def inward_path(renderer: RoomRenderer, views: int, width: int, height: int, fov_x: float = 72.0) -> list[Camera]:
    """Cameras on a closed curve of two rounds at varying height and radius; none is inside or close before an object.

    Args:
        renderer: of the room.
        views: number of cameras.
        width: image width in pixels.
        height: image height in pixels.
        fov_x: horizontal field of view in degrees.
    """
    room = renderer.room
    rng = np.random.default_rng([room.seed, 77])
    phase = rng.uniform(0, 2 * np.pi, 4)
    cameras = []
    for index in range(views):
        s = 2 * np.pi * index / views
        for attempt in range(60):
            cameras_try = _look_across(room, s, phase, rng, attempt, math.radians(fov_x), width, height)
            if is_free(renderer, cameras_try) or attempt == 59:
                cameras.append(cameras_try)
                break
    return cameras


def _look_across(
    room: Room, s: float, phase: np.ndarray, rng: np.random.Generator, attempt: int, fov: float, width: int, height: int
) -> Camera:
    half = np.array(room.size[:2]) / 2 - 0.45
    angle = 2 * s + 0.3 * math.sin(s + phase[0])
    radius = 0.8 + 0.18 * math.sin(s + phase[1])
    level = 1.45 + 0.32 * math.sin(3 * s + phase[2])
    jitter = rng.normal(0, 0.02 * attempt, 3)
    direction = np.array([math.cos(angle), math.sin(angle)])
    # A rounded rectangle follows the walls better than an ellipse does.
    outline = direction / (np.abs(direction) ** 4).sum() ** 0.25
    eye = np.array([*(radius * half * outline), level]) + jitter
    eye[:2] = np.clip(eye[:2], -half - 0.1, half + 0.1)
    eye[2] = np.clip(eye[2], 1.0, min(2.1, room.size[2] - 0.4))
    aside = 0.45 * math.sin(5 * s + phase[3])
    across = np.array([math.cos(angle + np.pi + aside), math.sin(angle + np.pi + aside)])
    target = np.array([*(0.5 * half * across), 0.85 + 0.35 * math.sin(4 * s + phase[0])])
    return Camera.look_at(eye.tolist(), target.tolist(), [0.0, 0.0, 1.0], fov, width, height)


def is_free(renderer: RoomRenderer, camera: Camera) -> bool:
    """Whether nothing is close around the camera, and little of its image is near."""
    around = np.concatenate(
        [np.eye(3), -np.eye(3), np.array([[1, 1, 0], [1, -1, 0], [-1, 1, 0], [-1, -1, 0]]).T * 0.7], 1
    )
    center, rays = camera_rays(camera.resized(16, 12))
    if any(primitive.inside(center, -CLEARANCE).any() for primitive in renderer.room.primitives):
        return False
    distance, _ = renderer.cast(center, around)
    if distance.min() < CLEARANCE:
        return False
    depth, _ = renderer.cast(center, rays.reshape(3, -1))
    return bool(np.quantile(depth, 0.06) > FREE_SIGHT + 0.3 and depth.min() > FREE_SIGHT)
