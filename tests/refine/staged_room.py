# SPDX-License-Identifier: Apache-2.0
"""The small room seen by cameras all around, with its true maps and errors planted into them."""

from __future__ import annotations

import math

import numpy as np
from small_rooms import small_room

from panoptic_gs import Camera, Splats
from panoptic_gs.uplift import render_panoptic


def staged(views: int = 10, width: int = 80, height: int = 60) -> tuple[Splats, list[Camera], list[np.ndarray]]:
    """Splats, cameras around them, and the maps ``[H, W]`` that the room's own labels give."""
    scene = small_room()
    around = [2 * math.pi * k / views for k in range(views)]
    cameras = [
        Camera.look_at((3 * math.cos(a), 3 * math.sin(a), 2.2), (0, 0.2, 0.2), (0, 0, 1), 0.9, width, height)
        for a in around
    ]
    maps = [render_panoptic(scene.splats, scene.labels, camera).ids.numpy() for camera in cameras]
    return scene.splats, cameras, maps


def renamed(label_map: np.ndarray, old: int, new: int) -> np.ndarray:
    """The map with one id in the place of another."""
    return np.where(label_map == old, new, label_map)
