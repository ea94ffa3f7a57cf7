# SPDX-License-Identifier: Apache-2.0
"""Optimizer steps on many tensors at once."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from panoptic_gs import _kernels
from panoptic_gs.kernels.core import checked, num_threads


def adam_step(
    values: Sequence[Tensor],  # any shape, contiguous; written
    gradients: Sequence[Tensor],
    means: Sequence[Tensor],  # exp_avg, written
    squares: Sequence[Tensor],  # exp_avg_sq, written
    steps: Sequence[float],  # of each tensor, this one included
    rates: Sequence[float],  # learning rate of each
    *,
    betas: tuple[float, float],
    eps: float,
) -> None:
    """One step of Adam (Kingma and Ba, 2015) as ``torch.optim.Adam`` takes it, on contiguous float32 CPU tensors."""
    for value, gradient, mean, square in zip(values, gradients, means, squares):
        for tensor in (value, mean, square):
            if not tensor.is_contiguous():
                raise ValueError("adam_step writes into contiguous tensors alone")
            checked("tensor", tensor, value.shape)
        checked("gradient", gradient, value.shape)
    _kernels.adam_step(
        [value.detach() for value in values], [gradient.detach().contiguous() for gradient in gradients], list(means),
        list(squares), list(steps), list(rates), *betas, eps, num_threads(),
    )  # fmt: skip


def can_step(value: Tensor) -> bool:
    """Whether :func:`adam_step` takes a tensor."""
    return value.device.type == "cpu" and value.dtype == torch.float32 and value.is_contiguous()
