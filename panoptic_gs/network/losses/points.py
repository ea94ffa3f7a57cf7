# SPDX-License-Identifier: Apache-2.0
"""Regression of point maps, weighted by their confidence, at any scale.

Wang et al., DUSt3R: Geometric 3D Vision Made Easy, CVPR 2024, Eq. 2–4: ℓ = ‖X̂/ŝ − X/s‖ and C ℓ − α log C, where s and
ŝ are the mean distances of true and predicted points from the first camera; here for the points in the first view's
frame and in each view's own, with one scale for a scene.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from panoptic_gs.network.points import PointMaps

ALPHA = 0.2


@dataclass(frozen=True, eq=False)
class TruePoints:
    """Truth for B scenes with V views.

    Args:
        world, local: ``[B, V, h, w, 3]``.
        valid: ``[B, V, h, w]`` bool.
        poses: ``[B, V, 3, 4]`` camera to first view.
    """

    world: Tensor
    local: Tensor
    valid: Tensor
    poses: Tensor


def true_points(depth: Tensor, viewmats: Tensor, Ks: Tensor, stride: int, rows: int, columns: int) -> TruePoints:
    """Point maps at a head's stride from depth maps.

    Args:
        depth: ``[B, V, H, W]`` along z; 0 where unknown.
        viewmats: ``[B, V, 4, 4]`` world to camera.
        Ks: ``[B, V, 3, 3]`` in pixels.
        stride: pixels between points.
        rows, columns: of the head's maps, which may reach beyond the image.
    """
    height, width = depth.shape[-2:]
    x = (torch.arange(columns, device=depth.device) + 0.5) * stride
    y = (torch.arange(rows, device=depth.device) + 0.5) * stride
    inside = (y < height)[:, None] & (x < width)[None]
    z = depth[..., y.long().clamp(max=height - 1), :][..., x.long().clamp(max=width - 1)]
    u = (x - Ks[..., 0, 2, None]) / Ks[..., 0, 0, None]  # [B, V, w]
    v = (y - Ks[..., 1, 2, None]) / Ks[..., 1, 1, None]
    local = torch.stack([u[..., None, :] * z, v[..., :, None] * z, z], dim=-1)
    to_first = viewmats[:, :1].double() @ torch.linalg.inv(viewmats.double())
    poses = to_first[:, :, :3].to(depth.dtype)
    world = torch.einsum("bvij,bvhwj->bvhwi", poses[..., :3], local) + poses[:, :, None, None, :, 3]
    return TruePoints(world, local, inside & (z > 0), poses)


def scales(world: Tensor, valid: Tensor) -> Tensor:
    """``[B]`` mean distance of valid points ``[B, V, h, w, 3]`` from the first camera."""
    distance = (world.square().sum(-1) + 1e-12).sqrt() * valid
    return (distance.flatten(1).sum(1) / valid.flatten(1).sum(1).clamp_min(1)).clamp_min(1e-6)


def point_losses(found: PointMaps, truth: TruePoints, confident: bool = True) -> dict[str, Tensor]:
    """``world`` and ``local`` regression; ``rotation`` and ``place`` of cameras where the head says them.

    Args:
        found: at the head's stride.
        truth: at the same.
        confident: whether points are weighted by their confidence, which then is trained, too.
    """
    scale, own = scales(truth.world, truth.valid), scales(found.world, truth.valid)
    weight = truth.valid.float()
    total = weight.sum().clamp_min(1)
    losses: dict[str, Tensor] = {}
    for name in ("world", "local"):
        difference = (
            getattr(found, name) / own[:, None, None, None, None]
            - getattr(truth, name) / scale[:, None, None, None, None]
        )
        distance = (difference.square().sum(-1) + 1e-8).sqrt()
        if confident:
            distance = found.confidence * distance - ALPHA * found.confidence.log()
        losses[name] = (distance * weight).sum() / total
    if found.poses is not None and found.poses.shape[1] > 1:
        later, true = found.poses[:, 1:], truth.poses[:, 1:]
        losses["rotation"] = (later[..., :3] - true[..., :3]).square().sum((-2, -1)).add(1e-8).sqrt().mean()
        places = later[..., 3] / own[:, None, None] - true[..., 3] / scale[:, None, None]
        losses["place"] = places.square().sum(-1).add(1e-8).sqrt().mean()
    return losses
