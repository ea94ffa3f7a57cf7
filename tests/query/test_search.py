# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
from flat import (
    CUP,
    FAR_CHAIR,
    LAMP,
    NEAR_CHAIR,
    PAINTING,
    RELATIONS,
    RUG,
    TABLE,
    WALL,
    WINDOW,
    objects,
)

from panoptic_gs import InputError
from panoptic_gs.query import ObjectEmbeddings, Query, by_embedding, by_name, parse_query, search
from panoptic_gs.query.spatial import agreement, box_gap


def found(text):
    return [hit.object.id for hit in search(text, objects(), RELATIONS, by_name(objects())) if hit.place > 0]


@pytest.mark.parametrize(("text", "query"), [
    ("The chair next to the window?", Query("chair", (("next to", Query("window")),))),
    ("cup on a table near the sofa", Query("cup", (("on", Query("table", (("next to", Query("sofa")),))),))),
    ("bag under the table and against the wall", Query("bag", (("under", Query("table")), ("against", Query("wall"))))),
    ("the lamp that is standing on the desk", Query("lamp", (("on", Query("desk")),))),
    ("inside the cupboard", Query("inside the cupboard")),
    ("on-call phone", Query("on-call phone")),
    ("bread and butter", Query("bread and butter")),
])  # fmt: skip
def test_queries_are_read(text, query):
    assert parse_query(text) == query


@pytest.mark.parametrize(
    "text", ["", "  ?", "the chair left of the table", "what is behind the sofa", "cup to the right of it"]
)
def test_what_cannot_be_answered_is_refused(text):
    with pytest.raises(InputError, match="query"):
        parse_query(text)


@pytest.mark.parametrize(("text", "expected"), [
    ("the chair next to the window", [NEAR_CHAIR]),
    ("chair", [NEAR_CHAIR, FAR_CHAIR]),
    ("chairs", [NEAR_CHAIR, FAR_CHAIR]),
    ("the cup on the table", [CUP]),
    ("rug under the table", [RUG]),
    ("the painting on the wall", [PAINTING]),
    ("the cup on the table next to the window", []),  # the table is not
    ("cup on the rug", [CUP]),  # by the table
    ("fridge", []),
])  # fmt: skip
def test_objects_are_found_by_name_and_place(text, expected):
    assert found(text) == expected


def test_a_better_name_stands_before_a_part_of_it():
    hits = search("table lamp", objects(), RELATIONS, by_name(objects()))
    assert [(hit.object.id, hit.score) for hit in hits] == [(LAMP, 1.0), (TABLE, 0.5)]


def test_hits_say_what_they_are_beside_and_what_is_elsewhere_comes_last():
    hits = search("chair next to the window", objects(), RELATIONS, by_name(objects()))
    assert [(hit.object.id, hit.beside) for hit in hits] == [(NEAR_CHAIR, (WINDOW,)), (FAR_CHAIR, ())]
    assert hits[1].place == 0


class ByHand:
    """Vectors by hand: three axes of meaning."""

    name = "by hand"

    def pictures(self, pictures):
        raise AssertionError

    def words(self, phrases):
        axes = {"seat": [1, 0, 0], "opening": [0, 1, 0], "vessel": [0, 0, 1]}
        return np.array([axes[phrase] for phrase in phrases], dtype=np.float32)


def embeddings():
    vectors = {
        NEAR_CHAIR: [0.8, 0.1, 0],
        FAR_CHAIR: [0.9, 0, 0.1],
        WINDOW: [0, 1, 0],
        CUP: [0.1, 0, 0.9],
        TABLE: [0.5, 0, 0.2],
    }
    array = np.array(list(vectors.values()), dtype=np.float32)
    return ObjectEmbeddings(
        "by hand", "key", np.array(list(vectors)), array / np.linalg.norm(array, axis=1)[:, None], {}
    )


def test_vectors_rank_objects_by_cosine():
    likeness = by_embedding(objects(), embeddings(), ByHand())
    hits = search("seat", objects(), RELATIONS, likeness)
    expected = {FAR_CHAIR: 0.9 / np.hypot(0.9, 0.1), NEAR_CHAIR: 0.8 / np.hypot(0.8, 0.1),
                TABLE: 0.5 / np.hypot(0.5, 0.2), CUP: 0.1 / np.hypot(0.1, 0.9), WINDOW: 0.0}  # fmt: skip
    assert [hit.object.id for hit in hits] == list(expected)  # the wall, which no view shows, is not there
    assert [hit.score for hit in hits] == pytest.approx(list(expected.values()), abs=1e-6)
    first = search("seat next to the opening", objects(), RELATIONS, likeness)[0]
    assert (first.object.id, first.beside) == (NEAR_CHAIR, (WINDOW,))


def test_vectors_of_another_length_are_refused():
    short = ObjectEmbeddings("by hand", "key", np.array([1]), np.ones((1, 2), np.float32), {})
    with pytest.raises(InputError, match="2 numbers"):
        by_embedding(objects(), short, ByHand())("seat")


def test_next_to_falls_with_the_distance():
    rows = objects()
    near = agreement("next to", rows, RELATIONS)
    index = {entry.id: number for number, entry in enumerate(rows)}
    gap = box_gap(rows[index[NEAR_CHAIR]].box, rows[index[WINDOW]].box)
    assert gap == pytest.approx(0.025)
    assert near[index[NEAR_CHAIR], index[WINDOW]] == pytest.approx(1 - gap)
    assert near[index[FAR_CHAIR], index[WINDOW]] == 0
    assert near[index[PAINTING], index[WALL]] == 1
    assert agreement("next to", rows, RELATIONS, 10.0)[index[NEAR_CHAIR], index[WINDOW]] == pytest.approx(1 - 10 * gap)
