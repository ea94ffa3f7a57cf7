# SPDX-License-Identifier: Apache-2.0
"""Random members of material families: each call draws one texture from the generator it is given."""

from __future__ import annotations

import colorsys

import numpy as np

from panoptic_gs.synthetic.textures import (
    Color,
    Gradient,
    Mottled,
    Picture,
    Slices,
    Stripes,
    Texture,
    Tiles,
    Waves,
    Wood,
    linear,
)

WOODS: tuple[tuple[Color, Color], ...] = (
    ((0.80, 0.62, 0.42), (0.66, 0.47, 0.29)),
    ((0.62, 0.42, 0.26), (0.46, 0.29, 0.17)),
    ((0.44, 0.29, 0.20), (0.31, 0.20, 0.14)),
    ((0.88, 0.77, 0.60), (0.77, 0.63, 0.45)),
    ((0.70, 0.66, 0.60), (0.56, 0.51, 0.46)),
)


def hue(rng: np.random.Generator, saturation: tuple[float, float], value: tuple[float, float]) -> Color:
    """A colour of any hue, saturation and value uniform in the given ranges."""
    return colorsys.hsv_to_rgb(rng.uniform(), rng.uniform(*saturation), rng.uniform(*value))


def shade(color: Color, factor: float) -> Color:
    """The colour made darker (factor < 1) or lighter (> 1)."""
    r, g, b = (min(1.0, c * factor) for c in color)
    return r, g, b


def plain(rng: np.random.Generator, color: Color, contrast: float = 0.05, frequency: float = 3.0) -> Texture:
    """Nearly one colour, mottled by `contrast`."""
    return Mottled(shade(color, 1 + contrast), shade(color, 1 - contrast), Waves.draw(rng, frequency))


def wood(rng: np.random.Generator, axis: int = 0, tone: int | None = None) -> Texture:
    """Wood with its grain along `axis`; `tone` picks from `WOODS`."""
    base, dark = WOODS[rng.integers(len(WOODS)) if tone is None else tone]
    stretch = [1.0, 1.0, 1.0]
    stretch[axis] = 0.25
    waves = Waves.draw(rng, 4.0, stretch=(stretch[0], stretch[1], stretch[2]))
    return Wood(base, dark, axis, rng.uniform(5.5, 8.0), waves)


def fabric(rng: np.random.Generator, color: Color | None = None) -> Texture:
    """Cloth: mottled, sometimes striped."""
    color = hue(rng, (0.15, 0.6), (0.35, 0.85)) if color is None else color
    if rng.uniform() < 0.25:
        axes = (int(rng.integers(2)),)
        return Stripes(color, shade(color, 0.7), axes, rng.uniform(0.1, 0.18), Waves.draw(rng, 5))
    return Mottled(shade(color, 1.1), shade(color, 0.86), Waves.draw(rng, 6.0))


def metal(rng: np.random.Generator, dark: bool | None = None) -> Texture:
    """Painted or brushed metal."""
    dark = bool(rng.uniform() < 0.5) if dark is None else dark
    level = rng.uniform(0.14, 0.24) if dark else rng.uniform(0.66, 0.8)
    return plain(rng, (level, level, level * 1.03), 0.06, 4.0)


def ceramic(rng: np.random.Generator) -> Texture:
    """White glaze."""
    return plain(rng, (0.92, 0.93, 0.92), 0.02, 3.0)


def wall(rng: np.random.Generator, tiled: bool = False) -> Texture:
    """Paint, striped wallpaper or bathroom tiles. Solid, so all four walls go well together."""
    color = hue(rng, (0.06, 0.26), (0.78, 0.92))
    if tiled:
        return _tiles(rng, (shade(color, 1.05),), (0.3, 0.2), ((0, 1), 2), shade(color, 0.72), 0.05)
    if rng.uniform() < 0.35:
        return Stripes(color, shade(color, 0.9), (0, 1), rng.uniform(0.3, 0.5), Waves.draw(rng, 2.0))
    return Mottled(shade(color, 1.035), shade(color, 0.955), Waves.draw(rng, 2.0, 14))


def ceiling(rng: np.random.Generator) -> Texture:
    """White plaster."""
    return Mottled((0.95, 0.945, 0.93), (0.86, 0.855, 0.84), Waves.draw(rng, 1.2, 12))


def floor(rng: np.random.Generator, tiled: bool = False) -> Texture:
    """Planks, or checkered tiles."""
    if tiled or rng.uniform() < 0.25:
        light = hue(rng, (0.03, 0.15), (0.7, 0.85))
        return _tiles(
            rng, (light, shade(light, rng.uniform(0.55, 0.8))), (0.45, 0.45), ((0,), 1), shade(light, 0.5), 0.04
        )
    base, dark = WOODS[rng.integers(len(WOODS))]
    return _tiles(rng, (base,), (1.3, 0.19), ((0,), 1), shade(dark, 0.75), 0.13, offset=0.37)


def rug(rng: np.random.Generator) -> Texture:
    """Checks or stripes of two colours."""
    color = hue(rng, (0.35, 0.65), (0.4, 0.75))
    other = hue(rng, (0.1, 0.4), (0.6, 0.9))
    if rng.uniform() < 0.5:
        return _tiles(rng, (color, other), (0.3, 0.3), ((0,), 1), shade(color, 0.9), 0.05)
    return Stripes(color, other, (int(rng.integers(2)),), rng.uniform(0.25, 0.4), Waves.draw(rng, 5))


def books(rng: np.random.Generator, width: float, axis: int = 0) -> Texture:
    """Spines side by side over `width` metres around 0."""
    widths = rng.uniform(0.035, 0.075, int(width / 0.04) + 2)
    edges = np.cumsum(widths) - width / 2
    edges = edges[edges < width / 2 - 0.02]
    colors = [linear(hue(rng, (0.2, 0.75), (0.3, 0.85))) for _ in range(len(edges) + 1)]
    return Slices(edges, np.concatenate(colors, 1), axis)


def picture(rng: np.random.Generator, frequency: float = 2.0, glow: float = 0.0, dark: bool = False) -> Texture:
    """An abstract painting; with `glow` what a screen shows."""
    value = (0.1, 0.6) if dark else (0.3, 0.95)
    colors = np.concatenate([linear(hue(rng, (0.2, 0.8), value)) for _ in range(4)], 1)
    return Picture(colors, (Waves.draw(rng, frequency), Waves.draw(rng, frequency)), glow)


def sky(rng: np.random.Generator, height: float) -> Texture:
    """A bright view out of a window `height` metres tall, centred on 0."""
    green = (0.62, 0.74, 0.55)
    blue = (0.75, 0.87, 1.0)
    return Gradient(green, blue, (-0.35 * height, 0.15 * height), Waves.draw(rng, 2.0), glow=0.8)


def bulb(rng: np.random.Generator) -> Texture:
    """A lit lamp shade."""
    return Mottled((1.0, 0.93, 0.78), (1.0, 0.86, 0.66), Waves.draw(rng, 4.0), glow=0.75)


def _tiles(
    rng: np.random.Generator,
    colors: tuple[Color, ...],
    size: tuple[float, float],
    axes: tuple[tuple[int, ...], int],
    joint: Color,
    spread: float,
    offset: float = 0.0,
) -> Texture:
    return Tiles(colors, joint, size, axes, rng.normal(0, spread, 97), Waves.draw(rng, 5.0), offset)
