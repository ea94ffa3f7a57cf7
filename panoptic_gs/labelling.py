# SPDX-License-Identifier: Apache-2.0
"""What label ids mean: categories, segments, and the one form in which both are stored as JSON.

Maps, labelled splats and checkpoints all carry a :class:`Labelling` and write it in this form, so nothing that is known
of a segment is lost on the way from one to the next. An entry of a segment is what COCO lists in ``segments_info``
(https://cocodataset.org/#format-data) with ``score``, ``name``, ``query`` and ``queries`` where they are known.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np

from panoptic_gs.errors import InputError
from panoptic_gs.records import Name, Range, parse_record, record_to_json

MAX_SEGMENT_ID = (1 << 24) - 1
"""The largest id that an RGB pixel holds."""
MAX_CATEGORY_ID = (1 << 31) - 1
_Byte = Annotated[int, Range(0, 255)]


@dataclass(frozen=True)
class Category:
    """A class: things are countable objects, stuff (``isthing=False``) is one segment per class and scene."""

    id: int
    name: Name
    isthing: bool
    color: tuple[_Byte, _Byte, _Byte] | None = None


@dataclass(frozen=True)
class Segment:
    """One object, or one stuff class, of a scene; ``queries`` of a network it was made from, the largest first."""

    id: int
    category_id: int
    score: float | None = None
    queries: tuple[int, ...] = ()
    name: str | None = None
    """What somebody called it; None where it goes by its category."""
    iscrowd: bool = False
    """Whether it is a group of things that nobody told apart, as in COCO: a prediction may find any of them."""

    @property
    def query(self) -> int | None:
        """The query that gave most of it."""
        return self.queries[0] if self.queries else None


@dataclass(frozen=True)
class Labelling:
    """What ids mean.

    Args:
        categories: the classes; ids positive and unique.
        segments: the segments; ids in 1 … 2²⁴−1 and unique, each of a listed category.
        source: what made the labels, free text.
        colors: segment id → red, green, blue by which it is told in pictures; segments without one get one of
            :func:`~panoptic_gs.palette.colors_of`. Neither these nor the name make two labellings different.
        scene: what the scene is called; empty where nobody said.

    Raises:
        InputError: an id listed twice or out of range, a segment without a category.
    """

    categories: tuple[Category, ...]
    segments: tuple[Segment, ...]
    source: str = ""
    colors: Mapping[int, tuple[int, int, int]] = field(default_factory=dict, compare=False, repr=False)
    scene: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "categories", tuple(self.categories))
        object.__setattr__(self, "segments", tuple(self.segments))
        require_unique("categories", [category.id for category in self.categories], highest=MAX_CATEGORY_ID)
        require_unique("segments", [segment.id for segment in self.segments], highest=MAX_SEGMENT_ID)
        known = {category.id for category in self.categories}
        for segment in self.segments:
            if segment.category_id not in known:
                raise InputError(
                    f"segment {segment.id}",
                    f"category id {segment.category_id}",
                    "a listed category",
                    "Add the category to the list or give the segment another one.",
                )

    @property
    def is_thing(self) -> dict[int, bool]:
        """Category id → whether it is a thing."""
        return {category.id: category.isthing for category in self.categories}

    @property
    def category_names(self) -> dict[int, str]:
        """Category id → its name."""
        return {category.id: category.name for category in self.categories}

    @property
    def segment_ids(self) -> list[int]:
        """The ids of all segments, in their order."""
        return [segment.id for segment in self.segments]

    def category_of(self) -> np.ndarray:
        """A lookup table ``[largest id + 1]`` int32: segment id → category id, 0 for void and unused ids."""
        table = np.zeros(max(self.segment_ids, default=0) + 1, dtype=np.int32)
        for segment in self.segments:
            table[segment.id] = segment.category_id
        return table

    def with_segments(self, segments: Collection[Segment]) -> Labelling:
        """Other segments of the same categories; those that stay keep their colours."""
        return Labelling(self.categories, tuple(segments), self.source, self.colors, self.scene)

    def with_source(self, source: str) -> Labelling:
        """The same with another source."""
        return Labelling(self.categories, self.segments, source, self.colors, self.scene)

    def with_colors(self, colors: Mapping[int, tuple[int, int, int]]) -> Labelling:
        """The same with these colours of segments."""
        return Labelling(self.categories, self.segments, self.source, dict(colors), self.scene)

    def with_scene(self, scene: str) -> Labelling:
        """The same of a scene that is called so."""
        return Labelling(self.categories, self.segments, self.source, self.colors, scene)

    def require_known(self, ids: np.ndarray, what: str | Path, mend: str) -> None:
        """Check that ids (any shape) are 0 or segments of this labelling.

        Args:
            ids: the ids.
            what: what holds them, for the error.
            mend: what to do about others.

        Raises:
            InputError: an id that is no segment.
        """
        unknown = np.setdiff1d(ids, [0, *self.segment_ids])
        if unknown.size:
            raise InputError(
                what, f"{unknown.size} labels that are no segment, the first {unknown[0]}",
                "ids of listed segments, or 0 for void", mend,
            )  # fmt: skip

    def to_json(self) -> dict[str, Any]:
        """Plain values for JSON, or for a checkpoint: ``info``, ``segments``, ``categories``, and ``palette`` where
        segments have colours of their own."""
        known = set(self.segment_ids)
        palette = {str(one): list(color) for one, color in self.colors.items() if one in known}
        return {
            "info": {"source": self.source} | ({"scene": self.scene} if self.scene else {}),
            "segments": [segment_to_json(segment) for segment in self.segments],
            "categories": categories_to_json(self.categories),
        } | ({"palette": palette} if palette else {})

    @classmethod
    def from_json(cls, document: Any, file: Path | str) -> Labelling:
        """Read what :meth:`to_json` gave.

        Args:
            document: the values.
            file: where they are from, for errors.

        Raises:
            InputError: a field is missing or malformed, ids are out of range or listed twice.
        """
        parsed = parse_record(document, _LabellingEntry, file, mend="Write the labels again.")
        segments = tuple(entry.segment() for entry in parsed.segments)
        known = {str(segment.id): segment.id for segment in segments}
        colors = {known[one]: color for one, color in parsed.palette.items() if one in known}
        try:
            return Labelling(parsed.categories, segments, parsed.info.source, colors, parsed.info.scene)
        except InputError as error:
            raise error.inside(file) from error


@dataclass(frozen=True)
class SegmentEntry:
    """A segment as it is stored, alone or in COCO's ``segments_info``."""

    id: int
    category_id: int
    score: float | None = None
    query: int | None = None
    queries: tuple[int, ...] | None = None
    name: Name | None = None
    iscrowd: bool = False

    def segment(self) -> Segment:
        """The segment."""
        queries = self.queries if self.queries is not None else () if self.query is None else (self.query,)
        return Segment(self.id, self.category_id, self.score, queries, self.name or None, self.iscrowd)


