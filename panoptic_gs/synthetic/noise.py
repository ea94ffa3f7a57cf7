# SPDX-License-Identifier: Apache-2.0
"""Simulated panoptic predictions: exact maps made wrong the way multi-view networks are wrong.

Most errors are drawn anew in every view, so that looking at an object from many views can mend them. A smaller part is
the same in all views and cannot be mended: objects never found, called something else, or taken for one with another.
Between the two lie errors that many views share: repeated over a run of neighbouring views, outlines that all reach too
far, objects in parts, two objects in one mask.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from typing import Literal, get_args

import numpy as np
from scipy import ndimage

from panoptic_gs.errors import InputError
from panoptic_gs.panoptic import Category, PanopticScene, Segment
from panoptic_gs.synthetic.mask_errors import Cut, displaced, grown, half_of, parts_of, void_blobs
from panoptic_gs.synthetic.neighbours import closest_things

Level = Literal["none", "low", "default", "high", "correlated", "parts", "fused"]
"""Names of the presets. `correlated`, `parts` and `fused` are errors that most views share."""
LEVELS: tuple[Level, ...] = get_args(Level)

REFERENCE_WIDTH = 320
LARGE_REGION = 0.15
SMALL_REGION = 12
SMALL_STUFF = 0.04
MOST_CUTS = 2
"""A thing has at most twice as many parts."""
CUT_JITTER = 0.03
"""Standard deviation of a cut's position in a view, as a share of the thing's height or width."""
JOINED_VIEWS = 0.75
"""Share of the views in which two joined things have one mask."""

CONFUSIONS: dict[str, tuple[str, ...]] = {
    "cabinet": ("shelves", "counter", "table"),
    "bed": ("sofa",),
    "chair": ("sofa", "bag"),
    "sofa": ("bed", "chair"),
    "table": ("cabinet", "counter"),
    "door": ("cabinet", "wall"),
    "window": ("television", "other"),
    "counter": ("cabinet", "table"),
    "shelves": ("cabinet",),
    "curtain": ("window", "wall"),
    "refrigerator": ("cabinet", "door"),
    "television": ("window", "other"),
    "person": ("other",),
    "toilet": ("sink", "chair"),
    "sink": ("toilet", "counter"),
    "lamp": ("other",),
    "bag": ("other",),
    "other": ("bag", "lamp"),
}
"""What a class is taken for; a class that is not listed is taken for any other class of the scene."""


@dataclass(frozen=True)
class PredictionNoise:
    """How wrong simulated label maps are.

    A region is a thing in a view, or a connected part of stuff. Regions above 15% of the image are not missed, merged
    or flipped. The rates of what happens to one region in one view exclude each other and sum to at most 1.
    """

    boundary: float = 1.7
    """Root mean square shift of the outlines, in pixels of an image 320 wide (it scales with the width)."""
    missed: float = 0.07
    """Share of regions not found in a view: void, or given to a neighbour, with even odds."""
    merged: float = 0.05
    """Share of regions that take the id of a neighbour, of a thing where one is near."""
    split: float = 0.05
    """Share of things of which a part has the spare id of their class."""
    switched: float = 0.04
    """Share of things that carry the id of another thing of their class in a view, or the spare id."""
    flipped: float = 0.03
    """Share of regions that are called another class in a view, with that class's spare id."""
    blobs: float = 0.012
    """Share of the image that round holes make void."""
    lost: float = 0.05
    """Share of things found in no view."""
    confused: float = 0.07
    """Share of things, and of stuff classes below 4% of all pixels, called another class in all views."""
    fused: float = 0.07
    """Share of things that have the id of another thing of their class in all views."""
    run: float = 0.0
    """Over how many neighbouring views (by their order) what happens to a thing stays the same; up to 1: drawn anew in
    every view."""
    bias: float = 0.0
    """How far things reach beyond their outlines, over stuff and void, in pixels of an image 320 wide."""
    parts: float = 0.0
    """Share of a thing's cuts that are there in a view. Each thing has one or two, the same in all views; each side
    away from the top left has an id of its own."""
    joined: float = 0.0
    """Share of things that have one mask with the thing next to them, of whatever class, in three of four views."""

    def __post_init__(self) -> None:
        per_region = self.missed + self.merged + self.split + self.switched + self.flipped
        per_object = self.lost + self.confused + self.fused
        values = [getattr(self, f.name) for f in fields(self)]
        shares = (per_region, per_object, self.blobs, self.parts, self.joined)
        if not all(np.isfinite(values)) or min(values) < 0 or max(shares) > 1:
            raise InputError(
                "PredictionNoise",
                f"{self}",
                "rates from 0 to 1, of which those per region and those per object sum to at most 1",
                "Lower the rates.",
            )

    @classmethod
    def none(cls) -> PredictionNoise:
        """No noise: the truth, with other ids."""
        return cls(**{f.name: 0.0 for f in fields(cls)})

    @classmethod
    def preset(cls, name: str) -> PredictionNoise:
        """One of :data:`LEVELS`.

        `low` and `high` scale the rates. `correlated` has those of `default`, repeated over runs of eight views, with
        outlines 2 pixels outward. `parts` (over-segmented, as a class-agnostic segmenter is) and `fused` (two things in
        one mask in most views) have those of `low` beside what they are named for.
        """
        factors = {"none": 0.0, "low": 0.45, "default": 1.0, "high": 1.4, "correlated": 1.0, "parts": 0.45,
                   "fused": 0.45}  # fmt: skip
        if name not in factors:
            raise InputError("noise", f"'{name}'", f"one of {', '.join(factors)}", "Choose one of these.")
        noise = cls()
        noise = replace(noise, **{f.name: factors[name] * getattr(noise, f.name) for f in fields(cls)})
        shared = {"correlated": {"run": 8.0, "bias": 2.0}, "parts": {"parts": 0.7}, "fused": {"joined": 0.6}}
        return replace(noise, **shared.get(name, {}))


