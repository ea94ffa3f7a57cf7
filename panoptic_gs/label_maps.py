# SPDX-License-Identifier: Apache-2.0
"""Label maps as pixels: the RGB coding of ids, resampling, and whether two sizes are of one shape."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from panoptic_gs.errors import InputError
from panoptic_gs.files import read_image


def encode_ids(ids: np.ndarray) -> np.ndarray:
    """Ids ``[H, W]`` → COCO panoptic pixels ``[H, W, 3]`` uint8, id = R + 256·G + 65536·B."""
    values = np.asarray(ids).astype(np.uint32)
    return np.stack([values & 255, (values >> 8) & 255, (values >> 16) & 255], axis=-1).astype(np.uint8)


def decode_ids(pixels: np.ndarray) -> np.ndarray:
    """COCO panoptic pixels ``[H, W, 3]`` uint8 → ids ``[H, W]`` int32."""
    ids = pixels[..., 2].astype(np.int32)
    for channel in (1, 0):
        ids <<= 8
        ids |= pixels[..., channel]
    return ids


def read_ids(path: Path) -> np.ndarray:
    """Read a COCO panoptic PNG as ids ``[H, W]`` int32.

    Raises:
        InputError: it is missing, truncated, or not in RGB.
    """
    expected = "an RGB PNG with id = R + 256·G + 65536·B"
    pixels = read_image(path, expected=expected)
    if pixels.ndim != 3 or pixels.shape[2] < 3 or pixels.dtype != np.uint8:
        raise InputError(
            path,
            f"{pixels.dtype} pixels of shape {list(pixels.shape)}",
            expected,
            "Write ids as RGB; panoptic_gs.panoptic.encode_ids does it.",
        )
    return decode_ids(pixels)


_MOST_COUNTED = 1 << 20
"""Ids below this are counted in an array of their own, which takes a thirtieth of the time of sorting a large map."""


def counted_ids(ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The ids of a map, ascending, and of how many pixels each is.

    Args:
        ids: integers of any shape.
    """
    if not ids.size or ids.min() < 0 or ids.max() >= _MOST_COUNTED:
        return np.unique(ids, return_counts=True)
    counts = np.bincount(ids.ravel().astype(np.int64, copy=False))
    values = np.flatnonzero(counts)
    return values.astype(ids.dtype), counts[values]


def numbered(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The values of an array ``[n]``, ascending, and the number ``[n]`` int32 that each entry has among them.

    As numpy's ``unique`` with ``return_inverse``, whose sorting takes six times the array's memory.
    """
    values, _ = counted_ids(labels)
    number = np.empty(len(labels), dtype=np.int32)
    for first in range(0, len(labels), _MOST_COUNTED):
        block = slice(first, first + _MOST_COUNTED)
        number[block] = np.searchsorted(values, labels[block])
    return values, number


class Grouped:
    """The places of each label in an array ``[n]`` of labels, none negative, found for all of them in one pass."""

    def __init__(self, labels: np.ndarray) -> None:
        self._order = np.argsort(labels, kind="stable")
        self._starts = np.concatenate([[0], np.bincount(labels).cumsum()])

    def of(self, label: int) -> np.ndarray:
        """The places ``[K]`` of a label, ascending."""
        known = 0 <= label < len(self._starts) - 1
        return self._order[self._starts[label] : self._starts[label + 1]] if known else self._order[:0]


def resize_nearest(labels: np.ndarray, width: int, height: int) -> np.ndarray:
    """Resample a label map ``[H, W]`` by nearest neighbour (pixel centres), never interpolating ids."""
    if labels.shape == (height, width):
        return labels
    rows = ((np.arange(height) + 0.5) * labels.shape[0] / height).astype(np.int64)
    columns = ((np.arange(width) + 0.5) * labels.shape[1] / width).astype(np.int64)
    return labels[rows[:, None], columns[None, :]]


def same_shape(size: tuple[int, int], other: tuple[int, int]) -> bool:
    """Whether an image of one size (width, height) can be the other one, scaled as a whole.

    Sides are whole numbers after scaling, rounded up, down or to the nearest, so there has to be one factor that takes
    both sides to within a pixel. One side alone never changes: that is a crop.
    """
    if size == other:
        return True
    (width, height), (wide, high) = size, other
    if min(*size, *other) < 1 or (width == wide) != (height == high):
        return False
    least = max((width - 1) / wide, (height - 1) / high)
    most = min((width + 1) / wide, (height + 1) / high)
    return least < most and not math.isclose(least, most)