def segment_to_json(segment: Segment) -> dict[str, Any]:
    """The entry of a segment, with what is known of it alone."""
    entry = SegmentEntry(
        segment.id,
        segment.category_id,
        segment.score,
        segment.query,
        segment.queries if len(segment.queries) > 1 else None,
        segment.name,
        segment.iscrowd,
    )
    return {key: int(value) if key == "iscrowd" else value for key, value in record_to_json(entry).items()}


def category_from_json(entry: Any, source: Path | str = "category") -> Category:
    """A category from an entry of COCO's list.

    Raises:
        InputError: a field is missing or malformed.
    """
    return parse_record(entry, Category, source, mend="A category has id, name and isthing.")


def categories_to_json(categories: Collection[Category]) -> list[dict[str, Any]]:
    """COCO's list of categories."""
    return [record_to_json(category) | {"isthing": int(category.isthing)} for category in categories]


def require_unique(what: str, ids: Collection[int], highest: int) -> None:
    """Check ids of categories or segments.

    Raises:
        InputError: one occurs twice or is not in 1 … ``highest``.
    """
    for value, count in Counter(ids).items():
        if count > 1 or not 0 < value <= highest:
            found = f"id {value} {count} times" if count > 1 else f"id {value}"
            raise InputError(what, found, f"unique ids from 1 to {highest}", "Number them anew; 0 means void.")


@dataclass(frozen=True)
class _Info:
    source: str = ""
    scene: str = ""


@dataclass(frozen=True)
class _LabellingEntry:
    segments: tuple[SegmentEntry, ...]
    categories: tuple[Category, ...]
    info: _Info = _Info()
    palette: dict[str, tuple[_Byte, _Byte, _Byte]] = field(default_factory=dict)
