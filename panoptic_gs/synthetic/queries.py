# SPDX-License-Identifier: Apache-2.0
"""Simulated raw predictions: query masks as a network gives them, before anything is merged.

Besides one query for each object there are second queries for the same object, queries for a part of one, for two at
once, and queries that answer to nothing. Class scores tell them apart only in part.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from scipy import ndimage

from panoptic_gs.camera import Camera
from panoptic_gs.errors import InputError
from panoptic_gs.panoptic import PanopticScene, resize_nearest
from panoptic_gs.raw_predictions import RawImage, RawPredictions
from panoptic_gs.synthetic.mask_errors import displaced, grown
from panoptic_gs.synthetic.neighbours import closest_things
from panoptic_gs.synthetic.noise import CONFUSIONS, JOINED_VIEWS, REFERENCE_WIDTH

NETWORK_SIDE = 512
INSIDE, OUTSIDE = 6.3, -10.0
"""Mask logits well inside an object and well outside. Networks trained on masks are firmly at 0 outside; with −6.3
there, what a few masks say of any pixel would add up to more than small objects when masks are compared by overlap."""
HEDGED = 0.4
"""Share of the logit inside that a query for a part or for two objects at once has: it is less sure of its mask."""


@dataclass(frozen=True)
class QueryNoise:
    """How wrong simulated query masks are; all shares are of the scene's segments unless said otherwise."""

    boundary: float = 1.5
    """Root mean square shift of the outlines, in pixels of an image 320 wide."""
    texture: float = 0.9
    """Standard deviation of smooth noise on the mask logits."""
    duplicates: float = 0.7
    """Second queries for a segment."""
    parts: float = 0.4
    """Queries for one side of a segment."""
    unions: float = 0.4
    """Queries for a segment together with another of its class, or with any where there is none."""
    background: int = 12
    """Number of queries that answer to nothing: weak blobs anywhere."""
    lost: float = 0.04
    """Segments without any query."""
    absent: float = 0.08
    """Share of views in which a query misses its object."""
    confused: float = 0.06
    """Segments whose queries score another class highest."""
    hesitation: float = 1.5
    """Standard deviation over segments of their class logit, and how far its mean lies below 3: some objects are hard
    to name, for all of their queries alike."""
    run: float = 0.0
    """Over how many neighbouring views (by their order) a query misses its object or not; up to 1: drawn in each."""
    bias: float = 0.0
    """How far masks of things reach beyond their outlines, in pixels of an image 320 wide."""
    joined: float = 0.0
    """Things whose queries take the thing next to them for a part of it in three of four views, where the queries of
    that one find nothing."""

    def __post_init__(self) -> None:
        values = [getattr(self, f.name) for f in fields(self)]
        shares = (self.lost, self.absent, self.confused, self.joined)
        if not all(np.isfinite(values)) or min(values) < 0 or max(shares) > 1:
            raise InputError(
                "QueryNoise", f"{self}", "shares from 0 to 1 and no negative numbers", "Correct the rates."
            )

    @classmethod
    def none(cls) -> QueryNoise:
        """One query for each segment, with the right class and sharp masks."""
        return cls(**{f.name: 0 for f in fields(cls)})

    @classmethod
    def preset(cls, name: str) -> QueryNoise:
        """One of :data:`~panoptic_gs.synthetic.noise.LEVELS`, as :meth:`PredictionNoise.preset` has them for maps."""
        factors = {"none": 0.0, "low": 0.5, "default": 1.0, "high": 1.5, "correlated": 1.0, "parts": 0.5, "fused": 0.5}
        if name not in factors:
            raise InputError("noise", f"'{name}'", f"one of {', '.join(factors)}", "Choose one of these.")
        noise = cls()
        scaled = {f.name: factors[name] * getattr(noise, f.name) for f in fields(cls)}
        shared = {"correlated": {"run": 8.0, "bias": 2.0}, "parts": {"parts": 2.0}, "fused": {"joined": 0.6}}
        return replace(noise, **(scaled | {"background": round(scaled["background"])} | shared.get(name, {})))


@dataclass(frozen=True)
class _Query:
    segments: tuple[int, ...]
    """True segments it answers to; none for a background query."""
    side: float | None = None
    """Direction of the part it covers, in radians in the image."""
    absent: float = 0.0


@dataclass(frozen=True)
class _Shared:
    """What the queries of a view have in common with those of other views."""

    absent: frozenset[int]
    """Queries that find nothing, by their number; beside those that are drawn in the view."""
    joined: Mapping[int, int]
    """Segment → the segment whose queries take it for a part of theirs."""


