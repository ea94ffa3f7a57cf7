# SPDX-License-Identifier: Apache-2.0
"""Furniture drawn from a generator: each function builds one object in its own frame (see `parts.Parts`)."""

from __future__ import annotations

import numpy as np

from panoptic_gs.synthetic import materials
from panoptic_gs.synthetic.parts import Parts
from panoptic_gs.synthetic.textures import Texture

Rng = np.random.Generator


def _legs(parts: Parts, half: tuple[float, float], top: float, thick: float, texture: Texture) -> None:
    for x in (-half[0], half[0]):
        for y in (-half[1], half[1]):
            parts.box((x - thick / 2, y - thick / 2, 0), (x + thick / 2, y + thick / 2, top), texture)


def chair(rng: Rng, style: int | None = None, color: tuple[float, float, float] | None = None) -> Parts:
    """A wooden chair, an office chair or an armchair."""
    parts = Parts()
    style = int(rng.integers(3)) if style is None else style
    cloth = materials.fabric(rng, color)
    if style == 0:
        frame = materials.wood(rng, 2)
        _legs(parts, (0.19, 0.19), 0.42, 0.045, frame)
        parts.box((-0.22, -0.22, 0.42), (0.22, 0.22, 0.47), cloth)
        for x in (-0.19, 0.19):
            parts.box((x - 0.022, -0.215, 0.46), (x + 0.022, -0.17, 0.92), frame)
        parts.box((-0.2, -0.21, 0.68), (0.2, -0.175, 0.92), cloth)
        return parts
    if style == 1:
        steel = materials.metal(rng, dark=True)
        for k in range(5):
            a = 2 * np.pi * k / 5 + 0.3
            tip = (0.26 * np.cos(a), 0.26 * np.sin(a))
            parts.rod((0, 0, 0.1), (*tip, 0.07), 0.025, steel)
            parts.ball((*tip, 0.035), 0.035, steel)
        parts.cylinder((0, 0), (0.08, 0.42), 0.035, steel)
        parts.box((-0.25, -0.24, 0.42), (0.25, 0.24, 0.51), cloth)
        parts.box((-0.04, -0.26, 0.44), (0.04, -0.23, 0.7), steel)
        parts.box((-0.23, -0.27, 0.6), (0.23, -0.2, 1.05), cloth, tilt=0.08)
        for x in (-0.28, 0.28):
            parts.box((x - 0.03, -0.14, 0.64), (x + 0.03, 0.14, 0.68), steel)
            parts.box((x - 0.02, -0.02, 0.46), (x + 0.02, 0.02, 0.64), steel)
        return parts
    foot = materials.wood(rng, 2)
    _legs(parts, (0.3, 0.28), 0.12, 0.06, foot)
    parts.box((-0.3, -0.3, 0.12), (0.3, 0.34, 0.42), cloth)
    parts.box((-0.36, -0.38, 0.12), (0.36, -0.2, 0.88), cloth, tilt=0.06)
    for x in (-0.34, 0.34):
        parts.box((x - 0.065, -0.34, 0.12), (x + 0.065, 0.34, 0.6), cloth)
    return parts


def table(rng: Rng, size: tuple[float, float] = (1.4, 0.8), height: float = 0.74, style: int | None = None) -> Parts:
    """A table with four legs, a round one on a column, or a desk with drawers on one side."""
    parts = Parts()
    style = int(rng.integers(2)) if style is None else style
    tone = int(rng.integers(len(materials.WOODS)))
    top = materials.wood(rng, 0, tone)
    hx, hy = size[0] / 2, size[1] / 2
    if style == 1:
        parts.cylinder((0, 0), (height - 0.04, height), (hx, hy), top)
        parts.cylinder((0, 0), (0.03, height - 0.03), 0.06, materials.metal(rng))
        parts.cylinder((0, 0), (0, 0.04), min(hx, hy) * 0.6, materials.metal(rng))
        return parts
    parts.box((-hx, -hy, height - 0.045), (hx, hy, height), top)
    leg = materials.wood(rng, 2, tone) if rng.uniform() < 0.6 else materials.metal(rng)
    inset = 0.06
    if style == 2:
        parts.box((hx - 0.45, -hy + 0.02, 0.02), (hx - 0.02, hy - 0.04, height - 0.04), materials.wood(rng, 0, tone))
        for z in (0.1, 0.31, 0.52):
            parts.box((hx - 0.43, hy - 0.05, z), (hx - 0.04, hy - 0.025, z + 0.17), materials.wood(rng, 0, tone))
            parts.box((hx - 0.3, hy - 0.03, z + 0.08), (hx - 0.17, hy - 0.01, z + 0.11), materials.metal(rng, True))
        for y in (-hy + inset, hy - inset):
            parts.box((-hx + 0.03, y - 0.03, 0), (-hx + 0.09, y + 0.03, height - 0.04), leg)
        return parts
    _legs(parts, (hx - inset, hy - inset), height - 0.04, 0.07, leg)
    parts.box((-hx + 0.08, -hy + 0.08, height - 0.13), (hx - 0.08, hy - 0.08, height - 0.04), leg)
    return parts


