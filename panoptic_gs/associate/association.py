# SPDX-License-Identifier: Apache-2.0
"""Which object each mask of each view shows, and the scene-wide maps that follow from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from panoptic_gs.associate.masks import ViewMasks
from panoptic_gs.panoptic import Category, PanopticScene, Segment


@dataclass(frozen=True)
class AssociatedObject:
    """An object of the scene, or one of its stuff classes."""

    id: int
    category_id: int
    isthing: bool
    masks: int
    """How many masks show it."""
    views: int
    """In how many views."""
    score: float
    """How well its masks agree with what the other views render in their place: their mean overlap, 0 … 1."""
    reason: str
    """What speaks against it, or for it, in words."""

    @property
    def doubt(self) -> float:
        """1 − score: what a person should look at first."""
        return 1.0 - self.score


@dataclass(frozen=True, eq=False)
class ViewAssociation:
    """The masks of one view."""

    ids: np.ndarray  # [M] int64, as their file calls them
    objects: np.ndarray  # [M] int64, the object's id, 0 where the mask abstains
    scores: np.ndarray  # [M] float32, overlap with the object as the other views know it
    reasons: tuple[str, ...]  # of each mask


@dataclass(frozen=True, eq=False)
class Association:
    """The scene's objects, and which of them each mask shows.

    Args:
        categories: the classes.
        objects: objects and stuff classes, ids 1, 2, ….
        views: image stem → its masks, in the order of :class:`~panoptic_gs.associate.ViewMasks`.
        source: what made the masks.
    """

    categories: tuple[Category, ...]
    objects: tuple[AssociatedObject, ...]
    views: Mapping[str, ViewAssociation]
    source: str = ""

    @property
    def things(self) -> tuple[AssociatedObject, ...]:
        """The countable objects."""
        return tuple(thing for thing in self.objects if thing.isthing)

    def segments(self) -> list[Segment]:
        """The objects as segments of a :class:`~panoptic_gs.PanopticScene`."""
        return [Segment(entry.id, entry.category_id, round(entry.score, 4)) for entry in self.objects]

    def label_map(self, stem: str, masks: ViewMasks) -> np.ndarray:
        """The scene-wide map ``[H, W]`` int32 of a view: 0 under no mask and where the mask on top abstains.

        Of masks that overlap, one that shows an object lies above one that abstains, and a small one above a large one.
        """
        objects = self.views[stem].objects
        rank = np.empty(len(masks), np.int64)
        rank[np.lexsort((-masks.areas(), objects > 0))] = np.arange(len(masks))
        return masks.paint(objects, rank).astype(np.int32)

    def scene(self, masks: Mapping[str, ViewMasks]) -> PanopticScene:
        """The scene-wide maps of all views, made when they are asked for."""
        return PanopticScene(self.categories, self.segments(), _Maps(self, masks), source=self.source)


class _Maps(Mapping[str, np.ndarray]):
    def __init__(self, association: Association, masks: Mapping[str, ViewMasks]) -> None:
        self._association, self._masks = association, masks

    def __getitem__(self, stem: str) -> np.ndarray:
        if stem not in self._association.views:
            raise KeyError(stem)
        return self._association.label_map(stem, self._masks[stem])

    def __iter__(self):
        return iter(self._association.views)

    def __len__(self) -> int:
        return len(self._association.views)
