# SPDX-License-Identifier: Apache-2.0
"""Small scenes for the device kernels' tests."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "uplift"))
from brute_force import blend, blobs, random_camera, random_splats

from panoptic_gs.camera import Camera
from panoptic_gs.splats import Splats


def sure_maps(splats: Splats, cameras: list[Camera], maps: list[np.ndarray], antialiased: bool = False):
    """The maps with 0 where a float32 comparison in blending could go either way."""
    return [
        torch.from_numpy(np.where(blend(splats, camera, antialiased=antialiased).uncertain, 0, labels)).int()
        for camera, labels in zip(cameras, maps)
    ]


def label_scene(seed: int, count: int, num: int, width: int = 53, height: int = 37, antialiased: bool = False):
    """Gaussians, two cameras, and a map of ``num`` labels for each; some labels are beyond 16 bits."""
    splats = random_splats(seed, count)
    cameras = [random_camera(10 * seed + view, width, height) for view in range(2)]
    ids = np.sort(np.random.default_rng(seed).choice(2**31 - 1, size=num, replace=False))
    maps = [blobs(view, width, height, ids) for view in range(2)]
    return splats, cameras, sure_maps(splats, cameras, maps, antialiased)
