# SPDX-License-Identifier: Apache-2.0
"""Seed points of a scene: exact surface points of the training views, evenly thinned, slightly noisy."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from panoptic_gs.camera import Camera
from panoptic_gs.synthetic.raycast import RoomView, camera_rays


def sample_seed_points(
    cameras: Sequence[Camera], views: Sequence[RoomView], count: int, seed: int, noise: float = 0.004
) -> tuple[np.ndarray, np.ndarray]:
    """Positions [P, 3] float32 and colours [P, 3] uint8 of at most `count` points.

    One point stays in each cell of a grid that is made coarser until the count is met, so that near and far surfaces
    are covered alike. `noise` is the standard deviation in metres.
    """
    rng = np.random.default_rng([seed, 5])
    positions, colors = [], []
    for camera, view in zip(cameras, views, strict=True):
        origin, rays = camera_rays(camera)
        chosen = rng.choice(view.depth.size, min(view.depth.size, 6_000), replace=False)
        positions.append((origin + rays.reshape(3, -1)[:, chosen] * view.depth.ravel()[chosen]).T)
        colors.append(view.color.reshape(-1, 3)[chosen])
    xyz, rgb = np.concatenate(positions), np.concatenate(colors)
    shuffled = rng.permutation(len(xyz))
    xyz, rgb = xyz[shuffled], rgb[shuffled]
    cell = 0.02
    while True:
        kept = _one_per_cell(xyz, cell)
        if len(kept) <= 1.15 * count:
            break
        cell *= 1.12
    kept = kept[rng.permutation(len(kept))[:count]]
    return (xyz[kept] + rng.normal(0, noise, (len(kept), 3))).astype(np.float32), rgb[kept]


def _one_per_cell(xyz: np.ndarray, cell: float) -> np.ndarray:
    index = np.floor((xyz - xyz.min(0)) / cell).astype(np.int64)
    key = (index[:, 0] << 42) | (index[:, 1] << 21) | index[:, 2]
    return np.unique(key, return_index=True)[1]
