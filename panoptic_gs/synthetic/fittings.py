# SPDX-License-Identifier: Apache-2.0
"""What is fixed to a room or carried into it: doors, windows, lamps, screens, basins, bags, people, small things."""

from __future__ import annotations

import numpy as np

from panoptic_gs.synthetic import materials
from panoptic_gs.synthetic.parts import Parts
from panoptic_gs.synthetic.textures import Texture

Rng = np.random.Generator


def door(rng: Rng, height: float = 2.05, width: float = 0.9) -> Parts:
    """A panelled door in its frame; the wall is at y = 0."""
    parts = Parts()
    tone = int(rng.integers(len(materials.WOODS)))
    hx = width / 2
    leaf, frame = materials.wood(rng, 2, tone), materials.plain(rng, (0.88, 0.87, 0.84), 0.03)
    parts.box((-hx, -0.05, 0), (hx, 0.03, height), leaf)
    for x in (-hx - 0.08, hx):
        parts.box((x, -0.05, 0), (x + 0.08, 0.06, height + 0.08), frame)
    parts.box((-hx - 0.085, -0.05, height), (hx + 0.085, 0.065, height + 0.085), frame)
    for z in (0.18, 1.12):
        parts.box((-hx + 0.13, 0.0, z), (hx - 0.13, 0.045, z + 0.78), materials.wood(rng, 2, tone))
    parts.rod((hx - 0.07, 0.0, 1.02), (hx - 0.07, 0.09, 1.02), 0.018, materials.metal(rng, True))
    parts.rod((hx - 0.07, 0.08, 1.02), (hx - 0.2, 0.08, 1.02), 0.015, materials.metal(rng, True))
    return parts


def window(rng: Rng, width: float = 1.5, height: float = 1.2, sill: float = 0.95) -> Parts:
    """Two casements with a bright view outside; the wall is at y = 0."""
    parts = Parts()
    frame = materials.plain(rng, (0.9, 0.9, 0.88), 0.02)
    hx = width / 2
    parts.box((-hx, -0.05, sill), (hx, 0.012, sill + height), materials.sky(rng, height))
    bar = 0.06
    for x in (-hx, -bar / 2, hx - bar):
        parts.box((x, -0.05, sill), (x + bar, 0.05, sill + height), frame)
    for z in (sill, sill + height - bar):
        parts.box((-hx, -0.05, z), (hx, 0.055, z + bar), frame)
    parts.box((-hx - 0.08, -0.05, sill - 0.04), (hx + 0.08, 0.14, sill), frame)
    return parts


def curtain(rng: Rng, cloth: Texture, height: float, width: float = 0.38) -> Parts:
    """A gathered curtain: a row of pleats, a rod above. The wall is at y = 0."""
    parts = Parts()
    count = max(3, round(width / 0.09))
    for k in range(count):
        x = (k + 0.5) / count * width - width / 2
        parts.cylinder((x, 0.1), (0.04, height - 0.05), (0.062, 0.06 if k % 2 else 0.045), cloth)
    parts.rod(
        (-width / 2 - 0.04, 0.1, height - 0.03), (width / 2 + 0.04, 0.1, height - 0.03), 0.02, materials.metal(rng)
    )
    return parts


def floor_lamp(rng: Rng) -> Parts:
    """A lit standard lamp."""
    parts = Parts()
    steel = materials.metal(rng)
    parts.cylinder((0, 0), (0, 0.035), 0.16, steel)
    parts.cylinder((0, 0), (0.03, 1.35), 0.022, steel)
    parts.cylinder((0, 0), (1.3, 1.62), 0.2, materials.bulb(rng), taper=0.6)
    return parts


def table_lamp(rng: Rng) -> Parts:
    """A small lit lamp with a round foot."""
    parts = Parts()
    parts.ball((0, 0, 0.1), (0.085, 0.085, 0.1), materials.plain(rng, materials.hue(rng, (0.4, 0.8), (0.4, 0.8)), 0.1))
    parts.cylinder((0, 0), (0.18, 0.27), 0.015, materials.metal(rng))
    parts.cylinder((0, 0), (0.24, 0.42), 0.13, materials.bulb(rng), taper=0.65)
    return parts


