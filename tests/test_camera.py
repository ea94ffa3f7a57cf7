# SPDX-License-Identifier: Apache-2.0
import math

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from panoptic_gs import Camera, InputError
from panoptic_gs.camera import Distortion, rotation_from_quaternion, undistort_nearest

K = [[100.0, 0.0, 32.0], [0.0, 110.0, 24.0], [0.0, 0.0, 1.0]]


def test_look_at_puts_the_target_in_the_centre_and_up_up():
    camera = Camera.look_at((1, 2, 3), (4, 1, 2), (0, 0, 1), math.radians(60), 64, 48)
    in_camera = camera.viewmat[:3, :3] @ torch.tensor([4.0, 1.0, 2.0]) + camera.viewmat[:3, 3]
    torch.testing.assert_close(in_camera, torch.tensor([0.0, 0.0, math.sqrt(11.0)]), atol=1e-5, rtol=0)
    above = camera.viewmat[:3, :3] @ torch.tensor([4.0, 1.0, 2.5]) + camera.viewmat[:3, 3]
    assert above[1] < 0, "OpenCV's y axis points down"
    torch.testing.assert_close(camera.center, torch.tensor([1.0, 2.0, 3.0]), atol=1e-5, rtol=0)


@settings(deadline=None)
@given(
    st.lists(st.floats(-1, 1), min_size=4, max_size=4).filter(lambda q: np.linalg.norm(q) > 0.1),
    st.lists(st.floats(-10, 10), min_size=3, max_size=3),
)
def test_opengl_poses_survive_the_round_trip(quaternion, translation):
    pose = np.eye(4)
    pose[:3, :3] = Rotation.from_quat(quaternion).as_matrix()
    pose[:3, 3] = translation
    camera = Camera.from_opengl(pose, np.asarray(K), 64, 48)
    np.testing.assert_allclose(camera.to_opengl().numpy(), pose, atol=2e-5)
    looking = -pose[:3, 2]  # OpenGL cameras look along -z
    point = torch.as_tensor(pose[:3, 3] + looking, dtype=torch.float32)
    assert (camera.viewmat[:3, :3] @ point + camera.viewmat[:3, 3])[2] == pytest.approx(1, abs=1e-4)


def test_quaternions_are_wxyz():
    quaternion = Rotation.from_euler("xyz", [0.3, -1.1, 2.0])
    x, y, z, w = quaternion.as_quat()
    rotation = rotation_from_quaternion(torch.tensor([w, x, y, z], dtype=torch.float64) * 3)
    np.testing.assert_allclose(rotation.numpy(), quaternion.as_matrix(), atol=1e-12)


def test_resizing_keeps_where_a_point_lands_in_the_image():
    camera = Camera.look_at((0, 0, 0), (1, 0, 0), (0, 0, 1), 1.0, 64, 48)
    point = camera.viewmat[:3, :3] @ torch.tensor([2.0, 0.3, 0.4]) + camera.viewmat[:3, 3]
    small, large = ((c.K @ point / point[2])[:2] for c in (camera, camera.resized(128, 96)))
    torch.testing.assert_close(large, 2 * small)


@pytest.mark.parametrize(
    ("viewmat", "intrinsics", "size", "word"),
    [
        (torch.full((4, 4), torch.nan), K, (64, 48), "NaN"),
        (torch.eye(4) * 2, K, (64, 48), "rotation"),
        (torch.diag(torch.tensor([1.0, 1.0, -1.0, 1.0])), K, (64, 48), "rotation"),
        (torch.eye(4), [[0.0, 0, 32], [0, 110, 24], [0, 0, 1]], (64, 48), "focal"),
        (torch.eye(4), K, (0, 48), "0×48"),
        (torch.eye(3), K, (64, 48), "shape"),
    ],
)
def test_unusable_cameras_are_refused_by_name(viewmat, intrinsics, size, word):
    with pytest.raises(InputError, match=word):
        Camera(viewmat, torch.as_tensor(intrinsics), *size)


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
    assert (undistort_nearest(codes, intrinsics, lens) == expected).mean() > 0.999


def test_fisheye_agrees_with_opencv():
    lens = Distortion(k1=0.05, k2=-0.01, k3=0.002, k4=-0.001, model="fisheye")
    x, y = np.meshgrid(np.linspace(-1, 1, 9), np.linspace(-1, 1, 7))
    points = np.stack([x.ravel(), y.ravel()], axis=-1)[:, None]
    coefficients = np.array([lens.k1, lens.k2, lens.k3, lens.k4])
    expected = cv2.fisheye.distortPoints(points, np.eye(3), coefficients)[:, 0]
    distorted = np.stack([v.ravel() for v in lens.distort(x, y)], axis=-1)
    np.testing.assert_allclose(distorted, expected, atol=1e-9)
