# SPDX-License-Identifier: Apache-2.0
"""Photos and label maps lose the lens by one and the same map."""

import cv2
import numpy as np
import pytest
import torch

pytest.importorskip("nerfstudio")
from nerfstudio.cameras.cameras import Cameras, CameraType
from nerfstudio.data.datamanagers.full_images_datamanager import _undistort_image

from panoptic_gs.scene.lens import Distortion
from panoptic_gs.scene.rectification import rectification

WIDTH, HEIGHT = 160, 120
K = np.array([[120.0, 0, 78.3], [0, 118.0, 61.2], [0, 0, 1]])
LENSES = [
    Distortion(k1=-0.2, k2=0.05, p1=0.003, p2=-0.002),
    Distortion(k1=0.15, k2=-0.02, k3=0.001),
    Distortion(k1=0.05, k2=-0.01, k3=0.002, k4=-0.001, model="fisheye"),
]


def positions() -> np.ndarray:
    """A label map whose ids say where their pixel is."""
    return (np.arange(HEIGHT)[:, None] * WIDTH + np.arange(WIDTH)[None] + 1).astype(np.int32)


@pytest.mark.parametrize("lens", LENSES)
def test_labels_come_from_the_pixel_that_the_lens_maps_to(lens: Distortion) -> None:
    ideal = rectification(K, lens, WIDTH, HEIGHT)
    assert ideal is not None
    labels = ideal.labels(positions())
    assert labels.shape == (ideal.height, ideal.width)
    v, u = np.mgrid[: ideal.height, : ideal.width] + 0.5
    x, y = lens.distort((u - ideal.K[0, 2]) / ideal.K[0, 0], (v - ideal.K[1, 2]) / ideal.K[1, 1])
    column, row = x * K[0, 0] + K[0, 2] - 0.5, y * K[1, 1] + K[1, 2] - 0.5
    seen = labels != 0
    assert seen.mean() > 0.98
    assert np.abs((labels - 1) % WIDTH - column)[seen].max() < 0.51
    assert np.abs((labels - 1) // WIDTH - row)[seen].max() < 0.51


@pytest.mark.parametrize("lens", LENSES)
def test_labels_equal_opencv_s_nearest_neighbour(lens: Distortion) -> None:
    ideal = rectification(K, lens, WIDTH, HEIGHT)
    assert ideal is not None
    ours = ideal.labels(positions())
    theirs = cv2.remap(positions().astype(np.float32), ideal.columns, ideal.rows, cv2.INTER_NEAREST).astype(np.int32)
    # OpenCV rounds to 1/32 pixel first, which only moves samples that lie between two pixels.
    assert (ours == theirs).mean() > 0.93


@pytest.mark.parametrize("lens", LENSES)
def test_photo_and_camera_are_nerfstudio_s(lens: Distortion) -> None:
    """Nerfstudio looks for the rectangle at nine points a side and cuts off a row and a column more."""
    image = np.random.default_rng(0).integers(0, 255, (HEIGHT // 8, WIDTH // 8, 3), dtype=np.uint8)
    image = cv2.resize(image, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
    fisheye = lens.model == "fisheye"
    parameters = np.array([lens.k1, lens.k2, lens.k3, lens.k4, lens.p1, lens.p2], dtype=np.float32)
    camera = Cameras(
        torch.eye(4)[None, :3], fx=120.0, fy=118.0, cx=78.3, cy=61.2, width=WIDTH, height=HEIGHT,
        distortion_params=torch.from_numpy(parameters)[None],
        camera_type=CameraType.FISHEYE if fisheye else CameraType.PERSPECTIVE,
    )[0].reshape(())  # fmt: skip
    their_K, theirs, _ = _undistort_image(camera, parameters, {}, image, K.copy())
    ideal = rectification(K, lens, WIDTH, HEIGHT)
    assert ideal is not None
    ours = ideal.image(image)
    assert ours.shape == (HEIGHT, WIDTH, 3)
    np.testing.assert_allclose(ideal.K, their_K, rtol=0.05, atol=1.5)
    u, v = np.meshgrid(np.arange(WIDTH) + 0.5, np.arange(HEIGHT) + 0.5)
    columns = (u - ideal.K[0, 2]) / ideal.K[0, 0] * their_K[0, 0] + their_K[0, 2] - 0.5
    rows = (v - ideal.K[1, 2]) / ideal.K[1, 1] * their_K[1, 1] + their_K[1, 2] - 0.5
    there = (columns > 0) & (rows > 0) & (columns < theirs.shape[1] - 1) & (rows < theirs.shape[0] - 1)
    seen = cv2.remap(theirs, columns.astype(np.float32), rows.astype(np.float32), cv2.INTER_LINEAR)
    assert there.mean() > 0.93
    assert np.abs(ours.astype(int) - seen.astype(int))[there].mean() < 2


def test_an_ideal_camera_needs_none() -> None:
    assert rectification(K, Distortion(), WIDTH, HEIGHT) is None
