# SPDX-License-Identifier: Apache-2.0
"""Which views a network builds its memory of the scene from."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from PIL import Image

from panoptic_gs.errors import InputError

DEFAULT_COUNT = 50

_THUMBNAIL = (24, 24)


@dataclass(frozen=True)
class Keyframes:
    """How many keyframes to take, and whether evenly spaced in order or by similarity of the views.

    Raises:
        InputError: fewer than two.
    """

    count: int = DEFAULT_COUNT
    by: Literal["even", "similarity"] = "even"

    def __post_init__(self) -> None:
        if self.count < 2:
            raise InputError("number of keyframes", str(self.count), "at least 2", "Choose a larger number.")

    def number(self, views: int) -> int:
        """How many of so many views."""
        return min(self.count, views)

    def select(self, images: Sequence[np.ndarray]) -> tuple[int, ...]:
        """Indices of the keyframes among N images ``[H, W, 3]`` uint8, ascending."""
        count = self.number(len(images))
        if self.by == "even":
            return even_keyframes(len(images), count)
        return tuple(sorted(farthest_keyframes(thumbnail_similarity(images), count)))


def even_keyframes(views: int, count: int) -> tuple[int, ...]:
    """``count`` of ``views`` indices, evenly spaced from the first to the last.

    Raises:
        InputError: not 2 ≤ count ≤ views.
    """
    _check_count(count, views)
    return tuple(int(index) for index in np.linspace(0, views - 1, count).round())


def farthest_keyframes(similarity: np.ndarray, count: int) -> tuple[int, ...]:
    """Farthest-point sampling: from the view most like all others, always on to the view least like those chosen.

    Args:
        similarity: ``[N, N]`` symmetric, larger for views that are more alike.
        count: how many.

    Returns:
        Indices in the order they were chosen.

    Raises:
        InputError: no square matrix of finite numbers, not 2 ≤ count ≤ N.
    """
    similarity = np.asarray(similarity, np.float64)
    if similarity.ndim != 2 or similarity.shape[0] != similarity.shape[1] or not np.isfinite(similarity).all():
        raise InputError(
            "similarity",
            f"shape {list(similarity.shape)}" if np.isfinite(similarity).all() else "NaN or infinite values",
            "[N, N] finite numbers",
            "Pass the similarity of every pair of views.",
        )
    _check_count(count, len(similarity))
    chosen = [int(similarity.sum(axis=0).argmax())]
    nearest = similarity[chosen[0]].copy()
    while len(chosen) < count:
        nearest[chosen] = np.inf
        chosen.append(int(nearest.argmin()))
        nearest = np.maximum(nearest, similarity[chosen[-1]])
    return tuple(chosen)


def thumbnail_similarity(images: Iterable[np.ndarray]) -> np.ndarray:
    """How alike views look, ``[N, N]`` in -1…1: the correlation of small grey pictures of N ``[H, W, 3]`` uint8."""
    small = np.stack([
        np.asarray(Image.fromarray(image).convert("L").resize(_THUMBNAIL, Image.Resampling.BOX), np.float64).ravel()
        for image in images
    ])  # fmt: skip
    small -= small.mean(axis=1, keepdims=True)
    small /= np.linalg.norm(small, axis=1, keepdims=True).clip(1e-9)
    return small @ small.T


def _check_count(count: int, views: int) -> None:
    if not 2 <= count <= views:
        raise InputError(
            "number of keyframes", f"{count} of {views} views", f"2 to {views}", "Choose a number in this range."
        )
