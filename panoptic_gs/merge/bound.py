# SPDX-License-Identifier: Apache-2.0
"""A certified upper bound of the QUBO, from a semidefinite relaxation."""

from __future__ import annotations

import time

import numpy as np
from torch import Tensor

from panoptic_gs.errors import InputError
from panoptic_gs.merge.selection import qubo_of, settled, value_of

_CHECK_EVERY = 25
_MAX_ITERATIONS = 20_000
_STEP = 1.6


def bound_qubo(
    areas: Tensor,  # [Q]
    overlaps: Tensor,  # [Q, Q]
    penalty: float = 2.0,
    objective: float | None = None,
    tolerance: float = 1e-5,
    time_limit: float = 20.0,
) -> float:
    r"""A number that the objective of :func:`solve_qubo` cannot exceed, whatever queries are chosen.

    With costs :math:`c_{ij} = λ_p Q_{ij}`, on 0/1 vectors the objective :math:`Q^T u - \frac12 u^T c u` does not change
    when a multiple :math:`z_i` of :math:`u_i - u_i^2` is added, and does not fall when a multiple
    :math:`n_{ij} \ge 0` of :math:`u_i u_j` is. Any such quadratic that is concave is bounded by its maximum over all
    real vectors, which is a linear system away. The multipliers that make it smallest solve the dual of a semidefinite
    relaxation over doubly non-negative matrices; they are found by the alternating direction method of Wen, Goldfarb
    and Yin (2010), and every bound is computed from them anew, so it holds however far the method got. Where
    :math:`c_{ij} \ge \min(Q_i, Q_j)`, leaving one of both out is never worse, so there :math:`n_{ij}` may have any
    sign.

    Args:
        areas, overlaps, penalty: as for :func:`solve_qubo`.
        objective: of a choice at hand; the search ends when the bound is as close to it as ``tolerance``.
        tolerance: as a share of the objective, and of change that counts as none.
        time_limit: in seconds; the bound reached by then is returned.

    Raises:
        InputError: as :func:`solve_qubo`; a time limit that is not positive.
    """
    if not time_limit > 0:
        raise InputError("time_limit", f"{time_limit}", "a positive number of seconds", "Allow some time.")
    gains, costs = qubo_of(areas, overlaps, penalty)
    state, free = settled(gains, costs)
    fixed = value_of(gains, costs, state)
    if not free.any():
        return fixed
    rest = gains[free] - costs[np.ix_(free, state)].sum(1)
    scale = float(rest.max())
    wanted = None if objective is None else (objective - fixed + tolerance * abs(objective)) / scale
    relaxation = _Relaxation(rest / scale, costs[np.ix_(free, free)] / scale)
    return fixed + scale * relaxation.bound(wanted, tolerance, time.monotonic() + time_limit)


class _Relaxation:
    r"""min ⟨C, Y⟩ over positive semidefinite Y ≥ 0 with Y₀₀ = 1, Yᵢᵢ = Y₀ᵢ, for Y = (1, u)(1, u)ᵀ."""

    def __init__(self, gains: np.ndarray, costs: np.ndarray) -> None:
        size = len(gains)
        self.gains = gains
        self.C = np.zeros((size + 1, size + 1))
        self.C[0, 1:] = self.C[1:, 0] = -gains / 2
        self.C[1:, 1:] = costs / 2
        self.excluded = np.zeros(self.C.shape, dtype=bool)
        self.excluded[1:, 1:] = costs >= np.minimum(gains[:, None], gains)
        np.fill_diagonal(self.excluded, False)
        self.inner = np.arange(1, size + 1)

    def bound(self, wanted: float | None, tolerance: float, deadline: float) -> float:
        """The best bound until it is as low as ``wanted``, does not improve, or the time is over."""
        Y, S, N = (np.zeros_like(self.C) for _ in range(3))
        right = np.zeros(len(self.C))
        right[0] = 1.0
        sigma, best = 1.0, float(self.gains.sum())
        for iteration in range(1, _MAX_ITERATIONS + 1):
            z = self._multipliers(S, N, Y, right, sigma)
            N = self.C - self._spread(z) - S - Y / sigma
            N = np.where(self.excluded, N, N.clip(min=0))
            z = self._multipliers(S, N, Y, right, sigma)
            slack = self.C - self._spread(z) - N
            values, vectors = np.linalg.eigh(slack - Y / sigma)
            above = values > 0
            S = (vectors[:, above] * values[above]) @ vectors[:, above].T
            Y = Y + _STEP * sigma * (S - slack)
            over = time.monotonic() > deadline
            if over or iteration % _CHECK_EVERY == 0:
                best = min(best, _concave_maximum(slack))
                if over or (wanted is not None and best <= wanted):
                    break
                primal = np.linalg.norm(self._constraints(Y) - right)
                primal += np.linalg.norm(np.where(self.excluded, Y, Y.clip(max=0)))
                primal /= 1 + np.linalg.norm(Y)
                dual = np.linalg.norm(slack - S) / (1 + np.linalg.norm(self.C))
                if max(primal, dual) < 0.1 * tolerance:
                    break
                sigma *= 1 / 1.3 if primal > 5 * dual else 1.3 if dual > 5 * primal else 1.0
        return best

    def _constraints(self, Y: np.ndarray) -> np.ndarray:
        return np.concatenate([[Y[0, 0]], Y.diagonal()[1:] - Y[0, 1:]])

    def _spread(self, z: np.ndarray) -> np.ndarray:
        spread = np.zeros_like(self.C)
        spread[0, 0] = z[0]
        spread[0, 1:] = spread[1:, 0] = -z[1:] / 2
        spread[self.inner, self.inner] = z[1:]
        return spread

    def _multipliers(self, S: np.ndarray, N: np.ndarray, Y: np.ndarray, right: np.ndarray, sigma: float) -> np.ndarray:
        z = self._constraints(self.C - S - N) + (right - self._constraints(Y)) / sigma
        z[1:] /= 1.5  # the constraints' squared norms; they are orthogonal
        return z


def _concave_maximum(slack: np.ndarray) -> float:
    """The least maximum of −2 s·u − uᵀ B u + δ Σ (uᵢ − uᵢ²) over real u, for δ that make it concave.

    ``slack`` is [[·, s], [s, B]].
    """
    values, vectors = np.linalg.eigh(slack[1:, 1:])
    linear, ones = slack[0, 1:] @ vectors, 0.5 * vectors.sum(0)
    # Well above what rounding moves an eigenvalue by, so that the shifted matrix is positive definite for certain.
    shifts = max(0.0, -float(values[0])) + np.geomspace(1e-8, 10, 160)[:, None]
    return float(((linear - shifts * ones) ** 2 / (values + shifts)).sum(1).min())
