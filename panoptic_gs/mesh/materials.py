# SPDX-License-Identifier: Apache-2.0
"""What objects weigh and how they slide, by the words of their category.

Densities are of the closed mesh as a whole, air inside included: a chair's mesh is mostly wood, a wardrobe's is air.
They are round guesses of ours, not measurements; a table of one's own replaces any of them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from panoptic_gs.errors import InputError
from panoptic_gs.files import read_json
from panoptic_gs.records import Range, parse_record


@dataclass(frozen=True)
class Material:
    """Bulk density in kg/m³ and coefficient of sliding friction."""

    density: Annotated[float, Range(above=0)]
    friction: Annotated[float, Range(above=0)] = 0.6


DEFAULT = Material(200.0, 0.6)

MATERIALS: Mapping[str, Material] = {
    "chair": Material(250.0), "stool": Material(300.0), "armchair": Material(90.0), "sofa": Material(80.0),
    "couch": Material(80.0), "bed": Material(80.0), "pillow": Material(50.0, 0.8), "cushion": Material(50.0, 0.8),
    "table": Material(250.0), "desk": Material(200.0), "cabinet": Material(200.0), "wardrobe": Material(150.0),
    "shelf": Material(200.0), "bookcase": Material(250.0), "book": Material(700.0), "box": Material(100.0),
    "bag": Material(100.0, 0.7), "backpack": Material(100.0, 0.7), "suitcase": Material(120.0), "bin": Material(80.0),
    "basket": Material(60.0), "plant": Material(150.0), "pot": Material(500.0), "vase": Material(500.0, 0.4),
    "bottle": Material(800.0, 0.4), "cup": Material(400.0, 0.4), "mug": Material(400.0, 0.4),
    "bowl": Material(400.0, 0.4), "plate": Material(600.0, 0.4), "lamp": Material(120.0), "monitor": Material(250.0),
    "tv": Material(200.0), "television": Material(200.0), "screen": Material(250.0), "laptop": Material(900.0),
    "keyboard": Material(500.0), "mouse": Material(500.0), "computer": Material(250.0), "printer": Material(250.0),
    "refrigerator": Material(120.0), "fridge": Material(120.0), "oven": Material(250.0), "microwave": Material(250.0),
    "toaster": Material(300.0), "kettle": Material(300.0), "toilet": Material(600.0), "sink": Material(400.0),
    "bathtub": Material(200.0), "washing": Material(300.0), "towel": Material(100.0, 0.8), "clock": Material(300.0),
    "teddy": Material(60.0, 0.8), "toy": Material(100.0), "shoe": Material(200.0, 0.8), "bicycle": Material(80.0),
    "potted": Material(150.0), "piano": Material(250.0), "fan": Material(150.0), "speaker": Material(300.0),
}  # fmt: skip
"""Word of a category's name → material."""


def material_of(category: str, table: Mapping[str, Material] = MATERIALS) -> tuple[Material, bool]:
    """The material of a category by its last word that the table knows, and whether one is known.

    An English compound is what its last word says: a coffee table is a table, a table lamp a lamp.
    """
    for word in reversed(re.findall(r"[a-z]+", category.casefold())):
        for form in (word, word.removesuffix("s")):
            if form in table:
                return table[form], True
    return DEFAULT, False


def read_materials(file: Path) -> dict[str, Material]:
    """The table with the entries of a JSON file: ``{"chair": {"density": 250, "friction": 0.6}}``.

    Raises:
        InputError: it is not that.
    """
    document = read_json(file)
    if not isinstance(document, dict):
        raise InputError(file, "no object", '{"chair": {"density": 250}}', "Correct the file.")
    table = dict(MATERIALS)
    for word, entry in document.items():
        table[str(word).casefold()] = parse_record(entry, Material, f"{file}, '{word}'")
    return table
