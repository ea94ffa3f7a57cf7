# SPDX-License-Identifier: Apache-2.0
"""Doubts that the viewer lists, and the edits that settle them."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from small_rooms import CENTERS, FAR, FLOOR, NASTY, NEAR, save, small_room

from panoptic_gs.errors import InputError
from panoptic_gs.objects.cut_out import strays
from panoptic_gs.objects.table import ObjectTable
from panoptic_gs.uplift import GaussianLabels, LabelledScene
from panoptic_gs.viewer import edits
from panoptic_gs.viewer.doubting import Question, mend, questions

UP = np.array([0.0, 0.0, 1.0])


def labelled(rows) -> LabelledScene:
    """The small room with other votes: ``[(label, weight), …]`` for each Gaussian."""
    scene = small_room()
    indptr = torch.tensor([0, *np.cumsum([len(row) for row in rows])])
    label, weight = zip(*(entry for row in rows for entry in row))
    total = scene.labels.total
    labels = GaussianLabels(indptr, torch.tensor(label), torch.tensor(weight), total, torch.zeros(len(rows)))
    return scene._replace(labels=labels)


def own() -> np.ndarray:
    return small_room().labels.best()[0].numpy()


def test_a_pair_with_shared_votes_may_be_one_and_merges():
    scene = labelled([[(NEAR, 0.6), (FAR, 0.4)] if s == NEAR else [(int(s), 1.0)] for s in own()])
    found = questions(scene)
    assert [(q.kind, q.segments, q.basis) for q in found] == [("may be one", (NEAR, FAR), "votes")]
    assert found[0].share == pytest.approx(0.4, abs=1e-3)
    merged = mend(found[0], "merge").apply(scene)
    assert [s.id for s in merged.segments] == [FLOOR, FAR, NASTY]
    assert questions(merged)[0].kind == "in pieces"  # two cubes two metres apart


def test_an_object_in_two_places_is_split_into_them():
    scene = labelled([[(NEAR if s == FAR else int(s), 1.0)] for s in own()])
    found = questions(scene)
    assert [(q.kind, q.segments) for q in found] == [("in pieces", (NEAR,))]
    assert found[0].share == pytest.approx(0.5, abs=0.02)
    split = mend(found[0], "split").apply(scene)
    best = split.labels.best()[0].numpy()
    new = split.segments[-1].id
    assert split.segments[-1].category_id == 2
    assert {frozenset(np.unique(own()[best == i])) for i in (NEAR, new)} == {frozenset([NEAR]), frozenset([FAR])}
    assert questions(split) == []


def test_floaters_of_one_object_go_to_what_they_were_seen_as_next():
    far = np.flatnonzero(own() == FAR)[:40]  # 40 of the other cube's Gaussians went to this one
    rows = [[(int(s), 1.0)] for s in own()]
    for gaussian in far:
        rows[gaussian] = [(NEAR, 0.6), (FAR, 0.4)] if gaussian % 2 else [(NEAR, 1.0)]
    scene = labelled(rows)
    stray = strays(ObjectTable(scene), NEAR, UP)
    assert set(stray) == set(far)
    cleaned = edits.clean(scene, NEAR, stray)
    best = cleaned.labels.best()[0].numpy()
    assert (best[far[far % 2 == 1]] == FAR).all()
    assert (best[far[far % 2 == 0]] == 0).all()
    assert ((best == NEAR) == (own() == NEAR)).all()
    assert len(cleaned.splats) == len(scene.splats)
    with pytest.raises(InputError, match="nothing to clean"):
        edits.clean(cleaned, NEAR, strays(ObjectTable(cleaned), NEAR, UP))


def test_a_part_that_views_gave_to_another_object_is_split_off():
    half = np.flatnonzero(own() == NEAR)[:250]
    rows = [[(int(s), 1.0)] for s in own()]
    for gaussian in half:
        rows[gaussian] = [(NEAR, 0.55), (FAR, 0.45)]
    scene, new = edits.split_votes(labelled(rows), NEAR, FAR)
    assert (np.flatnonzero(scene.labels.best()[0].numpy() == new) == half).all()
    with pytest.raises(InputError, match="a part of it"):
        edits.split_votes(labelled(rows), NASTY, FAR)
    with pytest.raises(InputError):
        mend(Question("may be one", (NEAR, FAR), 0.5, "views", ("merge",)), "clean")


def test_a_brush_adds_cuts_and_deletes_around_a_point():
    scene = small_room()
    means = scene.splats.means.numpy()
    top = np.add(CENTERS[NEAR], (0, 0, 0.3))
    near = np.linalg.norm(means - top.astype(np.float32), axis=1) <= 0.25
    mine = own() == NEAR
    assert 0 < (near & mine).sum() < mine.sum()
    cut, count = edits.brush(scene, NEAR, top, 0.25, "cut")
    assert count == (near & mine).sum()
    assert (cut.labels.best()[0].numpy()[near & mine] == FAR).all()  # their other votes
    back, count = edits.brush(cut, NEAR, top, 0.25, "add")
    best, share = back.labels.best()
    assert (best.numpy() == own()).all()
    assert (share.numpy()[near & mine] == 1).all()
    less, count = edits.brush(scene, NEAR, top, 0.25, "delete")
    assert len(less.splats) == len(scene.splats) - count
    assert (less.splats.means.numpy() == means[~(near & mine)]).all()
    for radius, how in ((1e-6, "add"), (9.0, "cut"), (9.0, "delete"), (0.0, "add"), (float("nan"), "add")):
        with pytest.raises(InputError):
            edits.brush(scene, NEAR, top + 0.011, radius, how)


def test_clicks_brush_while_the_brush_is_taken_up(tmp_path):
    pytest.importorskip("viser")
    from panoptic_gs.viewer.start import start_viewer

    save(small_room(), tmp_path / "room")
    page, _ = start_viewer(tmp_path / "room", port=0)
    try:
        told = []
        visitor = SimpleNamespace(
            camera=SimpleNamespace(fov=1.0), add_notification=lambda *words, **_: told.append(words)
        )
        click = visitor, np.add(CENTERS[NEAR], (0, 0, 3.0)), np.array([0.0, 0.0, -1.0])
        page.objects.heard({"do": "select", "id": NEAR})
        page.objects.heard({"do": "brush", "how": "cut", "radius": 0.2})
        page.clicked(*click)
        assert page.session.history.undoable == "cut from chair · 7"
        assert 300 < page.session.table[NEAR].count < 600
        assert page.objects.state()["brush"] == {"how": "cut", "radius": 0.2}
        page.objects.heard({"do": "brush", "how": "off"})
        page.clicked(*click)
        assert page.session.look.selected != NEAR  # it selects again
        assert page.objects.heard({"do": "brush", "how": "add", "radius": -1})["bad"]
        page.session.select(NEAR)
        page.objects.heard({"do": "brush", "how": "delete", "radius": 50})
        page.clicked(*click)
        assert "all of its Gaussians" in told[0][0]
    finally:
        page.close()


def test_the_list_settles_doubts(tmp_path):
    pytest.importorskip("viser")
    from panoptic_gs.viewer.start import start_viewer

    scene = labelled([[(NEAR, 0.6), (FAR, 0.4)] if s == NEAR else [(int(s), 1.0)] for s in own()])
    save(scene, tmp_path / "room")
    page, _ = start_viewer(tmp_path / "room", port=0)
    try:
        page.tell = lambda *_: None
        assert page.objects.state()["doubts"] is None
        page.objects.heard({"do": "doubts"})
        doubts = page.objects.state()["doubts"]
        assert [entry["ids"] for entry in doubts["entries"]] == [[NEAR, FAR]]
        settle = {"do": "settle", "list": doubts["list"], "place": doubts["entries"][0]["place"]}
        page.objects.heard(settle | {"how": "merge"})
        assert page.session.table.get(NEAR) is None
        assert page.session.look.selected == FAR
        assert page.objects.state()["doubts"]["entries"] == []
        page.objects.heard({"do": "undo"})
        page.objects.heard({"do": "doubts"})
        settle["list"] = page.objects.state()["doubts"]["list"]
        assert page.objects.heard(settle | {"list": 0, "how": "fine"})["bad"]  # of an earlier list
        page.objects.heard(settle | {"how": "fine"})
        assert page.objects.state()["doubts"]["entries"] == []
        assert page.session.table.get(NEAR) is not None
    finally:
        page.close()