def sofa(rng: Rng, width: float = 2.0) -> Parts:
    """A sofa with arms, seat and back cushions and two loose ones."""
    parts = Parts()
    color = materials.hue(rng, (0.2, 0.6), (0.35, 0.75))
    body, seat = materials.fabric(rng, color), materials.fabric(rng, materials.shade(color, 1.15))
    hx = width / 2
    _legs(parts, (hx - 0.08, 0.34), 0.1, 0.06, materials.wood(rng, 2))
    parts.box((-hx, -0.42, 0.1), (hx, 0.42, 0.3), body)
    parts.box((-hx, -0.44, 0.1), (hx, -0.24, 0.84), body)
    for x in (-hx - 0.01, hx - 0.17):
        parts.box((x, -0.43, 0.09), (x + 0.18, 0.43, 0.6), body)
    count = 3 if width > 1.8 else 2
    step = (width - 0.38) / count
    for k in range(count):
        x = -hx + 0.19 + k * step
        parts.box((x + 0.01, -0.22, 0.29), (x + step - 0.01, 0.44, 0.45), seat)
        parts.box((x + 0.015, -0.27, 0.44), (x + step - 0.015, -0.12, 0.78), seat, tilt=0.12)
    for x in (-hx + 0.36, hx - 0.38):
        parts.ball((x, 0.02, 0.6), (0.19, 0.1, 0.17), materials.fabric(rng))
    return parts


def bed(rng: Rng, width: float = 1.5) -> Parts:
    """A bed; its head is at the back (-y)."""
    parts = Parts()
    tone = int(rng.integers(len(materials.WOODS)))
    hx = width / 2
    linen = materials.fabric(rng, materials.hue(rng, (0.02, 0.1), (0.85, 0.95)))
    cover = materials.fabric(rng)
    parts.box((-hx, -1.0, 0.06), (hx, 1.0, 0.3), materials.wood(rng, 0, tone))
    parts.box((-hx - 0.03, -1.06, 0), (hx + 0.03, -0.99, 1.0), materials.wood(rng, 0, tone))
    parts.box((-hx + 0.04, -0.98, 0.28), (hx - 0.04, 0.97, 0.5), linen)
    parts.box((-hx - 0.015, -0.4, 0.26), (hx + 0.015, 1.015, 0.545), cover)
    count = 2 if width > 1.2 else 1
    for k in range(count):
        x = (k - (count - 1) / 2) * 0.68
        parts.ball(
            (x, -0.72, 0.55), (0.31, 0.2, 0.1), materials.fabric(rng, materials.hue(rng, (0.02, 0.15), (0.8, 0.95)))
        )
    return parts


def cabinet(rng: Rng, width: float = 1.2, height: float = 0.8, depth: float = 0.45) -> Parts:
    """A sideboard or a wardrobe: a body with doors and handles."""
    parts = Parts()
    tone = int(rng.integers(len(materials.WOODS)))
    painted = rng.uniform() < 0.4
    paint = materials.hue(rng, (0.1, 0.4), (0.55, 0.9))

    def front() -> Texture:
        return materials.plain(rng, paint, 0.06, 2.5) if painted else materials.wood(rng, 2, tone)

    hx, hy = width / 2, depth / 2
    parts.box((-hx + 0.03, -hy + 0.03, 0), (hx - 0.03, hy - 0.06, 0.08), materials.metal(rng, True))
    parts.box((-hx, -hy, 0.07), (hx, hy - 0.03, height), materials.wood(rng, 2, tone))
    count = max(2, round(width / 0.5))
    step = width / count
    for k in range(count):
        x = -hx + k * step
        parts.box((x + 0.012, hy - 0.04, 0.1), (x + step - 0.012, hy - 0.005, height - 0.03), front())
        grip = x + (0.88 if k % 2 == 0 else 0.12) * step
        z = min(height * 0.6, 1.1)
        parts.box((grip - 0.015, hy - 0.01, z - 0.08), (grip + 0.015, hy + 0.02, z + 0.08), materials.metal(rng))
    return parts