def pendant(rng: Rng, ceiling: float) -> Parts:
    """A lit lamp hanging from the ceiling."""
    parts = Parts()
    parts.cylinder((0, 0), (ceiling - 0.04, ceiling + 0.02), 0.07, materials.metal(rng))
    parts.cylinder((0, 0), (ceiling - 0.32, ceiling - 0.02), 0.014, materials.metal(rng, True))
    parts.ball((0, 0, ceiling - 0.38), (0.23, 0.23, 0.13), materials.bulb(rng))
    return parts


def screen(rng: Rng, width: float = 0.55, stand: float = 0.12) -> Parts:
    """A television or a monitor on its foot, switched on; with ``stand=0`` one that hangs on the wall at y = 0."""
    parts = Parts()
    black = materials.plain(rng, (0.1, 0.1, 0.11), 0.1)
    height = width * 0.58
    hx = width / 2
    back = -0.03 if stand else 0.01
    parts.box((-hx, back, stand), (hx, back + 0.05, stand + height), black)
    image = materials.picture(rng, 1.1 / width, glow=0.35, dark=True)
    parts.box((-hx + 0.02, back + 0.02, stand + 0.025), (hx - 0.02, back + 0.056, stand + height - 0.025), image)
    if stand:
        parts.box((-0.05, -0.025, 0.01), (0.05, 0.0, stand + 0.05), black)
        parts.box((-hx * 0.45, -0.09, 0), (hx * 0.45, 0.1, 0.02), black)
    return parts


def toilet(rng: Rng) -> Parts:
    """A toilet with cistern and lid; its back (y = -0.34) stands at the wall."""
    parts = Parts()
    white = materials.ceramic(rng)
    parts.box((-0.2, -0.34, 0.4), (0.2, -0.15, 0.8), white)
    parts.box((-0.21, -0.345, 0.79), (0.21, -0.14, 0.83), white)
    parts.cylinder((0, 0.05), (0, 0.38), (0.14, 0.2), white, taper=1.35)
    parts.box((-0.13, -0.3, 0), (0.13, 0.05, 0.36), white)
    parts.cylinder((0, 0.05), (0.37, 0.42), (0.2, 0.28), materials.plain(rng, (0.82, 0.83, 0.83), 0.02))
    parts.ball((0, 0.07, 0.42), (0.13, 0.19, 0.012), materials.plain(rng, (0.55, 0.6, 0.63), 0.05))
    parts.box((-0.19, -0.16, 0.4), (0.19, -0.12, 0.76), materials.plain(rng, (0.85, 0.86, 0.86), 0.02), tilt=0.1)
    return parts


def sink(rng: Rng, pedestal: bool = True) -> Parts:
    """A washbasin with a tap, on a pedestal or, without, to stand on a counter."""
    parts = Parts()
    base = 0.68 if pedestal else 0.0
    white = materials.ceramic(rng)
    if pedestal:
        parts.cylinder((0, -0.06), (0, base + 0.02), 0.1, white, taper=0.9)
    parts.cylinder((0, 0), (base, base + 0.15), (0.2, 0.16), white, taper=1.3)
    parts.cylinder((0, 0), (base + 0.1, base + 0.157), (0.23, 0.18), materials.plain(rng, (0.6, 0.65, 0.68), 0.05))
    steel = materials.metal(rng, False)
    parts.rod((0, -0.19, base + 0.1), (0, -0.19, base + 0.32), 0.02, steel)
    parts.rod((0, -0.2, base + 0.31), (0, -0.03, base + 0.28), 0.018, steel)
    return parts


