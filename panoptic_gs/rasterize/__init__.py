# SPDX-License-Identifier: Apache-2.0
"""Differentiable rasterization with gsplat's signature and meaning: gsplat on CUDA, our kernels on the CPU."""

from panoptic_gs.rasterize.rasterization import rasterization

__all__ = ["rasterization"]