def simulate_predictions(truth: PanopticScene, noise: PredictionNoise | None = None, seed: int = 0) -> PanopticScene:
    """Label maps as a network and its merging would give them.

    Args:
        truth: exact maps; any category list.
        noise: the rates, by default those of `PredictionNoise()`.
        seed: the same seed gives the same maps.
    """
    noise = PredictionNoise() if noise is None else noise
    simulation = _Simulation(truth, noise, seed)
    maps = {stem: simulation.view(stem, k, np.random.default_rng([seed, 12, k])) for k, stem in enumerate(truth.stems)}
    used = set(np.unique(np.concatenate([np.unique(ids) for ids in maps.values()])).tolist()) if maps else set()
    segments = [segment for segment in simulation.ids.segments() if segment.id in used]
    return PanopticScene(truth.categories, segments, maps, source=f"simulated, seed {seed}, {noise}")


class _Ids:
    """Gives out predicted ids in a random order: one for each true segment and category, and for each of its parts; a
    spare for each category."""

    def __init__(self, rng: np.random.Generator, categories: tuple[Category, ...], segments: int, parts: int) -> None:
        self._order = iter((rng.permutation(2 * (parts * segments + len(categories))) + 1).tolist())
        self._stuff = {category.id for category in categories if not category.isthing}
        self._ids: dict[tuple[int, int, int], int] = {}

    def get(self, segment: int, category: int, part: int = 0) -> int:
        """The id for a true segment, or a part of it, seen as `category`; stuff has one id a class."""
        key = (0, category, 0) if category in self._stuff else (segment, category, part)
        if key not in self._ids:
            self._ids[key] = next(self._order)
        return self._ids[key]

    def spare(self, category: int) -> int:
        """The id that stands for no true segment: a query of the network that answers now to this, now to that."""
        return self.get(0, category)

    def categories(self) -> dict[int, int]:
        """Id → category of all that were given out."""
        return {i: key[1] for key, i in self._ids.items()}

    def segments(self) -> list[Segment]:
        return [Segment(i, category) for i, category in sorted(self.categories().items())]


