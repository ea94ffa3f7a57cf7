# SPDX-License-Identifier: Apache-2.0
"""Heads of the geometry backbone: points in the first view's frame (X^g) and in each view's own (X^l), confidence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from panoptic_gs.network.config import GeometryConfig
from panoptic_gs.network.geometry import Decoded


@dataclass(frozen=True, eq=False)
class PointMaps:
    """Point maps of B scenes with V views, at a stride of pixels.

    Args:
        world: ``[B, V, h, w, 3]`` in the frame of the first view's camera: x right, y down, z forward.
        local: ``[B, V, h, w, 3]`` in each view's own.
        confidence: ``[B, V, h, w]`` above 1.
        poses: ``[B, V, 3, 4]`` camera to first view, where the head says them.
    """

    world: Tensor
    local: Tensor
    confidence: Tensor
    poses: Tensor | None = None

    @classmethod
    def joined(cls, parts: Sequence[PointMaps]) -> PointMaps:
        """Those of views that were seen in turn."""
        poses = [part.poses for part in parts if part.poses is not None]
        return cls(
            torch.cat([part.world for part in parts], 1),
            torch.cat([part.local for part in parts], 1),
            torch.cat([part.confidence for part in parts], 1),
            torch.cat(poses, 1) if poses else None,
        )


class CameraPoints(nn.Module):
    """A depth for each pixel; a rotation, a place and a focal length for each view.

    X^l = z · ((u − c) / f, 1) with the principal point c in the centre, X^g = R X^l + t. The rotation is given by two
    vectors that are made orthonormal (Zhou et al., On the Continuity of Rotation Representations in Neural Networks,
    CVPR 2019, Sec. 3.2). The first view's pose is the identity. So both maps of a view agree by construction.
    """

    def __init__(self, config: GeometryConfig, patch: int, mask_width: int) -> None:
        super().__init__()
        self.steps = patch // config.point_stride
        self.stride = config.point_stride
        self.patches = nn.Linear(config.width, 2 * self.steps**2)
        self.cameras = nn.Sequential(nn.Linear(config.width, config.width), nn.GELU(), nn.Linear(config.width, 10))
        last = self.cameras[-1]
        assert isinstance(last, nn.Linear)
        self.fine = nn.Linear(mask_width, 1) if config.fine else None
        with torch.no_grad():
            if self.fine is not None:  # corrects nothing at first
                self.fine.weight.zero_()
                self.fine.bias.zero_()
            last.weight.mul_(0.1)
            last.bias.copy_(torch.tensor([1.0, 0, 0, 0, 1, 0, 0, 0, 0, 0.3]))

    def forward(
        self, decoded: Decoded, features: Tensor | None, rows: int, columns: int, sizes: Tensor, first: bool
    ) -> PointMaps:
        """Point maps of tokens on a grid.

        Args:
            decoded: of the views.
            features: ``[B, V, mask_width, h, w]`` dense features, that correct the depth; where they are known.
            rows, columns: of the grid.
            sizes: ``[B, V, 2]`` heights and widths in pixels without padding.
            first: whether the first view's camera is the frame of the points.
        """
        maps = _unfold(self.patches(decoded.tokens), rows, columns, self.steps)  # [B, V, h, w, 2]
        camera = self.cameras(decoded.cameras).float()
        log_depth = maps[..., 0].float()
        if self.fine is not None and features is not None:
            dense = nn.functional.interpolate(
                features.flatten(0, 1), maps.shape[2:4], mode="bilinear", align_corners=False
            )
            log_depth = log_depth + self.fine(dense.permute(0, 2, 3, 1))[..., 0].float().unflatten(0, maps.shape[:2])
        depth = log_depth.clamp(-8, 8).exp()
        half = sizes.max(dim=-1).values.float() / 2  # [B, V]
        focal = camera[..., 9].clamp(-3, 3).exp()[..., None, None]
        x = (torch.arange(maps.shape[3], device=maps.device) + 0.5) * self.stride
        y = (torch.arange(maps.shape[2], device=maps.device) + 0.5) * self.stride
        x = (x - sizes[..., 1:] / 2) / half[..., None]  # [B, V, w]
        y = (y - sizes[..., :1] / 2) / half[..., None]
        x, y = (x[..., None, :] / focal).expand_as(depth), (y[..., :, None] / focal).expand_as(depth)
        local = torch.stack([x * depth, y * depth, depth], dim=-1)
        rotation, place = rotation_from_six(camera[..., :6]), camera[..., 6:9]
        if first:
            identity = torch.eye(3, device=maps.device).expand(len(camera), 1, 3, 3)
            rotation = torch.cat([identity, rotation[:, 1:]], dim=1)
            place = torch.cat([torch.zeros_like(place[:, :1]), place[:, 1:]], dim=1)
        world = torch.einsum("bvij,bvhwj->bvhwi", rotation, local) + place[:, :, None, None]
        return PointMaps(world, local, _confidence(maps[..., 1]), torch.cat([rotation, place[..., None]], dim=-1))


class DensePoints(nn.Module):
    """Both maps point by point (DUSt3R's regression, Wang et al., CVPR 2024), x = v / ‖v‖ · (exp ‖v‖ − 1)."""

    def __init__(self, config: GeometryConfig, patch: int, mask_width: int) -> None:
        super().__init__()
        self.steps = patch // config.point_stride
        self.stride = config.point_stride
        self.patches = nn.Linear(config.width, 7 * self.steps**2)

    def forward(
        self, decoded: Decoded, features: Tensor | None, rows: int, columns: int, sizes: Tensor, first: bool
    ) -> PointMaps:
        """See `CameraPoints.forward`; the features are not looked at."""
        tokens = decoded.tokens + decoded.cameras[:, :, None]
        maps = _unfold(self.patches(tokens), rows, columns, self.steps).float()
        return PointMaps(_stretched(maps[..., :3]), _stretched(maps[..., 3:6]), _confidence(maps[..., 6]))


def rotation_from_six(values: Tensor) -> Tensor:
    """Rotations ``[..., 3, 3]`` whose first two columns come from ``[..., 6]`` by Gram and Schmidt."""
    x = functional.normalize(values[..., :3], dim=-1)
    y = values[..., 3:]
    y = functional.normalize(y - (x * y).sum(-1, keepdim=True) * x, dim=-1)
    return torch.stack([x, y, torch.linalg.cross(x, y)], dim=-1)


def at_pixels(maps: Tensor, height: int, width: int) -> Tensor:
    """Maps ``[N, h, w, C]`` of padded images, resampled to every pixel, without the padding: ``[N, height, width, C]``.

    Args:
        maps: at the stride of their head.
        height, width: of the padded images in pixels.
    """
    return functional.interpolate(
        maps.permute(0, 3, 1, 2), (height, width), mode="bilinear", align_corners=False
    ).permute(0, 2, 3, 1)


def _unfold(tokens: Tensor, rows: int, columns: int, steps: int) -> Tensor:
    """``[B, V, rows · columns, C · steps²]`` → ``[B, V, rows · steps, columns · steps, C]``."""
    x = tokens.unflatten(-1, (steps, steps, -1)).unflatten(2, (rows, columns))  # B V r c s s C
    return x.permute(0, 1, 2, 4, 3, 5, 6).flatten(2, 3).flatten(3, 4)


def _confidence(values: Tensor) -> Tensor:
    return 1 + values.float().clamp(-10, 10).exp()


def _stretched(v: Tensor) -> Tensor:
    norm = v.norm(dim=-1, keepdim=True).clamp_min(1e-6)
    return v / norm * torch.expm1(norm.clamp_max(10))
