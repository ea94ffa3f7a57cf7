# SPDX-License-Identifier: Apache-2.0
"""Taking lens distortion out of photos, on a real one and in closed form."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from scipy import ndimage

from panoptic_gs.files import read_rgb
from panoptic_gs.scene import Scene
from panoptic_gs.scene.colmap import read_colmap
from panoptic_gs.scene.lens import Distortion
from panoptic_gs.scene.rectification import undistort_photo

K = np.array([[60.0, 0, 47.5], [0, 62, 31.5], [0, 0, 1]])


def test_a_smooth_picture_is_what_the_ideal_camera_sees() -> None:
    lens = Distortion(k1=0.03, k2=-0.01, k3=0.002, model="fisheye")
    columns, rows = np.meshgrid(np.arange(96) + 0.5, np.arange(64) + 0.5)
    pixels = np.stack([2.5 * columns, 3.9 * rows, 0.9 * (columns + rows)], axis=-1)
    got, seen = undistort_photo(np.rint(pixels).astype(np.uint8), K, lens)
    x, y = lens.distort((columns - K[0, 2]) / K[0, 0], (rows - K[1, 2]) / K[1, 1])
    column, row = x * K[0, 0] + K[0, 2], y * K[1, 1] + K[1, 2]
    assert seen.all()
    expected = np.stack([2.5 * column, 3.9 * row, 0.9 * (column + row)], axis=-1)
    assert np.abs(got - expected)[2:-2, 2:-2].max() < 1.1


def test_what_the_sensor_did_not_see_is_black() -> None:
    lens = Distortion(k1=0.2)
    got, seen = undistort_photo(np.full((64, 96, 3), 200, np.uint8), K, lens)
    assert 0 < (~seen).mean() < 0.5
    np.testing.assert_array_equal(got, np.repeat(np.where(seen, 200, 0)[..., None], 3, axis=2))


def test_a_real_photo_as_colmap_undistorts_it(shared_data: Path) -> None:
    folder = shared_data / "livingroom"
    frame = Scene.load(folder / "scene").frames[3]
    name, camera, lens = next(
        image
        for image in read_colmap(folder / "distorted" / "colmap" / "sparse" / "0", points=False).images
        if Path(image[0]).stem == frame.stem
    )
    raw = read_rgb(folder / "distorted" / "images" / name)
    undistorted, _ = undistort_photo(raw, camera.K.double().numpy(), lens)
    wanted = read_rgb(frame.image_path).astype(np.float64)

    def difference(photo: np.ndarray, shift: float = 0.0) -> float:
        """Mean absolute difference to COLMAP's undistorted photo, which has half the size and slightly other K."""
        ours, theirs = camera.K.double().numpy(), frame.camera.K.double().numpy()
        columns, rows = np.meshgrid(np.arange(wanted.shape[1]) + 0.5, np.arange(wanted.shape[0]) + 0.5)
        column = (columns + shift - theirs[0, 2]) / theirs[0, 0] * ours[0, 0] + ours[0, 2] - 0.5
        row = (rows - theirs[1, 2]) / theirs[1, 1] * ours[1, 1] + ours[1, 2] - 0.5
        smooth = ndimage.uniform_filter(photo.astype(np.float64), (2, 2, 1), origin=(-1, -1, 0))
        values = [ndimage.map_coordinates(smooth[..., c], [row - 0.5, column - 0.5], order=1) for c in range(3)]
        return float(np.abs(np.stack(values, axis=-1) - wanted)[20:-20, 20:-20].mean())

    right = difference(undistorted)
    assert right < 1.5
    assert difference(raw) > 6 * right
    for shift in (-0.5, 0.5):
        assert difference(undistorted, shift) > 1.6 * right
