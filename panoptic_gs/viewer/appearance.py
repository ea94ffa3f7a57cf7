# SPDX-License-Identifier: Apache-2.0
"""Which Gaussians are drawn, and in which colour."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Literal, get_args

import numpy as np

from panoptic_gs.palette import MAX_SEGMENTS, PanopticPalette
from panoptic_gs.panoptic import Category

ColorBy = Literal["colour", "panoptic", "category", "confidence"]
COLOR_MODES: tuple[ColorBy, ...] = get_args(ColorBy)

Shown = Literal["splats", "mesh", "both"]
SHOWN: tuple[Shown, ...] = get_args(Shown)

PaletteName = Literal["distinct", "shuffled", "colour-blind safe", "from the data set"]
PALETTES: tuple[PaletteName, ...] = get_args(PaletteName)

UNLABELLED = (96, 96, 96)
"""Colour of Gaussians without a label."""

# Okabe and Ito, Color Universal Design, 2008; black left out, since it means void elsewhere.
_OKABE_ITO = np.array(
    [[230, 159, 0], [86, 180, 233], [0, 158, 115], [240, 228, 66], [0, 114, 178], [213, 94, 0], [204, 121, 167]],
    dtype=np.uint8,
)
# Nine samples of matplotlib's viridis (Smith and van der Walt, CC0).
_VIRIDIS = np.array([
    [68, 1, 84], [71, 44, 122], [59, 81, 139], [44, 113, 142], [33, 144, 141], [39, 173, 129], [92, 200, 99],
    [170, 220, 50], [253, 231, 37],
])  # fmt: skip


def label_colors(
    ids: np.ndarray,
    known: Sequence[int],
    palette: PaletteName,
    shuffle: int = 0,
    own: Mapping[int, tuple[int, int, int]] | None = None,
) -> np.ndarray:
    """Colours ``[N, 3]`` uint8 of ids ``[N]``, 0 and unknown ids in :data:`UNLABELLED`.

    Args:
        ids: segments or categories.
        known: all ids there are, in any order.
        palette: ``distinct`` (:class:`~panoptic_gs.palette.PanopticPalette`), the same ``shuffled`` among the ids by
            the seed ``shuffle``, or ``colour-blind safe`` (seven colours that repeat).
        shuffle: seed.
        own: the colours of these ids that are stored with the labels, in place of ``distinct`` ones.
    """
    order = sorted({int(value) for value in known} - {0})
    table = np.full((max([*order, int(ids.max(initial=0))]) + 1, 3), UNLABELLED, dtype=np.uint8)
    if palette == "colour-blind safe" or len(order) > MAX_SEGMENTS:
        table[order] = _OKABE_ITO[np.arange(len(order)) % len(_OKABE_ITO)]
    elif order:
        colors = (PanopticPalette(order).colors.numpy() * 255).round().astype(np.uint8)
        if own:
            colors = np.array([own.get(one, tuple(color)) for one, color in zip(order, colors)], dtype=np.uint8)
        table[order] = np.random.default_rng(shuffle).permutation(colors) if palette == "shuffled" else colors
    return table[ids]


def category_colors(
    ids: np.ndarray, categories: Sequence[Category], palette: PaletteName, shuffle: int = 0
) -> np.ndarray:
    """Colours ``[N, 3]`` uint8 of category ids ``[N]``; ``from the data set`` takes those that the categories bring."""
    colors = label_colors(ids, [category.id for category in categories], palette, shuffle)
    if palette == "from the data set":
        for category in categories:
            if category.color is not None:
                colors[ids == category.id] = category.color
    return colors


def confidence_colors(confidence: np.ndarray) -> np.ndarray:
    """Colours ``[N, 3]`` uint8 of confidences ``[N]`` in 0 … 1 from dark violet to yellow (viridis)."""
    at = np.linspace(0, 1, len(_VIRIDIS))
    table = np.stack([np.interp(np.linspace(0, 1, 256), at, _VIRIDIS[:, channel]) for channel in range(3)], axis=1)
    return table.round().astype(np.uint8)[(confidence.clip(0, 1) * 255).round().astype(np.uint8)]


def shaded(colors: np.ndarray, photo: np.ndarray) -> np.ndarray:
    """Flat colours ``[N, 3]`` uint8 made lighter and darker by the photo's brightness, so that shapes stay visible."""
    brightness = photo @ np.array([0.299, 0.587, 0.114], dtype=np.float32) / 255
    return (colors * (0.45 + 0.55 * brightness[:, None])).astype(np.uint8)


def spotlit(colors: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """Colours ``[N, 3]`` uint8 with the chosen Gaussians ``[N]`` bool brightened and all others grey and dark."""
    grey = (colors @ np.array([0.299, 0.587, 0.114], dtype=np.float32) * 0.45 + 22).astype(np.uint8)
    result = np.repeat(grey[:, None], 3, axis=1)
    result[chosen] = (255 - (255 - colors[chosen].astype(np.float32)) * 0.75).astype(np.uint8)
    return result


def shown_rows(
    segment_of: np.ndarray, confidence: np.ndarray, hidden: Collection[int], min_confidence: float, unlabelled: bool
) -> np.ndarray:
    """Which Gaussians ``[N]`` bool are drawn.

    Args:
        segment_of: ``[N]`` the strongest label of each, 0 for none.
        confidence: ``[N]`` its share.
        hidden: objects that are not drawn.
        min_confidence: Gaussians below it are not drawn.
        unlabelled: whether those without a label are.
    """
    shown = np.ones(len(segment_of), dtype=bool)
    if min_confidence > 0:
        shown &= confidence >= min_confidence
    if not unlabelled:
        shown &= segment_of != 0
    if hidden:
        lookup = np.zeros(int(segment_of.max(initial=0)) + 1, dtype=bool)
        lookup[[i for i in hidden if i < len(lookup)]] = True
        shown &= ~lookup[segment_of]
    return shown
