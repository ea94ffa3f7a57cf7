# SPDX-License-Identifier: Apache-2.0
"""Label warping: what two neighbouring photos show of one point of the surface has one class (PanopticSplatting)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from typing_extensions import Unpack

from panoptic_gs.backends import BlendingKeywords
from panoptic_gs.camera import Camera
from panoptic_gs.splats import Splats
from panoptic_gs.uplift import SparseMatrix, ViewWeights

OCCLUSION = 0.05
"""A warped point must lie at the depth that is rendered there, up to this part of it."""
WARPED_PIXELS = 1024
"""Pixels of a view that are warped into each of its neighbours."""


@dataclass(frozen=True, eq=False)
class Warp:
    """Pixels of one view, and where their surface points lie in another: a row of each matrix for each of them."""

    gaussians: Tensor  # [G] int64: the index in the scene that a column of either matrix stands for
    source: SparseMatrix  # [P, G]
    target: SparseMatrix  # [P, G], bilinear

    def __len__(self) -> int:
        return self.source.shape[0]

    def loss(self, shares: Tensor) -> Tensor:
        """The mean over pixels of ‖M(m, u) − M(n, u')‖₁, with class shares ``[G, C]`` of these Gaussians."""
        return (self.source @ shares - self.target @ shares).abs().sum(-1).mean()


def warps_of_views(
    splats: Splats,
    cameras: Mapping[str, Camera],
    neighbours: int = 2,
    generator: torch.Generator | None = None,
    depths: Mapping[str, Tensor] | None = None,
    **blending: Unpack[BlendingKeywords],
) -> dict[str, list[Warp]]:
    """For each view, its warps into the views that see most of it.

    Args:
        splats: the Gaussians.
        cameras: the views.
        neighbours: into how many.
        generator: draws the pixels.
        depths: image stem → depth ``[H, W]`` of a sensor, 0 where unknown; rendered depth where there is none.
        blending: as for :class:`~panoptic_gs.uplift.ViewWeights`.
    """
    drawn = {
        stem: torch.randperm(camera.width * camera.height, generator=generator)[:WARPED_PIXELS].sort().values
        for stem, camera in cameras.items()
    }
    weights = {stem: ViewWeights.of(splats, camera, drawn[stem], **blending) for stem, camera in cameras.items()}
    points: dict[str, Tensor] = {}
    for stem, camera in cameras.items():
        depth = _depth(splats, camera, weights[stem])
        if depths is not None and stem in depths:
            measured = depths[stem].flatten()[drawn[stem]].float()
            depth = torch.where(measured > 0, measured, depth)
        points[stem] = _unprojected(camera, drawn[stem], depth)
    overlap = {a: {b: int(_projected(cameras[b], points[a])[1].sum()) for b in cameras if b != a} for a in cameras}
    result: dict[str, list[Warp]] = {}
    for stem in cameras:
        # Of the views that have most points in the picture, those that really show them once hidden ones are out.
        likely = sorted(overlap[stem], key=lambda other: (-overlap[stem][other], other))[: 2 * neighbours]
        tried = [_warp(splats, cameras[other], weights[stem], points[stem], **blending) for other in likely]
        result[stem] = sorted((warp for warp in tried if len(warp)), key=len, reverse=True)[:neighbours]
    return result


def _depth(splats: Splats, camera: Camera, weights: ViewWeights) -> Tensor:
    """Expected depth ``[P]``, 0 where nothing is."""
    z = (splats.means.cpu()[weights.gaussians] @ camera.viewmat[2, :3].cpu()) + camera.viewmat[2, 3].cpu()
    alpha = weights.accumulation
    return torch.where(alpha > 0.5, (weights.matrix @ z.float()) / alpha.clamp_min(1e-6), 0.0)


def _unprojected(camera: Camera, pixels: Tensor, depth: Tensor) -> Tensor:
    """World points ``[P, 3]`` of pixel centres, NaN without depth."""
    K, viewmat = camera.K.cpu().float(), camera.viewmat.cpu().float()
    u = torch.stack([pixels % camera.width + 0.5, pixels // camera.width + 0.5, torch.ones(len(pixels))], dim=-1)
    rays = u.float() @ torch.linalg.inv(K).T
    local = rays * torch.where(depth > 0, depth, torch.nan)[:, None]
    return (local - viewmat[:3, 3]) @ viewmat[:3, :3]


def _projected(camera: Camera, points: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Image positions ``[P, 2]`` in pixels, whether they lie in the picture ``[P]``, and depths ``[P]``."""
    viewmat, K = camera.viewmat.cpu().float(), camera.K.cpu().float()
    local = points @ viewmat[:3, :3].T + viewmat[:3, 3]
    z = local[:, 2]
    place = (local @ K.T)[:, :2] / z.clamp_min(1e-6)[:, None]
    size = torch.tensor([camera.width, camera.height])
    inside = (z > 0.01) & (place >= 0.5).all(-1) & (place <= size - 0.5).all(-1)
    return place, inside, z


def _warp(
    splats: Splats, camera: Camera, source: ViewWeights, points: Tensor, **blending: Unpack[BlendingKeywords]
) -> Warp:
    place, inside, z = _projected(camera, points)
    rows = inside.nonzero()[:, 0]
    corner = (place[rows] - 0.5).floor()
    corner = torch.minimum(corner, torch.tensor([camera.width - 2.0, camera.height - 2.0])).clamp_min(0)
    part = (place[rows] - 0.5 - corner).clamp(0, 1)
    first = corner[:, 1].long() * camera.width + corner[:, 0].long()
    right, below = min(1, camera.width - 1), camera.width * min(1, camera.height - 1)
    pixels = torch.stack([first, first + right, first + below, first + right + below], dim=1)
    x, y = part[:, 0], part[:, 1]
    share = torch.stack([(1 - x) * (1 - y), x * (1 - y), (1 - x) * y, x * y], dim=1)
    there = ViewWeights.of(splats, camera, pixels.flatten(), **blending)
    depth = (_depth(splats, camera, there).view(-1, 4) * share).sum(1)
    seen = ((z[rows] - depth).abs() < OCCLUSION * z[rows]).nonzero()[:, 0]
    target = _combined(there.matrix.take_rows((seen[:, None] * 4 + torch.arange(4)).flatten()), share[seen])
    return _compact(source.matrix.take_rows(rows[seen]), source.gaussians, target, there.gaussians)


def _compact(source: SparseMatrix, of_source: Tensor, target: SparseMatrix, of_target: Tensor) -> Warp:
    """The two matrices over the Gaussians that either has entries of."""
    first, second = of_source[source.column.long()], of_target[target.column.long()]
    gaussians, column = torch.unique(torch.cat([first, second]), return_inverse=True)
    columns = column.int().split([len(first), len(second)])
    count = len(gaussians)
    return Warp(
        gaussians,
        SparseMatrix(source.indptr, columns[0].contiguous(), source.weight, count),
        SparseMatrix(target.indptr, columns[1].contiguous(), target.weight, count),
    )


def _combined(matrix: SparseMatrix, share: Tensor) -> SparseMatrix:
    """Sums of groups of rows ``[P·k]`` by shares ``[P, k]``."""
    lengths = matrix.indptr.diff()
    weight = matrix.weight * torch.repeat_interleave(share.flatten().float(), lengths)
    return SparseMatrix(matrix.indptr[:: share.shape[1]].contiguous(), matrix.column, weight, matrix.num_columns)
