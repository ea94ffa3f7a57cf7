# SPDX-License-Identifier: Apache-2.0
"""Query masks and choices made without the library: brute force in float64, and a plain annealer."""

from __future__ import annotations

import itertools

import numpy as np
import torch
from torch import Tensor


def minima(mask_logits: Tensor) -> tuple[Tensor, Tensor]:
    """Areas [Q] and overlaps [Q, Q] by brute force in float64."""
    masks = mask_logits.double().sigmoid().transpose(0, 1).flatten(1)
    return masks.mean(1), torch.stack([torch.minimum(mask, masks).mean(1) for mask in masks])


def discs(queries: int, seed: int, side: int = 48, largest: float = 15) -> tuple[Tensor, Tensor]:
    """Areas and overlaps of random overlapping discs with soft rims."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side]
    logits = np.empty((1, queries, side, side))
    for query in range(queries):
        row, column = rng.uniform(0, side, 2)
        logits[0, query] = 2 * (rng.uniform(2, largest) - np.hypot(y - row, x - column))
    return minima(torch.from_numpy(logits))


def objective(areas: np.ndarray, overlaps: np.ndarray, choice: np.ndarray, penalty: float) -> float:
    """The sum as the paper writes it."""
    chosen = np.flatnonzero(choice)
    return sum(areas[i] for i in chosen) - penalty * sum(overlaps[i, j] for i, j in itertools.combinations(chosen, 2))


def best_of_all(areas: Tensor, overlaps: Tensor, penalty: float = 2.0) -> float:
    """The optimum, by trying every choice."""
    choices = itertools.product((False, True), repeat=len(areas))
    return max(objective(areas.numpy(), overlaps.numpy(), np.array(choice), penalty) for choice in choices)


def plain_annealer(
    areas: Tensor, overlaps: Tensor, penalty: float = 2.0, seed: int = 0, restarts: int = 20, flips: int = 10_000
) -> float:
    """The best objective that single flips meet while the temperature falls from 0.5 to 1e-4, from random starts."""
    gains, costs = areas.numpy(), penalty * overlaps.numpy()
    costs = costs - np.diag(costs.diagonal())
    rng = np.random.default_rng(seed)
    temperatures = 0.5 * (1e-4 / 0.5) ** (np.arange(flips) / (flips - 1))
    best = 0.0
    for _ in range(restarts):
        state = rng.random(len(gains)) < 0.5
        load = costs[:, state].sum(1)
        value = gains[state].sum() - 0.5 * costs[np.ix_(state, state)].sum()
        for query, chance, temperature in zip(rng.integers(len(gains), size=flips), rng.random(flips), temperatures):
            change = (load[query] - gains[query]) if state[query] else (gains[query] - load[query])
            if change >= 0 or chance < np.exp(change / temperature):
                load += -costs[query] if state[query] else costs[query]
                state[query] ^= True
                value += change
                best = max(best, value)
    return best
