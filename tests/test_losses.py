# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from panoptic_gs.losses import depth_loss, panoptic_color_loss, structural_similarity
from panoptic_gs.palette import PanopticPalette

PALETTE = PanopticPalette([3, 8, 900])


def loss_pixel_by_pixel(rendered, ids, weights):
    total, labelled = 0.0, 0
    for color, segment, weight in zip(rendered.reshape(-1, 3), ids.ravel(), weights.ravel()):
        if segment != 0:
            wanted = PALETTE.colors[PALETTE.segment_ids.tolist().index(segment)].numpy()
            total, labelled = total + weight * np.abs(color - wanted).mean(), labelled + 1
    return total / max(labelled, 1)


@given(npst.arrays(np.int64, (3, 4), elements=st.sampled_from([0, 0, 3, 8, 900])), st.integers(0, 2**32 - 1))
def test_panoptic_colour_loss_equals_the_sum_over_pixels(ids, seed):
    generator = np.random.default_rng(seed)
    rendered, weights = generator.random((3, 4, 3)), generator.random((3, 4))
    ones = np.ones_like(weights)
    for given_weights, used in ((None, ones), (torch.from_numpy(weights), weights)):
        loss = panoptic_color_loss(torch.from_numpy(rendered), torch.from_numpy(ids), PALETTE, given_weights)
        assert loss.item() == pytest.approx(loss_pixel_by_pixel(rendered, ids, used))


def test_void_pixels_give_no_gradient_and_no_loss():
    rendered = torch.rand(2, 5, 7, 3, requires_grad=True)
    ids = torch.zeros(2, 5, 7, dtype=torch.int32)
    ids[0, :2] = 8
    panoptic_color_loss(rendered, ids, PALETTE).backward()
    assert rendered.grad is not None
    assert (rendered.grad[ids == 0] == 0).all()
    assert (rendered.grad[ids == 8].abs() - 1 / (3 * 14)).abs().max() < 1e-8
    alone = torch.rand(4, 4, 3, requires_grad=True)
    loss = panoptic_color_loss(alone, torch.zeros(4, 4, dtype=torch.int64), PALETTE)
    loss.backward()
    assert loss.item() == 0


def test_the_loss_is_0_at_the_palette_and_lambda_scales_it():
    ids = torch.tensor([[3, 8, 0, 900]])
    assert panoptic_color_loss(PALETTE.colorize(ids), ids, PALETTE) == 0
    grey = torch.full((1, 4, 3), 0.5)
    once, twice = (panoptic_color_loss(grey, ids, PALETTE, lambda_panoptic=factor) for factor in (1.0, 2.0))
    assert once > 0
    assert twice == 2 * once


@pytest.mark.parametrize("shape", [(11, 11, 3), (40, 57, 3), (2, 24, 33, 3), (30, 20, 1)])
def test_ssim_and_its_gradient_equal_pytorch_msssim(shape):
    pytorch_msssim = pytest.importorskip("pytorch_msssim")
    generator = torch.Generator().manual_seed(0)
    target = torch.rand(shape, generator=generator, dtype=torch.float64)
    noisy = (target + 0.2 * torch.randn(shape, generator=generator, dtype=torch.float64)).clamp(0, 1)
    values, gradients = [], []
    for ssim in (structural_similarity, lambda x, y: pytorch_msssim.ssim(*map(first, (x, y)), data_range=1.0)):
        rendered = noisy.clone().requires_grad_()
        value = ssim(rendered, target)
        value.backward()
        values.append(value.item())
        gradients.append(rendered.grad)
    assert values[0] == pytest.approx(values[1], abs=1e-6)
    torch.testing.assert_close(gradients[0], gradients[1], atol=1e-7, rtol=1e-4)  # its window is float32


def first(image):
    return image.reshape(-1, *image.shape[-3:]).permute(0, 3, 1, 2)


def test_ssim_of_one_window_equals_the_formula():
    generator = np.random.default_rng(1)
    x, y = generator.random((2, 11, 11))
    offsets = np.arange(11) - 5
    window = np.exp(-(offsets[:, None] ** 2 + offsets[None] ** 2) / 4.5)
    window /= window.sum()
    mx, my = (window * x).sum(), (window * y).sum()
    vx, vy, cov = (window * (x - mx) ** 2).sum(), (window * (y - my) ** 2).sum(), (window * (x - mx) * (y - my)).sum()
    expected = (2 * mx * my + 1e-4) * (2 * cov + 9e-4) / ((mx**2 + my**2 + 1e-4) * (vx + vy + 9e-4))
    images = (torch.from_numpy(image)[..., None] for image in (x, y))
    assert structural_similarity(*images).item() == pytest.approx(expected)


def test_ssim_needs_room_for_its_window():
    x, y = torch.rand(2, 20, 30, 3)
    with pytest.raises(ValueError, match="11×11"):
        structural_similarity(x[:10], y[:10])


def depths(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    true = 1 + 3 * torch.rand(9, 11, generator=generator, dtype=torch.float64)
    rendered = true * torch.exp(0.1 * torch.randn(9, 11, generator=generator, dtype=torch.float64))
    return rendered, 0.5 + 0.5 * torch.rand(9, 11, generator=generator, dtype=torch.float64), true


def test_depth_loss_equals_the_sum_over_pixels():
    rendered, coverage, true = depths()
    true[0, :4], coverage[1, :3] = 0, 0.2
    confidence = torch.rand(9, 11, dtype=torch.float64)
    ratios, weights = [], []
    for r, a, d, c in zip(*(values.ravel().tolist() for values in (rendered, coverage, true, confidence))):
        if d > 0 and a > 0.5:
            ratios.append(np.log(r / d))
            weights.append(a * c)
    middle = sorted(ratios)[(len(ratios) - 1) // 2]
    expected = np.average(np.abs(np.array(ratios) - middle), weights=weights)
    assert depth_loss(rendered, coverage, true, confidence).item() == pytest.approx(expected)


def test_depth_loss_is_blind_to_scale_and_heeds_no_single_wrong_distance():
    rendered, coverage, true = depths(1)
    loss = depth_loss(rendered, coverage, true)
    assert depth_loss(rendered, coverage, 7.3 * true).item() == pytest.approx(loss.item())
    assert depth_loss(2 * true, coverage, true).item() == pytest.approx(0, abs=1e-12)
    wrong = true.clone()
    wrong[4, 5] *= 100
    shifted = depth_loss(2 * true, coverage, wrong)
    assert shifted.item() == pytest.approx((coverage[4, 5] * np.log(100) / coverage.sum()).item())


def test_depth_loss_pulls_towards_known_depth_alone():
    rendered, coverage, true = depths(2)
    true[2] = 0
    rendered.requires_grad_()
    coverage.requires_grad_()
    depth_loss(rendered, coverage, true).backward()
    assert coverage.grad is None
    assert rendered.grad is not None
    assert (rendered.grad[2] == 0).all()
    ratio = (rendered / true.clamp_min(1e-9)).detach().log()
    middle = ratio[true > 0].median()
    away = (true > 0) & (ratio != middle)
    assert (rendered.grad[away].sign() == (ratio - middle)[away].sign()).all()
    nothing = depth_loss(rendered, coverage, torch.zeros_like(true))
    assert nothing.item() == 0
