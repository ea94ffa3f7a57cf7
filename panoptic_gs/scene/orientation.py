# SPDX-License-Identifier: Apache-2.0
"""Which way up pixels are: EXIF's orientation of photos, and maps that follow it where their photos do not."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from panoptic_gs.errors import InputError
from panoptic_gs.files import opened_image
from panoptic_gs.label_maps import same_shape

_TAG = 0x0112
# What EXIF's orientations 1 … 8 ask for: quarter turns counterclockwise, then a mirroring left to right.
_TURNS = {1: (0, False), 2: (0, True), 3: (2, False), 4: (2, True), 5: (3, True), 6: (3, False), 7: (1, True), 8: (1, False)}  # fmt: skip  # noqa: E501
_PATCHES = (32, 16, 14, 8)  # what networks round sides to multiples of


def exif_orientation(path: Path) -> int:
    """How an image is to be turned, 1 … 8, from its header; 1 where it does not say."""
    try:
        with opened_image(path) as image:
            # Pillow turns TIFFs by itself, and would decode a whole PNG in search of EXIF that it does not have.
            stated = "exif" in image.info and image.format != "TIFF"
            orientation = int(image.getexif().get(_TAG, 1)) if stated else 1
    except (InputError, TypeError):
        return 1
    return orientation if orientation in _TURNS else 1


def turned(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Stored pixels ``[H, W, …]`` as EXIF's ``orientation`` wants them seen."""
    turns, mirrored = _TURNS[orientation]
    pixels = np.rot90(pixels, turns)
    return np.ascontiguousarray(pixels[:, ::-1] if mirrored else pixels)


def unturned(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """The inverse of :func:`turned`: upright pixels as they would be stored."""
    turns, mirrored = _TURNS[orientation]
    return np.ascontiguousarray(np.rot90(pixels[:, ::-1] if mirrored else pixels, -turns))


def shows_whole(size: tuple[int, int], photo: tuple[int, int]) -> bool:
    """Whether a map of this size (width, height) can show a whole photo.

    It has the photo's shape, or sides that a network rounded to its patches, which stretches it a little.
    """
    if same_shape(size, photo):
        return True
    (width, height), (wide, high) = size, photo
    for patch in _PATCHES:
        if width % patch == 0 and height % patch == 0:
            return abs(width * high / wide - height) <= 0.5 * patch * (1 + high / wide)
    return False
