# SPDX-License-Identifier: Apache-2.0
"""Random lenses, and the largest rectangle that one shows by brute force: cells of a grid and a stack of heights."""

from __future__ import annotations

import math

import numpy as np
from scipy import ndimage

from panoptic_gs.scene.lens import Distortion
from panoptic_gs.scene.seen_rectangle import Rectangle


def random_lens(rng: np.random.Generator) -> tuple[Distortion, Rectangle]:
    """A lens of one of five kinds and the photo's borders on its sensor; it may fold."""
    kind = rng.integers(5)
    half = rng.uniform(0.2, 2.5 if kind == 1 else 1.5)
    normal = rng.normal
    if kind == 0:
        lens = Distortion(k1=normal() * 0.25, k2=normal() * 0.1, k3=normal() * 0.03, p1=normal() * 0.004)
    elif kind == 1:
        k1, k2, k3, k4 = rng.normal(size=4) * [0.1, 0.03, 0.01, 0.003]
        lens = Distortion(k1, k2, k3, k4, model="fisheye")
    elif kind == 2:
        lens = Distortion(
            k1=normal() * 0.4, k2=normal() * 0.2, k3=normal() * 0.05, k4=normal() * 0.4, k5=normal() * 0.2,
            k6=normal() * 0.05, p1=normal() * 0.004, p2=normal() * 0.004, s1=normal() * 0.003,
        )  # fmt: skip
    elif kind == 3:
        lens = Distortion(normal() * 0.25, normal() * 0.1, normal() * 0.03, normal() * 0.01, model="polynomial")
    else:
        lens = Distortion(k1=rng.uniform(-0.4, 0.2), model="division")
    high = half * rng.uniform(0.5, 1)
    x, y = rng.normal(size=2) * 0.05 * half
    return lens, Rectangle(x - half, y - high, x + half, y + high)


def brute_force_area(lens: Distortion, photo: Rectangle, max_fov: float, cells: int) -> float:
    """The area of the largest rectangle of whole cells of a grid around what the photo shows."""
    reach = math.tan(math.radians(max_fov) / 2)
    places = np.linspace(-reach, reach, 801)
    shown = _around_the_axis(lens, photo, places, places)
    rows, columns = np.flatnonzero(shown.any(axis=1)), np.flatnonzero(shown.any(axis=0))
    x = np.linspace(places[max(columns[0] - 1, 0)], places[min(columns[-1] + 1, 800)], cells + 1)
    y = np.linspace(places[max(rows[0] - 1, 0)], places[min(rows[-1] + 1, 800)], cells + 1)
    corner = _around_the_axis(lens, photo, x, y)
    whole = corner[1:, 1:] & corner[:-1, 1:] & corner[1:, :-1] & corner[:-1, :-1]
    return _largest(whole) * (x[1] - x[0]) * (y[1] - y[0])


def most_outside(lens: Distortion, photo: Rectangle, kept: Rectangle) -> float:
    """How far the border of a rectangle lands outside of the photo, as a share of the photo's width."""
    t = np.linspace(0, 1, 800)
    x, y = kept.left + t * (kept.right - kept.left), kept.top + t * (kept.bottom - kept.top)
    top, bottom, left, right = (np.full(800, value) for value in (kept.top, kept.bottom, kept.left, kept.right))
    u, v = lens.distort(np.concatenate([x, x, left, right]), np.concatenate([top, bottom, y, y]))
    over = max((photo.left - u).max(), (u - photo.right).max(), (photo.top - v).max(), (v - photo.bottom).max())
    return float(over) / (photo.right - photo.left)


def _around_the_axis(lens: Distortion, photo: Rectangle, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    u, v = lens.distort(*np.meshgrid(x, y))
    inside = (u >= photo.left) & (u <= photo.right) & (v >= photo.top) & (v <= photo.bottom)
    parts, _ = ndimage.label(inside)  # pyright: ignore (scipy has no types)
    return parts == parts[np.abs(y).argmin(), np.abs(x).argmin()]


def _largest(whole: np.ndarray) -> int:
    best, heights = 0, np.zeros(whole.shape[1], dtype=int)
    for row in whole:
        heights = np.where(row, heights + 1, 0)
        stack: list[tuple[int, int]] = []
        for column, height in enumerate([*heights.tolist(), 0]):
            start = column
            while stack and stack[-1][1] >= height:
                start, above = stack.pop()
                best = max(best, above * (column - start))
            stack.append((start, height))
    return best
