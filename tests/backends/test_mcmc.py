# SPDX-License-Identifier: Apache-2.0
"""The Markov chain's relocation against quadrature, and Gaussians that keep their rows."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import Parameter

from panoptic_gs.backends.mcmc import MOST_COPIES, MarkovChainStrategy, relocated


@pytest.mark.parametrize("copies", [1, 2, 3, 7, 20])
@pytest.mark.parametrize("opacity", [0.05, 0.4, 0.9])
def test_copies_at_one_place_cover_what_one_gaussian_covered(copies: int, opacity: float) -> None:
    """∫ 1 − (1 − o' exp(−x² / 2 s'²))^N dx is that of the Gaussian before, and the middle is as opaque."""
    after, scales = relocated(torch.tensor([opacity]), torch.tensor([[0.7, 0.2, 1.3]]), torch.tensor([copies]))
    assert 1 - (1 - float(after)) ** copies == pytest.approx(opacity, rel=1e-5)
    for before, scale in zip((0.7, 0.2, 1.3), scales[0].tolist(), strict=True):
        x = np.linspace(-12 * scale, 12 * scale, 200_001)
        one = opacity * np.exp(-(x**2) / (2 * before**2))
        many = 1 - (1 - float(after) * np.exp(-(x**2) / (2 * scale**2))) ** copies
        assert many.sum() == pytest.approx(one.sum(), rel=2e-3)


def test_more_copies_than_the_table_has_stay_finite() -> None:
    after, scales = relocated(torch.tensor([0.99]), torch.ones(1, 3), torch.tensor([10 * MOST_COPIES]))
    assert 0 < float(after) < 1
    assert torch.isfinite(scales).all()
    assert (scales > 0).all()


def _training(count: int = 400, transparent: int = 100) -> tuple[dict, dict]:
    torch.manual_seed(0)
    opacities = torch.full((count, 1), 2.0)
    opacities[:transparent] = -9.0
    params = {
        "means": Parameter(torch.rand(count, 3)),
        "quats": Parameter(torch.randn(count, 4)),
        "scales": Parameter(torch.full((count, 3), -3.0)),
        "opacities": Parameter(opacities),
        "features": Parameter(torch.arange(count, dtype=torch.float32)[:, None].clone()),
    }
    optimizers = {name: torch.optim.Adam([value], lr=1e-3) for name, value in params.items()}
    for name, value in params.items():
        value.grad = torch.ones_like(value) * 1e-9
        optimizers[name].step()
    return params, optimizers


def test_transparent_gaussians_move_and_carry_the_row_of_their_source() -> None:
    params, optimizers = _training()
    strategy = MarkovChainStrategy(most=420, refine_start=0, refine_stop=100, refine_every=10, noise=0.0)
    state = strategy.initialize_state(1.0)
    state["label_row"] = torch.arange(400)
    before = params["features"].detach().flatten().clone()
    strategy.step_post_backward(params, optimizers, state, 10, {})
    assert len(params["means"]) == 420 == len(state["label_row"])
    assert (state["label_row"][:100] >= 100).all()
    assert (state["label_row"][100:400] == torch.arange(100, 400)).all()
    assert torch.equal(params["features"].detach().flatten(), before[state["label_row"]])
    assert (params["opacities"].sigmoid() > 0.005).all()
    for name, optimizer in optimizers.items():
        assert optimizer.param_groups[0]["params"][0] is params[name]
        assert optimizer.state[params[name]]["exp_avg"].shape == params[name].shape


def test_no_more_than_the_most_and_nothing_moves_outside_its_steps() -> None:
    params, optimizers = _training(transparent=0)
    strategy = MarkovChainStrategy(most=400, refine_start=5, refine_stop=100, refine_every=10, noise=0.0)
    means = params["means"].detach().clone()
    for step in (0, 5, 10, 11, 100):
        strategy.step_post_backward(params, optimizers, strategy.initialize_state(1.0), step, {})
    assert len(params["means"]) == 400
    assert torch.equal(params["means"].detach(), means)


def test_noise_lies_along_a_gaussians_own_axes_and_spares_opaque_ones() -> None:
    params, optimizers = _training()
    params["quats"].data[:] = torch.tensor([1.0, 0, 0, 0])
    params["scales"].data[:] = torch.tensor([-2.0, -4.0, -30.0])
    means = params["means"].detach().clone()
    strategy = MarkovChainStrategy(refine_start=10**6)
    strategy.step_post_backward(params, optimizers, strategy.initialize_state(2.0), 10, {})
    moved = (params["means"].detach() - means).abs()
    assert (moved[100:] < 1e-3 * moved[:100, 0].mean()).all()
    along = moved[:100].mean(dim=0)
    assert along[0] > 20 * along[1] > 0
    assert along[2] < 1e-12
