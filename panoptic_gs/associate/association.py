# SPDX-License-Identifier: Apache-2.0
"""Which object each mask of each view shows, and the scene-wide maps that follow from it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment

from panoptic_gs.associate.evidence import REFERENCE_AREA, ViewEvidence
from panoptic_gs.associate.masks import ViewMasks
from panoptic_gs.associate.refinement import Assignment, ObjectVotes
from panoptic_gs.backends import RasterizeMode
from panoptic_gs.camera import Camera
from panoptic_gs.panoptic import Category, PanopticScene, Segment
from panoptic_gs.splats import Splats
from panoptic_gs.uplift import GaussianLabels, render_panoptic

FUSED = -1
"""In place of an object's id: the mask is fused of several, and each pixel goes to the one that is rendered there."""


@dataclass(frozen=True)
class AssociatedObject:
    """An object of the scene, or one of its stuff classes."""

    id: int
    category_id: int
    isthing: bool
    masks: int
    """How many masks show it alone."""
    views: int
    """In how many views."""
    score: float
    """How well its masks agree with what the other views render in their place: their mean overlap, 0 … 1."""
    reason: str
    """What speaks for it and against it, in words."""

    @property
    def doubt(self) -> float:
        """1 − score: what a person should look at first."""
        return 1.0 - self.score


@dataclass(frozen=True, eq=False)
class ViewAssociation:
    """The masks of one view."""

    ids: np.ndarray  # [M] int64, as their file calls them
    objects: np.ndarray  # [M] int64, the object's id, 0 where the mask abstains, FUSED where it shows several
    scores: np.ndarray  # [M] float32, overlap with the object as the other views know it
    covers: np.ndarray  # [M] float64, the share of the view that the mask covers
    reasons: tuple[str, ...]  # of each mask
    fused: Mapping[int, tuple[int, ...]]  # mask → ids of the objects that it is fused of


