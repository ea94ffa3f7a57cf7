# SPDX-License-Identifier: Apache-2.0
"""Taking the lens out of a photo and of its label maps with one and the same map.

Colours are interpolated bilinearly, ids never: a label comes from the nearest pixel.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F

from panoptic_gs.errors import InputError
from panoptic_gs.scene.lens import Distortion
from panoptic_gs.scene.seen_rectangle import Rectangle, largest_rectangle, rising_up_to

MAX_FOV = 120.0
"""Degrees that a rectified photo shows from side to side, and from top to bottom, at most. Towards 180° a plane spends
ever more pixels on ever less: at 120° a pixel at the middle of a side sees a quarter of the central one's angle."""

_SAME_SHAPE = 1.1  # pixels so little off a square are as good, and all photos of a scene keep one size

_Intrinsics = tuple[float, float, float, float]


@dataclass(frozen=True, eq=False)
class Rectification:
    """From a photo as the lens drew it to what an ideal camera sees."""

    K: np.ndarray  # [3, 3] of the rectified image, pixel centres at + 0.5
    width: int
    height: int
    columns: np.ndarray  # [height, width] float32, where to read in the photo, OpenCV's pixel centres (integers)
    rows: np.ndarray  # [height, width] float32

    def image(self, pixels: np.ndarray) -> np.ndarray:
        """Rectify colours ``[H, W, C]`` uint8 by bilinear interpolation; beyond the border they go on as it is."""
        height, width = pixels.shape[:2]
        grid = np.stack([(2 * self.columns + 1) / width - 1, (2 * self.rows + 1) / height - 1], axis=-1)
        photo = torch.from_numpy(pixels.astype(np.float32)).permute(2, 0, 1)[None]
        result = F.grid_sample(photo, torch.from_numpy(grid)[None], padding_mode="border", align_corners=False)
        return result[0].permute(1, 2, 0).round_().clamp_(0, 255).to(torch.uint8).numpy()

    def labels(self, labels: np.ndarray) -> np.ndarray:
        """Rectify a map ``[H, W, …]`` of the photo's size by nearest neighbour; 0 where the photo shows nothing."""
        height, width = labels.shape[:2]
        row = np.floor(self.rows + 0.5).astype(np.int64)
        column = np.floor(self.columns + 0.5).astype(np.int64)
        inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
        result = labels[row.clip(0, height - 1), column.clip(0, width - 1)]
        result[~inside] = 0
        return result


def rectification(
    K: np.ndarray, lens: Distortion, width: int, height: int, max_fov: float = MAX_FOV
) -> Rectification | None:
    """The largest image without empty borders that an ideal camera can have of a photo, or None for an ideal lens.

    It has the photo's size where it has about its shape. Else, as for wide lenses that are cut to ``max_fov``, it has
    the photo's ratio of focal lengths and as many pixels as keep the resolution of its centre, but no more in all.

    Args:
        K: ``[3, 3]`` intrinsics of the photo, pixel centres at + 0.5.
        lens: its distortion.
        width: of the photo.
        height: of the photo.
        max_fov: most degrees from side to side and from top to bottom.

    Raises:
        InputError: the lens folds inside the photo, or ``max_fov`` is no angle between 0 and 180.
    """
    if not lens:
        return None
    return _rectification(_of(K), lens, width, height, max_fov)


def rectified_intrinsics(
    K: np.ndarray, lens: Distortion, width: int, height: int, max_fov: float = MAX_FOV
) -> tuple[np.ndarray, int, int]:
    """K ``[3, 3]``, width and height of the :func:`rectification`, without making its maps."""
    if not lens:
        return np.asarray(K, dtype=np.float64), width, height
    return _target(_of(K), lens, width, height, max_fov)


def same_intrinsics(K: np.ndarray, lens: Distortion, width: int, height: int) -> Rectification:
    """What an ideal camera of a photo's intrinsics and size sees of it, with empty borders where the photo ends."""
    return _maps(_of(K), lens, np.asarray(K, dtype=np.float64), width, height)


