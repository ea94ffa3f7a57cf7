# SPDX-License-Identifier: Apache-2.0
"""What the host rasterizer must not depend on."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from random_scenes import GAUSSIANS, as_float32, make_scene
from torch import Tensor

from panoptic_gs import kernels
from panoptic_gs.rasterize import rasterization


@pytest.fixture(autouse=True)
def _restored_threads() -> Iterator[None]:
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def everything(scene: dict, **options) -> list[Tensor]:
    """Image, alpha, all gradients, and the image-plane gradients."""
    inputs = as_float32(scene, GAUSSIANS)
    image, alpha, meta = rasterization(**inputs, packed=False, render_mode="RGB+D", absgrad=True, **options)
    meta["means2d"].retain_grad()
    rng = torch.Generator().manual_seed(3)
    v_image = torch.randn(image.shape, generator=rng)
    ((image * v_image).sum() + alpha.square().sum()).backward()
    gradients = [inputs[name].grad for name in GAUSSIANS]
    return [image.detach(), alpha.detach(), *gradients, meta["means2d"].grad, meta["means2d"].absgrad]


def test_results_do_not_depend_on_the_number_of_threads_bit_for_bit() -> None:
    scene = make_scene(count=5000, width=150, height=90, harmonics=2, scale=0.1)
    torch.set_num_threads(1)
    expected = everything(scene, sh_degree=2)
    for threads in (2, 3, 8):
        torch.set_num_threads(threads)
        for _ in range(3):
            for one, other in zip(expected, everything(scene, sh_degree=2)):
                assert torch.equal(one, other)


@pytest.mark.parametrize("isa", ["baseline", "avx2"])
def test_instruction_sets_agree(isa: str, monkeypatch: pytest.MonkeyPatch) -> None:
    scene = make_scene(count=300, width=70, height=50)
    expected = everything(scene)
    monkeypatch.setenv("PANOPTIC_GS_ISA", isa)
    try:
        found = everything(scene)
    except RuntimeError as error:
        pytest.skip(str(error))
    for one, other in zip(expected, found):
        assert (one - other).abs().max() <= 1e-5 * one.abs().max()


def test_unknown_instruction_set_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PANOPTIC_GS_ISA", "mmx")
    with pytest.raises(RuntimeError, match=r"mmx.*expected baseline, avx2 or avx512"):
        everything(make_scene(count=3))


@settings(max_examples=20, deadline=None)
@given(st.permutations(range(40)), st.integers(0, 5))
def test_order_of_gaussians_does_not_matter(order: list[int], seed: int) -> None:
    scene = make_scene(count=40, seed=seed)
    image, alpha, *gradients = everything(scene)
    shuffled = {name: values[order] if name in GAUSSIANS[:5] else values for name, values in scene.items()}
    other_image, other_alpha, *other_gradients = everything(shuffled)
    assert torch.equal(image, other_image)
    assert torch.equal(alpha, other_alpha)
    for one, other in zip(gradients[:5], other_gradients[:5]):
        assert torch.equal(one[order], other)


@settings(max_examples=20, deadline=None)
@given(st.floats(0.1, 10.0), st.integers(0, 5))
def test_scaling_the_scene_leaves_the_image(factor: float, seed: int) -> None:
    scene = make_scene(count=40, seed=seed)
    inputs = as_float32(scene)
    image, _, _ = rasterization(**inputs)
    inputs["means"], inputs["scales"] = inputs["means"] * factor, inputs["scales"] * factor
    inputs["viewmats"][:, :3, 3] *= factor
    scaled, _, _ = rasterization(**inputs, near_plane=0.01 * factor)
    different = (image - scaled).abs().amax(-1) > 1e-4
    assert different.float().mean() < 0.01  # pixels where a threshold is close


def test_a_batch_of_cameras_is_each_camera_alone() -> None:
    inputs = as_float32(make_scene(cameras=3))
    image, alpha, _ = rasterization(**inputs)
    for c in range(3):
        alone = {**inputs, "viewmats": inputs["viewmats"][c : c + 1], "Ks": inputs["Ks"][c : c + 1]}
        one_image, one_alpha, _ = rasterization(**alone)
        assert torch.equal(image[c], one_image[0])
        assert torch.equal(alpha[c], one_alpha[0])


def test_channels_are_independent() -> None:
    inputs = as_float32(make_scene(channels=11))
    image, _, _ = rasterization(**inputs)
    for c in (0, 4, 10):
        alone, _, _ = rasterization(**{**inputs, "colors": inputs["colors"][:, c : c + 1]})
        torch.testing.assert_close(image[..., c : c + 1], alone)


def test_a_second_backward_pass_gives_the_same() -> None:
    inputs = as_float32(make_scene(), GAUSSIANS)
    image, _, _ = rasterization(**inputs)
    loss = image.square().sum()
    first = torch.autograd.grad(loss, [inputs[name] for name in GAUSSIANS], retain_graph=True)
    second = torch.autograd.grad(loss, [inputs[name] for name in GAUSSIANS])
    for one, other in zip(first, second):
        assert torch.equal(one, other)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_renders_too() -> None:
    """Through the kernels alone: torch's own threads do not survive a fork."""
    inputs = as_float32(make_scene(count=3000, width=100, height=100))
    gaussians = [inputs[name] for name in GAUSSIANS[:4]]

    def render() -> Tensor:
        view = kernels.project(*gaussians, inputs["viewmats"][0], inputs["Ks"][0], 100, 100).view
        return kernels.paint(view, [inputs["colors"]])[0]

    torch.set_num_threads(2)
    expected = render()
    child = os.fork()
    if child == 0:
        signal.alarm(30)
        os._exit(0 if torch.equal(render(), expected) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
