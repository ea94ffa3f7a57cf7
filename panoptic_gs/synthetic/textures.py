# SPDX-License-Identifier: Apache-2.0
"""Procedural solid textures: colour as a function of the position in an object's own frame, in metres.

All detail is between about 4 cm and 1 m: visible from across a room, coarse enough not to alias at 320 × 240 and to be
learnt by Gaussians.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

Color = tuple[float, float, float]


class Texture(Protocol):
    """Colours `[3, n]` (linear RGB, float32) at points `[3, n]`; `glow` is added light, 0 for what does not shine."""

    @property
    def glow(self) -> float: ...

    def __call__(self, points: np.ndarray) -> np.ndarray: ...


def linear(color: Sequence[float]) -> np.ndarray:
    """sRGB 0…1 to linear light, as a `[3, 1]` column."""
    return (np.asarray(color, np.float32) ** 2.2)[:, None]


def smooth_step(x: np.ndarray, width: float) -> np.ndarray:
    """0 below -width, 1 above width, smooth between."""
    s = np.clip(x / (2 * width) + 0.5, 0, 1)
    return s * s * (3 - 2 * s)


@dataclass(frozen=True, eq=False)
class Waves:
    """Band-limited noise: a sum of plane waves of random direction and phase, between about -1 and 1."""

    vectors: np.ndarray
    """[count, 3] radians per metre."""
    phases: np.ndarray

    @classmethod
    def draw(cls, rng: np.random.Generator, frequency: float, count: int = 7, stretch: Color = (1, 1, 1)) -> Waves:
        """Waves of 0.6…1.6 times `frequency` cycles per metre; `stretch` multiplies the frequency per axis."""
        direction = rng.normal(size=(count, 3))
        direction /= np.linalg.norm(direction, axis=1, keepdims=True)
        magnitude = 2 * np.pi * frequency * rng.uniform(0.6, 1.6, (count, 1))
        return cls((direction * magnitude * stretch).astype(np.float32), rng.uniform(0, 2 * np.pi, (count, 1)))

    def __call__(self, points: np.ndarray) -> np.ndarray:
        argument = self.vectors @ points.astype(np.float32) + self.phases.astype(np.float32)
        return np.sin(argument, out=argument).sum(0) * np.float32(1.4 / np.sqrt(len(self.phases)))


@dataclass(frozen=True, eq=False)
class Mottled:
    """Two colours mixed by noise: paint, plaster, fabric, leather, leaves."""

    base: Color
    other: Color
    waves: Waves
    glow: float = 0.0

    def __call__(self, points: np.ndarray) -> np.ndarray:
        share = np.clip(0.5 + 0.5 * self.waves(points), 0, 1)
        return linear(self.base) * (1 - share) + linear(self.other) * share


@dataclass(frozen=True, eq=False)
class Wood:
    """Grain along one axis: rings bent by noise."""

    base: Color
    dark: Color
    axis: int
    rings: float
    waves: Waves
    glow: float = 0.0

    def __call__(self, points: np.ndarray) -> np.ndarray:
        across = points[(self.axis + 1) % 3] + 0.7 * points[(self.axis + 2) % 3]
        grain = np.sin(2 * np.pi * self.rings * across + 1.5 * self.waves(points))
        share = (0.5 + 0.4 * grain).astype(np.float32)
        return linear(self.base) * (1 - share) + linear(self.dark) * share


@dataclass(frozen=True, eq=False)
class Tiles:
    """Rectangular tiles (or planks, bricks) in the plane of two axes, each with its own tone, and joints between."""

    colors: tuple[Color, ...]
    joint: Color
    size: tuple[float, float]
    axes: tuple[tuple[int, ...], int]
    """Axes whose sum runs along a row (x and y together serve walls in both directions), and the axis across rows."""
    tones: np.ndarray
    """[m] table of tones, drawn once; tile (i, j) reads an entry hashed from i and j."""
    waves: Waves
    offset: float = 0.0
    """Shift of every second row, in tiles."""
    joint_width: float = 0.012
    glow: float = 0.0

    def __call__(self, points: np.ndarray) -> np.ndarray:
        row = points[self.axes[1]] / self.size[1]
        j = np.floor(row).astype(np.int64)
        column = points[list(self.axes[0])].sum(0) / self.size[0] + self.offset * (j % 2)
        i = np.floor(column).astype(np.int64)
        tone = self.tones[(i * 31 + j * 17) % len(self.tones)].astype(np.float32)
        palette = np.concatenate([linear(c) for c in self.colors], 1)
        color = palette[:, (i + j) % len(self.colors)] * (1 + tone + 0.08 * self.waves(points))
        edge = np.minimum(
            np.minimum(column - i, 1 - column + i) * self.size[0], np.minimum(row - j, 1 - row + j) * self.size[1]
        )
        joint = (1 - smooth_step(edge - self.joint_width, 0.008)).astype(np.float32)
        return color * (1 - joint) + linear(self.joint) * joint


@dataclass(frozen=True, eq=False)
class Stripes:
    """Soft stripes across the sum of some axes: wallpaper, blankets, curtains."""

    base: Color
    other: Color
    axes: tuple[int, ...]
    period: float
    waves: Waves
    glow: float = 0.0

    def __call__(self, points: np.ndarray) -> np.ndarray:
        phase = np.sin(2 * np.pi * points[list(self.axes)].sum(0) / self.period)
        share = smooth_step(phase, 0.35).astype(np.float32)
        shade = 1 + 0.08 * self.waves(points)
        return (linear(self.base) * (1 - share) + linear(self.other) * share) * shade


@dataclass(frozen=True, eq=False)
class Slices:
    """Bands of given widths and colours along one axis: a row of books, a stack, buttons on a panel."""

    edges: np.ndarray
    """[m - 1] increasing positions between the m bands."""
    colors: np.ndarray
    """[3, m] linear RGB."""
    axis: int
    glow: float = 0.0

    def __call__(self, points: np.ndarray) -> np.ndarray:
        position = points[self.axis]
        band = np.searchsorted(self.edges, position)
        color = self.colors[:, band]
        if not len(self.edges):
            return color
        nearest = np.abs(position - self.edges[np.clip(band, 0, len(self.edges) - 1)])
        nearest = np.minimum(nearest, np.abs(position - self.edges[np.clip(band - 1, 0, len(self.edges) - 1)]))
        return color * (0.55 + 0.45 * smooth_step(nearest - 0.004, 0.006)).astype(np.float32)


@dataclass(frozen=True, eq=False)
class Picture:
    """A smooth abstract painting, or what a screen shows."""

    colors: np.ndarray
    """[3, 4] linear RGB."""
    waves: tuple[Waves, Waves]
    glow: float = 0.0

    def __call__(self, points: np.ndarray) -> np.ndarray:
        a = smooth_step(self.waves[0](points), 0.5)
        b = smooth_step(self.waves[1](points), 0.5)
        weights = np.stack([a * b, a * (1 - b), (1 - a) * b, (1 - a) * (1 - b)]).astype(np.float32)
        return self.colors @ weights


@dataclass(frozen=True, eq=False)
class Gradient:
    """From one colour to another over a height range: the view out of a window."""

    low: Color
    high: Color
    span: tuple[float, float]
    waves: Waves
    axis: int = 2
    glow: float = 0.0

    def __call__(self, points: np.ndarray) -> np.ndarray:
        share = (points[self.axis] - self.span[0]) / (self.span[1] - self.span[0]) + 0.12 * self.waves(points)
        share = np.clip(share, 0, 1).astype(np.float32)
        return linear(self.low) * (1 - share) + linear(self.high) * share
