# SPDX-License-Identifier: Apache-2.0
"""Small scenes for the device kernels' tests."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "uplift"))
from brute_force import blend, blobs, random_camera, random_splats

from panoptic_gs import kernels
from panoptic_gs.camera import Camera
from panoptic_gs.kernels import cuda as cuda_kernels
from panoptic_gs.kernels.cuda import TileLists
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


def host_lists(splats: Splats, camera: Camera, antialiased: bool = False) -> TileLists:
    """The host's projection, sorted by tile, depth and index."""
    projected = kernels.project(
        splats.means, splats.quats, splats.scales, splats.opacities, camera.viewmat, camera.K, camera.width,
        camera.height, antialiased=antialiased,
    )  # fmt: skip
    side = cuda_kernels.TILE_SIZE
    columns, rows = -(-camera.width // side), -(-camera.height // side)
    first = ((projected.means2d - projected.radii) / side).floor().int().clamp_min(0)
    end = ((projected.means2d + projected.radii) / side).ceil().int()
    met = sorted(
        (y * columns + x, float(projected.depths[i]), i)
        for i in projected.radii.amin(dim=1).nonzero()[:, 0].tolist()
        for y in range(int(first[i, 1]), min(int(end[i, 1]), rows))
        for x in range(int(first[i, 0]), min(int(end[i, 0]), columns))
    )
    tiles = torch.tensor([tile for tile, _, _ in met], dtype=torch.int64)
    offsets = torch.searchsorted(tiles, torch.arange(rows * columns)).int().reshape(rows, columns)
    opacities = splats.opacities * (1 if projected.compensations is None else projected.compensations)
    ids = torch.tensor([i for _, _, i in met], dtype=torch.int32)
    return TileLists(camera.width, camera.height, offsets, ids, projected.means2d, projected.conics, opacities)
