# SPDX-License-Identifier: Apache-2.0
"""The pixels of a photo file: colours, and what an alpha channel cuts out."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
from PIL import Image

from panoptic_gs.errors import InputError
from panoptic_gs.files import opened_image, read_rgb, require_worth

_OPAQUE = 128  # alpha from which a pixel belongs to what was cut out


def has_alpha(path: Path) -> bool:
    """Whether a photo's header says that pixels may be transparent."""
    with suppress(InputError), opened_image(path) as image:  # reading the pixels says what is wrong
        return image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info
    return False


def read_photo(path: Path, size: tuple[int, int] | None = None) -> np.ndarray:
    """A photo as it is stored: ``[H, W, 4]`` uint8 where some pixel is transparent, else ``[H, W, 3]``.

    Args:
        path: its file.
        size: (width, height) to shrink it to while it is decoded; its own by default.

    Raises:
        InputError: it is missing, truncated or no image.
    """
    if not has_alpha(path):
        return read_rgb(path, size)
    with opened_image(path) as image:
        require_worth(image, path)
        pixels = np.array(image.convert("RGBA"))
    if (pixels[..., 3] == 255).all():
        pixels = pixels[..., :3].copy()
    if size is None or size == (pixels.shape[1], pixels.shape[0]):
        return pixels
    return resampled(pixels, lambda colors: np.asarray(Image.fromarray(colors).resize(size, Image.Resampling.BOX)))


def composited(pixels: np.ndarray, background: tuple[int, int, int]) -> np.ndarray:
    """Colours ``[H, W, 3]`` uint8 of a photo before a background; photos without alpha stay as they are."""
    if pixels.shape[2] == 3:
        return pixels
    alpha = pixels[..., 3:].astype(np.float32) / 255
    colors = pixels[..., :3] * alpha + np.array(background, np.float32) * (1 - alpha)
    return np.rint(colors).astype(np.uint8)


def opaque(pixels: np.ndarray) -> np.ndarray | None:
    """Where a photo shows something, ``[H, W]`` bool; None without alpha."""
    return pixels[..., 3] >= _OPAQUE if pixels.shape[2] == 4 else None


def resampled(pixels: np.ndarray, resample: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Resample a photo so that the colours of transparent pixels do not bleed into their neighbours.

    Args:
        pixels: ``[H, W, 3]`` or ``[H, W, 4]`` uint8.
        resample: maps ``[H, W, C]`` uint8 to the new size.
    """
    if pixels.shape[2] == 3:
        return resample(pixels)
    alpha = resample(pixels[..., 3:].repeat(3, axis=2))
    weighted = resample(composited(pixels, (0, 0, 0)))
    colors = weighted.astype(np.float32) * 255 / np.maximum(alpha, 1)
    return np.concatenate([np.rint(colors).clip(0, 255).astype(np.uint8), alpha[..., :1]], axis=2)
