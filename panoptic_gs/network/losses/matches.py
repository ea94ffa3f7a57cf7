# SPDX-License-Identifier: Apache-2.0
"""Descriptors by which a pixel is found again in another view.

InfoNCE over all pixels of the other view (Leroy et al., Grounding Image Matching in 3D with MASt3R, ECCV 2024, Eq. 10);
true pairs come from true depth and cameras.
"""

from __future__ import annotations

import torch
from torch import Tensor

TEMPERATURE = 0.07
POINTS = 160
"""Pixels of each view that are looked for in all others."""
TOLERANCE = 0.04
"""A pixel shows the same place if its depth is that of the place but for this share."""


def match_loss(
    descriptors: Tensor,
    depth: Tensor,
    viewmats: Tensor,
    Ks: Tensor,
    stride: int,
    generator: torch.Generator | None = None,
) -> Tensor | None:
    """−log of the share that the true place has among all places of the other view; None where no view sees another's.

    Args:
        descriptors: ``[V, C, h, w]`` of length 1, at every `stride` pixels; they may reach beyond the image.
        depth: ``[V, H, W]`` along z, 0 where unknown.
        viewmats: ``[V, 4, 4]`` world to camera.
        Ks: ``[V, 3, 3]`` in pixels.
        stride: pixels between descriptors.
        generator: draws the pixels.
    """
    views, height, width = depth.shape
    rows, columns = height // stride, width // stride
    own = descriptors[:, :, :rows, :columns].flatten(2).transpose(1, 2)  # [V, h·w, C]
    cell = torch.randint(rows * columns, (views, POINTS), generator=generator).to(depth.device)
    row, column = cell // columns, cell % columns
    y, x = (row + 0.5) * stride, (column + 0.5) * stride
    view = torch.arange(views, device=depth.device)[:, None]
    z = depth[view, y.long(), x.long()]
    local = torch.stack([
        (x - Ks[:, 0, 2, None]) / Ks[:, 0, 0, None] * z, (y - Ks[:, 1, 2, None]) / Ks[:, 1, 1, None] * z, z
    ], -1)  # fmt: skip
    where, seen = project(local, z > 0, depth, viewmats, Ks)
    target = (where[..., 1] / stride).long().clamp(0, rows - 1) * columns + (where[..., 0] / stride).long().clamp(
        0, columns - 1
    )
    if not bool(seen.any()):
        return None
    chosen = own[view, cell]  # [V, P, C]
    logits = torch.einsum("ipc,jqc->ipjq", chosen, own) / TEMPERATURE
    log_share = logits.log_softmax(-1).gather(-1, target[..., None])[..., 0]
    return -(log_share * seen).sum() / seen.sum()


def project(local: Tensor, known: Tensor, depth: Tensor, viewmats: Tensor, Ks: Tensor) -> tuple[Tensor, Tensor]:
    """Where the points of each view are in all others.

    Args:
        local: ``[V, P, 3]`` in each view's own frame.
        known: ``[V, P]`` bool.
        depth, viewmats, Ks: of the views, see `match_loss`.

    Returns:
        Pixels ``[V, P, V, 2]``; bool ``[V, P, V]``, where another view sees the point, by its depth.
    """
    views, height, width = depth.shape
    relative = torch.einsum("jab,ibc->ijac", viewmats.double(), torch.linalg.inv(viewmats.double())).to(local.dtype)
    moved = torch.einsum("ijab,ipb->ipja", relative[..., :3, :3], local) + relative[:, None, :, :3, 3]
    z = moved[..., 2]
    safe = z.clamp_min(1e-3)
    pixel = torch.stack([
        moved[..., 0] / safe * Ks[:, 0, 0] + Ks[:, 0, 2], moved[..., 1] / safe * Ks[:, 1, 1] + Ks[:, 1, 2]
    ], -1)  # fmt: skip
    inside = (pixel >= 0).all(-1) & (pixel[..., 0] < width) & (pixel[..., 1] < height) & (z > 1e-3)
    column, row = pixel[..., 0].long().clamp(0, width - 1), pixel[..., 1].long().clamp(0, height - 1)
    there = depth[torch.arange(views, device=depth.device), row, column]
    seen = inside & known[..., None] & ((there - z).abs() < TOLERANCE * z)
    return pixel, seen & ~torch.eye(views, dtype=torch.bool, device=depth.device)[:, None]