def bag(rng: Rng, style: int | None = None) -> Parts:
    """A backpack, a tote or a suitcase."""
    parts = Parts()
    style = int(rng.integers(3)) if style is None else style
    color = materials.hue(rng, (0.35, 0.75), (0.3, 0.75))
    cloth = materials.plain(rng, color, 0.16, 6.0)
    dark = materials.plain(rng, materials.shade(color, 0.55), 0.1)
    if style == 0:
        parts.ball((0, 0, 0.23), (0.18, 0.13, 0.23), cloth)
        parts.box((-0.14, -0.1, 0.0), (0.14, 0.1, 0.26), cloth)
        parts.ball((0, 0.11, 0.15), (0.12, 0.07, 0.1), dark)
        parts.rod((-0.05, -0.02, 0.43), (-0.03, -0.02, 0.5), 0.015, dark)
        parts.rod((0.05, -0.02, 0.43), (0.03, -0.02, 0.5), 0.015, dark)
        parts.rod((-0.035, -0.02, 0.5), (0.035, -0.02, 0.5), 0.015, dark)
    elif style == 1:
        parts.box((-0.21, -0.08, 0), (0.21, 0.08, 0.32), cloth)
        parts.box((-0.215, -0.085, 0.27), (0.215, 0.085, 0.33), dark)
        for y in (-0.075, 0.075):
            parts.rod((-0.1, y, 0.32), (-0.06, y, 0.47), 0.014, dark)
            parts.rod((0.1, y, 0.32), (0.06, y, 0.47), 0.014, dark)
            parts.rod((-0.065, y, 0.47), (0.065, y, 0.47), 0.014, dark)
    else:
        parts.box((-0.21, -0.12, 0.05), (0.21, 0.12, 0.6), cloth)
        for x in (-0.1, 0.0, 0.1):
            parts.box((x - 0.015, 0.1, 0.08), (x + 0.015, 0.128, 0.57), dark)
        for x in (-0.17, 0.17):
            for y in (-0.08, 0.08):
                parts.ball((x, y, 0.03), 0.03, dark)
            parts.rod((x * 0.5, -0.09, 0.58), (x * 0.5, -0.09, 0.82), 0.012, dark)
        parts.rod((-0.1, -0.09, 0.82), (0.1, -0.09, 0.82), 0.017, dark)
    return parts


def person(rng: Rng) -> Parts:
    """Somebody standing."""
    parts = Parts()
    skin_tones = ((0.94, 0.78, 0.66), (0.80, 0.60, 0.46), (0.55, 0.38, 0.28))
    skin = materials.plain(rng, skin_tones[int(rng.integers(3))], 0.04)
    shirt, trousers = materials.fabric(rng), materials.fabric(rng, materials.hue(rng, (0.3, 0.6), (0.25, 0.45)))
    hair_tones = ((0.12, 0.1, 0.09), (0.32, 0.2, 0.12), (0.62, 0.48, 0.28), (0.5, 0.49, 0.48))
    hair = materials.plain(rng, hair_tones[int(rng.integers(4))], 0.2, 8.0)
    shoe = materials.plain(rng, (0.15, 0.13, 0.12), 0.1)
    for x in (-0.1, 0.1):
        parts.ball((x, 0.05, 0.05), (0.055, 0.14, 0.05), shoe)
        parts.rod((x, 0, 0.05), (x * 0.9, 0, 0.86), 0.062, trousers, taper=1.4)
        parts.ball((x * 2.25, 0, 1.36), 0.075, shirt)
        parts.rod((x * 2.25, 0, 1.36), (x * 2.7, 0.03, 1.08), 0.06, shirt, taper=0.85)
        parts.rod((x * 2.7, 0.03, 1.08), (x * 2.5, 0.16, 0.86), 0.048, skin, taper=0.8)
        parts.ball((x * 2.48, 0.17, 0.83), 0.05, skin)
    parts.cylinder((0, 0), (0.82, 1.42), (0.175, 0.115), shirt, taper=1.22)
    parts.ball((0, 0, 1.42), (0.21, 0.13, 0.07), shirt)
    parts.cylinder((0, 0), (1.42, 1.54), 0.055, skin)
    parts.ball((0, 0.01, 1.62), (0.09, 0.105, 0.125), skin)
    parts.ball((0, -0.015, 1.665), (0.1, 0.108, 0.1), hair)
    return parts


def plant(rng: Rng) -> Parts:
    """A bushy plant in a pot."""
    parts = Parts()
    green = (0.22 + 0.2 * rng.uniform(), 0.45 + 0.2 * rng.uniform(), 0.2 + 0.06 * rng.uniform())
    pot = materials.plain(rng, materials.hue(rng, (0.3, 0.6), (0.5, 0.8)), 0.08)
    parts.cylinder((0, 0), (0, 0.32), 0.13, pot, taper=1.35)
    parts.cylinder((0, 0), (0.3, 0.7), 0.03, materials.wood(rng, 2, 2))
    for k in range(8):
        a, r = 2.4 * k, 0.05 + 0.1 * rng.uniform()
        z = 0.6 + 0.5 * k / 8 + 0.06 * rng.uniform()
        leaf = materials.plain(rng, materials.shade(green, rng.uniform(0.75, 1.25)), 0.25, 7.0)
        size = 0.13 + 0.06 * rng.uniform()
        parts.ball((r * np.cos(a), r * np.sin(a), z), (size, size, 0.75 * size), leaf)
    return parts


