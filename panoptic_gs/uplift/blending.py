# SPDX-License-Identifier: Apache-2.0
"""What uplifting and label rendering share: the rules of blending, and the checks of maps at the border."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from panoptic_gs import kernels
from panoptic_gs.camera import Camera
from panoptic_gs.errors import InputError
from panoptic_gs.splats import Splats

LARGEST_LABEL = 2**31 - 1
"""Labels are any integers from 0 (void) to this; they need not be consecutive."""

LARGEST_WEIGHT = 1024.0
"""Factors of a pixel's votes are numbers from 0 to this."""


@dataclass(frozen=True)
class Blending:
    """How Gaussians are blended; the arguments of :func:`~panoptic_gs.rasterization` with the same names and defaults.

    Labels are uplifted with the weights of the forward pass only where these agree with it.
    """

    near_plane: float = 0.01
    """Gaussians whose centre is nearer are left out."""
    far_plane: float = 1e10
    """Gaussians whose centre is farther are left out."""
    radius_clip: float = 0.0
    """Gaussians whose radius in pixels is not larger are left out."""
    eps2d: float = 0.3
    """Added to the diagonal of each 2D covariance."""
    rasterize_mode: str = "classic"
    """``classic`` or ``antialiased``."""

    def __post_init__(self) -> None:
        if self.rasterize_mode not in ("classic", "antialiased"):
            raise InputError(
                "rasterize_mode",
                repr(self.rasterize_mode),
                "'classic' or 'antialiased'",
                "Pass the mode that the splats were trained with.",
            )

    def view_of(self, splats: Splats, camera: Camera) -> kernels.View:
        """The splats projected into the camera, sorted by tile and depth, on the CPU."""
        return kernels.view_of(
            splats.means, splats.quats, splats.scales, splats.opacities, camera.viewmat.cpu(), camera.K.cpu(),
            camera.width, camera.height, near_plane=self.near_plane, far_plane=self.far_plane,
            radius_clip=self.radius_clip, eps2d=self.eps2d, antialiased=self.antialiased,
        )  # fmt: skip

    @property
    def antialiased(self) -> bool:
        """Whether opacities make up for the low-pass filter."""
        return self.rasterize_mode == "antialiased"


def label_map_of(camera: Camera, labels: np.ndarray | Tensor, device: torch.device) -> Tensor:
    """A label map ``[H, W]`` of any integer type as contiguous int32 on ``device``.

    Raises:
        InputError: not of the camera's size, not integer, labels below 0 or above :data:`LARGEST_LABEL`.
    """
    source = "label map"
    _require_size(source, labels, (camera.height, camera.width), camera)
    if isinstance(labels, np.ndarray) and labels.dtype.kind in "iu":
        lowest, highest = (int(labels.min()), int(labels.max())) if labels.size else (0, 0)
        to_int32 = lambda: torch.from_numpy(np.ascontiguousarray(labels, dtype=np.int32))
    elif isinstance(labels, Tensor) and not labels.dtype.is_floating_point and labels.dtype != torch.bool:
        lowest, highest = torch.stack(labels.aminmax()).tolist() if labels.numel() else (0, 0)
        to_int32 = lambda: labels.to(torch.int32)
    else:
        raise InputError(source, f"values of type {labels.dtype}", "integers", "Pass ids, 0 for void.")
    if lowest < 0 or highest > LARGEST_LABEL:
        raise InputError(
            source,
            f"labels from {lowest} to {highest}",
            f"0 (void) to {LARGEST_LABEL}",
            "Give unlabelled pixels 0 and number the segments anew.",
        )
    return to_int32().to(device).contiguous()


def pixel_weights_of(camera: Camera, weights: np.ndarray | Tensor, device: torch.device) -> Tensor:
    """A weight map ``[H, W]`` as contiguous float32 on ``device``.

    Raises:
        InputError: not of the camera's size, negative, NaN or above :data:`LARGEST_WEIGHT`.
    """
    _require_size("weights", weights, (camera.height, camera.width), camera)
    values = torch.as_tensor(weights).detach().to(device, torch.float32).contiguous()
    if not ((values >= 0) & (values <= LARGEST_WEIGHT)).all():
        raise InputError(
            "weights",
            "negative, NaN or very large values",
            f"weights from 0 to {LARGEST_WEIGHT:g}",
            "Scale and clamp them; a pixel of weight 0 takes no part.",
        )
    return values


def _require_size(source: str, values: np.ndarray | Tensor, shape: tuple[int, ...], camera: Camera) -> None:
    if tuple(values.shape[:2]) != shape or values.ndim != 2:
        raise InputError(
            source,
            f"shape {list(values.shape)}",
            f"{list(shape)} (height, width) as its camera says",
            "Resample the map by nearest neighbour (panoptic_gs.panoptic.resize_nearest), or resize the "
            f"camera ({camera.width}×{camera.height}).",
        )
