# SPDX-License-Identifier: Apache-2.0
"""Values and gradients of the host rasterizer against brute force in float64."""

from __future__ import annotations

from typing import Any

import pytest
import reference
import torch
from random_scenes import GAUSSIANS, as_float32, as_float64, make_scene

from panoptic_gs.rasterize import rasterization


def assert_agrees(scene: dict[str, Any], *, values: float = 2e-6, gradients: float = 5e-5, **options: Any) -> None:
    """Images, alphas and all gradients; pixels where a threshold is close take no part."""
    names = (*GAUSSIANS, *(name for name, value in options.items() if torch.is_tensor(value)))
    everything = {**scene, **options}
    ours, theirs = as_float32(everything, names), as_float64(everything, names)
    image, alpha, meta = rasterization(**ours, packed=False)
    if "extra_signals" in options:
        depth = 0 if options["render_mode"] == "RGB" else 1
        colours, rest = image.split([image.shape[-1] - depth, depth], dim=-1)
        image = torch.cat([colours, meta["render_extra_signals"], rest], dim=-1)
    expected_image, expected_alpha, safe = reference.rasterization(**theirs)
    safe = safe[..., None]
    assert image.shape == expected_image.shape
    assert alpha.shape == expected_alpha.shape
    assert safe.double().mean() > 0.9
    scale = expected_image.abs().max().clamp(min=1.0)
    assert ((image - expected_image) * safe).abs().max() <= values * scale
    assert ((alpha - expected_alpha) * safe).abs().max() <= values

    rng = torch.Generator().manual_seed(0)
    v_image = (torch.randn(image.shape, generator=rng).double() * safe).float()
    v_alpha = (torch.randn(alpha.shape, generator=rng).double() * safe).float()
    ((image * v_image).sum() + (alpha * v_alpha).sum()).backward()
    ((expected_image * v_image).sum() + (expected_alpha * v_alpha).sum()).backward()
    for name in names:
        expected = theirs[name].grad
        if expected is None:  # not part of this rendering
            assert ours[name].grad is None or not ours[name].grad.any(), name
            continue
        error = (ours[name].grad - expected).abs().max() / expected.abs().max().clamp(min=1e-6)
        assert error <= gradients, f"{name}: {error:.1e} of the largest gradient"


