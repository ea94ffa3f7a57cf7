# SPDX-License-Identifier: Apache-2.0
"""Which things lie next to each other in the views of a scene."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection

import numpy as np

from panoptic_gs.panoptic import PanopticScene

REACH = 4
"""Pixels of an image 320 wide that may lie between two things that touch."""


def closest_things(truth: PanopticScene, things: Collection[int]) -> list[tuple[int, int]]:
    """Pairs of things (smaller, larger) that lie next to each other, the longest contact first.

    The contact of two things is the number of pixels of one that have the other within reach along their row or column,
    summed over all views; sizes are pixels over all views.
    """
    contact: Counter[tuple[int, int]] = Counter()
    area: Counter[int] = Counter()
    for stem in truth.stems:
        ids = np.asarray(truth.maps[stem])
        ids = np.where(np.isin(ids, list(things)), ids, 0)
        numbers, counts = np.unique(ids, return_counts=True)
        area.update(dict(zip(numbers.tolist(), counts.tolist())))
        reach = max(1, round(REACH * ids.shape[1] / 320))
        for shifted, rest in ((ids[reach:], ids[:-reach]), (ids[:, reach:], ids[:, :-reach])):
            touching = (shifted != rest) & (shifted > 0) & (rest > 0)
            pairs = np.stack([shifted[touching], rest[touching]], axis=1)
            found, lengths = np.unique(np.sort(pairs, axis=1), axis=0, return_counts=True)
            contact.update({(int(a), int(b)): int(n) for (a, b), n in zip(found, lengths)})
    ordered = sorted(contact, key=lambda pair: (-contact[pair], pair))
    return [(a, b) if (area[a], a) < (area[b], b) else (b, a) for a, b in ordered]
