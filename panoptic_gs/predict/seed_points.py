# SPDX-License-Identifier: Apache-2.0
"""Seed points for training: confident points of all views, subsampled evenly in space, with the photos' colours."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from panoptic_gs.errors import InputError
from panoptic_gs.predict.cameras import valid_points
from panoptic_gs.scene import Points

DEFAULT_COUNT = 50_000
DEFAULT_DROPPED = 0.05

_MAX_CANDIDATES = 2_000_000


def select_seed_points(
    points: Sequence[np.ndarray],
    confidence: Sequence[np.ndarray],
    read_colors: Callable[[int], np.ndarray],
    count: int = DEFAULT_COUNT,
    dropped: float = DEFAULT_DROPPED,
    seed: int = 0,
) -> Points:
    """At most ``count`` points: the most confident one in each cell of a grid that is as fine as the count allows.

    So near and far surfaces, and those seen once or often, are covered alike.

    Args:
        points: N of ``[H, W, 3]``, in the world.
        confidence: N of ``[H, W]``.
        read_colors: the network's input ``[H, W, 3]`` uint8 of a view.
        count: most points to give.
        dropped: the share of points, those of least confidence, that is left out.
        seed: of the choice among equals.

    Raises:
        InputError: no point is finite and of positive confidence.
    """
    rng = np.random.default_rng([seed, 9])
    views = len(points)
    threshold = _confidence_threshold(points, confidence, dropped)
    a_view = max(1, _MAX_CANDIDATES // views)
    positions, colors, confidences = [], [], []
    for index in range(views):
        usable = np.flatnonzero(valid_points(points[index], confidence[index]) & (confidence[index] >= threshold))
        chosen = rng.permutation(usable)[:a_view]
        positions.append(points[index].reshape(-1, 3)[chosen])
        confidences.append(confidence[index].ravel()[chosen])
        colors.append(read_colors(index).reshape(-1, 3)[chosen])
    xyz, rgb = np.concatenate(positions).astype(np.float32), np.concatenate(colors)
    # Shuffled first, so that among points of equal confidence no view is preferred.
    shuffled = rng.permutation(len(xyz))
    order = shuffled[np.argsort(-np.concatenate(confidences)[shuffled], kind="stable")]
    kept = order[thinned(xyz[order], count)]
    return xyz[kept], rgb[kept]


def _confidence_threshold(points: Sequence[np.ndarray], confidence: Sequence[np.ndarray], dropped: float) -> float:
    samples = []
    for view_points, view_confidence in zip(points, confidence, strict=True):
        usable = view_confidence[valid_points(view_points, view_confidence)]
        samples.append(usable[:: max(1, len(usable) * len(points) // _MAX_CANDIDATES)])
    pooled = np.concatenate(samples)
    if not len(pooled):
        raise InputError(
            "point maps",
            "no finite point of positive confidence",
            "points to start training from",
            "The network did not find the scene's shape: use other photos, with more overlap.",
        )
    return float(np.quantile(pooled, dropped, method="lower"))


def thinned(xyz: np.ndarray, count: int) -> np.ndarray:
    """Indices of the first point in each cell of the finest grid with at most ``count`` occupied cells."""
    if len(xyz) <= count:
        return np.arange(len(xyz))
    low = xyz.min(axis=0)
    extent = float((xyz.max(axis=0) - low).max())
    if extent == 0:
        return np.arange(1)
    # Between one cell for all and the finest that 21 bits an axis number.
    coarse, fine = np.log(1.01 * extent), np.log(extent / (1 << 20))
    best = _first_in_cells(xyz - low, float(np.exp(coarse)))
    for _ in range(20):
        middle = (coarse + fine) / 2
        kept = _first_in_cells(xyz - low, float(np.exp(middle)))
        if len(kept) > count:
            fine = middle
        else:
            coarse, best = middle, kept
            if len(kept) > 0.98 * count:
                break
    return best


def _first_in_cells(xyz: np.ndarray, cell: float) -> np.ndarray:
    index = (xyz / cell).astype(np.int64)
    return np.sort(np.unique((index[:, 0] << 42) | (index[:, 1] << 21) | index[:, 2], return_index=True)[1])
