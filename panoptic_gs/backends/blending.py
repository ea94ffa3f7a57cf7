# SPDX-License-Identifier: Apache-2.0
"""How Gaussians are blended: said once for colours, votes and rendered labels."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TypedDict, get_args

from panoptic_gs.errors import InputError
from panoptic_gs.splats.gaussians import RasterizeMode

ALPHA_MIN = 1.0 / 255.0
"""A Gaussian that covers less of a pixel is skipped there, as in every 3DGS rasterizer: 8-bit colour does not show it.
"""


class BlendingKeywords(TypedDict, total=False):
    """The fields of :class:`Blending` as keyword arguments of a function."""

    near_plane: float
    far_plane: float
    radius_clip: float
    eps2d: float
    rasterize_mode: RasterizeMode
    alpha_max: float | None


@dataclass(frozen=True)
class Blending:
    """How Gaussians are blended; the arguments of :func:`~panoptic_gs.rasterization` with the same names and defaults.

    Labels are uplifted with the weights of the forward pass only where these agree with it.

    Raises:
        InputError: an unknown mode, an ``alpha_max`` that leaves nothing to blend or nothing behind it.
    """

    near_plane: float = 0.01
    """Gaussians whose centre is nearer are left out."""
    far_plane: float = 1e10
    """Gaussians whose centre is farther are left out."""
    radius_clip: float = 0.0
    """Gaussians whose radii in pixels are both not larger are left out."""
    eps2d: float = 0.3
    """Added to the diagonal of each 2D covariance, pixels²."""
    rasterize_mode: RasterizeMode = "classic"
    """``antialiased`` scales opacities by √(det Σ / det(Σ + εI))."""
    alpha_max: float | None = None
    """The most that one Gaussian covers of a pixel. ``None``: as the rasterizer of the splats' device has it, which is
    0.999 on the host and in gsplat until 1.5, 0.99 in gsplat 1.6."""

    def __post_init__(self) -> None:
        if self.rasterize_mode not in get_args(RasterizeMode):
            raise InputError("rasterize_mode", repr(self.rasterize_mode), "'classic' or 'antialiased'",
                             "Pass the mode that the splats were trained with.")  # fmt: skip
        if self.alpha_max is not None and not ALPHA_MIN < self.alpha_max < 1.0:
            raise InputError("alpha_max", repr(self.alpha_max), "a number above 1/255 and below 1",
                             "Pass that of the rasterizer that the splats were trained with, or nothing.")  # fmt: skip

    @property
    def antialiased(self) -> bool:
        """Whether opacities make up for the low-pass filter."""
        return self.rasterize_mode == "antialiased"

    def joined(self, other: Blending) -> Blending | None:
        """The rules that both follow, a clamp that one leaves open being the other's; None where they differ."""
        clamps = {clamp for clamp in (self.alpha_max, other.alpha_max) if clamp is not None}
        if len(clamps) == 2 or replace(self, alpha_max=None) != replace(other, alpha_max=None):
            return None
        return replace(self, alpha_max=clamps.pop() if clamps else None)
