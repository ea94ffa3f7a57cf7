# SPDX-License-Identifier: Apache-2.0
"""Quantiles of weighted values."""

from __future__ import annotations

import numpy as np


def quantiles(values: np.ndarray, weights: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """The values ``[S]`` below which shares ``[S]`` of the weight ``[N]`` lie, between values ``[N]`` in any order."""
    order = np.argsort(values)
    return sorted_quantiles(values[order], weights[order], shares)


def sorted_quantiles(values: np.ndarray, weights: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """:func:`quantiles` of values that ascend."""
    below = np.cumsum(weights) - 0.5 * weights
    return np.interp(shares * weights.sum(), below, values)
