# SPDX-License-Identifier: Apache-2.0
"""Simulated panoptic predictions: exact maps made wrong the way multi-view networks are wrong.

Most errors are drawn anew in every view, so that looking at an object from many views can mend them. A smaller part is
the same in all views and cannot be mended: objects never found, called something else, or taken for one with another.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace

import numpy as np
from scipy import ndimage

from panoptic_gs.errors import InputError
from panoptic_gs.panoptic import Category, PanopticScene, Segment

REFERENCE_WIDTH = 320
LARGE_REGION = 0.15
SMALL_REGION = 12
SMALL_STUFF = 0.04

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

    def __post_init__(self) -> None:
        per_region = self.missed + self.merged + self.split + self.switched + self.flipped
        per_object = self.lost + self.confused + self.fused
        values = [getattr(self, f.name) for f in fields(self)]
        if not all(np.isfinite(values)) or min(values) < 0 or max(per_region, per_object, self.blobs) > 1:
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
        """One of `none`, `low`, `default`, `high`."""
        factors = {"none": 0.0, "low": 0.45, "default": 1.0, "high": 1.4}
        if name not in factors:
            raise InputError("noise", f"'{name}'", f"one of {', '.join(factors)}", "Choose one of these.")
        noise = cls()
        return replace(noise, **{f.name: factors[name] * getattr(noise, f.name) for f in fields(cls)})


def simulate_predictions(truth: PanopticScene, noise: PredictionNoise | None = None, seed: int = 0) -> PanopticScene:
    """Label maps as a network and its merging would give them.

    Args:
        truth: exact maps; any category list.
        noise: the rates, by default those of `PredictionNoise()`.
        seed: the same seed gives the same maps.
    """
    noise = PredictionNoise() if noise is None else noise
    simulation = _Simulation(truth, noise, np.random.default_rng([seed, 11]))
    maps = {stem: simulation.view(stem, np.random.default_rng([seed, 12, k])) for k, stem in enumerate(truth.stems)}
    used = set(np.unique(np.concatenate([np.unique(ids) for ids in maps.values()])).tolist()) if maps else set()
    segments = [segment for segment in simulation.ids.segments() if segment.id in used]
    return PanopticScene(truth.categories, segments, maps, source=f"simulated, seed {seed}, {noise}")


class _Ids:
    """Gives out predicted ids in a random order: one for each true segment and category, a spare for each category."""

    def __init__(self, rng: np.random.Generator, categories: tuple[Category, ...], segments: int) -> None:
        self._order = iter((rng.permutation(2 * (segments + len(categories))) + 1).tolist())
        self._stuff = {category.id for category in categories if not category.isthing}
        self._ids: dict[tuple[int, int], int] = {}

    def get(self, segment: int, category: int) -> int:
        """The id for a true segment seen as `category`; stuff has one id a class."""
        key = (0 if category in self._stuff else segment, category)
        if key not in self._ids:
            self._ids[key] = next(self._order)
        return self._ids[key]

    def spare(self, category: int) -> int:
        """The id that stands for no true segment: a query of the network that answers now to this, now to that."""
        return self.get(0, category)

    def segments(self) -> list[Segment]:
        return sorted((Segment(i, key[1]) for key, i in self._ids.items()), key=lambda segment: segment.id)


class _Simulation:
    def __init__(self, truth: PanopticScene, noise: PredictionNoise, rng: np.random.Generator) -> None:
        self.truth, self.noise = truth, noise
        self.ids = _Ids(rng, truth.categories, len(truth.segments))
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

    def view(self, stem: str, rng: np.random.Generator) -> np.ndarray:
        """The predicted map [H, W] int32 of one view."""
        true = np.asarray(self.truth.maps[stem])
        ids, dense = np.unique(true, return_inverse=True)
        called = [self.ids.get(*self.stands_for[segment]) if segment else 0 for segment in ids.tolist()]
        predicted = np.array(called, np.int32)[dense.reshape(true.shape)]
        plain = predicted.copy()
        for segment, region, part in self.regions(true):
            window = predicted[region]
            window[part] = self.region(segment, region, part, plain, true, rng)
        predicted = displaced(predicted, self.noise.boundary * true.shape[1] / REFERENCE_WIDTH, rng)
        predicted[void_blobs(true.shape, self.noise.blobs, rng)] = 0
        return predicted

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
        return own

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
            of_id = {segment.id: segment.category_id for segment in self.ids.segments()}
            things = np.array([self.is_thing[of_id[i]] for i in ids.tolist()], bool)
            if things.any():
                ids, counts = ids[things], counts[things]
        return int(rng.choice(ids, p=counts / counts.sum())) if len(ids) else 0


def displaced(labels: np.ndarray, amplitude: float, rng: np.random.Generator) -> np.ndarray:
    """A label map [H, W] warped by a smooth random field of `amplitude` pixels root mean square."""
    if amplitude == 0:
        return labels.copy()
    height, width = labels.shape
    field = ndimage.gaussian_filter(rng.normal(size=(2, height, width)), (0, width / 40, width / 40), mode="reflect")
    field *= amplitude / np.sqrt(2 * (field**2).mean())
    rows, columns = np.mgrid[:height, :width]
    rows = np.clip(np.rint(rows + field[0]).astype(int), 0, height - 1)
    columns = np.clip(np.rint(columns + field[1]).astype(int), 0, width - 1)
    return labels[rows, columns]


def void_blobs(shape: tuple[int, ...], share: float, rng: np.random.Generator) -> np.ndarray:
    """Random ellipses [H, W] bool that cover `share` of the image on average."""
    height, width = shape
    hidden = np.zeros(shape, bool)
    if share == 0:
        return hidden
    rows, columns = np.mgrid[:height, :width]
    radius = width / 30
    for _ in range(rng.poisson(share * height * width / (np.pi * radius**2 * 1.08))):
        a, b = radius * rng.uniform(0.6, 1.4, 2)
        y, x = rng.uniform(0, height), rng.uniform(0, width)
        hidden |= ((rows - y) / a) ** 2 + ((columns - x) / b) ** 2 < 1
    return hidden


def half_of(mask: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The part of a mask on one side of a random line near its middle."""
    rows, columns = np.nonzero(mask)
    angle = rng.uniform(0, 2 * np.pi)
    position = np.cos(angle) * rows + np.sin(angle) * columns
    cut = np.quantile(position, rng.uniform(0.35, 0.65))
    part = np.zeros_like(mask)
    part[rows[position > cut], columns[position > cut]] = True
    return part
