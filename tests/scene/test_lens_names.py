# SPDX-License-Identifier: Apache-2.0
"""Camera models by name, held against COLMAP's and OpenCV's own implementations; what is not known is refused."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from panoptic_gs import InputError
from panoptic_gs.scene.lens import CAMERA_MODELS, Distortion
from panoptic_gs.scene.lens_names import (
    K4_NOTE,
    lens_from_parameters,
    lens_from_transforms,
    lens_to_transforms,
)

INTRINSICS = {"f": 210.0, "fx": 210.0, "fy": 205.0, "cx": 150.5, "cy": 99.5}
OTHERS = {"omega": 0.9, "alpha": 0.6, "beta": 1.1}


def parameters(name: str, seed: int = 0) -> list[float]:
    rng = np.random.default_rng(seed)
    known = {**INTRINSICS, **OTHERS}
    return [known.get(key, float(0.02 * rng.normal())) for key in CAMERA_MODELS[name].parameters.split()]


@pytest.mark.parametrize("name", CAMERA_MODELS)
def test_every_model_projects_as_colmap_does(name: str) -> None:
    pycolmap = pytest.importorskip("pycolmap")
    if name not in pycolmap.CameraModelId.__members__:
        pytest.skip(f"this pycolmap does not have {name}")
    values = parameters(name)
    camera = pycolmap.Camera(model=name, width=300, height=200, params=values)
    assert int(pycolmap.CameraModelId.__members__[name]) == CAMERA_MODELS[name].colmap_id
    (fx, fy, cx, cy), lens = lens_from_parameters("model", name, values)
    plane = np.random.default_rng(1).uniform(-1, 1, (200, 2))
    theirs = np.array(camera.img_from_cam(np.concatenate([plane, np.ones((200, 1))], axis=1)))
    x, y = lens.distort(plane[:, 0], plane[:, 1])
    np.testing.assert_allclose(np.stack([x * fx + cx, y * fy + cy], axis=1), theirs, atol=1e-9)


def test_all_twelve_coefficients_are_opencv_s() -> None:
    # OpenCV's order: k1 k2 p1 p2 k3 k4 k5 k6 s1 s2 s3 s4
    values = np.array([-0.2, 0.06, 0.002, -0.003, 0.01, 0.05, -0.02, 0.004, 0.003, -0.001, 0.002, 0.0005])
    names = ("k1", "k2", "p1", "p2", "k3", "k4", "k5", "k6", "s1", "s2", "s3", "s4")
    lens, note = lens_from_transforms("file", {"camera_model": "FULL_OPENCV", **dict(zip(names, values.tolist()))})
    assert note is None
    plane = np.random.default_rng(0).uniform(-1, 1, (100, 2))
    points = np.concatenate([plane, np.ones((100, 1))], axis=1)
    theirs, _ = cv2.projectPoints(points, np.zeros(3), np.zeros(3), np.eye(3), values)
    np.testing.assert_allclose(np.stack(lens.distort(plane[:, 0], plane[:, 1]), axis=1), theirs[:, 0], atol=1e-12)


def test_k4_of_opencv_is_nerfstudio_s_polynomial() -> None:
    torch = pytest.importorskip("torch")
    camera_utils = pytest.importorskip("nerfstudio.cameras.camera_utils")
    lens, note = lens_from_transforms(
        "file", {"camera_model": "OPENCV", "k1": -0.1, "k2": 0.02, "k3": 0.01, "k4": 0.03}
    )
    assert note == K4_NOTE
    x, y = np.meshgrid(np.linspace(-0.6, 0.6, 7), np.linspace(-0.4, 0.4, 5))
    distorted = torch.from_numpy(np.stack(lens.distort(x, y), axis=-1))
    coefficients = torch.tensor([-0.1, 0.02, 0.01, 0.03, 0.0, 0.0], dtype=torch.float64)
    back = camera_utils.radial_and_tangential_undistort(distorted, coefficients.expand(5, 7, 6))
    np.testing.assert_allclose(back.numpy(), np.stack([x, y], axis=-1), atol=1e-5)


@pytest.mark.parametrize(
    ("values", "word"),
    [
        ({"camera_model": "EQUIRECTANGULAR"}, "camera model EQUIRECTANGULAR.*perspective views"),
        ({"camera_model": "VR180_L"}, "camera model VR180_L"),
        ({"camera_model": "opencv"}, "camera model opencv"),
        ({"camera_model": 4}, "camera model 4"),
        ({"camera_model": "PINHOLE", "k1": 0.1}, "k1 = 0.1, which camera model PINHOLE"),
        ({"camera_model": "SIMPLE_RADIAL", "k1": 0.1, "k2": 0.01}, "k2 = 0.01"),
        ({"camera_model": "OPENCV_FISHEYE", "p1": 0.1}, "p1 = 0.1"),
        ({"camera_model": "OPENCV", "b2": 0.3}, "b2 = 0.3"),
        ({"camera_model": "OPENCV", "skew": 2.0}, "skew = 2"),
        ({"camera_model": "OPENCV", "k7": 1.0}, "k7 = 1"),
        ({"camera_model": "OPENCV", "k1": "0.1"}, "k1 = '0.1'"),
        ({"camera_model": "OPENCV", "k1": float("nan")}, "k1 = nan"),
        ({"camera_model": "OPENCV", "tau_x": 0.1}, "tau_x"),
        ({"camera_model": "OPENCV", "distortion_params": [0.1, 0.2]}, "distortion_params"),
        ({"camera_model": "FISHEYE624", "k1": 0.1}, "k1 = 0.1"),
    ],
)
def test_what_is_not_understood_is_refused_by_name(values: dict, word: str) -> None:
    with pytest.raises(InputError, match=word):
        lens_from_transforms("transforms.json", values)


def test_zeros_and_other_fields_are_nobody_s_lens() -> None:
    values = {"camera_model": "PINHOLE", "k1": 0, "k2": 0.0, "p1": 0.0, "aabb_scale": 16, "sharpness": 31.5}
    assert lens_from_transforms("file", values) == (Distortion(), None)


@pytest.mark.parametrize("name", CAMERA_MODELS)
def test_lenses_survive_being_written(name: str) -> None:
    _, lens = lens_from_parameters("model", name, parameters(name, seed=3))
    again, _ = lens_from_transforms("file", lens_to_transforms(lens))
    plane = np.random.default_rng(1).uniform(-0.8, 0.8, (50, 2))
    np.testing.assert_allclose(again.distort(*plane.T), lens.distort(*plane.T), atol=1e-12)


@pytest.mark.parametrize("model", ["opencv", "polynomial"])
def test_k4_survives_being_written_with_its_meaning(model: str) -> None:
    lens = Distortion(k1=0.1, k4=0.05, model=model)
    again, _ = lens_from_transforms("file", lens_to_transforms(lens))
    assert again == lens
