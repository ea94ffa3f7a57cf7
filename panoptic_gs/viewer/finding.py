# SPDX-License-Identifier: Apache-2.0
"""Objects by words in the viewer's search box: by what they look like where the scene has vectors, else by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from panoptic_gs.errors import InputError
from panoptic_gs.export import PlacedObject, Relation, placed_objects, relate_objects
from panoptic_gs.objects.table import ObjectTable
from panoptic_gs.query import (
    Encoder,
    HubEncoder,
    by_embedding,
    by_name,
    kept_models,
    load_embeddings,
    parse_query,
    scene_key,
    search,
)
from panoptic_gs.uplift import LabelledScene

_CONTACT = 0.05  # metres
_MOST = 50  # objects that are said
_ALIKE = 0.5  # of the names' words that an object has at least, relative to the best one


class Found(NamedTuple):
    """Objects that fit a query, the best first, and how they were found."""

    ids: tuple[int, ...]
    by: str
    """The model's name, or ``name``."""
    note: str = ""
    """Why no model was asked, where the scene has vectors."""


class Finder:
    """Keeps what several queries of one scene need: its objects, their relations, the model.

    Args:
        folder: the scene's, in which vectors are kept.
        up: ``[3]``.
        encoder_of: gives the model of a name.
        meters_per_unit: size of the scene's unit.
    """

    def __init__(
        self,
        folder: Path,
        up: np.ndarray,
        encoder_of: Callable[[str], Encoder] = HubEncoder,
        meters_per_unit: float = 1.0,
    ) -> None:
        self._folder, self._up, self._unit, self._encoder_of = folder, up, meters_per_unit, encoder_of
        self._encoders: dict[str, Encoder] = {}
        self._scene: LabelledScene | None = None
        self._objects: list[PlacedObject] = []
        self._relations: list[Relation] | None = None
        self._key = ""

    def find(self, text: str, scene: LabelledScene, table: ObjectTable) -> Found:
        """The objects that fit a query, as ``panoptic-gs query`` ranks them.

        Raises:
            InputError: a query without words, or of sides that depend on who looks.
        """
        query = parse_query(text)
        if scene is not self._scene:
            self._scene, self._relations, self._key = scene, None, ""
            self._objects = placed_objects(table, self._up, uncertain=False, gap=2 * _CONTACT / self._unit)
        if query.places and self._relations is None:
            self._relations = relate_objects(scene.splats, self._objects, self._up, _CONTACT / self._unit)
        relations: Sequence[Relation] = self._relations or ()
        names = kept_models(self._folder)
        note = ""
        if names:
            try:
                self._key = self._key or scene_key(scene)
                kept = load_embeddings(self._folder, names[0], self._key)
                if kept is not None:
                    if names[0] not in self._encoders:
                        self._encoders[names[0]] = self._encoder_of(names[0])
                    likeness = by_embedding(self._objects, kept, self._encoders[names[0]])
                    hits = search(text, self._objects, relations, likeness, self._unit)
                    return Found(tuple(hit.object.id for hit in hits if hit.place > 0)[:_MOST], names[0])
                note = (
                    "By name: labels changed since the objects' vectors were made; 'panoptic-gs query' makes them anew."
                )
            except InputError as error:
                note = f"By name: {error.found}. {error.mend}"
        hits = search(text, self._objects, relations, by_name(self._objects), self._unit)
        best = max((hit.likeness for hit in hits), default=0.0)
        kept_hits = [hit for hit in hits if hit.place > 0 and hit.likeness >= _ALIKE * best]
        return Found(tuple(hit.object.id for hit in kept_hits)[:_MOST], "name", note)
