# SPDX-License-Identifier: Apache-2.0
"""Which queries to keep: a quadratic unconstrained binary optimisation (QUBO), by annealing and exact local search."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from panoptic_gs.errors import InputError

_SWEEPS = 400
_READS = 24


def solve_qubo(
    areas: Tensor,  # [Q]
    overlaps: Tensor,  # [Q, Q]
    penalty: float = 2.0,
    seed: int = 0,
) -> Tensor:  # [Q] bool
    r"""Choose the queries whose masks cover most while overlapping least (PanSt3R, Sec. 3.2).

    .. math:: \max_{u \in \{0,1\}^Q} \; \sum_i u_i Q_i - λ_p \sum_{i<j} u_i u_j Q_{ij}

    Queries whose choice follows from the numbers alone are settled first. The others are annealed from several starts,
    each result is improved by exact flips of one query and of pairs until none helps, and the best one is taken. No
    optimality is claimed; :func:`bound_qubo` tells how far it can be from the optimum.

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
    best, best_value = np.zeros(len(gains), dtype=bool), 0.0
    for start in _annealed(gains, costs, seed):
        state = polished(gains, costs, start)
        value = value_of(gains, costs, state)
        if value > best_value:
            best, best_value = state, value
    return best


def _annealed(gains: np.ndarray, costs: np.ndarray, seed: int) -> np.ndarray:
    """[reads, Q] bool, distinct, best first."""
    from dimod import BinaryQuadraticModel, Vartype
    from dwave.samplers import SimulatedAnnealingSampler

    rows, columns = np.nonzero(np.triu(costs, 1))
    model = BinaryQuadraticModel.from_numpy_vectors(
        -gains, (rows, columns, costs[rows, columns]), 0.0, Vartype.BINARY, variable_order=range(len(gains))
    )
    result = SimulatedAnnealingSampler().sample(
        model, num_reads=_READS, num_sweeps=_SWEEPS, seed=seed & 0x7FFFFFFF, beta_schedule_type="geometric"
    )
    order = np.argsort([int(v) for v in result.variables])
    samples = result.record.sample[np.argsort(result.record.energy, kind="stable")][:, order]
    _, first = np.unique(samples, axis=0, return_index=True)
    return samples[np.sort(first)].astype(bool)


def polished(gains: np.ndarray, costs: np.ndarray, start: np.ndarray) -> np.ndarray:
    """The best exact flip of one query or of two at once, again and again, until none improves the objective."""
    state = start.copy()
    slack = 1e-15 * max(1.0, float(np.abs(gains).sum()))
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
