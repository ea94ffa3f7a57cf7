# SPDX-License-Identifier: Apache-2.0
"""The objects of a scene as rows of a report."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from panoptic_gs.backends import RasterizeMode
from panoptic_gs.camera import Camera
from panoptic_gs.labelling import Labelling
from panoptic_gs.objects.survey import Survey, in_words, sides
from panoptic_gs.uplift import LabelledScene


@dataclass(frozen=True)
class ObjectRow:
    """One object, or one stuff class; what is not known is None.

    Args:
        id: of its segment.
        name: its own, else its category's.
        category: the category's name.
        isthing: whether it is a thing.
        score: of the prediction.
        confidence: mean share of its label over its Gaussians.
        gaussians: whose strongest label it is.
        uncertain: whether too little speaks for it; then it has no size.
        size: of its upright box in metres: both sides on the ground, the longer first, and the height.
    """

    id: int
    name: str
    category: str
    isthing: bool
    score: float | None = None
    confidence: float | None = None
    gaussians: int | None = None
    size: tuple[float, float, float] | None = None
    uncertain: bool = False


def labelled_objects(
    scene: LabelledScene,
    cameras: Collection[Camera] = (),
    meters_per_unit: float = 1.0,
    rasterize_mode: RasterizeMode = "classic",
) -> tuple[ObjectRow, ...]:
    """The objects that have Gaussians, uncertain ones last; ``cameras`` tell what is up, and where surfaces are."""
    survey = Survey(scene, list(cameras), rasterize_mode)
    rows = []
    for row in survey.table:
        if not row.count:
            continue
        box = survey.table.box(row.id, survey.up) if not row.uncertain else None
        size = None if box is None else sides(box, meters_per_unit)
        rows.append(
            ObjectRow(row.id, row.name, row.category.name, row.category.isthing, row.segment.score, row.confidence,
                      row.count, size, row.uncertain)
        )  # fmt: skip
    return tuple(sorted(rows, key=lambda row: row.uncertain))


def objects_in_words(rows: Collection[ObjectRow]) -> str:
    """How many there are, as every command says it."""
    certain = [row for row in rows if not row.uncertain]
    things = sum(row.isthing for row in certain)
    return in_words(things, len(certain) - things, len(rows) - len(certain))


def mapped_objects(meaning: Labelling) -> tuple[ObjectRow, ...]:
    """The segments of panoptic maps, things first."""
    categories = {category.id: category for category in meaning.categories}
    rows = []
    for segment in meaning.segments:
        category = categories[segment.category_id]
        rows.append(
            ObjectRow(segment.id, segment.name or category.name, category.name, category.isthing, segment.score)
        )
    return tuple(sorted(rows, key=lambda row: (not row.isthing, row.name.casefold(), row.id)))
