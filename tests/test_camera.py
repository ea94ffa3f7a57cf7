# SPDX-License-Identifier: Apache-2.0
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from panoptic_gs import Camera, InputError
from panoptic_gs.camera import rotation_from_quaternion

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
