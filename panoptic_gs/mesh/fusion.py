# SPDX-License-Identifier: Apache-2.0
"""Rendered views fused into a volume of signed distances and votes for labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from panoptic_gs import kernels
from panoptic_gs.camera import Camera
from panoptic_gs.errors import InputError
from panoptic_gs.kernels.mesh import VolumeFull
from panoptic_gs.mesh.cameras import cubes_between
from panoptic_gs.mesh.coverage import covering
from panoptic_gs.objects.rendered_views import DepthKind, RenderedView, SurfaceRenderer, pixel_rays
from panoptic_gs.progress import Progress, silent
from panoptic_gs.splats.gaussians import RasterizeMode
from panoptic_gs.uplift import LabelledScene

_ADDED_WEIGHT = 0.05  # of a pixel of a view that no photo took
_NEW = 0.1  # share of an added view's pixels that have to show what no photo did
_TRUNCATION = 3.0  # voxels
_COARSER = 2**0.5  # times larger at least are voxels that are tried where smaller ones do not fit
_COARSEST = 4.0  # times the voxels that were asked for, beyond which nothing is tried
_FINEST = (
    0.5  # of what a pixel shows of a surface: finer voxels than views tell apart are refused where they do not fit
)


@dataclass(frozen=True)
class FusionOptions:
    """How views are fused.

    Args:
        voxel: edge of a voxel in world units; larger where such ones take more memory than they may.
        depth: which depth is rendered.
        quantile: of a pixel's coverage that lies before its median depth; by default as opaque as the Gaussians are
            (:func:`~panoptic_gs.objects.rendered_views.surface_quantile`).
        added_places: places from which six views each look where no photo did.
        most_bytes: memory that the volume may take.
        most_depth_bytes: memory that the photos' depth maps may take, which say what is free; where they would
            take more, every second row and column of each is kept, or every third, and so on.
        most_views: photos that are fused at most, those that together show most
            (:func:`~panoptic_gs.mesh.coverage.covering`); 0: all.
    """

    voxel: float = 0.02
    depth: DepthKind = "median"
    quantile: float | None = None
    added_places: int = 6
    most_bytes: float = 2.5 * 2**30
    most_depth_bytes: float = 2**30
    most_views: int = 240


@dataclass(eq=False)
class Fusion:
    """A fused volume, and the depth maps that say what is free."""

    volume: kernels.VoxelVolume
    views: int = 0
    """Photos' cameras that were rendered."""
    of_views: int = 0
    """Photos' cameras that there were."""
    shown: float = 1.0
    """The share of the surfaces that any photo shows that these show."""
    added: int = 0
    """Views beside them that showed something new."""
    cameras: list[Camera] = field(default_factory=list)
    depths: list[torch.Tensor] = field(default_factory=list)
    footprint: float = 0.0
    """Edge of what a pixel of the last photo shows of the surface that it sees, the middle one, in world units."""
    quantile: float = 0.5
    """Of a pixel's coverage that lies before its median depth."""

    @property
    def voxel(self) -> float:
        """Edge of a voxel in world units."""
        return self.volume.voxel

    def free(self, points: np.ndarray, margin: float) -> np.ndarray:
        """In how many views, at most 255, points ``[P, 3]`` lie before the surface by more than ``margin``."""
        viewmats, Ks = [c.viewmat for c in self.cameras], [c.K for c in self.cameras]
        return kernels.count_free(torch.from_numpy(points).float(), viewmats, Ks, self.depths, margin).numpy()


def fuse(
    scene: LabelledScene,
    cameras: Sequence[Camera],
    up: np.ndarray,
    options: FusionOptions,
    rasterize_mode: RasterizeMode = "classic",
    progress: Progress = silent,
) -> Fusion:
    """Render and fuse the photos' views, then those that show what no photo did, at a twentieth of the weight.

    Args:
        scene: Gaussians and labels on the CPU.
        cameras: of the photos.
        up: ``[3]`` direction away from the ground.
        options: see :class:`FusionOptions`.
        rasterize_mode: how the Gaussians were trained.
        progress: told after each view.

    Raises:
        InputError: no camera; nothing to see; more voxels than the memory holds.
    """
    if not cameras:
        raise InputError("cameras", "none", "at least one", "Pass a scene folder with photos' cameras.")
    with kernels.one_torch_thread():
        return _fused(scene, cameras, up, options, rasterize_mode, progress)


