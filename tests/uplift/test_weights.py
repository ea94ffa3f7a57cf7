# SPDX-License-Identifier: Apache-2.0
"""The weights of a view against float64 blending, the rasterizer and label votes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from brute_force import blend, blobs, random_camera, random_splats

from panoptic_gs import Camera, InputError, LabelVotes, Splats, kernels, rasterization
from panoptic_gs.uplift import ViewWeights

WIDTH, HEIGHT = 53, 37  # no multiples of a tile or a block


def dense(weights: ViewWeights) -> torch.Tensor:  # [N, P]
    full = torch.zeros(weights.num_gaussians, len(weights.pixels))
    full[weights.gaussians] = weights.matrix.to_dense().T
    return full


def rendered(splats: Splats, camera: Camera, colors: torch.Tensor, **blending) -> tuple[torch.Tensor, torch.Tensor]:
    image, alpha, _ = rasterization(
        splats.means, splats.quats, splats.scales, splats.opacities, colors, camera.viewmat[None], camera.K[None],
        camera.width, camera.height, **blending,
    )  # fmt: skip
    return image[0].flatten(0, 1), alpha[0].flatten()


@pytest.fixture(params=["avx512", "avx2", "baseline"])
def isa(request, monkeypatch):
    monkeypatch.setenv("PANOPTIC_GS_ISA", request.param)
    try:
        kernels.active_isa()
    except RuntimeError:
        pytest.skip(f"no {request.param} here")


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("mode", ["classic", "antialiased"])
def test_weights_are_those_of_the_definition(mode):
    splats, camera = random_splats(5, 120), random_camera(3, WIDTH, HEIGHT)
    blended = blend(splats, camera, antialiased=mode == "antialiased")
    result = dense(ViewWeights.of(splats, camera, rasterize_mode=mode)).view(120, HEIGHT, WIDTH).numpy()
    sure = ~blended.uncertain
    assert sure.mean() > 0.9
    np.testing.assert_allclose(result[:, sure], blended.weights[:, sure], rtol=1e-3, atol=2e-5)


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("count", [400, 3000])
def test_their_product_is_the_rasterization(count):
    splats, camera = random_splats(6, count), random_camera(2, WIDTH, HEIGHT)
    colors = torch.rand(count, 7, generator=torch.Generator().manual_seed(0))
    weights = ViewWeights.of(splats, camera)
    image, alpha = rendered(splats, camera, colors)
    torch.testing.assert_close(weights.matrix @ colors[weights.gaussians], image, rtol=0, atol=5e-7)
    torch.testing.assert_close(weights.accumulation, alpha, rtol=0, atol=1e-6)  # a sum against 1 - T


def test_the_gradient_is_the_rasterizations():
    splats, camera = random_splats(7, 300), random_camera(1, WIDTH, HEIGHT)
    ours, theirs = (torch.rand(300, 4, generator=torch.Generator().manual_seed(1), requires_grad=True) for _ in "ab")
    back = torch.randn(WIDTH * HEIGHT, 4, generator=torch.Generator().manual_seed(2))
    weights = ViewWeights.of(splats, camera)
    (weights.matrix @ ours[weights.gaussians]).backward(back)
    rendered(splats, camera, theirs)[0].backward(back)
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-4, atol=2e-5)


def test_the_transpose_of_a_map_of_labels_is_its_votes():
    splats, camera = random_splats(8, 500), random_camera(4, WIDTH, HEIGHT)
    labels = blobs(8, WIDTH, HEIGHT, np.arange(5))
    votes = LabelVotes(500)
    votes.add(splats, camera, labels)
    state = votes.state_dict()
    expected = torch.zeros(500, 5, dtype=torch.float64)
    rows = torch.repeat_interleave(torch.arange(500), state["indptr"].diff())
    expected[rows, state["label"].long()] = state["sum"].double() / 2**34
    weights = ViewWeights.of(splats, camera)
    one_hot = torch.nn.functional.one_hot(torch.from_numpy(labels).long().flatten(), 5).float()
    result = torch.zeros(500, 5)
    result[weights.gaussians] = weights.matrix.T @ one_hot
    torch.testing.assert_close(result.double(), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("number", [1, 40, 1900])
def test_chosen_pixels_have_the_rows_that_they_have_among_all(number):
    splats, camera = random_splats(9, 800), random_camera(5, WIDTH, HEIGHT)
    everything = ViewWeights.of(splats, camera)
    chosen = torch.randperm(WIDTH * HEIGHT, generator=torch.Generator().manual_seed(3))[:number]
    some = ViewWeights.of(splats, camera, chosen)
    assert torch.equal(dense(some), dense(everything)[:, chosen])
    assert torch.equal(some.pixels, chosen)
    seen = torch.bincount(some.matrix.column, minlength=len(some.gaussians))
    assert (seen > 0).all()  # no column for a Gaussian that none of them sees


def test_pixels_may_be_drawn_twice_in_any_order():
    splats, camera = random_splats(9, 300), random_camera(5, WIDTH, HEIGHT)
    chosen = np.array([700, 3, 700, 0, 3, 1960])
    weights = ViewWeights.of(splats, camera, chosen)
    assert torch.equal(dense(weights), dense(ViewWeights.of(splats, camera))[:, torch.from_numpy(chosen)])


def test_rows_are_in_order_of_depth():
    splats, camera = random_splats(10, 600), random_camera(6, WIDTH, HEIGHT)
    weights = ViewWeights.of(splats, camera)
    depth = (splats.means @ camera.viewmat[2, :3] + camera.viewmat[2, 3])[weights.gaussians][weights.matrix.column]
    same_row = weights.matrix.rows().diff() == 0
    assert (depth.diff()[same_row] >= 0).all()


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_threads_do_not_change_a_bit(threads):
    splats, camera = random_splats(11, 3000), random_camera(7, 150, 110)
    expected = ViewWeights.of(splats, camera)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        result = ViewWeights.of(splats, camera)
    finally:
        torch.set_num_threads(before)
    for field in ("indptr", "column", "weight"):
        assert torch.equal(getattr(result.matrix, field), getattr(expected.matrix, field))
    assert torch.equal(result.gaussians, expected.gaussians)


def test_nothing_seen_and_no_pixels():
    splats = random_splats(12, 20)
    away = Camera.look_at((0.0, 0.0, 3.0), (0.0, 0.0, 9.0), (0.0, 1.0, 0.0), 0.9, 20, 10)
    weights = ViewWeights.of(splats, away)
    assert weights.matrix.shape == (200, 0)
    assert (weights.matrix @ torch.zeros(0, 3)).shape == (200, 3)
    assert ViewWeights.of(splats, away, torch.zeros(0, dtype=torch.int64)).matrix.shape == (0, 0)
    nobody = Splats(torch.zeros(0, 3), torch.zeros(0, 4), torch.zeros(0, 3), torch.zeros(0), torch.zeros(0, 1, 3))
    assert ViewWeights.of(nobody, away).matrix.shape == (200, 0)


@pytest.mark.parametrize(
    "pixels", [[-1], [WIDTH * HEIGHT], [0.5], [[0, 1]], [True]], ids=["below", "above", "fractions", "rows", "booleans"]
)
def test_other_pixels_are_refused(pixels):
    with pytest.raises(InputError, match="pixels"):
        ViewWeights.of(random_splats(1, 5), random_camera(1, WIDTH, HEIGHT), torch.tensor(pixels))
