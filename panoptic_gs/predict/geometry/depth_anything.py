# SPDX-License-Identifier: Apache-2.0
"""Depth Anything 3 (Lin et al. 2025): depth and cameras of all photos together. Code and BASE weights Apache-2.0."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from panoptic_gs.errors import InputError
from panoptic_gs.predict.geometry.found import Geometry, GeometryOptions
from panoptic_gs.predict.geometry.point_maps import crops_of, geometry_of
from panoptic_gs.predict.masks.hub import announced, readable
from panoptic_gs.predict.photos import Photo
from panoptic_gs.predict.registry import GEOMETRIES
from panoptic_gs.progress import Progress

CHECKPOINT = "depth-anything/DA3-BASE"


class DepthAnythingCameras:
    """Cameras and points by ``DepthAnything3.inference``."""

    def __init__(self, options: GeometryOptions) -> None:
        from depth_anything_3.api import DepthAnything3  # pyright: ignore[reportMissingImports]

        self.options = options
        checkpoint = announced(GEOMETRIES["da3"], options.checkpoint, CHECKPOINT, options.say)
        with readable(checkpoint):
            self.model = DepthAnything3.from_pretrained(checkpoint).to(options.device).eval()

    def find(self, photos: Sequence[Photo], progress: Progress) -> Geometry:
        crops, size = crops_of(photos, 504, 14)
        progress("Placing photos", 0, 0)
        with torch.inference_mode():
            answer = self.model.inference(crops)
        progress("Placing photos", 1, 1)
        depth, extrinsics = np.asarray(answer.depth, np.float64), np.asarray(answer.extrinsics, np.float64)
        if depth.ndim != 3 or len(depth) != len(photos) or extrinsics.shape[1:] not in ((3, 4), (4, 4)):
            raise InputError(
                "Depth Anything 3", f"depth {list(depth.shape)}, extrinsics {list(extrinsics.shape)}",
                f"[{len(photos)}, H, W] and [{len(photos)}, 3, 4]", "Give a checkpoint that finds cameras.",
            )  # fmt: skip
        viewmats = np.tile(np.eye(4), (len(photos), 1, 1))
        viewmats[:, :3] = extrinsics[:, :3]
        # The network may have resized the crops once more; its intrinsics are for its own size.
        height, width = depth.shape[1:]
        scale = np.diag([size[0] / width, size[1] / height, 1.0])
        Ks = np.asarray(answer.intrinsics, np.float64)
        points = [unprojected(d, K, viewmat) for d, K, viewmat in zip(depth, Ks, viewmats, strict=True)]
        metric = bool(getattr(answer, "is_metric", False))
        return geometry_of(
            photos, size, viewmats, scale @ Ks, points, list(np.asarray(answer.conf, np.float32)),
            source="Depth Anything 3", metric=metric, seed_points=self.options.seed_points,
        )  # fmt: skip


def unprojected(depth: np.ndarray, K: np.ndarray, viewmat: np.ndarray) -> np.ndarray:
    """World points ``[H, W, 3]`` of a depth map ``[H, W]`` along z; NaN where the depth is not positive."""
    height, width = depth.shape
    x, y = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    rays = np.stack([x, y, np.ones_like(x)], -1) @ np.linalg.inv(K).T
    local = rays * np.where(depth > 0, depth, np.nan)[..., None]
    return ((local - viewmat[:3, 3]) @ viewmat[:3, :3]).astype(np.float32)
