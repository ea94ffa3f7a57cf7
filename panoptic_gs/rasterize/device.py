# SPDX-License-Identifier: Apache-2.0
"""CUDA tensors: gsplat, and in torch what it lacks."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from panoptic_gs.errors import InputError


def rasterization(
    means: Tensor,
    quats: Tensor,
    scales: Tensor,
    opacities: Tensor,
    colors: Tensor,
    viewmats: Tensor,
    Ks: Tensor,
    width: int,
    height: int,
    *,
    extra_colors: Tensor | None,  # [(C,) N, E]
    sh_degree: int | None,
    backgrounds: Tensor | None,
    render_mode: Any,
    **others: Any,
) -> tuple[Tensor, Tensor, dict[str, Any]]:
    """gsplat's ``rasterization`` with ``extra_colors`` appended to the colours, in one pass."""
    try:
        import gsplat
    except ImportError as error:
        raise InputError("gsplat", "no gsplat installed", "gsplat 1.4 or 1.5 for CUDA tensors",
                         "Run `pip install panoptic-gs[cuda]`, or pass CPU tensors.") from error  # fmt: skip
    if extra_colors is not None and render_mode.startswith("RGB"):
        cameras = viewmats.shape[0]
        if sh_degree is not None:
            colors = _seen_colors(gsplat, sh_degree, means, viewmats, colors)
            sh_degree = None
        parts = [colors, extra_colors]
        if any(part.ndim == 3 for part in parts):
            parts = [part if part.ndim == 3 else part.expand(cameras, -1, -1) for part in parts]
        if backgrounds is not None and backgrounds.shape[-1] == colors.shape[-1]:
            backgrounds = torch.nn.functional.pad(backgrounds, (0, extra_colors.shape[-1]))
        colors = torch.cat(parts, dim=-1)
    return gsplat.rasterization(
        means, quats, scales, opacities, colors, viewmats, Ks, width, height, sh_degree=sh_degree,
        backgrounds=backgrounds, render_mode=render_mode, **others,
    )  # fmt: skip


def _seen_colors(gsplat: Any, degree: int, means: Tensor, viewmats: Tensor, coeffs: Tensor) -> Tensor:  # [C, N, 3]
    """Spherical harmonics as gsplat's ``rasterization`` evaluates them."""
    centres = torch.linalg.inv(viewmats)[:, None, :3, 3]
    directions = means - centres
    coeffs = coeffs if coeffs.ndim == 4 else coeffs.expand(viewmats.shape[0], -1, -1, -1)
    return torch.clamp_min(gsplat.spherical_harmonics(degree, directions, coeffs) + 0.5, 0.0)
