# SPDX-License-Identifier: Apache-2.0
import cv2
import numpy as np

from panoptic_gs.scene.lens import Distortion
from panoptic_gs.scene.rectification import same_intrinsics


def test_undistorting_agrees_with_opencv():
    lens = Distortion(k1=-0.2, k2=0.05, p1=0.003, p2=-0.002)
    height, width = 60, 80
    intrinsics = np.array([[70.0, 0, 41.3], [0, 72.0, 29.1], [0, 0, 1]])
    codes = np.arange(height * width, dtype=np.int32).reshape(height, width) + 1
    # OpenCV puts pixel centres at integers.
    shifted = intrinsics - np.array([[0, 0, 0.5], [0, 0, 0.5], [0, 0, 0]])
    coefficients = np.array([lens.k1, lens.k2, lens.p1, lens.p2])
    map_x, map_y = cv2.initUndistortRectifyMap(shifted, coefficients, None, shifted, (width, height), cv2.CV_32FC1)
    rows, columns = np.rint(map_y).astype(int), np.rint(map_x).astype(int)
    inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    expected = np.where(inside, codes[rows.clip(0, height - 1), columns.clip(0, width - 1)], 0)
    assert (same_intrinsics(intrinsics, lens, width, height).labels(codes) == expected).mean() > 0.999


def test_fisheye_agrees_with_opencv():
    lens = Distortion(k1=0.05, k2=-0.01, k3=0.002, k4=-0.001, model="fisheye")
    x, y = np.meshgrid(np.linspace(-1, 1, 9), np.linspace(-1, 1, 7))
    points = np.stack([x.ravel(), y.ravel()], axis=-1)[:, None]
    coefficients = np.array([lens.k1, lens.k2, lens.k3, lens.k4])
    expected = cv2.fisheye.distortPoints(points, np.eye(3), coefficients)[:, 0]
    distorted = np.stack([v.ravel() for v in lens.distort(x, y)], axis=-1)
    np.testing.assert_allclose(distorted, expected, atol=1e-9)
