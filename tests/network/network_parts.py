# SPDX-License-Identifier: Apache-2.0
"""A network small enough for tests, and views that need no renderer."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from panoptic_gs.network.config import AppearanceConfig, GeometryConfig, MaskConfig, NetworkConfig
from panoptic_gs.network.data.views import SceneViews
from panoptic_gs.network.model import PanopticNetwork

CLASSES = ("wall", "floor", "chair", "lamp")
SMALL = NetworkConfig(
    patch=16,
    size=(64, 48),
    appearance=AppearanceConfig("convolutional", 32),
    geometry=GeometryConfig(32, 2, 1, 4, "camera", 4),
    masks=MaskConfig(32, 2, 2, 2, 8, 16, 4),
    class_width=16,
    classes=CLASSES,
)


def small_network(seed: int = 0, **changes: object) -> PanopticNetwork:
    """A network with random weights in evaluation mode; every bias and scale is moved from where it starts."""
    torch.manual_seed(seed)
    network = PanopticNetwork(replace(SMALL, **changes))
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name.startswith("appearance.model"):  # DINOv2's, which comes as it is
                continue
            if not parameter.any():
                parameter.copy_(0.3 * torch.randn_like(parameter))
            elif parameter.ndim < 2:
                parameter.add_(0.1 * torch.randn_like(parameter))
    return network.eval()


def box_views(count: int = 4, width: int = 64, height: int = 48, seed: int = 0) -> SceneViews:
    """Views of the inside of a 4 × 3 × 2.5 metre box: a floor, walls (and ceiling), chairs that are parts of walls."""
    rng = np.random.default_rng(seed)
    half, focal = np.array([2.0, 1.5, 1.25]), 0.6 * width
    K = np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]])
    images, depths, segments, categories, viewmats = [], [], [], [], []
    u, v = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    rays = np.stack([(u - width / 2) / focal, (v - height / 2) / focal, np.ones_like(u)], -1)
    for _ in range(count):
        yaw, eye = rng.uniform(0, 2 * np.pi), rng.uniform(-0.5, 0.5, 3) * half
        forward, right = np.array([np.cos(yaw), np.sin(yaw), 0]), np.array([np.sin(yaw), -np.cos(yaw), 0])
        rotation = np.stack([right, np.array([0, 0, -1.0]), forward])
        viewmat = np.eye(4)
        viewmat[:3, :3], viewmat[:3, 3] = rotation, -rotation @ eye
        world = rays @ rotation
        t = ((np.sign(world) * half - eye) / np.where(np.abs(world) < 1e-9, 1e-9, world)).min(-1)
        hit = eye + t[..., None] * world
        side = np.abs(hit / half).argmax(-1)
        floor = (side == 2) & (hit[..., 2] < 0)
        chair = (side != 2) & (hit[..., 2] < -0.3) & (np.abs(hit[..., 0]) < 1)
        segment = np.where(floor, 2, np.where(chair, 3, 1))
        images.append(np.round(80 + 40 * np.sin(3 * hit) + 15 * segment[..., None]).astype(np.uint8))
        depths.append(t.astype(np.float32))
        segments.append(segment)
        categories.append(np.array([0, 0, 1, 2])[segment])
        viewmats.append(viewmat)
    return SceneViews(
        np.stack(images), np.stack(depths), np.stack(segments), np.stack(categories), np.stack(viewmats),
        np.tile(K, (count, 1, 1)), CLASSES,
    )  # fmt: skip
