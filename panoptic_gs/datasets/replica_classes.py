# SPDX-License-Identifier: Apache-2.0
"""The classes of the Replica dataset (Straub et al., 2019), and how the PanLift benchmark reduces them.

The reduction is the benchmark's own, ``replica_to_scannet_reduced.csv``.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from panoptic_gs.datasets.classes import VOID, ClassList, look_up
from panoptic_gs.panoptic import Category

_REDUCED = {
    "wall": ("wall", "pillar", "switch", "wall-plug"),
    "floor": ("floor", "mat", "rug"),
    "cabinet": ("base-cabinet", "cabinet", "nightstand", "tv-stand", "wall-cabinet", "wardrobe"),
    "bed": ("bed", "blanket", "comforter", "pillow"),
    "chair": ("chair", "beanbag", "stool"),
    "sofa": ("sofa",),
    "table": ("table", "bench", "desk"),
    "door": ("door",),
    "window": ("window", "blinds"),
    "counter": ("countertop",),
    "shelves": ("shelf",),
    "curtain": ("curtain",),
    "ceiling": ("ceiling", "vent"),
    "refrigerator": ("refrigerator",),
    "television": ("tv-screen",),
    "toilet": ("toilet",),
    "sink": ("sink",),
    "lamp": ("lamp",),
    "bag": ("backpack", "bag", "handbag"),
    "other": (
        "basket", "bathtub", "beam", "bike", "bin", "book", "bottle", "bowl", "box", "camera", "candle",
        "chopping-board", "clock", "cloth", "clothing", "coaster", "computer-keyboard", "cooktop", "cup", "cushion",
        "desk-organizer", "desktop-computer", "exercise-ball", "faucet", "hair-dryer", "handrail", "indoor-plant",
        "kitchen-utensil", "knife-block", "laptop", "logo", "major-appliance", "microwave", "monitor", "mouse", "pan",
        "panel", "paper-towel", "phone", "picture", "pipe", "plant-stand", "plate", "pot", "rack", "remote-control",
        "scarf", "sculpture", "set-of-clothing", "shoe", "shower-stall", "small-appliance", "stair", "table-runner",
        "tablet", "tissue-paper", "toothbrush", "towel", "umbrella", "undefined", "utensil-holder", "vase",
    ),
}  # fmt: skip

REPLICA_TO_REDUCED21: Mapping[str, str] = {name: reduced for reduced, names in _REDUCED.items() for name in names}

_STUFF = frozenset({"wall", "floor", "ceiling", "beam", "pillar", "stair", "undefined"})


def replica_classes(names: Mapping[int, str], source: str, used: Collection[int] | None = None) -> ClassList:
    """The class list of ``info_semantic.json``.

    Scenes list names that Replica's classes do not have and no pixel shows (``other-leaf``, ``anonymize_picture``,
    ``non-plane`` …): they are in the list, and reduced to void.

    Args:
        names: class id → name; ids below 1 are void.
        source: the file, for messages.
        used: ids of classes that pixels have; None where all may be.

    Raises:
        InputError: pixels of a class whose name Replica does not have.
    """
    reduced = dict(REPLICA_TO_REDUCED21)
    for number, name in names.items():
        if used is None or number in used:
            look_up(REPLICA_TO_REDUCED21, name, source)
        reduced.setdefault(name, VOID)
    categories = tuple(Category(i, name, name not in _STUFF) for i, name in sorted(names.items()) if i > 0)
    return ClassList("replica", categories, {"reduced21": reduced})
