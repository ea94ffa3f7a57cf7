# SPDX-License-Identifier: Apache-2.0
"""What a labelled scene shows to one camera: colour, depth, and the label of every pixel."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from panoptic_gs.backends import RasterizeMode
from panoptic_gs.camera import Camera
from panoptic_gs.rasterize import rasterization
from panoptic_gs.uplift.labelled_scene import LabelledScene
from panoptic_gs.uplift.panoptic_render import render_panoptic


@dataclass(frozen=True, eq=False)
class SceneView:
    """One view of a labelled scene."""

    rgb: Tensor  # [H, W, 3], 0 … 1 where the Gaussians' colours are
    depth: Tensor  # [H, W], expected depth along the camera's z axis
    accumulation: Tensor  # [H, W], 0 … 1
    ids: Tensor  # [H, W] int64, segment ids, 0 = void
    confidence: Tensor  # [H, W], the winning segment's share of all weight

    @property
    def rgb_bytes(self) -> np.ndarray:
        """The colours ``[H, W, 3]`` uint8."""
        return to_bytes(self.rgb)


@torch.no_grad()
def render_view(scene: LabelledScene, camera: Camera, rasterize_mode: RasterizeMode = "classic") -> SceneView:
    """Render colour, depth and labels of one view, without gradients.

    Args:
        scene: Gaussians and labels on one device.
        camera: the view, on that device.
        rasterize_mode: how the splats were trained.

    Raises:
        InputError: labels and Gaussians differ in number or device.
    """
    splats = scene.splats
    colors, alphas, _ = rasterization(
        splats.means, splats.quats, splats.scales, splats.opacities, splats.sh, camera.viewmat[None], camera.K[None],
        camera.width, camera.height, sh_degree=splats.sh_degree, render_mode="RGB+ED", rasterize_mode=rasterize_mode,
    )  # fmt: skip
    labels = render_panoptic(splats, scene.labels, camera, rasterize_mode=rasterize_mode)
    return SceneView(colors[0, ..., :3], colors[0, ..., 3], alphas[0, ..., 0], labels.ids, labels.confidence)


def to_bytes(values: Tensor) -> np.ndarray:
    """Values in 0…1 of any shape as uint8 of that shape."""
    return (values.clamp(0, 1) * 255).round().to(torch.uint8).cpu().numpy()
