# SPDX-License-Identifier: Apache-2.0
"""CUDA tensors: gsplat draws and sorts, our device kernels sum."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from panoptic_gs import kernels
from panoptic_gs.backends import gsplat
from panoptic_gs.backends.backend import FeatureSums, LabelRows, LabelSums, RasterJob, RenderedLabels
from panoptic_gs.backends.blending import Blending
from panoptic_gs.backends.cuda_sums import DeviceFeatures, DeviceVotes
from panoptic_gs.camera import Camera
from panoptic_gs.kernels import cuda as cuda_kernels
from panoptic_gs.kernels.cuda import TileLists
from panoptic_gs.splats import Splats


class CudaBackend:
    """Pictures through gsplat; votes and labels through :mod:`panoptic_gs.kernels.cuda` on gsplat's tile lists."""

    @property
    def alpha_max(self) -> float:
        """The installed gsplat's."""
        return gsplat.load().alpha_max

    def rasterize(self, job: RasterJob) -> tuple[Tensor, Tensor, dict[str, Any]]:
        """See :class:`~panoptic_gs.backends.Backend`."""
        return gsplat.load().rasterization(job)

    def add_votes(
        self,
        sums: LabelSums,
        splats: Splats,
        camera: Camera,
        blending: Blending,
        labels: Tensor,
        weights: Tensor | None,
    ) -> None:
        """See :class:`~panoptic_gs.backends.Backend`."""
        lists = tile_lists(splats, camera, blending)
        device = splats.means.device
        if device not in sums.on_devices:
            sums.on_devices[device] = DeviceVotes(len(splats), device)
        sums.on_devices[device].add(lists, labels, weights)

    def add_features(
        self,
        sums: FeatureSums,
        splats: Splats,
        camera: Camera,
        blending: Blending,
        features: Tensor,
        weights: Tensor | None,
    ) -> None:
        """See :class:`~panoptic_gs.backends.Backend`."""
        lists = tile_lists(splats, camera, blending)
        if sums.on_device is None:
            sums.on_device = DeviceFeatures(len(splats), features.shape[2], splats.means.device, sums.sums)
        sums.on_device.add(lists, features, weights)

    def render_labels(self, splats: Splats, camera: Camera, blending: Blending, labels: LabelRows) -> RenderedLabels:
        """See :class:`~panoptic_gs.backends.Backend`."""
        known, rank = labels.ranks
        winners, confidence, accumulation = cuda_kernels.render_panoptic(
            tile_lists(splats, camera, blending), labels.indptr, rank, labels.weight, len(known)
        )
        names = torch.cat([known.new_zeros(1), known]).long()  # winner -1 is void
        return RenderedLabels(names[winners.long() + 1], confidence, accumulation)


def tile_lists(splats: Splats, camera: Camera, blending: Blending) -> TileLists:
    """The splats projected into the camera and sorted by tile and depth, by gsplat on their device."""
    kernels.require_cuda()
    return gsplat.load().tile_lists(splats, camera, blending)
