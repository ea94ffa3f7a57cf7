# SPDX-License-Identifier: Apache-2.0
"""A sphere on a floor as exact depth maps from cameras all around."""

from __future__ import annotations

import numpy as np
import torch

from panoptic_gs import Camera
from panoptic_gs.kernels import VoxelVolume
from panoptic_gs.objects.rendered_views import facing, pixel_rays

RADIUS = 0.4


def around(count: int = 14, distance: float = 1.5, size: int = 120) -> list[Camera]:
    """Cameras that look at the origin from every side (a Fibonacci lattice)."""
    golden = np.pi * (3 - np.sqrt(5))
    cameras = []
    for k in range(count):
        z = 0.95 * (1 - 2 * (k + 0.5) / count)
        r = np.sqrt(1 - z * z)
        eye = distance * np.array([r * np.cos(golden * k), r * np.sin(golden * k), z])
        cameras.append(Camera.look_at(eye.tolist(), [0, 0, 0], [0, 0, 1], 0.8, size, size))
    return cameras


def sphere_depth(camera: Camera) -> tuple[torch.Tensor, torch.Tensor]:
    """Depth ``[H, W]`` of the sphere, 0 beside it, and the height of what is seen."""
    rays = pixel_rays(camera).double() @ camera.viewmat[:3, :3].double()
    center = camera.center.double()
    a, b = (rays * rays).sum(-1), (rays * center).sum(-1)
    root = b * b - a * ((center * center).sum() - RADIUS**2)
    depth = torch.where(root > 0, (-b - root.clamp(min=0).sqrt()) / a, 0.0)
    return depth.float(), (center + depth[..., None] * rays)[..., 2].float()


def sphere_volume(voxel: float = 0.02, **options) -> VoxelVolume:
    """The sphere fused: its upper half red and segment 7, its lower half blue and segment 3."""
    volume = VoxelVolume(voxel, 3 * voxel, **options)
    for camera in around():
        depth, height = sphere_depth(camera)
        upper = height > 0
        color = torch.where(upper[..., None], torch.tensor([1.0, 0, 0]), torch.tensor([0, 0, 1.0]))
        label = torch.where(upper, 7, 3).int()
        volume.add(camera.viewmat, camera.K, depth, facing(camera, depth), label, torch.ones_like(depth), color)
    return volume
