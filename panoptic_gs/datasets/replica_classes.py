# SPDX-License-Identifier: Apache-2.0
"""The classes of the Replica dataset (Straub et al., 2019), reduced as NYU40 would name them."""

from __future__ import annotations

from collections.abc import Mapping

from panoptic_gs.datasets.classes import VOID, ClassList, look_up
from panoptic_gs.panoptic import Category

_REDUCED = {
    "wall": ("wall",),
    "floor": ("floor", "mat", "rug"),
    "cabinet": ("base-cabinet", "cabinet", "wall-cabinet", "wardrobe"),
    "bed": ("bed",),
    "chair": ("chair", "beanbag"),
    "sofa": ("sofa",),
    "table": ("table", "desk"),
    "door": ("door",),
    "window": ("window",),
    "counter": ("countertop",),
    "shelves": ("shelf",),
    "curtain": ("curtain",),
    "ceiling": ("ceiling",),
    "refrigerator": ("refrigerator",),
    "television": ("tv-screen",),
    "toilet": ("toilet",),
    "sink": ("sink",),
    "lamp": ("lamp",),
    "bag": ("backpack", "bag", "handbag"),
    "other": (
        "basket", "bathtub", "beam", "bench", "bike", "bin", "blanket", "blinds", "book", "bottle", "bowl", "box",
        "camera", "candle", "chopping-board", "clock", "cloth", "clothing", "coaster", "comforter", "computer-keyboard",
        "cooktop", "cup", "cushion", "desk-organizer", "desktop-computer", "exercise-ball", "faucet", "hair-dryer",
        "handrail", "indoor-plant", "kitchen-utensil", "knife-block", "laptop", "logo", "major-appliance", "microwave",
        "monitor", "mouse", "nightstand", "pan", "panel", "paper-towel", "phone", "picture", "pillar", "pillow", "pipe",
        "plant-stand", "plate", "pot", "rack", "remote-control", "scarf", "sculpture", "set-of-clothing", "shoe",
        "shower-stall", "small-appliance", "stair", "stool", "switch", "table-runner", "tablet", "tissue-paper",
        "toothbrush", "towel", "tv-stand", "umbrella", "utensil-holder", "vase", "vent", "wall-plug",
    ),
    VOID: ("undefined",),
}  # fmt: skip

REPLICA_TO_REDUCED21: Mapping[str, str] = {name: reduced for reduced, names in _REDUCED.items() for name in names}

_STUFF = frozenset({"wall", "floor", "ceiling", "beam", "pillar", "stair", "undefined"})


def replica_classes(names: Mapping[int, str], source: str) -> ClassList:
    """The class list of ``info_semantic.json``.

    Args:
        names: class id → name; ids below 1 are void.
        source: the file, for messages.

    Raises:
        InputError: a name that Replica does not have.
    """
    for name in names.values():
        look_up(REPLICA_TO_REDUCED21, name, source)
    categories = tuple(Category(i, name, name not in _STUFF) for i, name in sorted(names.items()) if i > 0)
    return ClassList("replica", categories, {"reduced21": REPLICA_TO_REDUCED21})
