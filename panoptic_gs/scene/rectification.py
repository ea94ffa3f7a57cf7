# SPDX-License-Identifier: Apache-2.0
"""Taking lens distortion out of photos and label maps."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from panoptic_gs.scene.lens import Distortion


def undistort_photo(pixels: np.ndarray, K: np.ndarray, lens: Distortion) -> tuple[np.ndarray, np.ndarray]:
    """The photo that an ideal camera of the same intrinsics takes, by bilinear interpolation.

    Args:
        pixels: ``[H, W, 3]`` uint8 as the sensor saw it.
        K: ``[3, 3]`` intrinsics in pixels, pixel centres at one half.
        lens: the distortion.

    Returns:
        ``[H, W, 3]`` uint8, black where the sensor saw nothing, and ``[H, W]`` bool where it saw something.
    """
    height, width = pixels.shape[:2]
    x, y = np.meshgrid(
        (np.arange(width) + 0.5 - K[0, 2]) / K[0, 0],
        (np.arange(height) + 0.5 - K[1, 2]) / K[1, 1],
    )
    x, y = lens.distort(x, y)
    column, row = x * K[0, 0] + K[0, 2], y * K[1, 1] + K[1, 2]
    seen = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    places = np.stack([row - 0.5, column - 0.5])
    channels = [
        ndimage.map_coordinates(pixels[..., channel].astype(np.float32), places, order=1, mode="nearest")
        for channel in range(3)
    ]
    undistorted = np.rint(np.stack(channels, axis=-1)).clip(0, 255).astype(np.uint8)
    undistorted[~seen] = 0
    return undistorted, seen


def undistort_nearest(pixels: np.ndarray, K: np.ndarray, distortion: Distortion, outside: int = 0) -> np.ndarray:
    """Take the lens distortion out of a map of labels or colours by nearest neighbour.

    Args:
        pixels: ``[H, W]`` or ``[H, W, C]`` as the sensor saw it.
        K: ``[3, 3]`` intrinsics for this size; the undistorted image keeps them.
        distortion: the lens.
        outside: value of pixels that the sensor did not see.

    Returns:
        An array of the same shape and dtype.
    """
    height, width = pixels.shape[:2]
    fx, fy, cx, cy = K[0, 0], K[1, 1], K[0, 2], K[1, 2]
    x, y = np.meshgrid((np.arange(width) + 0.5 - cx) / fx, (np.arange(height) + 0.5 - cy) / fy)
    x, y = distortion.distort(x, y)
    column, row = np.floor(x * fx + cx).astype(np.int64), np.floor(y * fy + cy).astype(np.int64)
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    result = pixels[row.clip(0, height - 1), column.clip(0, width - 1)]
    result[~inside] = outside
    return result
