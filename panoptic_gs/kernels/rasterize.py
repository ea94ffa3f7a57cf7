# SPDX-License-Identifier: Apache-2.0
"""Colours of a view, forward and backward."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from panoptic_gs import _kernels
from panoptic_gs._kernels import PixelState, View  # pyright: ignore[reportMissingImports] (built by CMake, installed elsewhere)
from panoptic_gs.kernels.core import checked, num_threads, optional
from panoptic_gs.kernels.view import gaussians


def project_gradient(
    means: Tensor,
    quats: Tensor,
    scales: Tensor,
    opacities: Tensor,
    viewmat: Tensor,
    K: Tensor,
    width: int,
    height: int,
    *,
    eps2d: float,
    radii: Tensor,  # [N, 2] int32
    v_means2d: Tensor,  # [N, 2]
    v_depths: Tensor | None,  # [N]
    v_conics: Tensor,  # [N, 3]
    v_compensations: Tensor | None,  # [N]
    out: tuple[Tensor, Tensor, Tensor],  # gradients of means, quats, scales
    v_viewmat: Tensor | None,  # [3, 4], added to
    accumulate: bool = False,
) -> None:
    """Write (or add to) ``out`` the gradients through :func:`project`."""
    count = means.shape[0]
    _kernels.project_gradient(
        *gaussians(means, quats, scales, opacities), checked("viewmat", viewmat, (4, 4)), checked("K", K, (3, 3)),
        width, height, eps2d, num_threads(), checked("radii", radii, (count, 2), torch.int32),
        checked("v_means2d", v_means2d, (count, 2)), optional("v_depths", v_depths, (count,)),
        checked("v_conics", v_conics, (count, 3)), optional("v_compensations", v_compensations, (count,)),
        accumulate, *out, v_viewmat,
    )  # fmt: skip


def paint(
    view: View,
    colors: Sequence[Tensor],  # each [N, D_i]
    background: Tensor | None = None,  # [D], D = sum of D_i
    keep_state: bool = False,
) -> tuple[Tensor, Tensor, PixelState | None]:
    """Blend colours front to back: image ``[H, W, D]`` with the sources' channels side by side, and alpha ``[H, W]``.

    ``keep_state`` keeps what :func:`paint_gradient` needs, 8 bytes a pixel.
    """
    sources = [checked("colors", color, (view.count, None)) for color in colors]
    channels = sum(source.shape[1] for source in sources)
    image, alpha = torch.empty(view.height, view.width, channels), torch.empty(view.height, view.width)
    state = _kernels.paint(
        view, sources, optional("background", background, (channels,)), num_threads(), image, alpha,
        keep_state,
    )  # fmt: skip
    return image, alpha, state


def count_pairs(view: View) -> tuple[int, int]:
    """(Gaussian, pixel) pairs of a view: those evaluated, whole 8 × 8 blocks at a time, and those blended."""
    return _kernels.count_pairs(view, num_threads())


def find_crossings(view: View, share: float = 0.5) -> Tensor:
    """The Gaussian ``[H, W]`` int32 of each pixel with which its sum of weights reaches ``share``, else -1."""
    out = torch.empty(view.height, view.width, dtype=torch.int32)
    _kernels.find_crossings(view, share, num_threads(), out)
    return out


class PaintGradient(NamedTuple):
    """Gradients through :func:`paint`, zero where culled."""

    means2d: Tensor  # [N, 2]
    means2d_abs: Tensor | None  # [N, 2]: sums of absolute values over pixels
    conics: Tensor  # [N, 3]
    opacities: Tensor  # [N], of the opacities after compensation


def paint_gradient(
    view: View,
    state: PixelState,
    colors: Sequence[Tensor],  # each [N, D_i]
    background: Tensor | None,  # [D]
    v_images: Sequence[tuple[Tensor | None, int]],  # each [H, W, C_i] and C_i, whose sum is D; None: zeros
    v_alpha: Tensor | None,  # [H, W]
    *,
    absgrad: bool,
    v_colors: Sequence[Tensor],  # each [N, D_i], written
    accumulate: Sequence[bool],  # which of them are added to instead
) -> PaintGradient:
    """The gradients through :func:`paint`; the colours' go into ``v_colors``."""
    count = view.count
    sources = [checked("colors", color, (count, None)) for color in colors]
    channels = sum(source.shape[1] for source in sources)
    out = PaintGradient(
        torch.empty(count, 2), torch.empty(count, 2) if absgrad else None, torch.empty(count, 3), torch.empty(count)
    )
    _kernels.paint_gradient(
        view, state, sources, optional("background", background, (channels,)),
        [
            (optional("v_images", values, (view.height, view.width, some)), some)
            for values, some in v_images
        ],
        optional("v_alpha", v_alpha, (view.height, view.width)), num_threads(), *out, list(v_colors),
        list(accumulate),
    )  # fmt: skip
    return out


def harmonics(
    degree: int,
    means: Tensor,  # [N, 3]
    centre: Tensor,  # [3], of the camera
    coeffs: Tensor,  # [N, K, 3]
    radii: Tensor,  # [N, 2] int32
) -> Tensor:  # [N, 3]
    """Colours of Gaussians seen from ``centre``: spherical harmonics + 0.5, at least 0; 0 where culled."""
    count = means.shape[0]
    colors = torch.empty(count, 3)
    _kernels.harmonics(
        degree, checked("means", means, (count, 3)), checked("centre", centre, (3,)),
        checked("coeffs", coeffs, (count, None, 3)), checked("radii", radii, (count, 2), torch.int32),
        num_threads(), colors,
    )  # fmt: skip
    return colors


def harmonics_gradient(
    degree: int,
    means: Tensor,
    centre: Tensor,
    coeffs: Tensor,
    radii: Tensor,
    colors: Tensor,  # [N, 3], what harmonics gave
    v_colors: Tensor,  # [N, 3]
    *,
    v_coeffs: Tensor,  # [N, K, 3], written, or added to
    accumulate_coeffs: bool,
    v_means: Tensor,  # [N, 3], written, or added to
    accumulate: bool,
    v_centre: Tensor,  # [3], added to
) -> None:
    """Write (or add) the gradients through :func:`harmonics`."""
    count = means.shape[0]
    _kernels.harmonics_gradient(
        degree, checked("means", means, (count, 3)), checked("centre", centre, (3,)),
        checked("coeffs", coeffs, (count, None, 3)), checked("radii", radii, (count, 2), torch.int32),
        checked("colors", colors, (count, 3)), checked("v_colors", v_colors, (count, 3)), num_threads(),
        accumulate_coeffs, v_coeffs, accumulate, v_means, v_centre,
    )  # fmt: skip
