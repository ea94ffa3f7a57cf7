# SPDX-License-Identifier: Apache-2.0
"""One palette a scene: stored with the labels, kept through edits, and the same in every picture."""

import json

import numpy as np
import pytest
import torch
from small_rooms import CATEGORIES, FAR, FLOOR, NASTY, NEAR, save, small_room

from panoptic_gs.camera import Camera
from panoptic_gs.export import placed_objects, render_path, write_boxes
from panoptic_gs.labelling import Category, Labelling, Segment
from panoptic_gs.objects.opening import open_scene, scene_name, telling_name
from panoptic_gs.objects.table import ObjectTable
from panoptic_gs.palette import MAX_SEGMENTS, PanopticPalette, colorized, colors_of, paired_colors, palette_of
from panoptic_gs.share import shared_scene
from panoptic_gs.uplift import load_labelled_scene, save_labelled_scene
from panoptic_gs.viewer import edits
from panoptic_gs.viewer.session import Session


def many(count: int, colors=None) -> Labelling:
    return Labelling((Category(1, "chair", True),), tuple(Segment(i + 1, 1) for i in range(count)), colors=colors or {})


def test_without_stored_colours_it_is_the_palette_of_the_ids():
    for count in (0, 1, 64, 65, 300):
        palette = PanopticPalette(range(1, count + 1))
        wanted = (palette.colors.numpy() * 255).round().astype(int).tolist()
        assert list(map(list, colors_of(many(count)).values())) == wanted
    assert len(colors_of(many(5000))) == 5000


def test_stored_colours_stay_and_new_segments_get_others():
    stored = colors_of(many(60))
    more = colors_of(many(70, stored))  # the palette of 70 ids has other places for some
    assert {i: more[i] for i in stored} == stored
    assert len(set(more.values())) == 70
    swapped = colors_of(many(3, {1: colors_of(many(3))[2]}))
    assert len(set(swapped.values())) == 3
    assert torch.equal((palette_of(many(70, stored)).colors * 255).round().int(), torch.tensor(list(more.values())))


def test_colours_are_stored_with_the_labels_and_survive_edits(tmp_path):
    save(small_room(), tmp_path / "room")
    stored = json.loads((tmp_path / "room" / "segments.json").read_text())["palette"]
    assert {int(i): tuple(c) for i, c in stored.items()} == colors_of(small_room().labelling)
    scene = load_labelled_scene(tmp_path / "room")
    own = {FLOOR: (10, 20, 30), NEAR: (200, 0, 0), FAR: (0, 200, 0), NASTY: (0, 0, 200)}
    meaning = scene.labelling.with_colors(own).with_scene("attic")
    save_labelled_scene(tmp_path / "mine", scene.splats, scene.labels, meaning)
    opened = open_scene(tmp_path / "mine")
    assert colors_of(opened.scene.labelling) == own
    assert scene_name(opened) == "attic"
    edited = edits.delete(edits.merge(opened.scene, NASTY, FAR), NEAR)
    assert colors_of(edited.labelling) == {i: own[i] for i in (FLOOR, FAR)}
    session = Session(opened)
    session.look.shaded = False
    drawn = session.colors()
    for segment_id, color in own.items():
        assert (drawn[session.table.segment_of == segment_id] == color).all()
    assert session.swatches() == own


def test_every_picture_has_the_same_colours(tmp_path):
    scene = small_room()
    own = {FLOOR: (10, 20, 30), NEAR: (200, 0, 0), FAR: (0, 200, 0), NASTY: (0, 0, 200)}
    scene = scene._replace(labelling=scene.labelling.with_colors(own))
    camera = Camera.look_at((3, 3, 3), (0, 0, 0), (0, 0, 1), 1.0, 48, 36)
    view = next(iter(render_path(scene, {"a": camera})))
    assert (view.panoptic == colorized(view.ids, own)).all()
    assert {o["id"]: tuple(o["color"]) for o in shared_scene(scene, "room").document["objects"]} == own
    table = ObjectTable(scene)
    write_boxes(tmp_path / "boxes.glb", placed_objects(table, np.array([0, 0, 1.0])), 1.0, colors_of(scene.labelling))
    content = (tmp_path / "boxes.glb").read_bytes()
    materials = json.loads(content[20 : 20 + int.from_bytes(content[12:16], "little")])["materials"]
    found = {tuple(round(255 * v) for v in m["pbrMetallicRoughness"]["baseColorFactor"][:3]) for m in materials}
    assert found == set(own.values())


def test_an_object_has_one_colour_in_two_labellings():
    other = Labelling(CATEGORIES, (Segment(5, 2), Segment(6, 2), Segment(NEAR, 1)))
    ours, theirs = paired_colors(small_room().labelling, other, {NEAR: 5, FAR: 6})
    assert (theirs[5], theirs[6]) == (ours[NEAR], ours[FAR])
    assert theirs[NEAR] not in ours.values()


@pytest.mark.parametrize(
    ("path", "name"),
    [("livingroom/scene", "livingroom"), ("office/run-2", "office"), ("chair", "chair"), ("a/labelled/edited-3", "a")],
)
def test_a_scene_goes_by_a_name_that_says_something(tmp_path, path, name):
    assert telling_name(tmp_path / path) == name


def test_more_segments_than_an_eye_can_part_repeat_colours_and_are_drawn_all_the_same():
    labelling = many(MAX_SEGMENTS + 200)
    palette, colors = palette_of(labelling), colors_of(labelling)
    assert palette.segment_ids.tolist() == sorted(colors) == sorted(labelling.segment_ids)
    picture = (palette.colorize(palette.segment_ids) * 255).round().int()
    assert [tuple(color) for color in picture.tolist()] == [colors[one] for one in palette.segment_ids.tolist()]
