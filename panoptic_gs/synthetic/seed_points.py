# SPDX-License-Identifier: Apache-2.0
"""Seed points of a scene: exact surface points of the training views, evenly thinned, slightly noisy."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from panoptic_gs.camera import Camera
from panoptic_gs.datasets.seed_points import thin_evenly
from panoptic_gs.synthetic.raycast import RoomView, camera_rays


def sample_seed_points(
    cameras: Sequence[Camera], views: Sequence[RoomView], count: int, seed: int, noise: float = 0.004
) -> tuple[np.ndarray, np.ndarray]:
    """Positions [P, 3] float32 and colours [P, 3] uint8 of at most `count` points.

    `noise` is the standard deviation in metres.
    """
    rng = np.random.default_rng([seed, 5])
    positions, colors = [], []
    for camera, view in zip(cameras, views, strict=True):
        origin, rays = camera_rays(camera)
        chosen = rng.choice(view.depth.size, min(view.depth.size, 6_000), replace=False)
        positions.append((origin + rays.reshape(3, -1)[:, chosen] * view.depth.ravel()[chosen]).T)
        colors.append(view.color.reshape(-1, 3)[chosen])
    xyz, rgb = thin_evenly(np.concatenate(positions), np.concatenate(colors), count, rng)
    return (xyz + rng.normal(0, noise, xyz.shape)).astype(np.float32), rgb
