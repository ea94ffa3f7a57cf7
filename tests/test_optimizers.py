# SPDX-License-Identifier: Apache-2.0
"""Adam on the host against torch's."""

from __future__ import annotations

import copy

import pytest
import torch

from panoptic_gs import kernels
from panoptic_gs.optimizers import Adam

SIZES = ((7, 3), (1,), (40_000,), (129, 15, 3), (0, 4))


def parameters(seed: int = 0) -> list[torch.nn.Parameter]:
    rng = torch.Generator().manual_seed(seed)
    return [torch.nn.Parameter(torch.randn(*size, generator=rng)) for size in SIZES]


def trained(optimizer_of, steps: int = 25) -> list[torch.nn.Parameter]:
    """After steps on random gradients of very different sizes; one parameter has none at first."""
    values = parameters()
    optimizer = optimizer_of(values)
    rng = torch.Generator().manual_seed(1)
    for step in range(steps):
        for number, value in enumerate(values):
            gradient = torch.randn(value.shape, generator=rng) * 10.0 ** (number - 2)
            value.grad = None if number == 0 and step < 5 else gradient
        optimizer.step()
    return values


@pytest.fixture(params=["avx512", "avx2", "baseline"])
def isa(request, monkeypatch):
    monkeypatch.setenv("PANOPTIC_GS_ISA", request.param)
    try:
        kernels.active_isa()
    except RuntimeError:
        pytest.skip(f"no {request.param} here")


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("options", [{}, {"betas": (0.5, 0.7), "eps": 1e-15, "lr": 0.05}])
def test_steps_are_torchs(options):
    for ours, theirs in zip(trained(lambda v: Adam(v, **options)), trained(lambda v: torch.optim.Adam(v, **options))):
        torch.testing.assert_close(ours, theirs, rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("options", [{"amsgrad": True}, {"weight_decay": 0.1}, {"maximize": True}])
def test_other_options_are_torchs_own(options):
    for ours, theirs in zip(trained(lambda v: Adam(v, **options)), trained(lambda v: torch.optim.Adam(v, **options))):
        assert torch.equal(ours, theirs)


def test_groups_have_their_learning_rates_and_a_closure_is_called():
    values = parameters()[:2]
    optimizer = Adam([{"params": [values[0]], "lr": 0.0}, {"params": [values[1]], "lr": 0.1}])
    before = [value.detach().clone() for value in values]

    def closure():
        loss = sum(value.sum() for value in values)
        loss.backward()
        return loss

    assert optimizer.step(closure).item() == pytest.approx(sum(value.sum() for value in before).item(), rel=1e-5)
    assert torch.equal(values[0], before[0])
    torch.testing.assert_close(values[1], before[1] - 0.1)


def test_it_goes_on_with_torchs_state():
    values, others = parameters(), parameters()
    theirs, ours = torch.optim.Adam(others, lr=0.01), Adam(values, lr=0.01)
    for value in others:
        value.grad = torch.ones_like(value)
    theirs.step()
    ours.load_state_dict(copy.deepcopy(theirs.state_dict()))
    for value, other in zip(values, others):
        value.data.copy_(other.data)
        value.grad, other.grad = torch.full_like(value, -2.0), torch.full_like(other, -2.0)
    theirs.step()
    ours.step()
    for value, other in zip(values, others):
        torch.testing.assert_close(value, other, rtol=1e-5, atol=1e-7)
        assert ours.state[value]["step"] == theirs.state[other]["step"]


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_threads_do_not_change_a_bit(threads):
    expected = trained(Adam, 3)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        result = trained(Adam, 3)
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(one, other) for one, other in zip(result, expected))


def test_parameters_that_lie_otherwise_in_memory_take_their_step_too():
    transposed = torch.nn.Parameter(torch.zeros(4, 3).T)
    plain = torch.nn.Parameter(torch.zeros(3, 4))
    for value in (transposed, plain):
        value.grad = torch.arange(12.0).view(3, 4) - 5.5
        Adam([value], lr=0.1).step()
    torch.testing.assert_close(transposed.contiguous(), plain)
