# SPDX-License-Identifier: Apache-2.0
"""Taking lens distortion out of photos."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from panoptic_gs.camera import Distortion


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
