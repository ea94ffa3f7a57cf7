# SPDX-License-Identifier: Apache-2.0
"""Which queries to keep: a quadratic unconstrained binary optimisation (QUBO), by annealing and exact local search."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from panoptic_gs.errors import InputError

_READS = 80
_SWEEPS = 500
_TEMPERATURES = (0.1, 0.005)  # first and last, as shares of the largest gain
_GENERATIONS = 5
_ELITE = 12
_EJECTED = 2


def solve_qubo(
    areas: Tensor,  # [Q]
    overlaps: Tensor,  # [Q, Q]
    penalty: float = 2.0,
    seed: int = 0,
) -> Tensor:  # [Q] bool
    r"""Choose the queries whose masks cover most while overlapping least (PanSt3R, Sec. 3.2).

    .. math:: \max_{u \in \{0,1\}^Q} \; \sum_i u_i Q_i - λ_p \sum_{i<j} u_i u_j Q_{ij}

    Queries whose choice follows from the numbers alone are settled first. The others are annealed from many starts,
    several times: each time among the queries that the best choices so far use. Those are improved by exact flips of
    one query and of pairs, and of one query with all that follows from it, until none helps. No optimality is claimed;
    :func:`bound_qubo` tells how far the choice can be from the optimum.

    Args:
        areas: ``[Q]`` means of the masks over all pixels, 0 or more.
        overlaps: ``[Q, Q]`` means of the minimum of two masks, symmetric; the diagonal is not read.
        penalty: λ_p, 0 or more.
        seed: the same seed gives the same choice.

    Returns:
        ``[Q]`` bool, on the device of ``areas``. No query that adds nothing is chosen.

    Raises:
        InputError: shapes that do not fit, negative or not finite numbers, overlaps that are not symmetric.
    """
    gains, costs = qubo_of(areas, overlaps, penalty)
    state, free = settled(gains, costs)
    if free.any():
        rest = gains[free] - costs[np.ix_(free, state)].sum(1)
        state[free] = _search(rest, costs[np.ix_(free, free)], seed)
    return torch.from_numpy(state).to(areas.device if isinstance(areas, Tensor) else "cpu")


def qubo_objective(areas: Tensor, overlaps: Tensor, selected: Tensor, penalty: float = 2.0) -> float:
    """The objective of :func:`solve_qubo` for a choice of queries ``[Q]``."""
    gains, costs = qubo_of(areas, overlaps, penalty)
    return value_of(gains, costs, np.asarray(selected.cpu(), dtype=bool))


def qubo_of(areas: Tensor, overlaps: Tensor, penalty: float) -> tuple[np.ndarray, np.ndarray]:
    """Gains ``[Q]`` and symmetric costs of pairs ``[Q, Q]`` with an empty diagonal, checked."""
    gains = torch.as_tensor(areas).detach().cpu().numpy().astype(np.float64)
    shared = torch.as_tensor(overlaps).detach().cpu().numpy().astype(np.float64)
    if gains.ndim != 1 or len(gains) == 0:
        raise InputError("areas", f"shape {list(gains.shape)}", "[Q] with at least one query", "Pass one area a query.")
    if shared.shape != (len(gains), len(gains)):
        raise InputError("overlaps", f"shape {list(shared.shape)}", f"[{len(gains)}, {len(gains)}] as the areas",
                         "Pass both as merge.overlaps gives them.")  # fmt: skip
    for name, values in (("areas", gains), ("overlaps", shared)):
        if not np.isfinite(values).all() or values.min() < 0:
            raise InputError(name, "negative, NaN or infinite numbers", "means of masks",
                             "Pass them as merge.overlaps gives them.")  # fmt: skip
    if not np.allclose(shared, shared.T, rtol=1e-6, atol=0):
        raise InputError("overlaps", "a matrix that is not symmetric", "one overlap a pair of queries",
                         "Pass them as merge.overlaps gives them.")  # fmt: skip
    if not math.isfinite(penalty) or penalty < 0:
        raise InputError("penalty", f"{penalty}", "a finite number, 0 or more", "The paper takes 2.")
    costs = penalty * 0.5 * (shared + shared.T)
    np.fill_diagonal(costs, 0.0)
    return gains, costs


def value_of(gains: np.ndarray, costs: np.ndarray, state: np.ndarray) -> float:
    """The objective of a choice ``[Q]`` bool."""
    return float(gains[state].sum() - 0.5 * costs[np.ix_(state, state)].sum())


def settled(gains: np.ndarray, costs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Queries that some optimum chooses ``[Q]`` bool, and those that are open ``[Q]`` bool; the others are left out.

    A query that adds nothing beside the chosen ones alone is out; one that adds something beside all that are open is
    in. Each decision may settle others.
    """
    state, free = np.zeros(len(gains), dtype=bool), np.ones(len(gains), dtype=bool)
    while True:
        best = gains - costs[:, state].sum(1)
        out = free & (best <= 0)
        free &= ~out
        into = free & (best - costs[:, free].sum(1) > 0)
        if not out.any() and not into.any():
            return state, free
        # Those that enter together were each counted against all the others.
        state |= into
        free &= ~into


