# SPDX-License-Identifier: Apache-2.0
"""Whether an object has one id in all views, and an id stands for one object."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field

import numpy as np

from panoptic_gs.errors import InputError

MIN_PIXELS = 32
"""Pixels that an object must have in a view to be observed there."""


@dataclass(frozen=True)
class IdConsistency:
    r"""Pairs of observations of objects with the same id; a sum over views.

    A true thing that is seen in a view is an observation; its id is the predicted segment that shares most pixels with
    it there, or none where most of it is void. Of all pairs of observations, those of one object ought to have one id
    (recall), and those of one id ought to be of one object (precision):

    .. math:: TP = \sum_{o,i} \binom{n_{oi}}{2}, \quad P = \frac{TP}{\sum_i \binom{n_{\cdot i}}{2}}, \quad
              R = \frac{TP}{\sum_o \binom{n_{o\cdot}}{2}}

    with :math:`n_{oi}` observations of object o under id i. Classes and outlines do not matter: this is what is left of
    scene-PQ when masks are taken for granted.
    """

    observations: Counter[tuple[int, int]] = field(default_factory=Counter)
    """(true id, predicted id; 0 = none) → in how many views."""

    @classmethod
    def of(
        cls, pred: np.ndarray, true: np.ndarray, things: Collection[int], min_pixels: int = MIN_PIXELS
    ) -> IdConsistency:
        """The observations of one view.

        Args:
            pred: predicted segment ids ``[H, W]``, 0 = void.
            true: true segment ids ``[H, W]``.
            things: the true ids that count.
            min_pixels: objects of fewer pixels in the view do not count there.

        Raises:
            InputError: the maps are of different sizes.
        """
        if pred.shape != true.shape:
            raise InputError("ids", f"maps of shape {list(pred.shape)} and {list(true.shape)}", "equal shapes",
                             "Resample the prediction to the truth by nearest neighbour.")  # fmt: skip
        found: Counter[tuple[int, int]] = Counter()
        ids, counts = np.unique(true, return_counts=True)
        for thing, count in zip(ids.tolist(), counts.tolist()):
            if thing in things and count >= min_pixels:
                here, pixels = np.unique(pred[true == thing], return_counts=True)
                found[thing, int(here[pixels.argmax()])] += 1
        return cls(found)

    def __add__(self, other: IdConsistency) -> IdConsistency:
        return IdConsistency(self.observations + other.observations)

    @property
    def precision(self) -> float:
        """Share of the pairs of one id that are of one object; NaN where no two observations have one id."""
        ids: Counter[int] = Counter()
        for (_, predicted), count in self.observations.items():
            if predicted:
                ids[predicted] += count
        return _ratio(self._right_pairs, _pairs(ids))

    @property
    def recall(self) -> float:
        """Share of the pairs of one object that have one id; NaN where no object is seen twice."""
        objects: Counter[int] = Counter()
        for (thing, _), count in self.observations.items():
            objects[thing] += count
        return _ratio(self._right_pairs, _pairs(objects))

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall; 0 where no two observations have one id, NaN without any pair."""
        precision, recall = self.precision, self.recall
        if math.isnan(recall):
            return math.nan
        return 2 * precision * recall / (precision + recall) if precision + recall > 0 else 0.0

    @property
    def _right_pairs(self) -> int:
        return _pairs(Counter({key: count for key, count in self.observations.items() if key[1]}))


def _pairs(groups: Counter) -> int:
    return sum(count * (count - 1) // 2 for count in groups.values())


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else math.nan
