# SPDX-License-Identifier: Apache-2.0
"""What single views say of an object that all views together have found, and where they do not agree on it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from panoptic_gs.label_maps import numbered
from panoptic_gs.labelling import Labelling
from panoptic_gs.refine.leave_one_out import VotePairs

DoubtKind = Literal["may be two", "may be one", "class in dispute", "in pieces"]

ENOUGH_VIEWS = 0.25
"""Share of the views that see an object from which on what they say is worth a look; at least two of them."""
PART = 0.2
"""From this share of an object on, another label there is a part of it; below, it is outlines."""
WHOLE = 0.6
"""From this share on it has the whole object."""
WHOLLY = 0.8
"""A Gaussian speaks for a label that has this share of it in a view; others lie across an outline."""
SEEN = 0.1
"""A view sees an object that has this share there of the weight that it has where it is seen best."""
Said = dict[int, dict[int, float]]
"""By object and label: the weight of the object's Gaussians that lie wholly under the label in one view."""


@dataclass(frozen=True)
class Doubt:
    """Something about an object that views do not agree on, or that looks wrong in space."""

    kind: DoubtKind
    """``may be two``: some views give a part of it, the same in each, to another label. ``may be one``: some views give
    all of it to another thing of its class. ``class in dispute``: some give all of it to another class. ``in
    pieces``: it lies in places that do not touch."""
    segments: tuple[int, ...]
    """The object, and the one that it is taken for, if any."""
    views: tuple[int, ...]
    """Positions of the views that say so; none for ``in pieces``."""
    share: float
    """Their share of the views that see the object; for ``in pieces``, that of the largest piece in its weight."""

    def to_json(self, labelling: Labelling, stems: list[str]) -> dict[str, Any]:
        """Plain values, with a sentence for people."""
        names, category_of = labelling.category_names, labelling.category_of()
        called = [f"{names[int(category_of[i])]} {i}" for i in self.segments]
        percent = f"{100 * self.share:.0f} %"
        what = {
            "may be two": f"{called[0]} may be two: {percent} of its views give a part of it to {called[-1]}",
            "may be one": f"{' and '.join(called)} may be one: in {percent} of its views the first is the second",
            "class in dispute": f"{called[0]}: {percent} of its views call it {called[-1]}",
            "in pieces": f"{called[0]} lies in places that do not touch; the largest has {percent} of it",
        }[self.kind]
        return {"kind": self.kind, "segments": list(self.segments), "share": round(self.share, 4),
                "views": [stems[k] for k in self.views], "what": what}  # fmt: skip


class Owners:
    """The object that each Gaussian belongs to.

    Args:
        owner: ``[N]`` integers, 0 for none.
    """

    def __init__(self, owner: np.ndarray) -> None:
        self.names, self.number = numbered(owner)

    @property
    def present(self) -> set[int]:
        """The objects that own Gaussians."""
        return set(self.names.tolist()) - {0}

    def said(self, view: VotePairs) -> Said:
        """What a view says of each object, by the Gaussians that lie wholly under one label there.

        Args:
            view: its votes, pairs that ascend.
        """
        return said_of(self.sums(view))

    def sums(self, view: VotePairs) -> np.ndarray:
        """The same as rows ``[n, 3]`` float64: object, label, weight."""
        voting = view.label > 0
        label, gaussian, units = view.label[voting], view.gaussian[voting], view.units[voting].astype(np.float64)
        row = (np.diff(gaussian, prepend=-1) > 0).cumsum() - 1  # sums of what is seen alone take less than of all
        wholly = units >= WHOLLY * np.bincount(row, units)[row]
        number, label, units = self.number[gaussian[wholly]], label[wholly], units[wholly]
        own = self.names[number] == label  # most are, and need no sorting
        sums = np.bincount(number[own], units[own], len(self.names))
        agreed = np.flatnonzero(sums)
        pairs, which = np.unique((self.names[number[~own]].astype(np.int64) << 32) | label[~own], return_inverse=True)
        others = np.bincount(which.ravel(), units[~own], len(pairs))
        name = self.names[agreed]
        return np.concatenate([
            np.stack([name, name, sums[agreed]], axis=1), np.stack([pairs >> 32, pairs & 0xFFFFFFFF, others], axis=1)
        ])  # fmt: skip


def said_of(rows: np.ndarray) -> Said:
    """Rows of :meth:`Owners.sums` by object and label."""
    said: Said = defaultdict(dict)
    for thing, label, units in rows.tolist():
        said[int(thing)][int(label)] = units
    return said


def disagreements(said: Sequence[Said], objects: Collection[int], labelling: Labelling) -> list[Doubt]:
    """Things that enough views give to another label, wholly or in part.

    Args:
        said: of each view (:meth:`Owners.said`).
        objects: that own Gaussians; only things are looked at.
        labelling: what the labels are.
    """
    class_of = {s.id: s.category_id for s in labelling.segments}
    things = {s.id for s in labelling.segments if labelling.is_thing[s.category_id]}
    found: list[Doubt] = []
    for thing in sorted(things.intersection(objects)):
        total = [sum(view.get(thing, {}).values()) for view in said]
        seeing = [k for k, value in enumerate(total) if value > 0 and value >= SEEN * max(total)]
        whole, part = defaultdict[int, list[int]](list), defaultdict[int, list[int]](list)
        for k in seeing:
            for label, value in said[k][thing].items():
                if label == thing:
                    continue
                if value >= WHOLE * total[k]:
                    whole[label].append(k)
                elif value >= PART * total[k] and label in things:
                    part[label].append(k)
        enough = max(2.0, ENOUGH_VIEWS * len(seeing))
        disputed = defaultdict[int, list[int]](list)
        for label, where in whole.items():
            if class_of[label] != class_of[thing]:
                disputed[class_of[label]] += where
            elif len(where) >= enough and label in objects:
                found.append(Doubt("may be one", (thing, label), tuple(where), len(where) / len(seeing)))
        for category, where in disputed.items():
            if len(where) >= enough:
                other = max((label for label in whole if class_of[label] == category), key=lambda i: len(whole[i]))
                share = len(where) / len(seeing)
                found.append(Doubt("class in dispute", (thing, other), tuple(sorted(where)), share))
        told = {doubt.segments[1] for doubt in found if doubt.segments[0] == thing}
        for label, where in part.items():
            # From one side a part may be all that is seen of the object, but not from all of them.
            where = sorted(where + whole[label])
            if len(part[label]) >= 2 and len(where) >= enough and label not in told:
                found.append(Doubt("may be two", (thing, label), tuple(where), len(where) / len(seeing)))
    return found
