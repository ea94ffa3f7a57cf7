# SPDX-License-Identifier: Apache-2.0
"""Labels of Gaussians rendered back to pixels."""

from __future__ import annotations

import torch
from typing_extensions import Unpack

from panoptic_gs.backends import Blending, BlendingKeywords, RenderedLabels, backend_of
from panoptic_gs.camera import Camera
from panoptic_gs.errors import InputError
from panoptic_gs.splats import Splats
from panoptic_gs.uplift.labels import GaussianLabels

PanopticRender = RenderedLabels
"""A rendered label map: ``ids [H, W]`` int64, ``confidence [H, W]``, ``accumulation [H, W]``."""


@torch.no_grad()
def render_panoptic(
    splats: Splats,
    labels: GaussianLabels,
    camera: Camera,
    **blending: Unpack[BlendingKeywords],
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
        blending: as for :class:`~panoptic_gs.LabelVotes`.

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
    return backend_of(labels.device).render_labels(splats, camera, Blending(**blending), labels)
