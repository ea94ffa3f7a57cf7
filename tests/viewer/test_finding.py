# SPDX-License-Identifier: Apache-2.0
"""Words in the search box find objects as ``panoptic-gs query`` does."""

import numpy as np
import pytest
from small_rooms import FAR, NASTY, NEAR, save, small_room

from panoptic_gs.errors import InputError
from panoptic_gs.objects.table import ObjectTable
from panoptic_gs.query import ObjectEmbeddings, scene_key
from panoptic_gs.viewer import edits
from panoptic_gs.viewer.finding import Finder

UP = np.array([0.0, 0, 1])
SCENE = small_room()


class HandEncoder:
    """Knows three words, each an axis."""

    name = "by hand"

    def __init__(self, name="by hand"):
        assert name == "by hand"

    def pictures(self, pictures):
        raise AssertionError("nothing is embedded in the viewer")

    def words(self, phrases):
        return np.eye(3, dtype=np.float32)[[["throne", "stool", "box"].index(phrase.split()[-1]) for phrase in phrases]]


def found(finder, text, scene=SCENE):
    return finder.find(text, scene, ObjectTable(scene))


def with_vectors(folder):
    save(SCENE, folder)
    vectors = np.array([[0.9, 0.1, 0.42], [0.1, 0.99, 0.1], [0.2, 0.2, 0.96]], np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    ids = np.array([FAR, NEAR, NASTY])
    ObjectEmbeddings("by hand", scene_key(SCENE), ids, vectors, {}).save(folder)
    return folder


def test_without_vectors_names_are_searched(tmp_path):
    answer = found(Finder(tmp_path, UP), "the chairs")
    assert answer.by == "name"
    assert set(answer.ids) == {NEAR, FAR}
    assert found(Finder(tmp_path, UP), "piano").ids == ()
    assert set(found(Finder(tmp_path, UP), "the chair on the floor").ids) == {NEAR, FAR}
    with pytest.raises(InputError, match="left"):
        found(Finder(tmp_path, UP), "the chair left of the door")


def test_vectors_of_the_scene_are_asked(tmp_path):
    finder = Finder(with_vectors(tmp_path / "room"), UP, HandEncoder)
    answer = found(finder, "throne")
    assert (answer.by, answer.ids[0], answer.note) == ("by hand", FAR, "")
    assert found(finder, "stool").ids[0] == NEAR


def test_where_vectors_cannot_be_asked_it_is_said(tmp_path):
    folder = with_vectors(tmp_path / "room")
    merged = edits.merge(SCENE, FAR, into=NEAR)
    answer = found(Finder(folder, UP, HandEncoder), "chair", merged)
    assert (answer.by, answer.ids) == ("name", (NEAR,))
    assert "labels changed" in answer.note

    def missing(name):
        raise InputError("--model", f"no model {name}", "one", "Get one.")

    answer = found(Finder(folder, UP, missing), "chair")
    assert (answer.by, set(answer.ids)) == ("name", {NEAR, FAR})
    assert "no model by hand" in answer.note
