# SPDX-License-Identifier: Apache-2.0
"""Taking the lens out of a photo and of its label maps with one and the same map."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from panoptic_gs.scene.lens import Distortion

_Intrinsics = tuple[float, float, float, float]


@dataclass(frozen=True, eq=False)
class Rectification:
    """From a photo as the lens drew it to the largest pinhole image without empty borders.

    As nerfstudio rectifies photos: the intrinsics are chosen so that every pixel of the result was seen, and the
    result is cropped to the valid region that OpenCV gives.
    """

    K: np.ndarray  # [3, 3] of the rectified image, pixel centres at + 0.5
    width: int
    height: int
    columns: np.ndarray  # [height, width] float32, where to read in the photo, OpenCV's pixel centres (integers)
    rows: np.ndarray  # [height, width] float32

    def image(self, pixels: np.ndarray) -> np.ndarray:
        """Rectify colours ``[H, W, C]`` by bilinear interpolation."""
        return cv2.remap(pixels, self.columns, self.rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)

    def labels(self, labels: np.ndarray) -> np.ndarray:
        """Rectify a label map ``[H, W]`` of the photo's size by nearest neighbour; ids are never mixed."""
        height, width = labels.shape
        row = np.floor(self.rows + 0.5).astype(np.int64)
        column = np.floor(self.columns + 0.5).astype(np.int64)
        inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
        result = labels[row.clip(0, height - 1), column.clip(0, width - 1)]
        result[~inside] = 0
        return result


def rectification(K: np.ndarray, lens: Distortion, width: int, height: int) -> Rectification | None:
    """The rectification of a photo with intrinsics ``K [3, 3]``, or None where its lens does not distort."""
    if not lens:
        return None
    return _rectification((float(K[0, 0]), float(K[1, 1]), float(K[0, 2]), float(K[1, 2])), lens, width, height)


@lru_cache(maxsize=8)  # a capture has few different lenses
def _rectification(intrinsics: _Intrinsics, lens: Distortion, width: int, height: int) -> Rectification:
    fx, fy, cx, cy = intrinsics
    seen = np.array([[fx, 0.0, cx - 0.5], [0.0, fy, cy - 0.5], [0.0, 0.0, 1.0]])
    size = (width, height)
    if lens.model == "fisheye":
        coefficients = np.array([lens.k1, lens.k2, lens.k3, lens.k4])
        ideal = cv2.fisheye.estimateNewCameraMatrixForUndistortRectify(seen, coefficients, size, np.eye(3), balance=0.0)
        columns, rows = cv2.fisheye.initUndistortRectifyMap(seen, coefficients, np.eye(3), ideal, size, cv2.CV_32FC1)
        left, top, kept_width, kept_height = 0, 0, width, height
    else:
        coefficients = np.array([lens.k1, lens.k2, lens.p1, lens.p2, lens.k3, lens.k4, 0.0, 0.0])
        ideal, (left, top, kept_width, kept_height) = cv2.getOptimalNewCameraMatrix(seen, coefficients, size, 0.0)
        columns, rows = cv2.initUndistortRectifyMap(seen, coefficients, np.eye(3), ideal, size, cv2.CV_32FC1)
    K = np.array(ideal, dtype=np.float64)
    K[0, 2] += 0.5 - left
    K[1, 2] += 0.5 - top
    kept = (slice(top, top + kept_height), slice(left, left + kept_width))
    return Rectification(
        K, kept_width, kept_height, np.ascontiguousarray(columns[kept]), np.ascontiguousarray(rows[kept])
    )
