# SPDX-License-Identifier: Apache-2.0
"""From photos to a network's input and back: a centred crop, resized; its exact inverse in pixels."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np
from PIL import Image

from panoptic_gs.predict.photos import Photo

Size = tuple[int, int]
"""Width and height in pixels."""


def closest_size(width: int, height: int, sizes: Sequence[Size]) -> Size:
    """The size whose aspect ratio, or its inverse for an upright image, is closest to an image's.

    ``sizes`` are landscape; an image that is higher than wide gets one transposed.
    """
    if height > width:
        w, h = closest_size(height, width, sizes)
        return h, w
    return min(sizes, key=lambda size: abs(math.log(size[0] / size[1]) - math.log(width / height)))


def input_size(photos: Sequence[Photo], sizes: Sequence[Size]) -> Size:
    """The one size for all photos: what is closest to most of them."""
    return Counter(closest_size(p.width, p.height, sizes) for p in photos).most_common(1)[0][0]


def crop_to_original(width: int, height: int, size: Size) -> np.ndarray:
    """The transform ``[3, 3]`` float64 from pixels of the network's input to pixels of the image.

    The input shows the largest centred rectangle of its own aspect ratio. Pixel coordinates have the centre of the
    upper left pixel at (0.5, 0.5), so crop and resize are one scale and one shift, without rounding.
    """
    scale = min(width / size[0], height / size[1])
    return np.array([
        [scale, 0.0, (width - scale * size[0]) / 2],
        [0.0, scale, (height - scale * size[1]) / 2],
        [0.0, 0.0, 1.0],
    ])  # fmt: skip


def crop(pixels: np.ndarray, size: Size) -> np.ndarray:
    """The network's input ``[H, W, 3]`` uint8 of an image ``[h, w, 3]`` uint8, resampled by Lanczos' filter."""
    height, width = pixels.shape[:2]
    transform = crop_to_original(width, height, size)
    scale, left, top = transform[0, 0], transform[0, 2], transform[1, 2]
    # Rounding may leave the box a hair outside, which Pillow refuses.
    box = (max(0.0, left), max(0.0, top), min(width, left + scale * size[0]), min(height, top + scale * size[1]))
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS, box=box))


def share_seen(photo: Photo, size: Size) -> float:
    """The share of a photo's area that the network's input of this size shows."""
    scale = min(photo.width / size[0], photo.height / size[1])
    return scale * scale * size[0] * size[1] / (photo.width * photo.height)
