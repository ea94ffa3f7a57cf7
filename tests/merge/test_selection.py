# SPDX-License-Identifier: Apache-2.0
"""The choice of queries: optimal where that can be checked, never worse than a plain annealer, bounded from above."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from query_masks import best_of_all, discs, objective, plain_annealer

from panoptic_gs import InputError
from panoptic_gs.merge import bound_qubo, qubo_objective, solve_qubo


def achieved(areas, overlaps, penalty=2.0, seed=0) -> float:
    choice = solve_qubo(areas, overlaps, penalty, seed)
    return objective(areas.numpy(), overlaps.numpy(), choice.numpy(), penalty)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("penalty", [0.7, 2.0])
def test_small_problems_are_solved_and_bounded(seed, penalty):
    areas, overlaps = discs(10, seed)
    optimum = best_of_all(areas, overlaps, penalty)
    assert achieved(areas, overlaps, penalty) == pytest.approx(optimum, rel=1e-12)
    bound = bound_qubo(areas, overlaps, penalty, time_limit=5)
    assert optimum - 1e-12 <= bound <= 1.05 * optimum


@pytest.mark.parametrize(("queries", "seed"), [(200, 0), (200, 1), (60, 2)])
def test_never_worse_than_a_plain_annealer(queries, seed):
    areas, overlaps = discs(queries, seed)
    reference = max(plain_annealer(areas, overlaps, seed=s) for s in range(2))
    assert achieved(areas, overlaps, seed=seed) >= reference - 1e-12


def test_a_scene_of_duplicates_parts_and_unions_is_certified():
    """Four objects side by side, each with two queries, a part, and a union with its neighbour."""
    masks = np.full((14, 8, 32), 1e-3)
    for k in range(4):
        masks[k, :, 8 * k : 8 * k + 8] = 0.95
        masks[4 + k, :, 8 * k : 8 * k + 7] = 0.9
        masks[8 + k, :4, 8 * k : 8 * k + 8] = 0.97
    masks[12, :, :16] = masks[13, :, 16:] = 0.8
    flat = torch.from_numpy(masks.reshape(14, -1))
    areas, overlaps = flat.mean(1), torch.stack([torch.minimum(mask, flat).mean(1) for mask in flat])
    choice = solve_qubo(areas, overlaps)
    assert choice.nonzero()[:, 0].tolist() == [0, 1, 2, 3]
    value = qubo_objective(areas, overlaps, choice)
    assert value <= bound_qubo(areas, overlaps, objective=value) <= value * (1 + 1e-4)


@given(st.integers(0, 10_000), st.floats(0, 5), st.permutations(range(9)))
@settings(max_examples=15, deadline=None)
def test_the_optimum_does_not_depend_on_the_order_of_queries(seed, penalty, order):
    areas, overlaps = discs(9, seed, side=16)
    optimum = achieved(areas, overlaps, penalty)
    permuted = list(order)
    assert achieved(areas[permuted], overlaps[permuted][:, permuted], penalty) == pytest.approx(optimum, rel=1e-9)
    assert optimum == pytest.approx(best_of_all(areas, overlaps, penalty), rel=1e-9)
    assert bound_qubo(areas, overlaps, penalty, objective=optimum, time_limit=2) >= optimum - 1e-12


def test_the_seed_decides():
    areas, overlaps = discs(80, 5)
    assert torch.equal(solve_qubo(areas, overlaps, seed=3), solve_qubo(areas, overlaps, seed=3))
    assert solve_qubo(areas, overlaps, seed=-1).any()


def test_queries_that_add_nothing_are_left_out():
    areas = torch.tensor([0.5, 0.0, 0.2])
    overlaps = torch.tensor([[0.5, 0, 0.1], [0, 0, 0], [0.1, 0, 0.2]])
    assert solve_qubo(areas, overlaps).tolist() == [True, False, False]
    assert solve_qubo(areas, overlaps, penalty=0).tolist() == [True, False, True]
    assert not solve_qubo(torch.zeros(3), torch.zeros(3, 3)).any()
    assert bound_qubo(torch.zeros(3), torch.zeros(3, 3)) == 0


def test_an_early_end_still_bounds():
    areas, overlaps = discs(60, 3)
    assert bound_qubo(areas, overlaps, time_limit=1e-9) >= achieved(areas, overlaps)


@pytest.mark.parametrize(
    ("areas", "overlaps", "penalty", "message"),
    [
        (torch.zeros(0), torch.zeros(0, 0), 2, "at least one query"),
        (torch.zeros(2), torch.zeros(3, 3), 2, r"\[2, 2\]"),
        (torch.tensor([1.0, torch.nan]), torch.zeros(2, 2), 2, "areas.*NaN"),
        (torch.ones(2), -torch.ones(2, 2), 2, "overlaps.*negative"),
        (torch.ones(2), torch.tensor([[1.0, 0.5], [0.2, 1.0]]), 2, "not symmetric"),
        (torch.ones(2), torch.ones(2, 2), -1, "penalty"),
        (torch.ones(2), torch.ones(2, 2), float("nan"), "penalty"),
    ],
)
def test_what_is_no_qubo_is_named(areas, overlaps, penalty, message):
    with pytest.raises(InputError, match=message):
        solve_qubo(areas, overlaps, penalty)
    with pytest.raises(InputError, match="time_limit"):
        bound_qubo(torch.ones(1), torch.ones(1, 1), time_limit=0)
