# SPDX-License-Identifier: Apache-2.0
"""What draws and sums on a device: our kernels on the host, gsplat and our device kernels on CUDA."""

from __future__ import annotations

from dataclasses import replace

import torch

from panoptic_gs.backends.backend import Backend, FeatureSums, LabelSums, RasterJob, RenderedLabels, RenderMode
from panoptic_gs.backends.blending import Blending, BlendingKeywords, RasterizeMode
from panoptic_gs.backends.cuda import CudaBackend
from panoptic_gs.backends.host import HostBackend

__all__ = [
    "Backend",
    "Blending",
    "BlendingKeywords",
    "FeatureSums",
    "LabelSums",
    "RasterJob",
    "RasterizeMode",
    "RenderMode",
    "RenderedLabels",
    "as_on",
    "backend_of",
]

_BACKENDS: dict[str, Backend] = {"cuda": CudaBackend()}
_HOST = HostBackend()


def backend_of(device: torch.device) -> Backend:
    """What draws and sums tensors of ``device``; tensors of a device that nothing here knows are refused by the host's
    checks, by name.
    """
    return _BACKENDS.get(device.type, _HOST)


def as_on(device: torch.device, blending: Blending) -> Blending:
    """``blending`` with the clamp of alpha that the rasterizer of ``device`` has, unless it says one."""
    return blending if blending.alpha_max is not None else replace(blending, alpha_max=backend_of(device).alpha_max)
