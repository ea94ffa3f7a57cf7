# SPDX-License-Identifier: Apache-2.0
"""Depth, labels and colours of a camera, as they are fused into a surface."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from panoptic_gs import kernels
from panoptic_gs.backends import Blending
from panoptic_gs.backends.host import view_of
from panoptic_gs.camera import Camera, rotation_from_quaternion
from panoptic_gs.splats import Splats
from panoptic_gs.splats.gaussians import RasterizeMode
from panoptic_gs.uplift import LabelledScene

DepthKind = Literal["median", "expected"]

_QUANTILES = (0.6, 0.75)  # where the median opacity is at most a quarter, and from three fifths on
_OPACITIES = (0.24, 0.6)
_OPAQUE = 0.5  # share of a pixel that has to be covered before its expected depth is a surface's
_STEEP = 0.1  # least cosine between ray and surface that counts
_JUMP = 0.05  # relative difference of depth to a neighbour beyond which a pixel lies on an outline
_REACH = 3.0  # standard deviations from a Gaussian's centre that its surface may lie


@dataclass(frozen=True, eq=False)
class RenderedView:
    """What a camera sees of a labelled scene."""

    camera: Camera
    depth: Tensor  # [H, W] along z, 0 where there is no surface
    weight: Tensor  # [H, W], what a pixel's depth counts: coverage times the cosine between ray and surface
    label: Tensor  # [H, W] int32
    confidence: Tensor  # [H, W]
    color: Tensor  # [H, W, 3], 0 … 1


def surface_quantile(splats: Splats) -> float:
    """The share of a pixel's coverage that lies before its surface.

    0.5 is the median proper. But haze lies before surfaces and nothing is seen behind them, so the errors are on one
    side, and a later quantile is nearer to the surface: 0.75 where Gaussians are opaque. Where training kept opacities
    small, a surface is several Gaussians thick, and much of its coverage lies behind it: 0.6 from a median opacity of
    0.24 downwards. Linear between.
    """
    if not len(splats):
        return _QUANTILES[1]
    return float(np.interp(float(splats.opacities.median()), _OPACITIES, _QUANTILES))


class SurfaceRenderer:
    """Renders the surfaces of a scene on the host.

    ``median``: the Gaussian with which a pixel's coverage reaches ``quantile``, at the depth where the pixel's ray
    meets its densest point, t = dᵀ Σ⁻¹ (μ − o) / dᵀ Σ⁻¹ d (as in RaDe-GS, Zhang et al. 2024), at most three standard
    deviations from its centre. So a floor of large flat Gaussians is flat, and haze before a surface moves nothing.
    ``expected``: Σ w z / Σ w of the centres' depths.

    Args:
        scene: Gaussians and labels on the CPU.
        rasterize_mode: how the Gaussians were trained.
        depth: which depth.
        quantile: by default :func:`surface_quantile`.
    """

    def __init__(
        self,
        scene: LabelledScene,
        rasterize_mode: RasterizeMode = "classic",
        depth: DepthKind = "median",
        quantile: float | None = None,
    ) -> None:
        self.num_gaussians = len(scene.splats)
        self._splats, self._labels = scene.splats, scene.labels
        self._blending = Blending(rasterize_mode=rasterize_mode)
        self._depth = depth
        self.quantile = surface_quantile(scene.splats) if quantile is None else quantile
        """Of a pixel's coverage that lies before its surface."""
        self._precision, self._reach = _precision(scene.splats)

    @torch.no_grad()
    def render(self, camera: Camera) -> RenderedView:
        """Render one view."""
        splats, labels = self._splats, self._labels
        view = view_of(splats, camera, self._blending)
        ids, confidence, alpha = kernels.render_panoptic(view, labels.indptr, labels.label, labels.weight)
        sources = [self._colors(camera, view)]
        if self._depth == "expected":
            sources.append((splats.means @ camera.viewmat[2, :3] + camera.viewmat[2, 3])[:, None])
        image, _, _ = kernels.paint(view, sources)
        covered = alpha.clamp(min=1e-10)
        if self._depth == "expected":
            depth = torch.where(alpha >= _OPAQUE, image[..., 3] / covered, 0.0)
        else:
            depth = self._median_depth(camera, kernels.find_crossings(view, self.quantile))
        weight = torch.where(depth > 0, alpha * facing(camera, depth), 0.0)
        color = (image[..., :3] / covered[..., None]).clamp(0, 1)
        return RenderedView(camera, depth.contiguous(), weight.contiguous(), ids.int(), confidence, color.contiguous())

    @torch.no_grad()
    def surface(self, camera: Camera) -> tuple[Tensor, Tensor]:
        """The ``median`` depth ``[H, W]`` alone, along z, 0 where there is no surface, and whose it is ``[H, W]``.

        Neither labels nor colours. The surface's Gaussian is -1 where there is none.
        """
        view = view_of(self._splats, camera, self._blending)
        crossing = kernels.find_crossings(view, self.quantile)
        return self._median_depth(camera, crossing), crossing

    def _colors(self, camera: Camera, view: kernels.View) -> Tensor:
        splats = self._splats
        seen = torch.zeros(len(splats), 2, dtype=torch.int32)
        seen[torch.from_numpy(view.visible_ids)] = 1
        return kernels.harmonics(splats.sh_degree, splats.means, camera.center, splats.sh, seen)

    def _median_depth(self, camera: Camera, crossing: Tensor) -> Tensor:
        """Where each pixel's ray is nearest to the middle of its Gaussian."""
        found = crossing >= 0
        row, column = found.nonzero(as_tuple=True)
        gaussian = crossing[found].long()
        rays = pixel_rays(camera)[row, column] @ camera.viewmat[:3, :3]  # in the world, of which z is 1
        offset = self._splats.means[gaussian] - camera.center
        toward = torch.einsum("pij,pj->pi", self._precision[gaussian], rays)
        along = (toward * offset).sum(-1) / (toward * rays).sum(-1)
        middle = offset @ camera.viewmat[2, :3]
        reach = self._reach[gaussian]
        depth = torch.zeros(crossing.shape)
        depth[found] = torch.maximum(torch.minimum(along, middle + reach), middle - reach).clamp(min=0)
        return depth