def _search(gains: np.ndarray, costs: np.ndarray, seed: int) -> np.ndarray:
    """Anneal, then anneal anew among the queries that good choices use: the best ones are recombined."""
    choices = _improved(gains, costs, _annealed(gains, costs, seed))
    for generation in range(1, _GENERATIONS):
        used = choices.any(0).nonzero()[0]
        if len(used) == 0:
            break
        annealed = _annealed(gains[used], costs[np.ix_(used, used)], seed + generation)
        among = np.zeros((len(annealed), len(gains)), dtype=bool)
        among[:, used] = annealed
        choices = _improved(gains, costs, np.concatenate([choices, among]))
    ejected = [polished(gains, costs, _ejected(gains, costs, choice)) for choice in choices[:_EJECTED]]
    return _best(gains, costs, np.array(ejected))[0]


def _improved(gains: np.ndarray, costs: np.ndarray, choices: np.ndarray) -> np.ndarray:
    """The best distinct ones ``[R, Q]`` after flips of one query and of pairs, best first."""
    choices = _best(gains, costs, np.array([_climbed(gains, costs, c) for c in np.unique(choices, axis=0)]))
    return _best(gains, costs, np.array([polished(gains, costs, choice) for choice in choices]))


def _best(gains: np.ndarray, costs: np.ndarray, choices: np.ndarray) -> np.ndarray:
    """The best distinct ones of choices ``[R, Q]``, best first."""
    choices = np.unique(choices, axis=0)
    values = np.array([value_of(gains, costs, choice) for choice in choices])
    return choices[np.argsort(-values, kind="stable")[:_ELITE]]


def _annealed(gains: np.ndarray, costs: np.ndarray, seed: int) -> np.ndarray:
    """Choices ``[reads, Q]`` bool."""
    from dimod import BinaryQuadraticModel, Vartype
    from dwave.samplers import SimulatedAnnealingSampler

    rows, columns = np.nonzero(np.triu(costs, 1))
    model = BinaryQuadraticModel.from_numpy_vectors(
        -gains, (rows, columns, costs[rows, columns]), 0.0, Vartype.BINARY, variable_order=range(len(gains))
    )
    hot, cold = (temperature * float(np.abs(gains).max()) for temperature in _TEMPERATURES)
    result = SimulatedAnnealingSampler().sample(
        model, num_reads=_READS, num_sweeps=_SWEEPS, beta_range=[1 / hot, 1 / cold], seed=seed % (1 << 31),
        beta_schedule_type="geometric",
    )  # fmt: skip
    order = np.argsort(np.array(list(result.variables), dtype=np.int64))
    return result.record.sample[:, order].astype(bool)


def _climbed(gains: np.ndarray, costs: np.ndarray, start: np.ndarray, held: int = -1) -> np.ndarray:
    """The best exact flip of one query, again and again, until none improves; the one held stays as it is."""
    state = start.copy()
    load = costs[:, state].sum(1)
    slack = _slack(gains)
    while True:
        change = np.where(state, load - gains, gains - load)
        change[held if held >= 0 else slice(0, 0)] = -np.inf
        best = int(change.argmax())
        if change[best] <= slack:
            return state
        load += np.where(state[best], -1.0, 1.0) * costs[best]
        state[best] ^= True


def _ejected(gains: np.ndarray, costs: np.ndarray, start: np.ndarray) -> np.ndarray:
    """Flip each query, let the others adapt to it, and keep what is better, until nothing is."""
    state, value = start, value_of(gains, costs, start)
    improved = True
    while improved:
        improved = False
        for query in range(len(gains)):
            other = state.copy()
            other[query] ^= True
            other = _climbed(gains, costs, _climbed(gains, costs, other, query))
            if value_of(gains, costs, other) > value + _slack(gains):
                state, value, improved = other, value_of(gains, costs, other), True
    return state


def _slack(gains: np.ndarray) -> float:
    """Improvements up to this are rounding."""
    return 1e-14 * float(np.abs(gains).sum())


def polished(gains: np.ndarray, costs: np.ndarray, start: np.ndarray) -> np.ndarray:
    """The best exact flip of one query or of two at once, again and again, until none improves the objective."""
    state = start.copy()
    slack = _slack(gains)
    pairs = np.triu_indices(len(gains), 1)
    while True:
        sign = np.where(state, -1.0, 1.0)
        single = sign * (gains - costs[:, state].sum(1))
        pair = single[pairs[0]] + single[pairs[1]] - (sign[pairs[0]] * sign[pairs[1]]) * costs[pairs]
        one, two = int(single.argmax()), int(pair.argmax()) if len(pair) else -1
        if single[one] > slack and (two < 0 or single[one] >= pair[two]):
            state[one] ^= True
        elif two >= 0 and pair[two] > slack:
            state[[pairs[0][two], pairs[1][two]]] ^= True
        else:
            return state
