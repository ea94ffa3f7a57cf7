# SPDX-License-Identifier: Apache-2.0
"""Which photos of a folder are worth using: duplicates and blurred ones are left out and named."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image
from scipy import ndimage

from panoptic_gs.predict.photos import Photo
from panoptic_gs.progress import Progress, silent

_SIDE = 480  # pixels on the longer side at which sharpness is compared
_SAME = 3.0  # grey levels of a thumbnail, by which a copy that was saved once more may differ anywhere
_NEIGHBOURS = 5  # on either side, which show about the same
_BLURRED = 0.12  # of the neighbours' median; a smear of an eightieth of the photo takes away nine tenths along it
_DIRECTIONS = ((0, 1), (1, 0), (1, 1), (1, -1))


def select_photos(photos: Sequence[Photo], progress: Progress = silent) -> tuple[tuple[Photo, ...], dict[str, str]]:
    """The photos that are neither a copy of an earlier one nor blurred beside those before and after.

    Returns:
        The photos, and file name → why it is left out.
    """
    left_out: dict[str, str] = {}
    kept: list[Photo] = []
    small: list[np.ndarray] = []
    details: list[np.ndarray] = []
    for number, photo in enumerate(photos, 1):
        progress("Comparing photos", number, len(photos))
        grey = _grey(photo.read())
        thumbnail = np.asarray(Image.fromarray(grey).resize((32, 32), Image.Resampling.BOX), np.float32)
        alike = [i for i, other in enumerate(small) if np.abs(thumbnail - other).max() < _SAME]
        if alike:
            left_out[photo.path.name] = f"a duplicate of {kept[alike[0]].path.name}"
            continue
        small.append(thumbnail)
        kept.append(photo)
        details.append(detail_along(grey))
    sharp = []
    for index, photo in enumerate(kept):
        around = details[max(0, index - _NEIGHBOURS) : index] + details[index + 1 : index + 1 + _NEIGHBOURS]
        if len(around) >= 3 and (details[index] < _BLURRED * np.median(around, axis=0)).any():
            left_out[photo.path.name] = "blurred beside its neighbours"
        else:
            sharp.append(photo)
    return tuple(sharp), left_out


def sharpness(grey: np.ndarray) -> float:
    """The variance of the Laplacian of a picture ``[H, W]`` uint8."""
    return float(ndimage.laplace(grey.astype(np.float32)).var())


def detail_along(grey: np.ndarray) -> np.ndarray:  # [4]
    """The variance of second differences of a picture ``[H, W]`` uint8 along rows, columns and both diagonals.

    A camera that was moved smears what lies along its way alone: across it everything is as sharp as ever.
    """
    values = grey.astype(np.float32)
    height, width = values.shape
    if min(height, width) < 3:
        return np.zeros(len(_DIRECTIONS))
    inside = values[1:-1, 1:-1]
    shifted = [
        (values[1 + y : height - 1 + y, 1 + x : width - 1 + x], values[1 - y : height - 1 - y, 1 - x : width - 1 - x])
        for y, x in _DIRECTIONS
    ]
    return np.array([(2 * inside - there - back).var() for there, back in shifted])


def _grey(pixels: np.ndarray) -> np.ndarray:
    image = Image.fromarray(pixels).convert("L")
    scale = _SIDE / max(image.size)
    if scale < 1:
        image = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BOX)
    return np.asarray(image)
