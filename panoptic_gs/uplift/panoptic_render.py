# SPDX-License-Identifier: Apache-2.0
"""Labels of Gaussians rendered back to pixels."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from panoptic_gs import kernels
from panoptic_gs.camera import Camera
from panoptic_gs.errors import InputError
from panoptic_gs.kernels import cuda as cuda_kernels
from panoptic_gs.splats import Splats
from panoptic_gs.uplift.blending import Blending
from panoptic_gs.uplift.device import tile_lists
from panoptic_gs.uplift.labels import GaussianLabels


class PanopticRender(NamedTuple):
    """A rendered label map."""

    ids: Tensor  # [H, W] int64
    confidence: Tensor  # [H, W]
    accumulation: Tensor  # [H, W]


@torch.no_grad()
def render_panoptic(
    splats: Splats,
    labels: GaussianLabels,
    camera: Camera,
    *,
    near_plane: float = 0.01,
    far_plane: float = 1e10,
    radius_clip: float = 0.0,
    eps2d: float = 0.3,
    rasterize_mode: str = "classic",
) -> PanopticRender:
    r"""Render the label of every pixel.

    .. math:: id(u) = \arg\max_l \sum_i w_i(u)\, g_i[l]

    with the blending weights :math:`w_i = α_i T_i` of the forward pass; of equal sums the smallest label wins. This is
    what rendering g as dense one-hot channels and taking the argmax gives, whatever the number of labels.

    A Gaussian without labels still covers what is behind it, and votes for none. So a pixel where no labelled weight
    lands is 0 (void), and the confidence is the winner's share of *all* weight, labelled or not:
    ``confidence = max_l Σ w_i g_i[l] / Σ w_i``, 0 where nothing is rendered.

    Args:
        splats: the Gaussians.
        labels: their labels.
        camera: the view to render.
        near_plane, far_plane, radius_clip, eps2d, rasterize_mode: as in :func:`~panoptic_gs.rasterization`.

    Returns:
        ``ids [H, W]`` int64, ``confidence [H, W]`` in 0 … 1, ``accumulation [H, W]`` = Σ w.

    Raises:
        InputError: the labels are of another number of Gaussians.
    """
    labels.require_count(len(splats))
    if labels.device != splats.means.device:
        raise InputError(
            "labels",
            f"labels on {labels.device}",
            f"labels on {splats.means.device} as the splats",
            "Move them with labels.to(device).",
        )
    blending = Blending(near_plane, far_plane, radius_clip, eps2d, rasterize_mode)
    if splats.means.device.type == "cuda":
        known, rank = labels.ranks
        winners, confidence, accumulation = cuda_kernels.render_panoptic(
            tile_lists(splats, camera, blending), labels.indptr, rank, labels.weight, len(known)
        )
        names = torch.cat([known.new_zeros(1), known]).long()  # winner -1 is void
        return PanopticRender(names[winners.long() + 1], confidence, accumulation)
    view = blending.view_of(splats, camera)
    return PanopticRender(*kernels.render_panoptic(view, labels.indptr, labels.label, labels.weight))