@pytest.fixture(autouse=True)
def _same_random_numbers() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize("isa", ["baseline", "avx2", "avx512"])
@pytest.mark.parametrize("alpha_max", [0.99, 0.6])
def test_alpha_is_clamped_where_asked_forward_and_backward(
    isa: str, alpha_max: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PANOPTIC_GS_ISA", isa)
    scene = make_scene()
    scene["opacities"][::3] = 1.0  # more than either clamp, near their means
    try:
        assert_agrees(scene, backgrounds=torch.rand(2, 3), alpha_max=alpha_max)
    except RuntimeError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("isa", ["baseline", "avx2", "avx512"])
def test_colours_and_gradients_agree_on_every_instruction_set(isa: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PANOPTIC_GS_ISA", isa)
    try:
        assert_agrees(make_scene(), backgrounds=torch.rand(2, 3))
    except RuntimeError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("channels", [1, 2, 4, 5, 6, 7, 8, 9, 20])
def test_any_number_of_channels(channels: int) -> None:
    assert_agrees(make_scene(channels=channels, cameras=1), backgrounds=torch.rand(1, channels))


@pytest.mark.parametrize("mode", ["D", "ED", "RGB+D", "RGB+ED"])
def test_depth_modes(mode: str) -> None:
    assert_agrees(make_scene(), render_mode=mode, values=1e-4, gradients=1e-3)


def test_background_behind_colours_and_none_behind_depth() -> None:
    assert_agrees(make_scene(), render_mode="RGB+D", backgrounds=torch.rand(2, 3))


@pytest.mark.parametrize("mode", ["RGB", "RGB+ED"])
def test_antialiased(mode: str) -> None:
    assert_agrees(make_scene(scale=0.03), rasterize_mode="antialiased", render_mode=mode, values=1e-4, gradients=1e-3)


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_spherical_harmonics(degree: int) -> None:
    assert_agrees(make_scene(harmonics=3), sh_degree=degree)


def test_spherical_harmonics_of_each_camera() -> None:
    scene = make_scene(harmonics=2)
    scene["colors"] = torch.stack([scene["colors"], scene["colors"].flip(0)])
    assert_agrees(scene, sh_degree=2)


def test_colours_of_each_camera() -> None:
    scene = make_scene()
    scene["colors"] = torch.stack([scene["colors"], scene["colors"].flip(0)])
    assert_agrees(scene)


@pytest.mark.parametrize("background", [3, 5])
def test_extra_signals_beside_harmonics_and_depth(background: int) -> None:
    assert_agrees(
        make_scene(harmonics=3), sh_degree=3, render_mode="RGB+D", extra_signals=torch.rand(60, 2),
        backgrounds=torch.rand(2, background),
    )  # fmt: skip


def test_many_overlapping_gaussians_end_pixels_early() -> None:
    scene = make_scene(count=500, cameras=1)
    scene["opacities"] = (0.6 + 0.4 * scene["opacities"]).float().double()
    assert_agrees(scene)


def test_long_thin_gaussians() -> None:
    scene = make_scene(cameras=1)
    scene["scales"] = (scene["scales"] * torch.tensor([20.0, 0.05, 1.0])).float().double()
    assert_agrees(scene, gradients=3e-3)  # gradients pass through conics in float32, as gsplat's do


@pytest.mark.parametrize(("width", "height"), [(1, 1), (16, 16), (17, 15), (8, 40), (33, 1), (1, 50)])
def test_image_sizes_that_are_no_multiple_of_the_tile(width: int, height: int) -> None:
    assert_agrees(make_scene(width=width, height=height))


def test_one_gaussian() -> None:
    assert_agrees(make_scene(count=1, cameras=1, scale=0.3))


def test_gaussians_behind_the_camera_and_beyond_the_far_plane_are_left_out() -> None:
    scene = make_scene()
    scene["means"][::3, 2] = -4.0
    scene["means"][1::3, 2] = 9.0
    assert_agrees(scene, far_plane=10.0, near_plane=0.5)


def test_gaussians_at_and_beyond_the_border() -> None:
    scene = make_scene(scale=0.4)
    scene["means"][:, :2] = (scene["means"][:, :2] * 4).float().double()
    assert_agrees(scene)


def test_opacity_zero_and_one() -> None:
    scene = make_scene()
    scene["opacities"][::2] = 1.0
    scene["opacities"][1::4] = 0.0
    assert_agrees(scene)


def test_radius_clip_and_low_pass() -> None:
    assert_agrees(make_scene(), radius_clip=4.0, eps2d=0.1)


def test_gaussians_at_the_same_depth_blend_in_order_of_index() -> None:
    scene = make_scene(cameras=1)
    scene["means"][:, 2] = 0.0
    assert_agrees(scene)


def test_packed_agrees_with_unpacked() -> None:
    scene = make_scene()
    results = {}
    for packed in (False, True):
        inputs = as_float32(scene, GAUSSIANS)
        image, alpha, meta = rasterization(**inputs, packed=packed, rasterize_mode="antialiased", absgrad=True)
        meta["means2d"].retain_grad()
        (image.square().sum() + alpha.sum()).backward()
        results[packed] = image, alpha, meta, [inputs[name].grad for name in GAUSSIANS]
    assert torch.equal(results[False][0], results[True][0])
    for one, other in zip(results[False][3], results[True][3]):
        assert torch.equal(one, other)
    dense, rows = results[False][2], results[True][2]
    for name in ("means2d", "conics", "depths", "opacities", "radii"):
        assert torch.equal(dense[name][rows["camera_ids"], rows["gaussian_ids"]], rows[name])
    assert torch.equal(dense["means2d"].absgrad[rows["camera_ids"], rows["gaussian_ids"]], rows["means2d"].absgrad)


def test_absolute_gradients_are_sums_over_pixels() -> None:
    """Gradients of single pixels, one backward pass each, summed as absolute values."""
    scene = make_scene(count=5, cameras=1, width=9, height=7, scale=0.3)
    inputs = as_float32(scene, GAUSSIANS)
    image, alpha, meta = rasterization(**inputs, packed=False, absgrad=True)
    meta["means2d"].retain_grad()
    v_image, v_alpha = torch.randn(image.shape), torch.randn(alpha.shape)
    torch.autograd.backward((image, alpha), (v_image, v_alpha), retain_graph=True)
    found, total = meta["means2d"].absgrad.clone(), torch.zeros_like(meta["means2d"])
    for y in range(7):
        for x in range(9):
            pixel = torch.zeros(1, 7, 9, 1)
            pixel[0, y, x] = 1
            (v_means2d,) = torch.autograd.grad(
                (image, alpha), meta["means2d"], (v_image * pixel, v_alpha * pixel), retain_graph=True
            )
            total += v_means2d.abs()
    torch.testing.assert_close(found, total, rtol=1e-4, atol=1e-5)
