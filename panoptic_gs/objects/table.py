# SPDX-License-Identifier: Apache-2.0
"""The objects of a labelled scene as rows: what they are called, how many Gaussians they have, where and how large."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from panoptic_gs.label_maps import Grouped
from panoptic_gs.objects.boxes import ONE_PLACE, Box, clusters, fit_box
from panoptic_gs.objects.owners import SurfaceOwners, owners_of
from panoptic_gs.objects.seen import SeenSurfaces
from panoptic_gs.objects.solidity import surface
from panoptic_gs.objects.standing import down_to_floor, is_floor
from panoptic_gs.panoptic import Category, Segment
from panoptic_gs.uplift import LabelledScene

LEAST_GAUSSIANS = 10
"""An object of fewer is uncertain."""
LEAST_AGREEMENT = 0.25
"""So is one of which less was kept: of the pixels that were labelled as it, the share that the Gaussians took whose
strongest label it is. Objects that somebody saw in one or two views only lose nearly all of theirs to what is there."""
_BOX_SAMPLE = 6_000  # Gaussians of an object that its box is fitted to
_SHOWN = 1e-4  # of the largest weight: what has less lies on no surface that views show
_THIN_SHOWN = 0.02  # as boxes.THIN where haze was left out already, by what views show
_SURE = 0.3  # share from which a point lies on one for certain: about one view for it, and none against
_FEWEST = 25  # such points that an object's box can be fitted to
_SEARCHES = 16  # for an object's Gaussians among all; from then on they are sorted by object, which takes as long
_MOST_LEFT_OUT = 0.6  # of an object's weight; a box by what views show that lacks more is one of a part only
_PIECE = 0.1  # of its largest piece's weight that a piece of a stuff class must have


@dataclass(frozen=True, eq=False)
class SceneObject:
    """One object, or one stuff class."""

    segment: Segment
    category: Category
    count: int
    """Gaussians whose strongest label it is."""
    confidence: float
    """Their mean confidence; 0 where it has none."""
    pixels: float = 0.0
    """Pixels of all labelled views that its Gaussians fill with it."""
    agreement: float | None = None
    """Of the pixels that were labelled as it, the share on its own Gaussians; None where labels know no totals."""

    @property
    def id(self) -> int:
        """The segment's id."""
        return self.segment.id

    @property
    def uncertain(self) -> bool:
        """Whether too little speaks for it: fewer than :data:`LEAST_GAUSSIANS` Gaussians, or an agreement below
        :data:`LEAST_AGREEMENT`. A stuff class is never uncertain while it has Gaussians."""
        if self.category.isthing:
            return self.count < LEAST_GAUSSIANS or (self.agreement is not None and self.agreement < LEAST_AGREEMENT)
        return not self.count

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
        seen: what views of it show; boxes end where the surfaces do that these show. Without it they are fitted to the
            Gaussians alone, which lie before and behind surfaces.

    Attributes:
        scene, seen: as given.
        segment_of: ``[N]`` int64, the strongest label of each Gaussian, 0 = none.
        confidence: ``[N]`` float32, that label's share.
    """

    def __init__(self, scene: LabelledScene, seen: SeenSurfaces | None = None) -> None:
        best, share = scene.labels.best()
        self.segment_of: np.ndarray = best.numpy()
        self.confidence: np.ndarray = share.numpy()
        self.scene, self.seen = scene, seen
        categories = {category.id: category for category in scene.categories}
        ids = np.array([segment.id for segment in scene.segments], dtype=np.int64)
        size = int(max(ids.max(initial=0), self.segment_of.max(initial=0))) + 1
        counts = np.bincount(self.segment_of, minlength=size)
        sums = np.bincount(self.segment_of, weights=self.confidence, minlength=size)
        total = scene.labels.total.numpy().astype(np.float64)
        pixels = np.bincount(self.segment_of, weights=total * self.confidence, minlength=size)
        label, weight = scene.labels.label.numpy(), scene.labels.weight.numpy()
        voted = np.bincount(label, weights=weight * total[scene.labels.rows().numpy()], minlength=size)
        rows = [
            SceneObject(
                s,
                categories[s.category_id],
                int(counts[s.id]),
                float(sums[s.id] / max(counts[s.id], 1)),
                float(pixels[s.id]),
                float(min(pixels[s.id] / voted[s.id], 1.0)) if voted[s.id] > 0 else None,
            )
            for s in scene.segments
        ]
        rows.sort(key=lambda row: (not row.category.isthing, row.name.casefold(), row.id))
        self._by_id = {row.id: row for row in rows}
        self.unlabelled = int(counts[0])
        self._boxes: dict[tuple[float, ...], Box | None] = {}
        self._floors: np.ndarray | None = None
        self._asked = 0  # for members

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
        """The Gaussians ``[M]`` of an object, ascending."""
        self._asked += 1
        if self._asked <= _SEARCHES:
            return np.flatnonzero(self.segment_of == segment_id)
        return self._grouped.of(segment_id).copy()

    @cached_property
    def _grouped(self) -> Grouped:
        return Grouped(self.segment_of)

    @cached_property
    def _owners(self) -> SurfaceOwners | None:
        """Whose the surfaces are that the views show; None where there are none."""
        if self.seen is None:
            return None
        return owners_of(self.seen, self.scene.splats.means.numpy(), self.segment_of)

    @property
    def certain(self) -> list[SceneObject]:
        """What is counted, boxed and related: the objects with Gaussians that are not uncertain."""
        return [row for row in self if row.count and not row.uncertain]

    @property
    def uncertain(self) -> list[SceneObject]:
        """The objects with Gaussians for which too little speaks, shown apart."""
        return [row for row in self if row.count and row.uncertain]

    def box(self, segment_id: int, up: np.ndarray) -> Box | None:
        """The upright box around an object's Gaussians, or None where it has none."""
        key = segment_id, *map(float, up)
        if key not in self._boxes:
            members = self.members(segment_id)
            box = self._fit(members, up) if len(members) else None
            row = self.get(segment_id)
            if box is not None and row is not None and not is_floor(row.category):
                means = self.scene.splats.means
                box = down_to_floor(box, means[members].double().numpy(), means[self._floor()].double().numpy())
            self._boxes[key] = box
        return self._boxes[key]

    def fitted_box(self, segment_id: int, up: np.ndarray) -> Box | None:
        """What :meth:`box` gave for this object before; None also where it was not asked yet."""
        return self._boxes.get((segment_id, *map(float, up)))

    def pieces(self, segment_id: int, up: np.ndarray, gap: float) -> list[tuple[np.ndarray, Box]]:
        """The connected pieces of an object, the largest first: the Gaussians ``[M]`` of each and the box around it.

        A thing is one piece. A stuff class is one segment wherever it occurs in the scene, so two windows are split
        here. Pieces of less than a tenth of the largest one's weight are left out.

        Args:
            segment_id: of the object.
            up: ``[3]``.
            gap: between two pieces, in world units.
        """
        members = self.members(segment_id)
        if not len(members):
            return []
        row = self.get(segment_id)
        if row is None or row.category.isthing:
            box = self.box(segment_id, up)
            return [] if box is None else [(members, box)]
        means = self.scene.splats.means.numpy()[members].astype(np.float64)
        weights = (self.scene.splats.opacities.numpy() * self.confidence)[members].astype(np.float64)
        cluster, mass = clusters(means, weights, gap)
        found = []
        for number in np.argsort(-mass):
            if mass[number] < _PIECE * mass.max():
                break
            some = members[cluster == number]
            box = self._fit(some, up)
            if box is not None:
                found.append((some, box))
        return found

    def _floor(self) -> np.ndarray:
        """The Gaussians ``[F]`` of all that is called floor."""
        if self._floors is None:
            floors = [row.id for row in self if is_floor(row.category)]
            rows = np.flatnonzero(np.isin(self.segment_of, floors))
            self._floors = rows[:: -(-len(rows) // _BOX_SAMPLE) or 1]
        return self._floors

    def _fit(self, members: np.ndarray, up: np.ndarray) -> Box | None:
        sample = members[:: -(-len(members) // _BOX_SAMPLE)]
        segment_id = int(self.segment_of[sample[0]])
        row = self.get(segment_id)
        apart = ONE_PLACE if row is not None and row.category.isthing else np.inf
        points, weights = surface(self.scene.splats, self.scene.labels, self.confidence, sample)
        shares = self._shown(points, sample, segment_id)
        if shares is not None:
            shown = weights * shares
            kept = shown > _SHOWN * shown.max()
            if (shares >= _SURE).sum() >= _FEWEST <= kept.sum():
                box = fit_box(points[kept], up, shown[kept], _THIN_SHOWN, apart)
                box = box and box.leaving_out(points, weights)
                if box is not None and box.left_out <= _MOST_LEFT_OUT:
                    return box
        return fit_box(points, up, weights, apart=apart)

    def _shown(self, points: np.ndarray, members: np.ndarray, segment_id: int) -> np.ndarray | None:
        """How far views show an object's points on a surface, and the surface there as this object's, ``[P]``."""
        if self.seen is None:
            return None
        shares = self.seen.share(points, self.scene.splats.means.numpy()[members])
        if shares is None:
            return None
        if self._owners is not None:
            some = shares > 0
            shares[some] *= self._owners.share(points[some], segment_id)
        return shares
