# SPDX-License-Identifier: Apache-2.0
"""The 21 reduced classes of the PanLift benchmark, which the rooms are labelled with."""

from __future__ import annotations

from panoptic_gs.panoptic import Category

THINGS = frozenset({"bed", "chair", "sofa", "refrigerator", "television", "person", "toilet", "sink", "bag"})

COLORS: dict[str, tuple[int, int, int]] = {
    "wall": (174, 199, 232),
    "floor": (152, 223, 138),
    "cabinet": (31, 119, 180),
    "bed": (255, 187, 120),
    "chair": (188, 189, 34),
    "sofa": (140, 86, 75),
    "table": (255, 152, 150),
    "door": (214, 39, 40),
    "window": (197, 176, 213),
    "counter": (148, 103, 189),
    "shelves": (196, 156, 148),
    "curtain": (219, 219, 141),
    "ceiling": (230, 230, 230),
    "refrigerator": (255, 127, 14),
    "television": (23, 190, 207),
    "person": (227, 26, 128),
    "toilet": (44, 160, 44),
    "sink": (112, 128, 144),
    "lamp": (250, 220, 60),
    "bag": (94, 60, 153),
    "other": (82, 84, 163),
}

CATEGORIES: tuple[Category, ...] = tuple(
    Category(index, name, name in THINGS, color) for index, (name, color) in enumerate(COLORS.items(), 1)
)

CATEGORY_IDS: dict[str, int] = {category.name: category.id for category in CATEGORIES}