def network_input(width: int, height: int) -> tuple[int, int, np.ndarray]:
    """Size of the network's input for an image, and the transform [3, 3] from its pixels to the image's.

    As PanSt3R does it: scaled to at most 512 pixels on the longer side, centre-cropped to multiples of 16.
    """
    scale = min(1.0, NETWORK_SIDE / max(width, height))
    w, h = (max(16, int(side * scale + 1e-6) // 16 * 16) for side in (width, height))
    left, top = (width - w / scale) / 2, (height - h / scale) / 2
    return w, h, np.array([[1 / scale, 0, left], [0, 1 / scale, top], [0, 0, 1]])


def simulate_queries(
    truth: PanopticScene, cameras: Mapping[str, Camera], noise: QueryNoise | None = None, seed: int = 0
) -> RawPredictions:
    """Query masks for all views of a scene, with its exact cameras.

    Args:
        truth: exact maps of the images' size.
        cameras: stem → camera; those of the maps are used.
        noise: the rates, by default those of `QueryNoise()`.
        seed: the same seed gives the same predictions.
    """
    noise = QueryNoise() if noise is None else noise
    rng = np.random.default_rng([seed, 21])
    visible = sorted(set(np.unique(np.concatenate([np.unique(truth.maps[s]) for s in truth.stems])).tolist()) - {0})
    queries = _draw_queries(truth, visible, noise, rng)
    order = rng.permutation(len(queries))
    queries = [queries[i] for i in order]
    class_logits = _class_logits(truth, queries, noise, rng)
    things = [s.id for s in truth.segments if truth.is_thing[s.category_id]]
    joined = _joined(truth, things, noise, seed)

    first = np.asarray(truth.maps[truth.stems[0]])
    height, width = first.shape
    w, h, to_original = network_input(width, height)
    mask_w, mask_h = w // 2, h // 2
    masks = torch.empty((len(truth.stems), len(queries), mask_h, mask_w), dtype=torch.float16)
    inverse = np.linalg.inv(to_original)
    for index, stem in enumerate(truth.stems):
        labels = _crop(np.asarray(truth.maps[stem]), to_original, w, h)
        labels = resize_nearest(labels, mask_w, mask_h)
        labels = grown(labels, np.isin(labels, things), noise.bias * mask_w / REFERENCE_WIDTH)
        view_rng = np.random.default_rng([seed, 22, index])
        shared = _shared(queries, joined, noise, seed, index)
        masks[index] = torch.from_numpy(_view_logits(labels, queries, noise, view_rng, shared).astype(np.float16))
    stems = truth.stems
    Ks = torch.stack([torch.from_numpy(inverse).float() @ cameras[stem].K for stem in stems])
    return RawPredictions(
        masks,
        torch.from_numpy(class_logits),
        tuple(RawImage(f"{stem}.png", width, height) for stem in stems),
        truth.categories,
        f"simulated, seed {seed}, {noise}",
        (w, h),
        viewmats=torch.stack([cameras[stem].viewmat for stem in stems]),
        Ks=Ks,
        to_original=torch.from_numpy(to_original).float().expand(len(stems), 3, 3).clone(),
    )


def _draw_queries(
    truth: PanopticScene, visible: list[int], noise: QueryNoise, rng: np.random.Generator
) -> list[_Query]:
    category = {segment.id: segment.category_id for segment in truth.segments}
    queries: list[_Query] = []
    for segment in visible:
        if rng.uniform() < noise.lost:
            continue
        queries.append(_Query((segment,), absent=noise.absent))
        for _ in range(_count(noise.duplicates, rng)):
            queries.append(_Query((segment,), absent=min(1.0, 3 * noise.absent)))
        for _ in range(_count(noise.parts, rng)):
            queries.append(_Query((segment,), side=rng.uniform(0, 2 * np.pi), absent=noise.absent))
        for _ in range(_count(noise.unions, rng)):
            others = [s for s in visible if s != segment]
            same = [s for s in others if category[s] == category[segment]]
            if others:
                queries.append(_Query((segment, int(rng.choice(same or others))), absent=noise.absent))
    return queries + [_Query(()) for _ in range(noise.background)]


def _joined(truth: PanopticScene, things: list[int], noise: QueryNoise, seed: int) -> dict[int, int]:
    """Thing → the thing next to it whose queries take it in."""
    rng = np.random.default_rng([seed, 23])
    joined: dict[int, int] = {}
    for thing, other in closest_things(truth, things) if noise.joined else ():
        if rng.uniform() < noise.joined and not {*joined, *joined.values()} & {thing, other}:
            joined[thing] = other
    return joined


def _shared(queries: list[_Query], joined: dict[int, int], noise: QueryNoise, seed: int, view: int) -> _Shared:
    run = round(noise.run)
    absent = set()
    for number, query in enumerate(queries if run > 1 else ()):
        first = int(np.random.default_rng([seed, 24, number]).integers(run))
        if np.random.default_rng([seed, 25, number, (view + first) // run]).uniform() < query.absent:
            absent.add(number)
    here = {a: b for a, b in joined.items() if np.random.default_rng([seed, 26, a, view]).uniform() < JOINED_VIEWS}
    absent |= {number for number, query in enumerate(queries) if query.segments and query.segments[0] in here}
    return _Shared(frozenset(absent), here)


def _count(rate: float, rng: np.random.Generator) -> int:
    return int(rate) + int(rng.uniform() < rate % 1)


def _class_logits(
    truth: PanopticScene, queries: list[_Query], noise: QueryNoise, rng: np.random.Generator
) -> np.ndarray:
    index = {category.id: k for k, category in enumerate(truth.categories)}
    names = {category.name: k for k, category in enumerate(truth.categories)}
    category = {segment.id: segment.category_id for segment in truth.segments}
    confused: dict[int, int] = {}
    for segment in sorted({s for query in queries for s in query.segments}):
        own = index[category[segment]]
        if rng.uniform() < noise.confused:
            others = [names[n] for n in CONFUSIONS.get(truth.categories[own].name, ()) if n in names]
            confused[segment] = int(rng.choice(others or [k for k in range(len(names)) if k != own] or [own]))
    certainty = {s: rng.normal(3.0 - noise.hesitation, noise.hesitation) for s in sorted(category)}
    logits = rng.normal(-5.5, 0.6, (len(queries), len(truth.categories)))
    for row, query in zip(logits, queries, strict=True):
        if not query.segments:
            row[rng.integers(len(row))] = rng.normal(-2.2, 0.7)
            continue
        segment = query.segments[0]
        right = confused.get(segment, index[category[segment]])
        whole = query.side is None and len(query.segments) == 1
        row[right] = certainty[segment] + (rng.normal(0.0, 0.3) if whole else rng.normal(-1.0, 0.6))
        if segment in confused:
            row[index[category[segment]]] = row[right] - rng.uniform(0.5, 2.0)
    return logits.astype(np.float32)


def _crop(labels: np.ndarray, to_original: np.ndarray, width: int, height: int) -> np.ndarray:
    """The label map of the network's input: nearest pixel of the original image."""
    columns = (to_original[0, 0] * (np.arange(width) + 0.5) + to_original[0, 2]).astype(int)
    rows = (to_original[1, 1] * (np.arange(height) + 0.5) + to_original[1, 2]).astype(int)
    return labels[rows.clip(0, labels.shape[0] - 1)[:, None], columns.clip(0, labels.shape[1] - 1)[None, :]]


def _view_logits(
    labels: np.ndarray, queries: list[_Query], noise: QueryNoise, rng: np.random.Generator, shared: _Shared
) -> np.ndarray:
    """[Q, h, w] float32 mask logits of one view."""
    amplitude = noise.boundary * labels.shape[1] / REFERENCE_WIDTH
    variants = [displaced(labels, amplitude, rng) for _ in range(4 if amplitude else 1)]
    fields = [_smooth_noise(labels.shape, rng) for _ in range(4)] if noise.texture or noise.background else []
    logits = np.empty((len(queries), *labels.shape), np.float32)
    for index, query in enumerate(queries):
        variant = variants[rng.integers(len(variants))]
        texture = 0.0
        if fields:
            a, b = rng.choice(len(fields), 2, replace=False)
            shift = tuple(int(rng.integers(n)) for n in labels.shape)
            texture = 0.8 * np.roll(fields[a], shift, (0, 1)) + 0.6 * fields[b]
        if not query.segments:
            logits[index] = -4.5 + 2.2 * texture
            continue
        taken_in = [one for one, other in shared.joined.items() if other in query.segments]
        mask = np.isin(variant, [*query.segments, *taken_in])
        if query.side is not None and mask.any():
            rows, columns = np.nonzero(mask)
            position = np.cos(query.side) * rows + np.sin(query.side) * columns
            kept = position > np.median(position)
            mask = np.zeros_like(mask)
            mask[rows[kept], columns[kept]] = True
        missing = rng.uniform() < query.absent if noise.run <= 1 else False
        if missing or index in shared.absent:
            logits[index] = OUTSIDE + noise.texture * texture
            continue
        soft = ndimage.gaussian_filter(mask.astype(np.float32), 0.8)
        level = np.clip((2 * soft - 1) / 0.9, -1, 1)
        inside = INSIDE if query.side is None and len(query.segments) == 1 else HEDGED * INSIDE
        logits[index] = np.where(level > 0, inside * level, -OUTSIDE * level) + noise.texture * texture
    return logits


def _smooth_noise(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    field = ndimage.gaussian_filter(rng.normal(size=shape), shape[1] / 32, mode="wrap")
    return (field / field.std()).astype(np.float32)
