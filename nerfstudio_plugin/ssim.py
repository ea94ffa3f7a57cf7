# SPDX-License-Identifier: Apache-2.0
"""Structural similarity for training and evaluation."""

from __future__ import annotations

import pytorch_msssim
import torch
from torch import Tensor

from panoptic_gs import kernels


class SSIM(torch.nn.Module):
    """Mean SSIM of images in [0, 1]: 11 × 11 Gaussian window (σ = 1.5), over the pixels that the window fits around.

    One image on the CPU goes to the fused kernel, which is several times faster than convolutions under autograd.
    """

    def forward(self, target: Tensor, rendered: Tensor) -> Tensor:
        """The mean over two batches ``[N, C, H, W]``; on the CPU gradients reach ``rendered`` alone."""
        if rendered.device.type != "cpu" or len(rendered) != 1:
            return pytorch_msssim.ssim(target, rendered, data_range=1.0, size_average=True)
        return kernels.ssim(rendered[0].permute(1, 2, 0), target[0].permute(1, 2, 0))
