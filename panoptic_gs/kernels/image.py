# SPDX-License-Identifier: Apache-2.0
"""Structural similarity of images, fused."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from panoptic_gs import _kernels
from panoptic_gs.errors import InputError
from panoptic_gs.kernels.core import checked, num_threads


class _Similarity(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor) -> Tensor:
        value, ctx.slopes = _kernels.similarity(x, y, ctx.needs_input_grad[0], num_threads())
        ctx.save_for_backward(x, y)
        return torch.tensor(value)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Any) -> tuple[Tensor | None, None]:
        x, y = ctx.saved_tensors
        v_x = torch.empty(x.shape)
        _kernels.similarity_gradient(x, y, ctx.slopes, float(grads[0]), num_threads(), v_x)
        return v_x, None


def ssim(rendered: Tensor, target: Tensor) -> Tensor:  # [H, W, C] each -> []
    """Mean SSIM with an 11×11 Gaussian window, σ = 1.5, where the window fits; differentiable in ``rendered`` alone.

    The same number as :func:`panoptic_gs.losses.structural_similarity`, fused; values in 0 … 1.

    Raises:
        InputError: not two float32 CPU images of one size, at least 11×11 pixels.
    """
    target = checked("target", target, (None, None, None))
    checked("rendered", rendered, target.shape)
    if min(target.shape[:2]) < 11:
        raise InputError("rendered", f"{target.shape[1]}×{target.shape[0]} pixels", "at least 11×11",
                         "Render larger images or leave SSIM out.")  # fmt: skip
    return _Similarity.apply(rendered.contiguous(), target)
