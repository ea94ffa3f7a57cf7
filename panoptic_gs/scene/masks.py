# SPDX-License-Identifier: Apache-2.0
"""Masks beside photos: which pixels count. Whatever is not 0 does, as in nerfstudio."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from panoptic_gs.errors import InputError
from panoptic_gs.files import opened_image, require_worth

_EXPECTED = "a mask: 0 where pixels do not count"
_LOSSY = ("JPEG", "MPO", "WEBP")  # there black is not quite 0


def read_mask(path: Path) -> np.ndarray:
    """Read a mask as people store them, ``[H, W]`` bool, True where pixels count.

    Grey of 8 or 16 bits, one bit, colour: any channel that is not 0. Palettes: an index that is not 0, whatever colour
    it is drawn in. With an alpha channel that is not opaque throughout: an alpha that is not 0. In lossy formats half
    of white is the limit.

    Raises:
        InputError: it is missing, truncated or no image.
    """
    with opened_image(path, _EXPECTED) as image:
        require_worth(image, path)
        limit = 127 if image.format in _LOSSY else 0
        if image.mode in ("LA", "PA", "La", "RGBa"):
            image = image.convert("RGBA")
        pixels = np.array(image)
    if pixels.ndim == 2:
        return pixels > limit if pixels.dtype != bool else pixels
    if pixels.shape[2] == 4:
        alpha = pixels[..., 3]
        if not (alpha == 255).all():
            return alpha > limit
        pixels = pixels[..., :3]
    return (pixels > limit).any(axis=2)


def require_pixels(path: Path, kept: np.ndarray) -> None:
    """Refuse a mask that keeps nothing.

    Raises:
        InputError: it does.
    """
    if not kept.any():
        raise InputError(
            path,
            "a mask without a pixel that counts",
            _EXPECTED + ", anything else where they do",
            "Turn it round if 0 stands for what is to be kept, or take the photo out of transforms.json.",
        )
