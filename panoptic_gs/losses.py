# SPDX-License-Identifier: Apache-2.0
"""Training losses: colour as in 3DGS, and the panoptic colour loss."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from panoptic_gs.palette import PanopticPalette


def panoptic_color_loss(
    rendered: Tensor,  # [..., H, W, 3]
    ids: Tensor,  # [..., H, W]
    palette: PanopticPalette,
    weights: Tensor | None = None,  # [..., H, W]
    lambda_panoptic: float = 1.0,
) -> Tensor:
    r"""L1 between rendered panoptic colours and the palette colours of the labels, over labelled pixels.

    .. math::
        L = \lambda \frac{1}{3 |\Omega|} \sum_{u \in \Omega} w_u \lVert \hat C_u - c_{\mathrm{id}(u)} \rVert_1,
        \qquad \Omega = \{u : \mathrm{id}(u) \neq 0\}

    The rendered colours are those of an extra, view-independent colour per Gaussian, blended as the RGB colours are, so
    the gradient moves and shapes the Gaussians until their borders follow the segments' (PanSt3R, Eq. 5–6).

    Args:
        rendered: panoptic colours in 0…1.
        ids: segment ids; 0 is void and takes no part.
        palette: the scene's colours, made once from all of its segments.
        weights: per-pixel weights such as the network's confidence; 1 by default. They scale a pixel's pull; the sum is
            divided by the number of labelled pixels all the same.
        lambda_panoptic: the weight of the loss.

    Returns:
        A scalar; 0 where every pixel is void.
    """
    error = (rendered - palette.colorize(ids).to(rendered.dtype)).abs().mean(dim=-1)
    labelled = ids != 0
    if weights is not None:
        error = error * weights
    return lambda_panoptic * (error * labelled).sum() / labelled.sum().clamp(min=1)


def depth_loss(
    rendered: Tensor,  # [H, W]
    coverage: Tensor,  # [H, W]
    depth: Tensor,  # [H, W]
    confidence: Tensor | None = None,  # [H, W]
) -> Tensor:
    r"""L1 between the logarithms of rendered and known depth, up to a scale of the view.

    .. math::
        L = \frac{\sum_u w_u \lvert r_u - \operatorname{median}(r) \rvert}{\sum_u w_u},
        \qquad r_u = \log \hat z_u - \log z_u, \quad w_u = \alpha_u c_u

    The median over the view's known pixels makes it blind to the scale, in which networks and depth cameras err most,
    and neither it nor the L1 heeds single wrong distances (the scale-invariant error in logarithms of Eigen et al.,
    Depth Map Prediction from a Single Image, NeurIPS 2014, with medians for means).

    Args:
        rendered: expected depth along z.
        coverage: accumulated opacity of the same pixels in 0…1; no gradient flows into it.
        depth: known depth along z in any unit; 0 where it is not known.
        confidence: factor of each pixel's weight; 1 by default.

    Returns:
        A scalar; 0 where no depth is known or nothing covers it.
    """
    known = (depth > 0) & (coverage > 0.5) & (rendered > 0)
    if not known.any():
        return rendered.new_zeros(())
    ratio = rendered[known].log() - depth[known].log()
    weight = coverage.detach()[known]
    if confidence is not None:
        weight = weight * confidence[known]
    return (weight * (ratio - ratio.detach().median()).abs()).sum() / weight.sum().clamp_min(1e-12)


def structural_similarity(rendered: Tensor, target: Tensor) -> Tensor:
    r"""Mean SSIM of two images ``[..., H, W, C]`` with values in 0…1.

    An 11×11 Gaussian window with :math:`\sigma = 1.5`, no padding: pixels closer than 5 to the border are no window
    centres. :math:`C_1 = 0.01^2, C_2 = 0.03^2`.

    Raises:
        ValueError: an image smaller than the window.

    Reference: Wang et al., Image Quality Assessment: From Error Visibility to Structural Similarity, TIP 2004.
    """
    height, width, channels = rendered.shape[-3:]
    if min(height, width) < 11:
        raise ValueError(f"SSIM needs images of at least 11×11 pixels, got {width}×{height}")
    x, y = (image.reshape(-1, height, width, channels).permute(0, 3, 1, 2) for image in (rendered, target))
    offsets = torch.arange(-5, 6, dtype=x.dtype, device=x.device)
    window = torch.exp(-(offsets**2) / (2 * 1.5**2))
    window = (window / window.sum()).expand(5 * channels, 1, 11)
    moments = torch.cat([x, y, x * x, y * y, x * y], dim=1)
    moments = F.conv2d(moments, window[..., :, None], groups=5 * channels)
    moments = F.conv2d(moments, window[..., None, :], groups=5 * channels)
    mean_x, mean_y, mean_xx, mean_yy, mean_xy = moments.chunk(5, dim=1)
    c1, c2 = 0.01**2, 0.03**2
    product, squares = mean_x * mean_y, mean_x * mean_x + mean_y * mean_y
    covariance, variances = mean_xy - product, mean_xx + mean_yy - squares
    return ((2 * product + c1) * (2 * covariance + c2) / ((squares + c1) * (variances + c2))).mean()
