# SPDX-License-Identifier: Apache-2.0
"""Real spherical harmonics up to degree 3 in the order and with the signs of Kerbl et al. 2023."""

from __future__ import annotations

import torch
from torch import Tensor

SH_C0 = 0.28209479177387814
"""The constant spherical harmonic: colour = 0.5 + SH_C0 · dc."""


def basis(directions: Tensor) -> Tensor:
    """The 16 functions of degrees 0 … 3 at unit vectors ``[..., 3]``, ``[..., 16]``.

    Source: Sloan 2013, "Efficient spherical harmonic evaluation".
    """
    x, y, z = directions.unbind(-1)
    xx, yy, zz = x * x, y * y, z * z
    values = [
        torch.full_like(x, SH_C0),
        -0.4886025119029199 * y, 0.4886025119029199 * z, -0.4886025119029199 * x,
        1.0925484305920792 * x * y, -1.0925484305920792 * y * z, 0.31539156525252005 * (2 * zz - xx - yy),
        -1.0925484305920792 * x * z, 0.5462742152960396 * (xx - yy),
        -0.5900435899266435 * y * (3 * xx - yy), 2.890611442640554 * x * y * z,
        -0.4570457994644658 * y * (4 * zz - xx - yy), 0.3731763325901154 * z * (2 * zz - 3 * xx - 3 * yy),
        -0.4570457994644658 * x * (4 * zz - xx - yy), 1.445305721320277 * z * (xx - yy),
        -0.5900435899266435 * x * (xx - 3 * yy),
    ]  # fmt: skip
    return torch.stack(values, dim=-1)


def rotated(sh: Tensor, rotation: Tensor) -> Tensor:
    """Coefficients of the same colours after the world was turned.

    Args:
        sh: ``[N, K, 3]``, K = 1, 4, 9 or 16.
        rotation: ``[3, 3]``, from the old world to the new.

    Returns:
        ``[N, K, 3]``: seen from direction R·d, what ``sh`` shows from d.
    """
    generator = torch.Generator().manual_seed(0)
    directions = torch.nn.functional.normalize(torch.randn(64, 3, generator=generator, dtype=torch.float64), dim=-1)
    before, after = basis(directions), basis(directions @ rotation.detach().cpu().double().T)
    result = sh.clone()
    for degree in range(1, round(sh.shape[1] ** 0.5)):
        band = slice(degree * degree, (degree + 1) ** 2)
        # Each degree's functions span a space that rotations keep, so the least-squares fit is exact.
        turn = torch.linalg.lstsq(after[:, band], before[:, band]).solution.to(sh)
        result[:, band] = torch.einsum("ij,njc->nic", turn, sh[:, band])
    return result
