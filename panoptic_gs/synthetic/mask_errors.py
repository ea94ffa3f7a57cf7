# SPDX-License-Identifier: Apache-2.0
"""What can be wrong with a mask or a label map as a picture: outlines that wander or swell, holes, halves, parts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import ndimage


class Cut(NamedTuple):
    """A straight cut through an object, where its upright box in the image has a share of its height or width."""

    axis: int
    """0: a horizontal line, rows above and below it; 1: an upright line."""
    position: float
    """0…1 from the top or from the left of the box."""


def displaced(labels: np.ndarray, amplitude: float, rng: np.random.Generator) -> np.ndarray:
    """A label map [H, W] warped by a smooth random field of `amplitude` pixels root mean square."""
    if amplitude == 0:
        return labels.copy()
    height, width = labels.shape
    field = ndimage.gaussian_filter(rng.normal(size=(2, height, width)), (0, width / 40, width / 40), mode="reflect")
    field *= amplitude / np.sqrt(2 * (field**2).mean())
    rows, columns = np.mgrid[:height, :width]
    rows = np.clip(np.rint(rows + field[0]).astype(int), 0, height - 1)
    columns = np.clip(np.rint(columns + field[1]).astype(int), 0, width - 1)
    return labels[rows, columns]


def void_blobs(shape: tuple[int, ...], share: float, rng: np.random.Generator) -> np.ndarray:
    """Random ellipses [H, W] bool that cover `share` of the image on average."""
    height, width = shape
    hidden = np.zeros(shape, bool)
    if share == 0:
        return hidden
    rows, columns = np.mgrid[:height, :width]
    radius = width / 30
    for _ in range(rng.poisson(share * height * width / (np.pi * radius**2 * 1.08))):
        a, b = radius * rng.uniform(0.6, 1.4, 2)
        y, x = rng.uniform(0, height), rng.uniform(0, width)
        hidden |= ((rows - y) / a) ** 2 + ((columns - x) / b) ** 2 < 1
    return hidden


def half_of(mask: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The part of a mask on one side of a random line near its middle."""
    rows, columns = np.nonzero(mask)
    angle = rng.uniform(0, 2 * np.pi)
    position = np.cos(angle) * rows + np.sin(angle) * columns
    cut = np.quantile(position, rng.uniform(0.35, 0.65))
    part = np.zeros_like(mask)
    part[rows[position > cut], columns[position > cut]] = True
    return part


def grown(labels: np.ndarray, growing: np.ndarray, distance: float) -> np.ndarray:
    """A label map [H, W] in which the pixels of a mask [H, W] carry their labels up to `distance` pixels outward.

    Every pixel that was not in the mask takes the label of the nearest one that was, if it is near enough; labels in
    the mask keep their place.
    """
    if distance <= 0 or not growing.any():
        return labels.copy()
    far, nearest = np.zeros(labels.shape), np.zeros((2, *labels.shape), np.int32)
    ndimage.distance_transform_edt(~growing, return_indices=True, distances=far, indices=nearest)
    rows, columns = nearest
    return np.where(far <= distance, labels[rows, columns], labels)


def parts_of(mask: np.ndarray, cuts: Sequence[Cut]) -> np.ndarray:
    """The part [H, W] of each pixel of a mask: bit k is set below, or right of, cut k."""
    rows, columns = np.nonzero(mask)
    parts = np.zeros(mask.shape, np.int32)
    for bit, cut in enumerate(cuts):
        along = (rows, columns)[cut.axis]
        line = along.min() + cut.position * (along.max() + 1 - along.min())
        parts[rows, columns] |= (along + 0.5 > line).astype(np.int32) << bit
    return parts
