# SPDX-License-Identifier: Apache-2.0
"""Which pixels the losses of masks look at, and dense features there."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from panoptic_gs.network.losses.masks import SampledMasks


@dataclass(frozen=True, eq=False)
class Sampled:
    """P pixels of one scene's views.

    Args:
        view, row, column: ``[P]`` int64.
        segment: ``[P]`` int64 index into the scene's segments.
        masks: the segments there.
        ids: ``[S]`` int64, the scene-wide ids of the segments.
    """

    view: Tensor
    row: Tensor
    column: Tensor
    segment: Tensor
    masks: SampledMasks
    ids: Tensor


def sample_pixels(
    segments: Tensor, categories: Tensor, count: int, balanced: float, generator: torch.Generator | None = None
) -> Sampled:
    """Draw pixels that are not void: a share of them equally often from each segment, the others evenly.

    Args:
        segments: ``[V, H, W]`` int64, 0 for void.
        categories: ``[V, H, W]`` int64 index of the class of each pixel.
        count: how many pixels.
        balanced: share that small segments get as much of as large ones.
        generator: draws them.

    Returns:
        The pixels; none where all are void.
    """
    flat = segments.flatten()
    known = flat.nonzero()[:, 0]
    ids, index = torch.unique(flat[known], return_inverse=True)
    if not len(known):
        empty = known
        nothing = SampledMasks(torch.zeros(0, 0, device=flat.device), empty)
        return Sampled(empty, empty, empty, empty, nothing, ids)
    sizes = torch.bincount(index, minlength=len(ids))
    even = known[torch.randint(len(known), (count - round(balanced * count),), generator=generator, device=flat.device)]
    order = torch.argsort(index, stable=True)
    starts = sizes.cumsum(0) - sizes
    chosen = torch.randint(len(ids), (round(balanced * count),), generator=generator, device=flat.device)
    place = torch.rand(len(chosen), generator=generator, device=flat.device) * sizes[chosen]
    place = torch.minimum(place.long(), sizes[chosen] - 1)
    pixels = torch.cat([even, known[order[starts[chosen] + place]]])
    segment = torch.searchsorted(ids, flat[pixels])
    # A segment has one class; it is read where the segment is met first.
    first = known[order[starts]]
    inside = torch.nn.functional.one_hot(segment, len(ids)).T.float()
    height, width = segments.shape[1:]
    within = pixels % (height * width)
    masks = SampledMasks(inside, categories.flatten()[first])
    return Sampled(pixels // (height * width), within // width, within % width, segment, masks, ids)


def features_at(features: Tensor, view: Tensor, row: Tensor, column: Tensor, stride: int) -> Tensor:
    """Dense features at the centres of pixels, interpolated bilinearly: ``[P, C]``.

    Args:
        features: ``[V, C, h, w]``.
        view, row, column: ``[P]`` int64.
        stride: pixels between features.
    """
    _, channels, height, width = features.shape
    flat = features.permute(0, 2, 3, 1).reshape(-1, channels)
    y = ((row + 0.5) / stride - 0.5).clamp(0, height - 1)
    x = ((column + 0.5) / stride - 0.5).clamp(0, width - 1)
    y0, x0 = y.long(), x.long()
    y1, x1 = (y0 + 1).clamp(max=height - 1), (x0 + 1).clamp(max=width - 1)
    fy, fx = (y - y0)[:, None].to(flat.dtype), (x - x0)[:, None].to(flat.dtype)

    def at(rows: Tensor, columns: Tensor) -> Tensor:
        return flat.index_select(0, (view * height + rows) * width + columns)

    upper = at(y0, x0) * (1 - fx) + at(y0, x1) * fx
    lower = at(y1, x0) * (1 - fx) + at(y1, x1) * fx
    return upper * (1 - fy) + lower * fy
