# SPDX-License-Identifier: Apache-2.0
"""The objects of a labelled scene as rows: what they are called, how many Gaussians they have, where and how large."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from panoptic_gs.objects.boxes import Box, fit_box
from panoptic_gs.panoptic import Category, Segment
from panoptic_gs.uplift import LabelledScene

_BOX_SAMPLE = 20_000  # Gaussians of an object that its box is fitted to


@dataclass(frozen=True, eq=False)
class SceneObject:
    """One object, or one stuff class."""

    segment: Segment
    category: Category
    count: int
    """Gaussians whose strongest label it is."""
    confidence: float
    """Their mean confidence; 0 where it has none."""

    @property
    def id(self) -> int:
        """The segment's id."""
        return self.segment.id

    @property
    def name(self) -> str:
        """The object's own name, else its category's."""
        return self.segment.name or self.category.name

    @property
    def title(self) -> str:
        """Name and id, by which people tell objects of one kind apart."""
        return f"{self.name} · {self.id}"

    def matches(self, words: Iterable[str]) -> bool:
        """Whether every word (casefolded) occurs in its name, its category or is its id."""
        text = f"{self.name} {self.category.name}".casefold()
        return all(word in text or word == str(self.id) for word in words)


class ObjectTable:
    """All objects of a scene by id, things before stuff, and the strongest label of each Gaussian.

    Args:
        scene: the labelled scene.

    Attributes:
        segment_of: ``[N]`` int64, the strongest label of each Gaussian, 0 = none.
        confidence: ``[N]`` float32, that label's share.
    """

    def __init__(self, scene: LabelledScene) -> None:
        best, share = scene.labels.best()
        self.segment_of: np.ndarray = best.numpy()
        self.confidence: np.ndarray = share.numpy()
        self._means = scene.splats.means
        categories = {category.id: category for category in scene.categories}
        ids = np.array([segment.id for segment in scene.segments], dtype=np.int64)
        size = int(max(ids.max(initial=0), self.segment_of.max(initial=0))) + 1
        counts = np.bincount(self.segment_of, minlength=size)
        sums = np.bincount(self.segment_of, weights=self.confidence, minlength=size)
        rows = [
            SceneObject(s, categories[s.category_id], int(counts[s.id]), float(sums[s.id] / max(counts[s.id], 1)))
            for s in scene.segments
        ]
        rows.sort(key=lambda row: (not row.category.isthing, row.name.casefold(), row.id))
        self._by_id = {row.id: row for row in rows}
        self.unlabelled = int(counts[0])

    def __iter__(self):
        return iter(self._by_id.values())

    def __len__(self) -> int:
        return len(self._by_id)

    def __getitem__(self, segment_id: int) -> SceneObject:
        return self._by_id[segment_id]

    def get(self, segment_id: int) -> SceneObject | None:
        """The object with this id, or None."""
        return self._by_id.get(segment_id)

    def search(self, text: str) -> list[SceneObject]:
        """The objects with Gaussians whose name, category or id has all words of ``text``; all for an empty one."""
        words = text.casefold().split()
        return [row for row in self if row.count and row.matches(words)]

    def members(self, segment_id: int) -> np.ndarray:
        """The Gaussians ``[M]`` of an object."""
        return np.flatnonzero(self.segment_of == segment_id)

    def box(self, segment_id: int, up: np.ndarray) -> Box | None:
        """The upright box around an object's Gaussians, or None where it has none."""
        members = self.members(segment_id)
        members = members[:: max(1, len(members) // _BOX_SAMPLE)]
        return fit_box(self._means.numpy()[members].astype(np.float64), up)