def painting(rng: Rng, width: float, height: float) -> Parts:
    """A framed picture; the wall is at y = 0, the picture's middle at z = 0."""
    parts = Parts()
    hx, hz = width / 2, height / 2
    parts.box((-hx, -0.02, -hz), (hx, 0.025, hz), materials.wood(rng, 0))
    parts.box((-hx + 0.04, -0.01, -hz + 0.04), (hx - 0.04, 0.034, hz - 0.04), materials.picture(rng))
    return parts


def carton(rng: Rng) -> Parts:
    """A cardboard box with tape."""
    parts = Parts()
    hx, hy, h = rng.uniform(0.16, 0.25), rng.uniform(0.14, 0.2), rng.uniform(0.22, 0.4)
    parts.box((-hx, -hy, 0), (hx, hy, h), materials.plain(rng, (0.72, 0.56, 0.38), 0.08, 5.0))
    parts.box((-hx - 0.003, -0.03, h * 0.7), (hx + 0.003, 0.03, h + 0.004), materials.plain(rng, (0.86, 0.8, 0.66)))
    return parts


def bin_(rng: Rng) -> Parts:
    """A waste bin."""
    parts = Parts()
    color = materials.hue(rng, (0.1, 0.6), (0.4, 0.8))
    parts.cylinder((0, 0), (0, 0.34), 0.12, materials.plain(rng, color, 0.1), taper=1.25)
    parts.cylinder((0, 0), (0.3, 0.343), 0.13, materials.plain(rng, (0.12, 0.12, 0.12)))
    return parts


def book_stack(rng: Rng) -> Parts:
    """Three to five books lying on each other."""
    parts, z = Parts(), 0.0
    for _ in range(int(rng.integers(3, 6))):
        hx, hy, h = rng.uniform(0.1, 0.14), rng.uniform(0.08, 0.1), rng.uniform(0.025, 0.045)
        cover = materials.plain(rng, materials.hue(rng, (0.3, 0.8), (0.4, 0.85)), 0.08)
        parts.box((-hx, -hy, z), (hx, hy, z + h), cover, yaw=rng.normal(0, 0.12))
        z += h
    return parts


def vase(rng: Rng) -> Parts:
    """A round vase with flowers."""
    parts = Parts()
    glaze = materials.plain(rng, materials.hue(rng, (0.4, 0.8), (0.5, 0.9)), 0.15, 8.0)
    parts.ball((0, 0, 0.09), (0.075, 0.075, 0.09), glaze)
    parts.cylinder((0, 0), (0.14, 0.22), 0.03, glaze, taper=1.3)
    for k in range(4):
        a = 1.7 * k
        tip = (0.07 * np.cos(a), 0.07 * np.sin(a), 0.34 + 0.02 * k)
        parts.rod((0, 0, 0.2), tip, 0.012, materials.plain(rng, (0.3, 0.5, 0.25)))
        parts.ball(tip, 0.045, materials.plain(rng, materials.hue(rng, (0.5, 0.8), (0.7, 0.95)), 0.1))
    return parts


def bowl(rng: Rng) -> Parts:
    """A bowl of fruit."""
    parts = Parts()
    parts.cylinder((0, 0), (0, 0.08), 0.08, materials.plain(rng, materials.hue(rng, (0.1, 0.6), (0.6, 0.9))), taper=1.9)
    for k, color in enumerate(((0.85, 0.25, 0.15), (0.95, 0.65, 0.15), (0.55, 0.75, 0.2), (0.9, 0.4, 0.2))):
        a = 1.57 * k
        parts.ball((0.065 * np.cos(a), 0.065 * np.sin(a), 0.1), 0.05, materials.plain(rng, color, 0.08))
    return parts


def rug(rng: Rng, size: tuple[float, float]) -> Parts:
    """A flat rug."""
    parts = Parts()
    parts.box((-size[0] / 2, -size[1] / 2, -0.02), (size[0] / 2, size[1] / 2, 0.012), materials.rug(rng))
    return parts
