# SPDX-License-Identifier: Apache-2.0
"""A box room with exact colours and labels, cameras inside it, and splats on its walls.

Nothing here uses the toolkit's own cameras, lenses or rays, so that the room can judge them. World: metres, z up.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

LOW, HIGH = np.array([-3.0, -3.0, 0.0]), np.array([3.0, 3.0, 3.0])
CATEGORIES = [
    {"id": 1, "name": "wall", "isthing": 0},
    {"id": 2, "name": "floor", "isthing": 0},
    {"id": 3, "name": "ceiling", "isthing": 0},
    {"id": 4, "name": "picture", "isthing": 1},
    {"id": 5, "name": "person", "isthing": 1},
]
WALL, FLOOR, CEILING, PERSON = 1, 2, 3, 20
# face (0, 1: low, high x; 2, 3: y; 4, 5: z) → id, centre on the face (u, v), half width, half height
_PANELS = {
    0: (11, (0.7, 1.6), (0.9, 0.6)),
    1: (12, (-1.0, 1.2), (0.6, 0.7)),
    2: (13, (0.2, 1.4), (1.0, 0.7)),
    3: (14, (-0.6, 1.7), (0.7, 0.6)),
    4: (15, (1.0, -0.8), (1.0, 0.7)),
}
CATEGORY_OF = {WALL: 1, FLOOR: 2, CEILING: 3, **{panel[0]: 4 for panel in _PANELS.values()}, PERSON: 5}
_FACE_COLORS = np.array(
    [[200, 60, 60], [60, 200, 60], [60, 60, 200], [200, 200, 60], [150, 110, 70], [220, 220, 220]], dtype=np.float64
)
_OPENGL = np.diag([1.0, -1.0, -1.0])  # camera axes: OpenCV to OpenGL


class WallSplats(NamedTuple):
    """Flat, opaque Gaussians on the walls, and what each of them truly is."""

    means: np.ndarray  # [N, 3]
    quats: np.ndarray  # [N, 4] wxyz
    scales: np.ndarray  # [N, 3] standard deviations
    opacities: np.ndarray  # [N]
    rgb: np.ndarray  # [N, 3] uint8
    labels: np.ndarray  # [N] true segment ids


def surface(points: np.ndarray, face: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Segment ids ``[...]`` and colours ``[..., 3]`` uint8 of points ``[..., 3]`` on faces ``[...]`` of the room."""
    axis = face // 2
    u = np.where(axis == 0, points[..., 1], points[..., 0])
    v = np.where(axis == 2, points[..., 1], points[..., 2])
    labels = np.where(face == 4, FLOOR, np.where(face == 5, CEILING, WALL))
    for side, (segment, (center_u, center_v), (half_u, half_v)) in _PANELS.items():
        inside = (np.abs(u - center_u) < half_u) & (np.abs(v - center_v) < half_v)
        labels = np.where((face == side) & inside, segment, labels)
    shade = 0.65 + 0.35 * np.sin(2 * math.pi * u / 1.5) * np.sin(2 * math.pi * v / 1.5)
    colors = _FACE_COLORS[face] * shade[..., None]
    panel = np.array([250.0, 120.0, 240.0]) * (0.8 + 0.2 * np.cos(2 * math.pi * u))[..., None]
    return labels.astype(np.int32), np.where((labels > 10)[..., None], panel, colors).clip(0, 255).astype(np.uint8)


def shoot(camera_to_world: np.ndarray, rays: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Segment ids ``[...]`` and colours ``[..., 3]`` uint8 where a camera's rays hit the room.

    Args:
        camera_to_world: ``[4, 4]``, OpenGL axes, the centre inside the room.
        rays: ``[..., 3]`` directions of any length in the camera's OpenCV axes.
    """
    directions = rays @ (camera_to_world[:3, :3] @ _OPENGL).T
    center = camera_to_world[:3, 3]
    with np.errstate(divide="ignore", invalid="ignore"):
        distance = np.where(directions > 0, (HIGH - center) / directions, (LOW - center) / directions)
    distance = np.where(directions == 0, np.inf, distance)
    axis = distance.argmin(axis=-1)
    points = center + directions * distance.min(axis=-1)[..., None]
    positive = np.take_along_axis(directions, axis[..., None], axis=-1)[..., 0] > 0
    return surface(points, 2 * axis + positive)


def pose(eye: np.ndarray, target: np.ndarray, roll: float = 0.0) -> np.ndarray:
    """The camera-to-world matrix ``[4, 4]`` (OpenGL axes) of a camera that looks from one point at another."""
    forward = (target - eye) / np.linalg.norm(target - eye)
    right = np.cross(forward, [0.0, 0.0, 1.0])
    right /= np.linalg.norm(right)
    up = np.cross(right, forward)
    result = np.eye(4)
    result[:3, 0] = math.cos(roll) * right + math.sin(roll) * up
    result[:3, 1] = math.cos(roll) * up - math.sin(roll) * right
    result[:3, 2], result[:3, 3] = -forward, eye
    return result


def poses(count: int = 12, roll: float = 0.0) -> list[np.ndarray]:
    """Cameras on a wavy circle that look up, straight and down in turn, across the room, each a little turned about its
    axis, besides ``roll`` radians; twelve see nearly every wall, corner, floor and ceiling.
    """
    result = []
    for number, angle in enumerate(2 * math.pi * np.arange(count) / count):
        eye = np.array([1.3 * math.cos(angle), 1.3 * math.sin(angle), 1.5 + 0.3 * math.sin(3 * angle)])
        away = np.array([math.cos(angle + 2.84), math.sin(angle + 2.84), 0.0])
        target = 2.5 * away + np.array([0.0, 0.0, (-0.8, 1.5, 3.8)[number % 3]])
        result.append(pose(eye, target, roll + 0.1 * math.sin(5 * angle)))
    return result


def wall_points(count: int, seed: int = 1) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Random points ``[N, 3]`` on the walls, their colours, labels and faces."""
    generator = np.random.default_rng(seed)
    points = generator.uniform(LOW, HIGH, (count, 3))
    face = generator.integers(0, 6, count)
    points[np.arange(count), face // 2] = np.where(face % 2, HIGH[face // 2], LOW[face // 2])
    labels, rgb = surface(points, face)
    return points, rgb, labels, face


def wall_splats(count: int = 6000, seed: int = 2, size: float = 0.045) -> WallSplats:
    """Discs of ``size`` metres (one standard deviation) on the walls, unturned, 98 % opaque."""
    points, rgb, labels, face = wall_points(count, seed)
    scales = np.full((count, 3), size)
    scales[np.arange(count), face // 2] = 0.004
    quats = np.tile([1.0, 0.0, 0.0, 0.0], (count, 1))
    return WallSplats(points, quats, scales, np.full(count, 0.98), rgb, labels)