@dataclass(frozen=True, eq=False)
class Association:
    """The scene's objects, and which of them each mask shows.

    Args:
        categories: the classes.
        objects: objects and stuff classes, ids 1, 2, ….
        views: image stem → its masks, in the order of :class:`~panoptic_gs.associate.ViewMasks`.
        labels: the objects' shares in the votes for each Gaussian.
        source: what made the masks.
    """

    categories: tuple[Category, ...]
    objects: tuple[AssociatedObject, ...]
    views: Mapping[str, ViewAssociation]
    labels: GaussianLabels
    source: str = ""

    @property
    def things(self) -> tuple[AssociatedObject, ...]:
        """The countable objects."""
        return tuple(thing for thing in self.objects if thing.isthing)

    def segments(self) -> list[Segment]:
        """The objects as segments of a :class:`~panoptic_gs.PanopticScene`."""
        return [Segment(entry.id, entry.category_id, round(entry.score, 4)) for entry in self.objects]

    def renamed(self, names: Mapping[int, int]) -> Association:
        """The same with other ids of objects; those that ``names`` does not list keep theirs."""
        largest = max((entry.id for entry in self.objects), default=0)
        table = np.arange(largest + 1)
        for old, new in names.items():
            table[old] = new
        views = {
            stem: replace(
                view,
                objects=np.where(view.objects > 0, table[np.maximum(view.objects, 0)], view.objects),
                fused={m: tuple(sorted(int(table[o]) for o in of)) for m, of in view.fused.items()},
            )
            for stem, view in self.views.items()
        }
        objects = sorted((replace(entry, id=int(table[entry.id])) for entry in self.objects), key=lambda o: o.id)
        return replace(self, objects=tuple(objects), views=views, labels=_relabelled(self.labels, table))

    def named_after(self, labels: GaussianLabels, segments: Collection[Segment]) -> Association:
        """The same with the ids that most of each object's Gaussians have in earlier labels of the same Gaussians.

        Objects are matched one to one, by the weight of the Gaussians that both call theirs; stuff by its class. The
        others get new ids.

        Args:
            labels: the earlier labels.
            segments: what they mean.
        """
        new, old = self.labels.best()[0].cpu().numpy(), labels.best()[0].cpu().numpy()
        weight = self.labels.total.cpu().numpy()
        stuff = {category.id for category in self.categories if not category.isthing}
        of_class = {s.category_id: s.id for s in reversed(list(segments)) if s.category_id in stuff}
        names = {
            entry.id: of_class[entry.category_id]
            for entry in self.objects
            if not entry.isthing and entry.category_id in of_class
        }
        here = np.array(sorted(entry.id for entry in self.objects if entry.isthing), np.int64)
        there = np.array(sorted(s.id for s in segments if s.category_id not in stuff), np.int64)
        both = np.isin(new, here) & np.isin(old, there)
        table = np.zeros((len(here), len(there)))
        np.add.at(table, (np.searchsorted(here, new[both]), np.searchsorted(there, old[both])), weight[both])
        rows, columns = linear_sum_assignment(table, maximize=True)
        names |= {int(here[r]): int(there[c]) for r, c in zip(rows, columns) if table[r, c] > 0}
        free = max([*(segment.id for segment in segments), *(entry.id for entry in self.objects)], default=0)
        for entry in self.objects:
            if entry.id not in names:
                free += 1
                names[entry.id] = free
        return self.renamed(names)

    def shown(self, splats: Splats, camera: Camera, rasterize_mode: RasterizeMode = "classic") -> np.ndarray:
        """The objects' ids ``[H, W]`` that the splats show in a view, by the votes of all masks; 0 for none."""
        labels = self.labels.to(splats.means.device)
        return render_panoptic(splats, labels, camera, rasterize_mode=rasterize_mode).ids.cpu().numpy()

    def label_map(
        self, stem: str, masks: ViewMasks, shown: Callable[[], np.ndarray] | np.ndarray | None = None
    ) -> np.ndarray:
        """The scene-wide map ``[H, W]`` int32 of a view: 0 under no mask and where the mask on top abstains.

        Of masks that overlap, one that shows an object lies above one that abstains, and a small one above a large one.
        A pixel of a mask that is fused of several objects takes the one of them that is shown there, and 0 where
        another is.

        Args:
            stem: the view.
            masks: its masks.
            shown: :meth:`shown` on the masks' pixels, or what gives it where it is needed; without it all pixels of
                fused masks are 0.
        """
        view = self.views[stem]
        rank = np.empty(len(masks), np.int64)
        rank[np.lexsort((-masks.areas(), view.objects != 0))] = np.arange(len(masks))
        # Fused masks are told apart by numbers below zero until their pixels are divided.
        value = view.objects.copy()
        for mask in view.fused:
            value[mask] = FUSED - mask
        ids = masks.paint(value, rank)
        if shown is not None and (ids < 0).any():
            rendered = shown() if callable(shown) else shown
            for mask, of in view.fused.items():
                pixels = ids == FUSED - mask
                ids[pixels] = np.where(np.isin(rendered[pixels], of), rendered[pixels], 0)
        return np.maximum(ids, 0).astype(np.int32)

    def scene(
        self,
        masks: Mapping[str, ViewMasks],
        shown: Callable[[str], np.ndarray] | None = None,
        stems: Collection[str] | None = None,
    ) -> PanopticScene:
        """The scene-wide maps of all views, or of ``stems``, made when they are asked for. See :meth:`label_map`.

        Args:
            masks: image stem → its masks.
            shown: gives :meth:`shown` of a view, on its masks' pixels.
            stems: the views; all by default.
        """
        chosen = list(self.views) if stems is None else [stem for stem in self.views if stem in stems]
        return PanopticScene(
            self.categories, self.segments(), _Maps(self, masks, shown, tuple(chosen)), source=self.source
        )


@dataclass(frozen=True, eq=False)
class _Maps(Mapping[str, np.ndarray]):
    association: Association
    masks: Mapping[str, ViewMasks]
    shown: Callable[[str], np.ndarray] | None
    stems: tuple[str, ...]

    def __getitem__(self, stem: str) -> np.ndarray:
        if stem not in self.association.views:
            raise KeyError(stem)
        give = self.shown
        shown = None if give is None else lambda: give(stem)
        return self.association.label_map(stem, self.masks[stem], shown)

    def __iter__(self) -> Iterator[str]:
        return iter(self.stems)

    def __len__(self) -> int:
        return len(self.stems)


