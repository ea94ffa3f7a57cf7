# SPDX-License-Identifier: Apache-2.0
"""From a checkpoint's labels to classes: which are things, and how wanted classes are made of labels."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from panoptic_gs.errors import InputError
from panoptic_gs.labelling import Category

STUFF = {
    "COCO": "banner blanket bridge cardboard counter curtain door-stuff floor-wood flower fruit gravel house light "
    "mirror-stuff net pillow platform playingfield railroad river road roof sand sea shelf snow stairs tent towel "
    "wall-brick wall-stone wall-tile wall-wood water-other window-blind window-other tree-merged fence-merged "
    "ceiling-merged sky-other-merged cabinet-merged table-merged floor-other-merged pavement-merged mountain-merged "
    "grass-merged dirt-merged paper-merged food-other-merged building-other-merged rock-merged wall-other-merged "
    "rug-merged",
    "ADE20K": "wall building sky floor tree ceiling road grass sidewalk earth mountain plant water house sea rug field "
    "rock base counter sand skyscraper grandstand path runway stairway river bridge bookcase blind hill bar hovel "
    "tower dirt-track land escalator buffet stage conveyer-belt canopy pool falls tent cradle tank lake blanket pier "
    "crt-screen",
    "Cityscapes": "road sidewalk building wall fence pole traffic-light traffic-sign vegetation terrain sky",
}
"""Label set → its stuff classes; everything else in it is countable."""


@dataclass(frozen=True)
class Labels:
    """Classes, and which of a checkpoint's labels each is made of."""

    categories: tuple[Category, ...]
    columns: tuple[tuple[int, ...], ...]
    label_set: str

    def class_logits(self, logits: Tensor) -> Tensor:
        """Logits ``[Q, C + 1]`` of these classes before a softmax, from those of the labels ``[Q, L + 1]``.

        The probability of a class is the sum over its labels; that of none includes all labels that are not wanted.
        """
        log = logits.float().log_softmax(-1)
        wanted = [index for columns in self.columns for index in columns]
        rest = [index for index in range(log.shape[-1]) if index not in set(wanted)]
        parts = [log[:, list(columns)].logsumexp(-1) for columns in self.columns]
        return torch.stack([*parts, log[:, rest].logsumexp(-1)], -1)


def labels_of(id2label: Mapping[int, str], wanted: tuple[Category, ...] | None, source: str) -> Labels:
    """The classes of a checkpoint.

    Args:
        id2label: its labels.
        wanted: classes to make of them, by a label's name or one of its synonyms, or as ``couch=sofa|armchair``; by
            default each label is one.
        source: for messages.

    Raises:
        InputError: a wanted class that is no label, or a label for two of them.
    """
    label_set = _label_set(id2label)
    if wanted is None:
        stuff = _stuff(label_set)
        groups: dict[str, list[int]] = {}
        for index, label in sorted(id2label.items()):
            groups.setdefault(_short(label), []).append(index)
        categories = tuple(
            Category(columns[0] + 1, name, _key(id2label[columns[0]]) not in stuff) for name, columns in groups.items()
        )
        return Labels(categories, tuple(map(tuple, groups.values())), label_set)
    known: dict[str, list[int]] = {}
    for index, label in id2label.items():
        synonyms = [name.strip().casefold() for name in label.split(",")]
        for name in {label.strip().casefold(), _short(label).casefold(), *synonyms}:
            known.setdefault(name, []).append(index)
    categories, columns, used = [], [], {}
    for category in wanted:
        name, _, listed = category.name.partition("=")
        indices: list[int] = []
        for label in (listed or name).split("|"):
            label = label.strip().casefold()
            if label not in known:
                near = difflib.get_close_matches(label, known, n=3, cutoff=0.5)
                raise InputError(
                    "--classes", f"'{label}', which {source} does not know", f"one of its {len(id2label)} labels",
                    (f"Did you mean {', '.join(near)}? " if near else "")
                    + "Labels are combined as in couch=sofa|armchair:thing.",
                )  # fmt: skip
            indices += known[label]
        for index in indices:
            if used.setdefault(index, name) != name:
                raise InputError("--classes", f"label '{id2label[index]}' for '{used[index]}' and '{name}'",
                                 "each label for one class", "Leave it out of one.")  # fmt: skip
        categories.append(Category(category.id, name.strip(), category.isthing, category.color))
        columns.append(tuple(dict.fromkeys(indices)))
    return Labels(tuple(categories), tuple(columns), label_set)


def _label_set(id2label: Mapping[int, str]) -> str:
    keys = {_key(label) for label in id2label.values()}
    shares = {name: len(_stuff(name) & keys) / len(_stuff(name)) for name in STUFF}
    best = max(shares, key=lambda name: shares[name])
    return best if shares[best] > 0.5 else "unknown"


def _stuff(label_set: str) -> set[str]:
    return set(STUFF.get(label_set, "").split())


def _key(label: str) -> str:
    return label.split(",")[0].strip().casefold().replace(" ", "-")


def _short(label: str) -> str:
    name = label.split(",")[0].strip()
    for ending in ("-merged", "-other", "-stuff"):
        name = name.removesuffix(ending)
    return name or label
