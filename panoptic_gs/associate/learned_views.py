# SPDX-License-Identifier: Apache-2.0
"""What learning needs of each view: blending weights of some of its pixels, and which masks they lie in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from panoptic_gs.associate.evidence import REFERENCE_AREA
from panoptic_gs.associate.head import Channels
from panoptic_gs.associate.masks import ViewMasks
from panoptic_gs.backends import RasterizeMode
from panoptic_gs.camera import Camera
from panoptic_gs.errors import InputError
from panoptic_gs.panoptic import Category
from panoptic_gs.splats import Splats
from panoptic_gs.uplift import SparseMatrix, ViewWeights

IGNORED = -1


@dataclass(frozen=True, eq=False)
class LearnedView:
    """P pixels of a view: what blends them and what the masks say. Masks that overlap are flattened by score."""

    matrix: SparseMatrix  # [P, G]
    gaussians: Tensor  # [G] int64
    thing_masks: Tensor  # [M] int64, numbers of the masks of things
    thing_classes: Tensor  # [M] int64, channels among things
    mask_of_pixel: Tensor  # [P] int64: row of thing_masks, IGNORED where none
    channel_of_pixel: Tensor  # [P] int64: class, IGNORED where unknown
    pixel_area: float
    """How many pixels of the reference image one row stands for."""

    def masks(self) -> Tensor:  # [P, M]
        """The masks of things as zeros and ones."""
        return (self.mask_of_pixel[:, None] == torch.arange(len(self.thing_masks))).float()


def channels_of(categories: tuple[Category, ...]) -> Channels:
    """Stuff classes, then things; void is a class where no stuff is listed."""
    stuff = sorted(category.id for category in categories if not category.isthing)
    things = sorted(category.id for category in categories if category.isthing)
    stuff = stuff or [0]
    return Channels((*stuff, *things), len(stuff))


def learned_view(
    splats: Splats,
    camera: Camera,
    masks: ViewMasks,
    channels: Channels,
    *,
    pixels: int,
    generator: torch.Generator,
    rasterize_mode: RasterizeMode = "classic",
) -> LearnedView:
    """Draw pixels of a view and weigh them.

    Args:
        splats: the Gaussians, which stay as they are.
        camera: the view.
        masks: on its pixels.
        channels: what the classes are called.
        pixels: how many to draw, spread evenly; all of a smaller image.
        generator: draws them.
        rasterize_mode: how the splats were trained.

    Raises:
        InputError: masks of another size, or of a class that is not listed.
    """
    if masks.regions.shape != (camera.height, camera.width):
        height, width = masks.regions.shape
        raise InputError(
            "masks", f"{width}×{height} pixels", f"those of the camera, {camera.width}×{camera.height}",
            "Resample them to the camera.",
        )  # fmt: skip
    unknown = sorted(set(masks.category_ids.tolist()) - set(channels.category_ids))
    if unknown:
        raise InputError(
            "masks", f"category id {unknown[0]}", f"one of {sorted(channels.category_ids)}", "List it in categories."
        )
    channel_of = {category: number for number, category in enumerate(channels.category_ids)}
    channel = np.array([channel_of[c] for c in masks.category_ids.tolist()], np.int64)
    things = np.flatnonzero(channel >= channels.stuff)
    thing_number = np.full(len(masks) + 1, IGNORED)
    thing_number[1 + things] = np.arange(len(things))
    void = 0 if channels.void_is_a_class else IGNORED
    top = torch.from_numpy(masks.paint(np.arange(1, len(masks) + 1)).astype(np.int64)).flatten()
    chosen = spread_pixels(camera.width, camera.height, pixels, generator)
    weights = ViewWeights.of(splats, camera, chosen, rasterize_mode=rasterize_mode)
    return LearnedView(
        weights.matrix,
        weights.gaussians,
        torch.from_numpy(things),
        torch.from_numpy(channel[things] - channels.stuff),
        torch.from_numpy(thing_number)[top[chosen]],
        torch.from_numpy(np.r_[void, channel])[top[chosen]],
        REFERENCE_AREA / max(len(chosen), 1),
    )


def spread_pixels(width: int, height: int, count: int, generator: torch.Generator) -> Tensor:  # [P] int64
    """Pixels of an image, one drawn from each cell of a grid of about ``count`` equal cells, row by row."""
    if count >= width * height:
        return torch.arange(width * height)
    step = (width * height / count) ** 0.5
    rows, columns = max(1, round(height / step)), max(1, round(width / step))
    jitter = torch.rand(2, rows, columns, generator=generator)
    v = ((torch.arange(rows)[:, None] + jitter[0]) * (height / rows)).long().clamp_max(height - 1)
    u = ((torch.arange(columns)[None] + jitter[1]) * (width / columns)).long().clamp_max(width - 1)
    return (v * width + u).flatten()


def blending_totals(views: Mapping[str, LearnedView], num_gaussians: int) -> Tensor:  # [N]
    """Z_i, the blending weight of each Gaussian in all views, in pixels of the reference image."""
    total = torch.zeros(num_gaussians)
    for view in views.values():
        total.index_add_(0, view.gaussians, view.pixel_area * (view.matrix.T @ torch.ones(view.matrix.shape[0])))
    return total
