# SPDX-License-Identifier: Apache-2.0
"""Small random scenes for the rasterizer's tests."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

GAUSSIANS = ("means", "quats", "scales", "opacities", "colors", "viewmats")


def make_scene(
    count: int = 60,
    cameras: int = 2,
    channels: int = 3,
    width: int = 37,
    height: int = 29,
    harmonics: int | None = None,
    seed: int = 1,
    scale: float = 0.14,
) -> dict[str, Any]:
    """Random Gaussians before a few cameras; float64 numbers that float32 holds exactly."""
    rng = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=rng, dtype=torch.float64)

    def uniform(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=rng, dtype=torch.float64)

    viewmats = torch.eye(4, dtype=torch.float64).repeat(cameras, 1, 1)
    viewmats[:, 2, 3] = 3.0
    for c in range(1, cameras):
        angle = torch.tensor(0.3 * c)
        viewmats[c, 0, 0] = viewmats[c, 2, 2] = angle.cos()
        viewmats[c, 0, 2], viewmats[c, 2, 0] = angle.sin(), -angle.sin()
        viewmats[c, 0, 3] = 0.2
    K = torch.tensor([[30.0, 0, width / 2 + 1], [0, 32, height / 2 - 0.5], [0, 0, 1]], dtype=torch.float64)
    scene = {
        "means": normal(count, 3) * torch.tensor([1.0, 1.0, 0.6]),
        "quats": normal(count, 4),
        "scales": scale * torch.exp(0.6 * normal(count, 3)),
        "opacities": 0.01 + 0.98 * uniform(count),
        "colors": uniform(count, channels) if harmonics is None else 0.3 * normal(count, (harmonics + 1) ** 2, 3),
        "viewmats": viewmats,
        "Ks": K.repeat(cameras, 1, 1),
    }
    scene = {name: values.float().double() for name, values in scene.items()}
    return {**scene, "width": width, "height": height}


def as_float32(scene: dict[str, Any], gradients: tuple[str, ...] = ()) -> dict[str, Any]:
    return _converted(scene, gradients, torch.float32)


def as_float64(scene: dict[str, Any], gradients: tuple[str, ...] = ()) -> dict[str, Any]:
    return _converted(scene, gradients, torch.float64)


def _converted(scene: dict[str, Any], gradients: tuple[str, ...], dtype: torch.dtype) -> dict[str, Any]:
    return {
        name: value.detach().to(dtype, copy=True).requires_grad_(name in gradients) if torch.is_tensor(value) else value
        for name, value in scene.items()
    }