class _Simulation:
    def __init__(self, truth: PanopticScene, noise: PredictionNoise, seed: int) -> None:
        self.truth, self.noise, self.seed = truth, noise, seed
        rng = np.random.default_rng([seed, 11])
        self.ids = _Ids(rng, truth.categories, len(truth.segments), 2**MOST_CUTS if noise.parts else 1)
        self.names = {category.id: category.name for category in truth.categories}
        self.of_name = {category.name: category.id for category in truth.categories}
        self.is_thing = truth.is_thing
        self.category = {segment.id: segment.category_id for segment in truth.segments}
        self.present = sorted(set(self.category.values()))
        self.things = [s.id for s in truth.segments if self.is_thing[s.category_id]]
        self.stands_for = {segment.id: (segment.id, segment.category_id) for segment in truth.segments}
        self.lost: set[int] = set()
        small = self._small_segments()
        for segment in truth.segments:
            if segment.id in self.things:
                self._scene_wide_error(segment.id, rng)
            elif rng.uniform() < noise.confused and segment.id in small:
                self.stands_for[segment.id] = (segment.id, self.confusion(segment.category_id, rng))
        for segment in truth.segments:
            self.ids.get(*self.stands_for[segment.id])
        shared = np.random.default_rng([seed, 13])
        self.cuts = {thing: _cuts(shared) for thing in self.things} if noise.parts else {}
        self.joined = self._joined(shared) if noise.joined else {}

    def _joined(self, rng: np.random.Generator) -> dict[int, int]:
        """Thing → the thing whose id it has in most views; pairs do not overlap."""
        joined: dict[int, int] = {}
        for thing, other in closest_things(self.truth, set(self.things)):
            taken = {*joined, *joined.values()}
            if rng.uniform() < self.noise.joined and not taken & {thing, other}:
                joined[thing] = other
        return joined

    def _small_segments(self) -> set[int]:
        """Segments below `SMALL_STUFF` of all pixels: nobody takes a room's walls for something else."""
        areas: Counter[int] = Counter()
        for stem in self.truth.stems:
            ids, counts = np.unique(self.truth.maps[stem], return_counts=True)
            areas.update(dict(zip(ids.tolist(), counts.tolist(), strict=True)))
        return {segment for segment, area in areas.items() if area < SMALL_STUFF * sum(areas.values())}

    def _scene_wide_error(self, thing: int, rng: np.random.Generator) -> None:
        draw, category = rng.uniform(), self.category[thing]
        others = [other for other in self.things if other != thing and self.category[other] == category]
        if draw < self.noise.lost:
            self.lost.add(thing)
        elif draw < self.noise.lost + self.noise.confused:
            self.stands_for[thing] = (thing, self.confusion(category, rng))
        elif draw < self.noise.lost + self.noise.confused + self.noise.fused and others:
            self.stands_for[thing] = self.stands_for[int(rng.choice(others))]

    def confusion(self, category: int, rng: np.random.Generator) -> int:
        """A category that this one is taken for."""
        names = [name for name in CONFUSIONS.get(self.names[category], ()) if name in self.of_name]
        choices = [self.of_name[name] for name in names] or [c for c in self.present if c != category] or [category]
        return int(rng.choice(choices))

    def view(self, stem: str, index: int, rng: np.random.Generator) -> np.ndarray:
        """The predicted map [H, W] int32 of one view."""
        true = self._with_joined(np.asarray(self.truth.maps[stem]), index)
        ids, dense = np.unique(true, return_inverse=True)
        called = [self.ids.get(*self.stands_for[segment]) if segment else 0 for segment in ids.tolist()]
        predicted = np.array(called, np.int32)[dense.reshape(true.shape)]
        plain = predicted.copy()
        for segment, region, part in self.regions(true):
            window = predicted[region]
            window[part] = self.region(segment, region, part, plain, true, self._fate(segment, index, rng))
        if self.noise.bias:
            things = np.array([i for i, c in self.ids.categories().items() if self.is_thing[c]])
            predicted = grown(predicted, np.isin(predicted, things), self.noise.bias * true.shape[1] / REFERENCE_WIDTH)
        predicted = displaced(predicted, self.noise.boundary * true.shape[1] / REFERENCE_WIDTH, rng)
        predicted[void_blobs(true.shape, self.noise.blobs, rng)] = 0
        return predicted

    def _with_joined(self, true: np.ndarray, index: int) -> np.ndarray:
        """The true map of a view in which joined things are one."""
        for thing, other in self.joined.items():
            if np.random.default_rng([self.seed, 14, thing, index]).uniform() < JOINED_VIEWS:
                true = np.where(true == thing, other, true)
        return true

    def _fate(self, segment: int, index: int, rng: np.random.Generator) -> np.random.Generator:
        """What decides on a region: the view's generator, or one that a thing has for a run of views."""
        run = round(self.noise.run)
        if run <= 1 or not self.is_thing[self.category[segment]]:
            return rng
        first = int(np.random.default_rng([self.seed, 15, segment]).integers(run))
        return np.random.default_rng([self.seed, 16, segment, (index + first) // run])

    def regions(self, true: np.ndarray) -> Iterator[tuple[int, tuple[slice, slice], np.ndarray]]:
        """True segment, window and mask in the window of every region of a view."""
        ids, dense = np.unique(true, return_inverse=True)
        for segment, box in zip(ids.tolist(), ndimage.find_objects(dense.reshape(true.shape) + 1), strict=True):
            if segment == 0:
                continue
            mask = true[box] == segment
            if self.is_thing[self.category[segment]]:
                yield segment, box, mask
                continue
            labels = np.zeros(mask.shape, np.int32)
            ndimage.label(mask, output=labels)
            for number, (rows, columns) in enumerate(ndimage.find_objects(labels), 1):
                part = labels[rows, columns] == number
                if SMALL_REGION <= part.sum() <= LARGE_REGION * true.size:
                    y, x = box[0].start, box[1].start
                    window = slice(y + rows.start, y + rows.stop), slice(x + columns.start, x + columns.stop)
                    yield segment, window, part

    def region(
        self,
        segment: int,
        region: tuple[slice, slice],
        part: np.ndarray,
        plain: np.ndarray,
        true: np.ndarray,
        rng: np.random.Generator,
    ) -> np.ndarray | int:
        """What the region is called in this view: one id, or an id for each of its pixels."""
        noise, draw = self.noise, rng.uniform()
        stands_for, category = self.stands_for[segment]
        own = self.ids.get(stands_for, category)
        is_thing = self.is_thing[category]
        large = part.sum() > LARGE_REGION * true.size
        if segment in self.lost:
            return self.neighbour(region, part, plain, own, rng, prefer_things=False) if rng.uniform() < 0.5 else 0
        if draw < noise.missed and not large:
            return self.neighbour(region, part, plain, own, rng, prefer_things=False) if rng.uniform() < 0.5 else 0
        draw -= noise.missed
        if 0 <= draw < noise.merged and not large:
            return self.neighbour(region, part, plain, own, rng, prefer_things=True)
        draw -= noise.merged
        if 0 <= draw < noise.flipped and not large:
            return self.ids.spare(self.confusion(category, rng))
        draw -= noise.flipped
        if 0 <= draw < noise.switched and is_thing:
            return self.another(segment, category, own, rng)
        draw -= noise.switched
        if 0 <= draw < noise.split and is_thing:
            return np.where(half_of(part, rng)[part], self.ids.spare(category), own)
        if self.cuts and is_thing:
            return self.in_parts(stands_for, category, part, rng)
        return own

    def in_parts(self, segment: int, category: int, part: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """An id for each pixel of a thing: that of the part it lies in, by the cuts that are there in this view."""
        cuts = self.cuts[segment]
        there = rng.uniform(size=len(cuts)) < self.noise.parts
        jittered = [cut._replace(position=cut.position + rng.normal(0, CUT_JITTER)) for cut in cuts]
        bits = sum(1 << k for k, one in enumerate(there) if one)
        parts = parts_of(part, jittered)[part] & bits
        of_part = {int(number): self.ids.get(segment, category, int(number)) for number in np.unique(parts)}
        return np.array([of_part[int(number)] for number in parts], np.int32)

    def another(self, segment: int, category: int, own: int, rng: np.random.Generator) -> int:
        """The id of another thing of the class where there is one."""
        others = {self.ids.get(*self.stands_for[t]) for t in self.things if self.stands_for[t][1] == category} - {own}
        return int(rng.choice(sorted(others))) if others else self.ids.spare(category)

    def neighbour(
        self,
        region: tuple[slice, slice],
        part: np.ndarray,
        plain: np.ndarray,
        own: int,
        rng: np.random.Generator,
        prefer_things: bool,
    ) -> int:
        """The id of a segment that touches the region, drawn by the length of contact; 0 where nothing does."""
        reach = 3
        rows, columns = (slice(max(0, s.start - reach), s.stop + reach) for s in region)
        around = plain[rows, columns]
        mask = np.zeros(around.shape, bool)
        top, left = region[0].start - rows.start, region[1].start - columns.start
        mask[top : top + part.shape[0], left : left + part.shape[1]] = part
        ring = ndimage.binary_dilation(mask, iterations=reach) & ~mask
        ids, counts = np.unique(around[ring], return_counts=True)
        known = (ids != own) & (ids != 0)
        ids, counts = ids[known], counts[known]
        if prefer_things:
            of_id = self.ids.categories()
            things = np.array([self.is_thing[of_id[i]] for i in ids.tolist()], bool)
            if things.any():
                ids, counts = ids[things], counts[things]
        return int(rng.choice(ids, p=counts / counts.sum())) if len(ids) else 0


def _cuts(rng: np.random.Generator) -> tuple[Cut, ...]:
    """Where a thing falls into parts: seat and back, top and legs, door and drawer; more often one above the other."""
    return tuple(Cut(int(rng.uniform() < 0.3), rng.uniform(0.3, 0.7)) for _ in range(rng.integers(1, MOST_CUTS + 1)))
