# SPDX-License-Identifier: Apache-2.0
"""What the host rasterizer returns for odd input, and what it refuses."""

from __future__ import annotations

import pytest
import torch
from random_scenes import GAUSSIANS, as_float32, make_scene

from panoptic_gs.errors import InputError
from panoptic_gs.rasterize import rasterization


@pytest.mark.parametrize("packed", [False, True])
def test_no_gaussians_give_the_background(packed: bool) -> None:
    inputs = as_float32(make_scene(count=0), GAUSSIANS)
    background = torch.rand(2, 3, requires_grad=True)
    image, alpha, meta = rasterization(**inputs, backgrounds=background, packed=packed)
    assert torch.equal(image, background[:, None, None].expand(image.shape))
    assert not alpha.any()
    image.sum().backward()
    torch.testing.assert_close(background.grad, torch.full((2, 3), 37.0 * 29.0))
    assert inputs["means"].grad.shape == (0, 3)
    assert meta["means2d"].shape == ((0, 2) if packed else (2, 0, 2))


@pytest.mark.parametrize("packed", [False, True])
def test_gaussians_that_nobody_sees_get_zero_gradients(packed: bool) -> None:
    inputs = as_float32(make_scene(count=10), GAUSSIANS)
    with torch.no_grad():
        inputs["means"][:, 2] = -10.0
    image, _, meta = rasterization(**inputs, packed=packed)
    image.sum().backward()
    assert not image.any()
    assert not (meta["radii"] > 0).any()
    for name in GAUSSIANS:
        assert not inputs[name].grad.any(), name


def test_meta_says_what_was_rendered() -> None:
    inputs = as_float32(make_scene())
    _, _, meta = rasterization(**inputs, packed=False)
    assert (meta["width"], meta["height"], meta["n_cameras"]) == (37, 29, 2)
    assert meta["gaussian_ids"] is None
    assert meta["means2d"].shape == (2, 60, 2)
    assert meta["conics"].shape == (2, 60, 3)
    assert meta["depths"].shape == meta["opacities"].shape == (2, 60)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("distributed", True), ("camera_model", "fisheye"), ("covars", torch.zeros(60, 3, 3)), ("sparse_grad", True),
        ("with_ut", True), ("with_eval3d", True), ("radial_coeffs", torch.zeros(2, 4)), ("segmented", True),
        ("render_mode", "normals"), ("rasterize_mode", "sharp"), ("sh_degree", 4), ("rolling_shutter", "TOP_TO_BOTTOM"),
    ],
)  # fmt: skip
def test_unsupported_arguments_are_refused_by_name(name: str, value: object) -> None:
    inputs = as_float32(make_scene(harmonics=3))
    with pytest.raises(InputError, match=name):
        rasterization(**inputs, **{"sh_degree": 3, name: value})


def test_an_unknown_argument_is_a_type_error() -> None:
    with pytest.raises(TypeError, match="tile_sise"):
        rasterization(**as_float32(make_scene()), tile_sise=16)


@pytest.mark.parametrize("name", ["means", "quats", "scales", "opacities", "colors", "viewmats", "Ks"])
def test_a_wrong_shape_is_refused_by_name(name: str) -> None:
    inputs = as_float32(make_scene())
    if name in ("means", "viewmats", "Ks"):
        inputs[name] = inputs[name][:, :2]
    else:
        inputs[name] = inputs[name][:-1]
    with pytest.raises(InputError, match=name[:-1]):
        rasterization(**inputs)


@pytest.mark.parametrize("name", ["means", "quats", "scales", "opacities", "colors", "viewmats", "Ks"])
def test_a_wrong_dtype_is_refused_by_name(name: str) -> None:
    inputs = as_float32(make_scene())
    inputs[name] = inputs[name].double()
    with pytest.raises(InputError, match=f"{name[:-1]}.*float64"):
        rasterization(**inputs)


@pytest.mark.parametrize("name", ["means", "quats", "scales", "opacities", "viewmats", "Ks"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_nan_and_infinity_are_refused_by_name(name: str, value: float) -> None:
    inputs = as_float32(make_scene())
    inputs[name].view(-1)[5] = value
    with pytest.raises(InputError, match=f"{name}.*NaN"):
        rasterization(**inputs)


def test_a_focal_length_of_zero_is_refused() -> None:
    inputs = as_float32(make_scene())
    inputs["Ks"][1, 0, 0] = 0.0
    with pytest.raises(InputError, match="focal"):
        rasterization(**inputs)


def test_a_background_of_other_channels_is_refused() -> None:
    with pytest.raises(InputError, match="backgrounds"):
        rasterization(**as_float32(make_scene()), backgrounds=torch.zeros(2, 5))


def test_inputs_need_not_be_contiguous() -> None:
    inputs = as_float32(make_scene())
    expected, _, _ = rasterization(**inputs)
    for name in ("means", "quats", "scales", "colors"):
        inputs[name] = inputs[name].T.contiguous().T
    found, _, _ = rasterization(**inputs)
    assert torch.equal(expected, found)