def undistort_photo(pixels: np.ndarray, K: np.ndarray, lens: Distortion) -> tuple[np.ndarray, np.ndarray]:
    """The photo that an ideal camera of the same intrinsics and size takes.

    Args:
        pixels: ``[H, W, 3]`` uint8 as the sensor saw it.
        K: ``[3, 3]`` intrinsics in pixels, pixel centres at + 0.5.
        lens: the distortion.

    Returns:
        ``[H, W, 3]`` uint8, black where the sensor saw nothing, and ``[H, W]`` bool where it saw something.
    """
    height, width = pixels.shape[:2]
    same = same_intrinsics(K, lens, width, height)
    seen = same.labels(np.ones((height, width), dtype=bool))
    undistorted = same.image(pixels)
    undistorted[~seen] = 0
    return undistorted, seen


def _of(K: np.ndarray) -> _Intrinsics:
    return float(K[0, 0]), float(K[1, 1]), float(K[0, 2]), float(K[1, 2])


@lru_cache(maxsize=8)  # a capture has few different lenses, and the maps are large
def _rectification(intrinsics: _Intrinsics, lens: Distortion, width: int, height: int, max_fov: float) -> Rectification:
    return _maps(intrinsics, lens, *_target(intrinsics, lens, width, height, max_fov))


@lru_cache(maxsize=4096)
def _target(
    intrinsics: _Intrinsics, lens: Distortion, width: int, height: int, max_fov: float
) -> tuple[np.ndarray, int, int]:
    if not 0 < max_fov < 180:
        raise InputError("max_fov", f"{max_fov:g}°", "an angle between 0° and 180°", f"{MAX_FOV:g} is the default.")
    fx, fy, cx, cy = intrinsics
    photo = Rectangle(-cx / fx, -cy / fy, (width - cx) / fx, (height - cy) / fy)
    seen = largest_rectangle(lens, photo, max_fov)
    wide, high = fx * (seen.right - seen.left), fy * (seen.bottom - seen.top)
    if not (0 < wide < math.inf and 0 < high < math.inf):
        raise InputError(
            "intrinsics",
            f"focal lengths of {fx:g} and {fy:g} pixels and a centre of ({cx:g}, {cy:g}) at {width}×{height} pixels",
            "a camera that sees something",
            "Check the units: all are pixels of this size.",
        )
    new_width, new_height = width, height
    if not 1 / _SAME_SHAPE < wide * height / (high * width) < _SAME_SHAPE:
        scale = min(1.0, math.sqrt(width * height / (wide * high)))
        new_width, new_height = max(1, round(scale * wide)), max(1, round(scale * high))
    new_fx, new_fy = new_width / (seen.right - seen.left), new_height / (seen.bottom - seen.top)
    K = np.array([[new_fx, 0.0, -new_fx * seen.left], [0.0, new_fy, -new_fy * seen.top], [0.0, 0.0, 1.0]])
    K.setflags(write=False)
    return K, new_width, new_height


def _maps(intrinsics: _Intrinsics, lens: Distortion, K: np.ndarray, width: int, height: int) -> Rectification:
    fx, fy, cx, cy = intrinsics
    x, y = np.meshgrid((np.arange(width) + 0.5 - K[0, 2]) / K[0, 0], (np.arange(height) + 0.5 - K[1, 2]) / K[1, 1])
    u, v = lens.distort(x, y)
    columns, rows = u * fx + (cx - 0.5), v * fy + (cy - 0.5)
    farthest = float(np.sqrt((x * x + y * y).max()))
    rising = rising_up_to(lens, farthest)
    if rising < farthest:  # behind a fold the formula comes back into the photo
        columns[x * x + y * y > rising**2] = -1e6
    return Rectification(K, width, height, columns.astype(np.float32), rows.astype(np.float32))
