# SPDX-License-Identifier: Apache-2.0
"""Structural similarity, quick enough for training on a CPU."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytorch_msssim
import torch
from torch import Tensor

_C1, _C2 = 0.01**2, 0.03**2
_BORDER = 5
_WINDOW = np.exp(-(np.arange(-_BORDER, _BORDER + 1) ** 2) / (2 * 1.5**2))
_WINDOW = (_WINDOW / _WINDOW.sum()).astype(np.float32)


class SSIM(torch.nn.Module):
    """Mean SSIM of images in [0, 1]: 11 × 11 Gaussian window (σ = 1.5), over the pixels that the window fits around.

    On the CPU the window is applied by OpenCV and the gradient is the analytic one, for the second image only; several
    times faster than convolutions under autograd, with the same values.
    """

    def forward(self, target: Tensor, rendered: Tensor) -> Tensor:
        """The mean over two images ``[1, C, H, W]``; gradients reach ``rendered``."""
        if rendered.device.type != "cpu" or len(rendered) != 1:
            return pytorch_msssim.ssim(target, rendered, data_range=1.0, size_average=True)
        return _HostSSIM.apply(rendered[0].permute(1, 2, 0), target[0].permute(1, 2, 0))  # pyright: ignore


class _HostSSIM(torch.autograd.Function):
    """SSIM of ``x [H, W, C]`` with ``y [H, W, C]`` and its gradient by ``x`` (Wang et al. 2004, Eq. 13)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor) -> Tensor:
        x, y = x.detach().float().contiguous(), y.detach().float().contiguous()
        mean_x, mean_y = _blur(x), _blur(y)
        product, squares = mean_x * mean_y, mean_x.square() + mean_y.square()
        covariance = _blur(x * y).sub_(product)
        variances = _blur(x.square().add_(y.square())).sub_(squares)
        luminance_top, luminance_bottom = product.mul_(2).add_(_C1), squares.add_(_C1)
        contrast_top, contrast_bottom = covariance.mul_(2).add_(_C2), variances.add_(_C2)
        similarity = luminance_top * contrast_top / (luminance_bottom * contrast_bottom)
        inside = (slice(_BORDER, x.shape[0] - _BORDER), slice(_BORDER, x.shape[1] - _BORDER))
        value = similarity[inside].mean()
        if ctx.needs_input_grad[0]:
            scale = torch.zeros_like(similarity)
            scale[inside] = 1 / similarity[inside].numel()
            # d similarity / d mean_x, with mean_x also inside the covariance and the variance
            to_mean = 2 * mean_y * similarity * (1 / luminance_top - 1 / contrast_top)
            to_mean += 2 * mean_x * similarity * (1 / contrast_bottom - 1 / luminance_bottom)
            to_square = -similarity / contrast_bottom
            to_product = 2 * similarity / contrast_top
            ctx.save_for_backward(x, y, *(term.mul_(scale) for term in (to_mean, to_square, to_product)))
        return value

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        x, y, to_mean, to_square, to_product = ctx.saved_tensors
        # The window is symmetric, so blurring is its own adjoint; outside the valid pixels the terms are zero.
        result = _blur(to_square).mul_(x).mul_(2)
        result += _blur(to_product).mul_(y)
        result += _blur(to_mean)
        return result.mul_(gradient), None


def _blur(image: Tensor) -> Tensor:
    """Weighted means ``[H, W, C]`` around each pixel, zeros outside the image."""
    return torch.from_numpy(cv2.sepFilter2D(image.numpy(), -1, _WINDOW, _WINDOW, borderType=cv2.BORDER_CONSTANT))