def _fused(
    scene: LabelledScene,
    cameras: Sequence[Camera],
    up: np.ndarray,
    options: FusionOptions,
    rasterize_mode: RasterizeMode,
    progress: Progress,
) -> Fusion:
    chosen = covering(scene.splats, cameras, options.most_views)
    used = [cameras[number] for number in chosen.views]
    renderer = SurfaceRenderer(scene, rasterize_mode, options.depth, options.quantile)
    voxel = options.voxel
    while True:
        fusion = Fusion(kernels.VoxelVolume(voxel, _TRUNCATION * voxel, options.most_bytes), of_views=len(cameras),
                        shown=chosen.shown, quantile=renderer.quantile)  # fmt: skip
        try:
            _fuse_photos(fusion, renderer, used, options.most_depth_bytes, progress)
            if not fusion.volume.num_blocks:
                raise InputError("cameras", "views that show no surface", "views of the Gaussians",
                                 "Pass the scene folder that the splats were trained on.")  # fmt: skip
            _look_where_no_photo_did(fusion, renderer, cubes_between(used, up, options.added_places), progress)
            break
        except VolumeFull:
            # Surfaces fill blocks by the square of what a voxel's edge goes into.
            voxel *= max(_COARSER, 1.1 * (fusion.volume.wanted_bytes / options.most_bytes) ** 0.5)
            if voxel > _COARSEST * options.voxel or options.voxel < _FINEST * fusion.footprint:
                raise
    return fusion


def _look_where_no_photo_did(
    fusion: Fusion, renderer: SurfaceRenderer, cameras: Sequence[Camera], progress: Progress
) -> None:
    for number, camera in enumerate(cameras):
        rendered = renderer.render(camera)
        if _share_new(fusion.volume, rendered) >= _NEW:
            _add(fusion, rendered, _ADDED_WEIGHT, 1)
            fusion.added += 1
        del rendered
        kernels.give_back_frame(renderer.num_gaussians)
        progress("Looking where no photo did", number + 1, len(cameras))


def _fuse_photos(
    fusion: Fusion, renderer: SurfaceRenderer, cameras: Sequence[Camera], most_depth_bytes: float, progress: Progress
) -> None:
    stride = depth_stride(cameras, most_depth_bytes)
    for number, camera in enumerate(cameras):
        rendered = renderer.render(camera)
        known = rendered.depth[rendered.depth > 0]
        fusion.footprint = float(known.median() / camera.K[0, 0]) if len(known) else fusion.footprint
        _add(fusion, rendered, 1.0, stride)
        del rendered, known
        fusion.views += 1
        kernels.give_back_frame(renderer.num_gaussians)
        progress("Fusing views", number + 1, len(cameras))


def depth_stride(cameras: Sequence[Camera], most_bytes: float) -> int:
    """Of which rows and columns, one in how many, depth maps of these cameras take no more than ``most_bytes``."""
    stride = 1
    while 4 * sum(-(-c.width // stride) * -(-c.height // stride) for c in cameras) > most_bytes:
        stride += 1
    return stride


def thinned(camera: Camera, depth: torch.Tensor, stride: int) -> tuple[Camera, torch.Tensor]:
    """Every ``stride``-th row and column of a depth map ``[H, W]``, and the camera whose pixels these are."""
    if stride == 1:
        return camera, depth
    first = min(stride // 2, camera.width - 1, camera.height - 1)
    kept = depth[first::stride, first::stride].contiguous()
    K = camera.K.clone()
    K[:2, :2] /= stride
    K[:2, 2] = (K[:2, 2] - first - 0.5) / stride + 0.5  # centres of pixels lie at a half
    return Camera(camera.viewmat, K, kept.shape[1], kept.shape[0]), kept


def _add(fusion: Fusion, rendered: RenderedView, weight: float, stride: int) -> None:
    camera = rendered.camera
    fusion.volume.add(camera.viewmat, camera.K, rendered.depth, rendered.weight * weight, rendered.label,
                      rendered.confidence, rendered.color)  # fmt: skip
    seen_from, depth = thinned(camera, torch.where(rendered.weight > 0, rendered.depth, 0.0), stride)
    fusion.cameras.append(seen_from)
    fusion.depths.append(depth)


def _share_new(volume: kernels.VoxelVolume, rendered: RenderedView) -> float:
    """The share of a view's pixels whose surface no view has seen."""
    camera = rendered.camera
    shown = rendered.weight[::4, ::4] > 0
    if not shown.any():
        return 0.0
    local = (pixel_rays(camera) * rendered.depth[..., None])[::4, ::4][shown]
    points = (local - camera.viewmat[:3, 3]) @ camera.viewmat[:3, :3]
    _, _, _, weight = volume.sample(points.contiguous())
    return float((weight <= 0).float().mean() * shown.float().mean())
