# SPDX-License-Identifier: Apache-2.0
"""The small room seen by cameras all around, with its true maps and errors planted into them."""

from __future__ import annotations

import math

import numpy as np
import torch
from small_rooms import small_room

from panoptic_gs import Camera, Splats, uplift_labels
from panoptic_gs.uplift import GaussianLabels, render_panoptic


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


def halves(splats: Splats, cameras: list[Camera], maps: list[np.ndarray], thing: int, spare: int) -> list[np.ndarray]:
    """Masks of the half of a thing on the side of larger x in the world, made with a label that is not in use."""
    labels = uplift_labels(splats, list(zip(cameras, maps)))
    best = labels.best()[0]
    middle = splats.means[best == thing, 0].median()
    cut = torch.where((best == thing) & (splats.means[:, 0] > middle), spare, best)
    rows = cut > 0
    indptr = torch.cat([torch.zeros(1, dtype=torch.int64), rows.long().cumsum(0)])
    halved = GaussianLabels(indptr, cut[rows].int(), torch.ones(int(rows.sum())), labels.total, labels.void)
    return [render_panoptic(splats, halved, camera).ids.numpy() == spare for camera in cameras]