def association_of(
    views: Mapping[str, ViewEvidence],
    things: Sequence[np.ndarray],
    assignments: Sequence[Assignment],
    votes: ObjectVotes,
    categories: tuple[Category, ...],
    source: str,
) -> Association:
    """Ids in the order in which objects are met, stuff first; a class by the majority of pixels.

    An object that no mask shows alone is none.
    """
    stuff = sorted({int(c) for view, of in zip(views.values(), things) for c in view.category_ids[~of]})
    number_of: dict[int, int] = {}
    for assignment in assignments:
        for of in assignment.objects:
            if len(of) == 1:
                number_of.setdefault(of[0], len(stuff) + len(number_of) + 1)
    tally = _Tally()
    rows: dict[str, ViewAssociation] = {}
    for (stem, view), thing, assignment in zip(views.items(), things, assignments):
        ids = np.zeros(len(view.ids), np.int64)
        reasons: list[str] = []
        fused: dict[int, tuple[int, ...]] = {}
        for m, category in enumerate(view.category_ids.tolist()):
            of = tuple(sorted(number_of[o] for o in assignment.objects[m] if o in number_of))
            overlap, contained = float(assignment.overlap[m]), float(assignment.contained[m])
            if not thing[m]:
                ids[m] = stuff.index(category) + 1
                reasons.append("stuff, by its class")
                tally.add(ids[m], stem, category, float(view.areas[m]), 1.0)
            elif len(of) == 1:
                ids[m] = of[0]
                reasons.append(f"{contained:.0%} of it is its object in the other views, overlap {overlap:.2f}")
                tally.add(ids[m], stem, category, float(view.areas[m]), overlap)
            elif of:
                ids[m], fused[m] = FUSED, of
                reasons.append("fused of objects " + ", ".join(map(str, of)))
            else:
                reasons.append(f"abstains: its best object fills {contained:.0%} of it, overlap {overlap:.2f}")
        overlaps, covers = assignment.overlap.astype(np.float32), view.areas / REFERENCE_AREA
        rows[stem] = ViewAssociation(view.ids, ids, overlaps, covers, tuple(reasons), fused)
    isthing = {category.id: category.isthing for category in categories}
    objects = tuple(tally.object(int(number), isthing) for number in sorted(tally.pixels))
    return Association(categories, objects, rows, _labels(votes, number_of), source)


class _Tally:
    """What is counted for each object."""

    def __init__(self) -> None:
        self.pixels: dict[int, dict[int, float]] = defaultdict(lambda: defaultdict(float))
        self.overlaps: dict[int, list[float]] = defaultdict(list)
        self.views: dict[int, set[str]] = defaultdict(set)

    def add(self, number: int, stem: str, category: int, area: float, overlap: float) -> None:
        self.pixels[number][category] += area
        self.overlaps[number].append(overlap)
        self.views[number].add(stem)

    def object(self, number: int, isthing: Mapping[int, bool]) -> AssociatedObject:
        pixels = self.pixels[number]
        category = min(pixels, key=lambda c: (-pixels[c], c))
        masks, views = len(self.overlaps[number]), len(self.views[number])
        share = pixels[category] / max(sum(pixels.values()), 1e-9)
        reason = f"{masks} masks in {views} views"
        if share < 0.995:
            reason += f", {share:.0%} of their pixels of its class"
        return AssociatedObject(
            number, category, isthing[category], masks, views, float(np.mean(self.overlaps[number])), reason
        )


def _relabelled(labels: GaussianLabels, table: np.ndarray) -> GaussianLabels:
    """The same distribution under other ids."""
    label = torch.from_numpy(table).to(labels.label.device)[labels.label.long()]
    order = torch.argsort(labels.rows() * (int(table.max(initial=0)) + 1) + label)
    return GaussianLabels(labels.indptr, label[order].int(), labels.weight[order], labels.total, labels.void)


def _labels(votes: ObjectVotes, number_of: Mapping[int, int]) -> GaussianLabels:
    """Votes as the distribution of each Gaussian over objects, by their ids."""
    columns = sorted(number_of, key=lambda o: number_of[o])
    table = votes.votes[:, columns].tocsr()
    table.eliminate_zeros()
    table.sort_indices()
    total = np.asarray(table.sum(axis=1)).ravel()
    weight = table.data / np.repeat(np.maximum(total, 1e-9), np.diff(table.indptr))
    ids = np.array([number_of[o] for o in columns] or [0])[table.indices]
    return GaussianLabels(
        torch.from_numpy(table.indptr.astype(np.int64)),
        torch.from_numpy(ids.astype(np.int32)),
        torch.from_numpy(weight.astype(np.float32)),
        torch.from_numpy(total.astype(np.float32)),
        torch.zeros(len(total)),
    )
