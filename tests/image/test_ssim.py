# SPDX-License-Identifier: Apache-2.0
"""The fused SSIM against pytorch_msssim and against autograd in float64."""

from __future__ import annotations

import pytest
import torch

from panoptic_gs import kernels
from panoptic_gs.errors import InputError
from panoptic_gs.losses import structural_similarity

SIZES = [(11, 11, 3), (12, 40, 1), (57, 83, 3), (30, 25, 5)]


def images(height: int, width: int, channels: int) -> tuple[torch.Tensor, torch.Tensor]:
    rng = torch.Generator().manual_seed(height * width)
    target = torch.rand(height, width, channels, generator=rng)
    return (target + 0.2 * torch.randn(target.shape, generator=rng)).clamp(0, 1), target


@pytest.mark.parametrize("size", SIZES)
def test_agrees_with_pytorch_msssim(size: tuple[int, int, int]) -> None:
    reference = pytest.importorskip("pytorch_msssim")
    rendered, target = images(*size)
    one, other = rendered.clone().requires_grad_(), rendered.clone().requires_grad_()
    found = kernels.ssim(one, target)
    expected = reference.ssim(other.permute(2, 0, 1)[None], target.permute(2, 0, 1)[None], data_range=1.0)
    assert found.item() == pytest.approx(expected.item(), abs=1e-5)
    found.backward()
    expected.backward()
    assert (one.grad - other.grad).abs().max() <= 1e-4 * other.grad.abs().max()


@pytest.mark.parametrize("isa", ["baseline", "avx2", "avx512"])
@pytest.mark.parametrize("size", SIZES)
def test_agrees_with_float64(size: tuple[int, int, int], isa: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PANOPTIC_GS_ISA", isa)
    rendered, target = images(*size)
    one, other = rendered.clone().requires_grad_(), rendered.double().requires_grad_()
    try:
        found = kernels.ssim(one, target)
    except RuntimeError as error:
        pytest.skip(str(error))
    expected = structural_similarity(other, target.double())
    assert found.item() == pytest.approx(expected.item(), abs=1e-6)
    (3 * found).backward()
    (3 * expected).backward()
    assert (one.grad - other.grad).abs().max() <= 2e-5 * other.grad.abs().max()


def test_equal_images_have_one() -> None:
    _, target = images(40, 50, 3)
    assert float(kernels.ssim(target, target)) == pytest.approx(1.0, abs=1e-6)


def test_does_not_depend_on_threads() -> None:
    rendered, target = images(57, 83, 3)
    threads = torch.get_num_threads()
    results = []
    for count in (1, 2, 5):
        torch.set_num_threads(count)
        leaf = rendered.clone().requires_grad_()
        value = kernels.ssim(leaf, target)
        value.backward()
        results.append((value, leaf.grad))
    torch.set_num_threads(threads)
    for value, gradient in results[1:]:
        assert torch.equal(value, results[0][0])
        assert torch.equal(gradient, results[0][1])


def test_bad_images_are_refused_by_name() -> None:
    with pytest.raises(InputError, match=r"rendered.*11×11"):
        kernels.ssim(torch.rand(10, 30, 3), torch.rand(10, 30, 3))
    with pytest.raises(InputError, match=r"rendered.*shape"):
        kernels.ssim(torch.rand(20, 30, 3), torch.rand(20, 31, 3))
    with pytest.raises(InputError, match=r"target.*float64"):
        kernels.ssim(torch.rand(20, 30, 3), torch.rand(20, 30, 3).double())
