# SPDX-License-Identifier: Apache-2.0
import pytorch_msssim
import torch

from nerfstudio_plugin.ssim import SSIM


def test_value_and_gradient_equal_pytorch_msssim() -> None:
    torch.manual_seed(0)
    target = torch.rand(1, 3, 40, 52)
    rendered = (target + 0.2 * torch.randn_like(target)).clamp(0, 1).requires_grad_()
    ours = SSIM()(target, rendered)
    (ours_gradient,) = torch.autograd.grad(ours, rendered)
    theirs = pytorch_msssim.ssim(target, rendered, data_range=1.0, size_average=True)
    (theirs_gradient,) = torch.autograd.grad(theirs, rendered)
    torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(ours_gradient, theirs_gradient, atol=1e-8, rtol=1e-3)
