# SPDX-License-Identifier: Apache-2.0
"""Class lists of the datasets, and how one is reduced to another.

The 21 reduced classes are those of the PanLift benchmark (Siddiqui et al., Panoptic Lifting, CVPR 2023), NYU40 those of
Gupta et al. (CVPR 2013), which Hypersim and ScanNet are labelled with.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from panoptic_gs.errors import InputError
from panoptic_gs.panoptic import Category

VOID = ""
"""What a class is reduced to when the other list has no place for it."""


@dataclass(frozen=True)
class ClassList:
    """A dataset's classes.

    Args:
        name: what ``--classes`` calls it.
        categories: the classes; 0 is void and not listed.
        reductions: name of another list → {a class of this one: the class there, or ``VOID``}; every class is named.
    """

    name: str
    categories: tuple[Category, ...]
    reductions: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    @property
    def ids(self) -> dict[str, int]:
        """Class name → id."""
        return {category.name: category.id for category in self.categories}

    def to(self, target: ClassList, source: str = "--classes") -> dict[int, int]:
        """Own id → id in ``target``, 0 for what it has no place for.

        Raises:
            InputError: there is no way from this list to that one, or a class is missing from the reduction.
        """
        if target.name == self.name:
            return {category.id: category.id for category in self.categories}
        table = self.reductions.get(target.name)
        if table is None:
            raise InputError(
                source,
                f"classes '{target.name}' for labels in '{self.name}'",
                f"one of {', '.join([self.name, *self.reductions])}",
                "Choose another class list.",
            )
        return {
            category.id: target.ids[name] if (name := look_up(table, category.name, source)) else 0
            for category in self.categories
        }


def look_up(table: Mapping[str, str], name: str, source: str) -> str:
    """``table[name]`` for a class name.

    Raises:
        InputError: there is no such class; names that are spelt alike are suggested.
    """
    if name in table:
        return table[name]
    raise _unknown(source, f"the unknown class '{name}'", name, table)


def class_list(name: str, own: ClassList | None = None) -> ClassList:
    """The class list that ``--classes`` names.

    Args:
        name: a built-in list, or the dataset's ``own`` one by its name or as ``own``.
        own: the classes that a dataset is labelled with.

    Raises:
        InputError: no such list; names that are spelt alike are suggested.
    """
    known = dict(CLASS_LISTS)
    if own is not None:
        known |= {own.name: own, "own": own}
    if name in known:
        return known[name]
    raise _unknown("--classes", f"'{name}'", name, known)


def _unknown(source: str, found: str, name: str, known: Collection[str]) -> InputError:
    alike = difflib.get_close_matches(name, known, n=3, cutoff=0.6)
    listed = sorted(known)
    expected = f"one of {', '.join(listed[:12])}" + (f" and {len(listed) - 12} more" if len(listed) > 12 else "")
    return InputError(source, found, expected, f"Did you mean {' or '.join(alike)}?" if alike else "Check the name.")


_REDUCED21_COLORS: dict[str, tuple[int, int, int]] = {
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
_REDUCED21_THINGS = frozenset({"bed", "chair", "sofa", "refrigerator", "television", "person", "toilet", "sink", "bag"})

REDUCED21 = ClassList(
    "reduced21",
    tuple(Category(i, name, name in _REDUCED21_THINGS, color)
          for i, (name, color) in enumerate(_REDUCED21_COLORS.items(), 1)),
)  # fmt: skip

_NYU40_NAMES = (
    "wall", "floor", "cabinet", "bed", "chair", "sofa", "table", "door", "window", "bookshelf", "picture", "counter",
    "blinds", "desk", "shelves", "curtain", "dresser", "pillow", "mirror", "floor mat", "clothes", "ceiling", "books",
    "refrigerator", "television", "paper", "towel", "shower curtain", "box", "whiteboard", "person", "night stand",
    "toilet", "sink", "lamp", "bathtub", "bag", "otherstructure", "otherfurniture", "otherprop",
)  # fmt: skip
# As in ScanNet's instance benchmark, which leaves out wall and floor; a ceiling is no more countable than they are.
_ROOM_SHELL = frozenset({"wall", "floor", "ceiling"})
_SCANNET20_NAMES = (
    "wall", "floor", "cabinet", "bed", "chair", "sofa", "table", "door", "window", "bookshelf", "picture", "counter",
    "desk", "curtain", "refrigerator", "shower curtain", "toilet", "sink", "bathtub", "otherfurniture",
)  # fmt: skip

_SAME_IN_BOTH = {name: name for name in _NYU40_NAMES if name in _REDUCED21_COLORS}
_NYU40_TO_REDUCED21 = {
    name: _SAME_IN_BOTH.get(name, "other") for name in _NYU40_NAMES
} | {"bookshelf": "shelves", "desk": "table", "floor mat": "floor", "shower curtain": "curtain"}  # fmt: skip


def _nyu40_categories(names: Collection[str]) -> tuple[Category, ...]:
    return tuple(Category(i, n, n not in _ROOM_SHELL) for i, n in enumerate(_NYU40_NAMES, 1) if n in names)


NYU40 = ClassList(
    "nyu40",
    _nyu40_categories(_NYU40_NAMES),
    {
        "reduced21": _NYU40_TO_REDUCED21,
        "scannet20": {name: name if name in _SCANNET20_NAMES else VOID for name in _NYU40_NAMES},
    },
)
SCANNET20 = ClassList("scannet20", _nyu40_categories(_SCANNET20_NAMES))
"""The classes of ScanNet's benchmarks, with their NYU40 ids."""

CLASS_LISTS: Mapping[str, ClassList] = {classes.name: classes for classes in (REDUCED21, NYU40, SCANNET20)}
"""Lists that need no file of the dataset, by name."""