def shelves(rng: Rng, width: float = 1.0, height: float = 1.8, depth: float = 0.32) -> Parts:
    """An open bookcase with books and boxes on its boards."""
    parts = Parts()
    tone = int(rng.integers(len(materials.WOODS)))
    board, side = materials.wood(rng, 0, tone), materials.wood(rng, 2, tone)
    hx, hy = width / 2, depth / 2
    for x in (-hx, hx - 0.03):
        parts.box((x, -hy, 0), (x + 0.03, hy, height), side)
    parts.box((-hx + 0.01, -hy, 0.01), (hx - 0.01, -hy + 0.02, height - 0.01), side)
    count = max(2, round(height / 0.38))
    step = (height - 0.06) / count
    for k in range(count + 1):
        z = 0.03 + k * step
        parts.box((-hx + 0.02, -hy + 0.01, z - 0.015), (hx - 0.02, hy - 0.005, z + 0.015), board)
        if k == count:
            break
        fill = rng.uniform(0.4, 0.95) * (width - 0.1)
        start = -hx + 0.05 if rng.uniform() < 0.5 else hx - 0.05 - fill
        tall = step - rng.uniform(0.06, 0.12)
        if rng.uniform() < 0.8:
            parts.box((start, -hy + 0.03, z + 0.01), (start + fill, hy - 0.07, z + tall), materials.books(rng, fill, 0))
        else:
            parts.box((start, -hy + 0.03, z + 0.01), (start + 0.3, hy - 0.06, z + tall * 0.8), materials.fabric(rng))
    return parts


def counter(rng: Rng, width: float = 2.0, depth: float = 0.6, height: float = 0.9) -> Parts:
    """Kitchen or washroom base units under one worktop."""
    parts = Parts()
    body = materials.hue(rng, (0.08, 0.35), (0.55, 0.9))
    hx, hy = width / 2, depth / 2
    parts.box((-hx + 0.02, -hy, 0), (hx - 0.02, hy - 0.08, 0.1), materials.metal(rng, True))
    parts.box((-hx + 0.005, -hy, 0.09), (hx - 0.005, hy - 0.04, height - 0.03), materials.plain(rng, body))
    parts.box(
        (-hx, -hy, height - 0.04),
        (hx, hy, height),
        materials.plain(rng, materials.hue(rng, (0, 0.1), (0.3, 0.8)), 0.12, 6),
    )
    count = max(2, round(width / 0.55))
    step = width / count
    for k in range(count):
        x = -hx + k * step
        parts.box(
            (x + 0.015, hy - 0.05, 0.12), (x + step - 0.015, hy - 0.02, height - 0.06), materials.plain(rng, body)
        )
        parts.box((x + 0.12, hy - 0.03, height - 0.14), (x + step - 0.12, hy, height - 0.11), materials.metal(rng))
    return parts


def refrigerator(rng: Rng) -> Parts:
    """A tall two-door refrigerator."""
    parts = Parts()
    height = rng.uniform(1.7, 1.9)
    color = (0.82, 0.84, 0.86) if rng.uniform() < 0.6 else materials.hue(rng, (0.3, 0.6), (0.5, 0.75))
    split = height * 0.62
    parts.box((-0.32, -0.32, 0.03), (0.32, 0.26, height), materials.plain(rng, materials.shade(color, 0.85)))
    parts.box((-0.3, -0.28, 0), (0.3, 0.22, 0.05), materials.metal(rng, True))
    for low, high in ((0.06, split - 0.01), (split + 0.01, height - 0.01)):
        parts.box((-0.315, 0.25, low), (0.315, 0.32, high), materials.plain(rng, color, 0.05, 1.5))
        z = (low + high) / 2
        parts.box((-0.27, 0.31, z - 0.16), (-0.23, 0.36, z + 0.16), materials.metal(rng, True))
    return parts
