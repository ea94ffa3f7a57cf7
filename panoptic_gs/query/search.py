# SPDX-License-Identifier: Apache-2.0
"""Objects ranked by how well they are what a query says."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from panoptic_gs.errors import InputError
from panoptic_gs.export import PlacedObject, Relation
from panoptic_gs.query.embeddings import ObjectEmbeddings
from panoptic_gs.query.encoders import Encoder
from panoptic_gs.query.phrases import Query, Where, parse_query
from panoptic_gs.query.spatial import agreement

Likeness = Callable[[str], np.ndarray]
"""Phrase → how well each object is that, ``[N]``; what is not known is −1."""


@dataclass(frozen=True)
class Hit:
    """An object that a query found.

    Args:
        object: it.
        score: 0 … 1 by name; by a model the cosine of words and pictures, −1 … 1. Times how well it is in its place.
        likeness: the score without the place.
        place: 0 … 1, how well it is where the query says; 1 where it says nothing.
        beside: the ids of what it is on, in, under or next to, in the query's order.
    """

    object: PlacedObject
    score: float
    likeness: float
    place: float
    beside: tuple[int, ...] = ()


def search(
    text: str,
    objects: Sequence[PlacedObject],
    relations: Sequence[Relation],
    likeness: Likeness,
    meters_per_unit: float = 1.0,
) -> list[Hit]:
    """Objects ranked by a query: first those that are where it says, by how well they are what it says.

    Where something is to others, the others count by how well they are what is said of them relative to the best one.
    So of two chairs the one next to the best window stands first, and a chair next to no window stands behind.

    Raises:
        InputError: a query without words, or of sides that depend on who looks.
    """
    query = parse_query(text)
    places: dict[Where, np.ndarray] = {
        where: agreement(where, objects, relations, meters_per_unit) for where in _wheres(query)
    }
    place, beside = _placed(query, likeness, places, len(objects))
    alike = likeness(query.target)
    hits = [
        Hit(
            entry, float(alike[i] * place[i]), float(alike[i]), float(place[i]), tuple(objects[k].id for k in beside[i])
        )
        for i, entry in enumerate(objects)
        if alike[i] > -1
    ]
    return sorted(hits, key=lambda hit: (hit.place == 0, -hit.score, hit.object.id))


def by_name(objects: Sequence[PlacedObject]) -> Likeness:
    """Likeness by words: the share of a phrase's words that are in an object's name or category, −1 where none is."""
    names = [_stems(f"{entry.object.name} {entry.object.category.name}") for entry in objects]

    def likeness(phrase: str) -> np.ndarray:
        words = _stems(phrase)
        share = np.array([len(words & name) / max(len(words), 1) for name in names])
        return np.where(share > 0, share, -1.0)

    return likeness


def by_embedding(objects: Sequence[PlacedObject], embeddings: ObjectEmbeddings, encoder: Encoder) -> Likeness:
    """Likeness by the cosine of a phrase and an object's pictures; −1 for what no view shows.

    Raises:
        InputError: vectors of another length than the model's.
    """
    row = {int(segment): number for number, segment in enumerate(embeddings.ids)}

    def likeness(phrase: str) -> np.ndarray:
        vector = encoder.words([phrase])[0]
        if len(vector) != embeddings.vectors.shape[1]:
            raise InputError(
                "embeddings", f"vectors of {embeddings.vectors.shape[1]} numbers", f"{len(vector)}, as the model's",
                "Delete the scene's embeddings/ folder; the next query makes it again.",
            )  # fmt: skip
        cosine = embeddings.vectors @ vector
        return np.array([float(cosine[row[entry.id]]) if entry.id in row else -1.0 for entry in objects])

    return likeness


def _wheres(query: Query) -> set[Where]:
    found: set[Where] = set()
    for where, inner in query.places:
        found.add(where)
        found |= _wheres(inner)
    return found


def _placed(
    query: Query, likeness: Likeness, places: dict[Where, np.ndarray], count: int
) -> tuple[np.ndarray, list[tuple[int, ...]]]:
    """How well each object is where the query says ``[N]``, and which others speak for it."""
    place = np.ones(count)
    beside: list[tuple[int, ...]] = [()] * count
    for where, inner in query.places:
        alike = likeness(inner.target)
        best = float(alike.max(initial=-1.0))
        # Cosines differ by hundredths: what is nearly as good as the best counts, the rest hardly.
        spread = float(alike[alike > -1].std()) if (alike > -1).any() else 0.0
        relative = np.exp((alike - best) / max(spread, 1e-6)) if best > -1 else np.zeros(count)
        relative = np.where(alike > -1, relative, 0.0)
        deeper, _ = _placed(inner, likeness, places, count)
        strength = places[where] * (relative * deeper)[None, :]
        place = place * strength.max(axis=1, initial=0.0)
        if count:
            chosen = strength.argmax(axis=1)
            beside = [
                (*some, int(k)) if strength[i, k] > 0 else some for i, (some, k) in enumerate(zip(beside, chosen))
            ]
    return place, beside


def _stems(text: str) -> set[str]:
    return {word.removesuffix("es") if word.endswith(("shes", "ches", "xes", "sses")) else word.removesuffix("s")
            for word in re.findall(r"\w+", text.casefold())}  # fmt: skip
