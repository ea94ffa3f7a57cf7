# SPDX-License-Identifier: Apache-2.0
"""Feature maps from pixels to Gaussians: the same weighted average as for labels, with dense maps."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor

from panoptic_gs import kernels
from panoptic_gs.camera import Camera
from panoptic_gs.errors import InputError
from panoptic_gs.splats import Splats
from panoptic_gs.uplift.blending import Blending, pixel_weights_of
from panoptic_gs.uplift.device import DeviceFeatures, tile_lists


def uplift_features(
    splats: Splats,
    views: Iterable[tuple[Camera, np.ndarray | Tensor]],
    weights: Iterable[np.ndarray | Tensor | None] | None = None,
    *,
    near_plane: float = 0.01,
    far_plane: float = 1e10,
    radius_clip: float = 0.0,
    eps2d: float = 0.3,
    rasterize_mode: str = "classic",
) -> Tensor:
    r"""Uplift dense feature maps to Gaussians (LUDVIG, Eq. 7).

    .. math:: f_i = \sum_{(n,u)} w_i(n,u)\, F_n(u) / Z_i, \qquad Z_i = \sum_{(n,u)} w_i(n,u)

    with :math:`w_i(n,u) = α_i(u) T_i(u)` the blending weight of Gaussian i at pixel u of view n. Sums are taken in a
    fixed order (tiles within a view, views as they come) in float32, on CUDA as integers within a view, so a result
    does not depend on threads, blocks or the run; another order of views may change the last digits. Besides the
    result, one view and at most 128 MB are held, whatever D (16 channels of a view where those alone are more).

    Args:
        splats: N Gaussians.
        views: yields the camera and the features ``[H, W, D]`` of each view, any D, the same for all.
        weights: factors ``[H, W]`` for each view's pixels, in order; None for ones.
        near_plane, far_plane, radius_clip, eps2d, rasterize_mode: as in :func:`~panoptic_gs.rasterization`.

    Returns:
        ``[N, D]`` float32; zeros for Gaussians that no pixel shows.

    Raises:
        InputError: maps that do not fit their cameras or each other, values that are not finite, no views.
    """
    blending = Blending(near_plane, far_plane, radius_clip, eps2d, rasterize_mode)
    device = splats.means.device
    sums: Tensor | None = None
    totals = torch.zeros(len(splats), device=device)
    on_device: DeviceFeatures | None = None
    in_order = iter(weights) if weights is not None else None
    for camera, features in views:
        values = _features_of(camera, features, sums, device)
        factors = next(in_order, None) if in_order is not None else None
        factors = None if factors is None else pixel_weights_of(camera, factors, device)
        if device.type == "cuda":
            if on_device is None:
                on_device = DeviceFeatures(len(splats), values.shape[2], device)
                sums = on_device.sums
            on_device.add(tile_lists(splats, camera, blending), values, factors)
            continue
        if sums is None:
            sums = torch.zeros(len(splats), values.shape[2])
        kernels.add_feature_votes(blending.view_of(splats, camera), sums, totals, values, factors)
    if sums is None:
        raise InputError("views", "no views", "at least one view", "Pass the cameras and their feature maps.")
    if on_device is not None:
        totals = on_device.totals
    return sums.div_(totals[:, None].clamp_min(1e-30))  # sums without weight are 0


def _features_of(camera: Camera, features: np.ndarray | Tensor, sums: Tensor | None, device: torch.device) -> Tensor:
    values = torch.as_tensor(features)
    channels = values.shape[-1] if sums is None else sums.shape[1]
    if values.ndim != 3 or tuple(values.shape) != (camera.height, camera.width, channels) or channels == 0:
        raise InputError(
            "feature map",
            f"shape {list(values.shape)}",
            f"[{camera.height}, {camera.width}, {channels or 'D'}] (height, width, channels)",
            "Resample the features to the camera's size, or resize the camera.",
        )
    values = values.detach().to(device, torch.float32).contiguous()
    if not torch.isfinite(values).all():
        raise InputError(
            "feature map",
            "NaN or infinite values",
            "finite features",
            "Set missing features to 0 and give their pixels weight 0.",
        )
    return values