def pixel_rays(camera: Camera) -> Tensor:
    """The rays ``[H, W, 3]`` of the pixels' centres in the camera's axes, with z = 1."""
    x = (torch.arange(camera.width) + 0.5 - camera.K[0, 2]) / camera.K[0, 0]
    y = (torch.arange(camera.height) + 0.5 - camera.K[1, 2]) / camera.K[1, 1]
    return torch.stack([*torch.meshgrid(x, y, indexing="xy"), torch.ones(camera.height, camera.width)], dim=-1)


def facing(camera: Camera, depth: Tensor) -> Tensor:
    """The cosine ``[H, W]`` between each pixel's ray and its surface; 0 beside outlines and where it is below a tenth.

    The normal is the cross product of the differences to the left or right and upper or lower neighbours.
    """
    points = pixel_rays(camera) * depth[..., None]
    right = torch.zeros_like(points)
    down = torch.zeros_like(points)
    right[:, 1:-1] = points[:, 2:] - points[:, :-2]
    down[1:-1] = points[2:] - points[:-2]
    normal = torch.linalg.cross(right, down)
    length = normal.norm(dim=-1) * points.norm(dim=-1)
    cosine = (normal * points).sum(-1).abs() / length.clamp(min=1e-20)
    padded = torch.nn.functional.pad(depth[None, None], (1, 1, 1, 1), mode="replicate")[0, 0]
    steps = torch.stack([padded[1:-1, 2:], padded[1:-1, :-2], padded[2:, 1:-1], padded[:-2, 1:-1]]) - depth
    # A plane seen at a slant has steps on both sides alike; an outline has one on one side.
    bend = torch.maximum((steps[0] + steps[1]).abs(), (steps[2] + steps[3]).abs())
    outline = (bend > _JUMP * depth) | (padded[1:-1, 2:] == 0) | (padded[2:, 1:-1] == 0)
    return torch.where(outline | (cosine < _STEEP), 0.0, cosine)


def _precision(splats: Splats) -> tuple[Tensor, Tensor]:
    """Σ⁻¹ ``[N, 3, 3]`` up to a factor a Gaussian, and how far ``[N]`` its surface may lie from its centre."""
    longest = splats.scales.max(dim=1, keepdim=True).values
    scales = torch.maximum(splats.scales, 1e-3 * longest) / longest
    axes = rotation_from_quaternion(splats.quats) / scales[:, None, :]
    return axes @ axes.transpose(1, 2), _REACH * longest[:, 0]
