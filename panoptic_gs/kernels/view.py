# SPDX-License-Identifier: Apache-2.0
"""Gaussians projected into one view, sorted by depth and distributed into tiles: what every traversal starts from."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from panoptic_gs import _kernels
from panoptic_gs._kernels import View  # pyright: ignore[reportMissingImports] (built by CMake, installed elsewhere)
from panoptic_gs.errors import InputError
from panoptic_gs.kernels.core import checked, num_threads

TILE_SIZE: int = _kernels.tile_size
"""Pixels a side of the host kernels' tiles. No result depends on it."""

ALPHA_MAX: float = float(f"{_kernels.alpha_max:.6g}")  # as it is written there, in float32
"""What a Gaussian's alpha at a pixel is clamped to unless asked otherwise; gsplat's until 1.5.3. Its 1.6 has 0.99."""


class Projection(NamedTuple):
    """Gaussians on one image plane; zeros where culled."""

    view: View
    """Depth-sorted and distributed into tiles; for the traversals."""
    radii: Tensor  # [N, 2] int32, pixels
    means2d: Tensor  # [N, 2] pixels
    depths: Tensor  # [N]
    conics: Tensor  # [N, 3]: xx, xy, yy of the inverse covariance
    compensations: Tensor | None  # [N], antialiased only


def project(
    means: Tensor,  # [N, 3]
    quats: Tensor,  # [N, 4] wxyz, normalised here
    scales: Tensor,  # [N, 3]
    opacities: Tensor,  # [N]
    viewmat: Tensor,  # [4, 4] world to camera
    K: Tensor,  # [3, 3]
    width: int,
    height: int,
    *,
    near_plane: float = 0.01,
    far_plane: float = 1e10,
    radius_clip: float = 0.0,
    eps2d: float = 0.3,
    antialiased: bool = False,
    alpha_max: float = ALPHA_MAX,
) -> Projection:
    """Project Gaussians into one pinhole camera, sort them by depth, and find the tiles that each reaches.

    ``alpha_max`` goes with the view: everything that is blended in it clamps alpha alike.

    Raises:
        InputError: shapes or dtypes that do not fit, NaN or infinite Gaussians.
    """
    count = means.shape[0]
    inputs = gaussians(means, quats, scales, opacities)
    radii = torch.empty(count, 2, dtype=torch.int32)
    means2d, depths, conics = torch.empty(count, 2), torch.empty(count), torch.empty(count, 3)
    compensations = torch.empty(count) if antialiased else None
    view = _kernels.project(
        *inputs, checked("viewmat", viewmat, (4, 4)), checked("K", K, (3, 3)), width, height, near_plane, far_plane,
        radius_clip, eps2d, antialiased, alpha_max, num_threads(), radii, means2d, depths, conics, compensations,
    )  # fmt: skip
    if view.invalid:
        _name_invalid(dict(zip(("means", "quats", "scales", "opacities"), inputs)))
    return Projection(view, radii, means2d, depths, conics, compensations)


def view_of(
    means: Tensor,  # [N, 3]
    quats: Tensor,  # [N, 4] wxyz
    scales: Tensor,  # [N, 3]
    opacities: Tensor,  # [N]
    viewmat: Tensor,  # [4, 4] world to camera
    K: Tensor,  # [3, 3]
    width: int,
    height: int,
    *,
    near_plane: float,
    far_plane: float,
    radius_clip: float,
    eps2d: float,
    antialiased: bool,
    alpha_max: float = ALPHA_MAX,
) -> View:
    """:func:`project` for traversals alone."""
    inputs = gaussians(means, quats, scales, opacities)
    view = _kernels.project(
        *inputs, checked("viewmat", viewmat, (4, 4)), checked("K", K, (3, 3)), width, height, near_plane, far_plane,
        radius_clip, eps2d, antialiased, alpha_max, num_threads(), None, None, None, None, None,
    )  # fmt: skip
    if view.invalid:
        _name_invalid(dict(zip(("means", "quats", "scales", "opacities"), inputs)))
    return view


def gaussians(means: Tensor, quats: Tensor, scales: Tensor, opacities: Tensor) -> tuple[Tensor, ...]:
    """The four as contiguous CPU tensors of N Gaussians."""
    count = means.shape[0]
    return (
        checked("means", means, (count, 3)),
        checked("quats", quats, (count, 4)),
        checked("scales", scales, (count, 3)),
        checked("opacities", opacities, (count,)),
    )


def _name_invalid(inputs: dict[str, Tensor]) -> None:
    for name, values in inputs.items():
        bad = ~torch.isfinite(values.flatten(1) if values.ndim > 1 else values[:, None]).all(1)
        if bad.any():
            first = int(bad.nonzero()[0])
            raise InputError(name, f"NaN or infinity in {int(bad.sum())} Gaussians, the first at index {first}",
                             "finite numbers", "Remove these Gaussians, or look for what made them so.")  # fmt: skip
    raise InputError("Gaussians", "numbers whose sum overflows float32", "numbers of a reasonable size",
                     "Rescale the scene.")  # fmt: skip
