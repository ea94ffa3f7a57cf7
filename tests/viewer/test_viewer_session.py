# SPDX-License-Identifier: Apache-2.0
"""What a viewer opens, shows, picks and saves, without a browser."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from small_rooms import CATEGORIES, CENTERS, FAR, FLOOR, NASTY, NEAR, save, small_mesh, small_room

from panoptic_gs.camera import Camera
from panoptic_gs.errors import InputError
from panoptic_gs.objects.opening import OpenedScene, open_scene
from panoptic_gs.uplift import load_labelled_scene, render_panoptic
from panoptic_gs.viewer import appearance
from panoptic_gs.viewer.operations import Delete, Rename
from panoptic_gs.viewer.session import Session

EYE = np.array([4.0, 0.0, 0.9])


@pytest.fixture
def folder(tmp_path):
    save(small_room(), tmp_path / "room")
    return tmp_path / "room"


@pytest.fixture
def session(folder):
    return Session(open_scene(folder))


class TestLook:
    def test_hidden_filtered_and_unlabelled_gaussians_are_not_drawn(self, session):
        best = session.table.segment_of
        session.look.hidden = {FLOOR}
        assert np.array_equal(session.visible(), best != FLOOR)
        session.show_only({NEAR})
        assert np.array_equal(session.visible(), best == NEAR)
        session.show_all()
        assert session.visible().all()
        session.look.min_confidence = 0.71
        assert np.array_equal(session.visible(), best != NEAR)

    def test_each_mode_has_its_colours(self, session):
        best = session.table.segment_of
        session.look.shaded = False
        for mode, same in (("colour", 1), ("panoptic", 1), ("category", 1), ("confidence", 1)):
            session.look.color_by = mode
            colors = session.colors()
            assert (colors.shape, colors.dtype) == ((3400, 3), np.uint8)
            assert len(np.unique(colors[best == NEAR], axis=0)) == same
        session.look.color_by = "panoptic"
        assert len(np.unique(session.colors(), axis=0)) == 4
        session.look.color_by = "category"
        assert len(np.unique(session.colors(), axis=0)) == 3

    def test_a_mesh_is_drawn_as_the_gaussians_are(self, folder):
        session = Session(open_scene(folder), mesh=small_mesh())
        mesh, look = session.mesh, session.look
        assert session.drawn_mesh() is None
        look.shown, look.color_by = "both", "colour"
        faces, colors = session.drawn_mesh()
        assert np.array_equal(faces, mesh.faces)
        assert (colors == 120).all()
        look.color_by, look.shaded = "panoptic", False
        _, colors = session.drawn_mesh()
        for segment in (FLOOR, NEAR, FAR, NASTY):
            of_splats = session.colors()[session.table.segment_of == segment][0]
            assert (colors[mesh.segment == segment] == of_splats).all()
        look.hidden, look.min_confidence = {FLOOR}, 0.75
        faces, _ = session.drawn_mesh()
        assert set(mesh.segment[faces].ravel()) == {FAR, NASTY}
        session.edit("delete", Delete(NASTY))
        _, colors = session.drawn_mesh()
        assert (colors[mesh.segment == NASTY] == appearance.UNLABELLED).all(), "the mesh is of before"

    @pytest.mark.parametrize("palette", appearance.PALETTES)
    def test_palettes_part_the_segments(self, palette):
        ids = np.array([0, 3, 9, 12, 700])
        colors = appearance.label_colors(ids, [3, 9, 12, 700], palette, shuffle=3)
        assert len(np.unique(colors, axis=0)) == 5
        assert tuple(colors[0]) == appearance.UNLABELLED

    def test_the_data_sets_own_colours(self):
        colors = appearance.category_colors(np.array([1, 2]), CATEGORIES, "from the data set")
        assert colors[0].tolist() == [120, 90, 60]

    def test_the_selected_object_is_the_brightest(self, session):
        session.select(NASTY)
        brightness = session.colors().astype(float).max(axis=1)
        own = session.table.segment_of == NASTY
        assert brightness[own].min() > brightness[~own].max()

    def test_selecting_nothing(self, session):
        session.select(99)
        assert session.look.selected == 0


class TestPicking:
    def ray(self, point):
        return EYE, np.asarray(point) - EYE

    def test_what_is_in_front_is_picked(self, session):
        assert session.pick(*self.ray(CENTERS[NEAR]), fov_y=1.0) == NEAR
        assert session.pick(*self.ray(CENTERS[FAR]), fov_y=1.0) == NEAR

    def test_what_is_hidden_is_not_picked(self, session):
        session.look.hidden = {NEAR}
        assert session.pick(*self.ray(CENTERS[FAR]), fov_y=1.0) == FAR
        session.look.hidden = {NEAR, FAR, FLOOR}
        assert session.pick(*self.ray(CENTERS[FAR]), fov_y=1.0) == 0

    def test_the_sky_is_nothing(self, session):
        assert session.pick(EYE, np.array([0.0, 0.0, 1.0]), fov_y=1.0) == 0

    def test_every_pixel_agrees_with_the_rendered_map(self, session):
        camera = Camera.look_at(torch.tensor(EYE), (0.0, 0.2, 0.3), (0, 0, 1), 0.9, 24, 18)
        ids = render_panoptic(session.scene.splats, session.scene.labels, camera).ids.numpy()
        fov_y = 2 * math.atan(0.5 * camera.height / float(camera.K[1, 1]))
        rotation, K = camera.viewmat[:3, :3].double().numpy(), camera.K.double().numpy()
        agree = total = 0
        for row in range(1, 17, 2):
            for column in range(1, 23, 2):
                direction = rotation.T @ np.linalg.inv(K) @ [column + 0.5, row + 0.5, 1.0]
                around = ids[row - 1 : row + 2, column - 1 : column + 2]
                if ids[row, column] and (around == ids[row, column]).all():
                    total += 1
                    agree += session.pick(EYE, direction, fov_y, height=camera.height) == ids[row, column]
        assert total > 30
        assert agree >= 0.95 * total

    def test_edits_are_seen(self, session):
        session.pick(*self.ray(CENTERS[FAR]), fov_y=1.0)
        session.edit("delete", Delete(NEAR))
        assert session.pick(*self.ray(CENTERS[FAR]), fov_y=1.0) == FAR


class TestSaving:
    def test_edits_survive_and_the_original_stays(self, session, folder):
        before = {file.name: file.read_bytes() for file in folder.iterdir()}
        session.edit("rename", Rename(NEAR, "Ann's chair"))
        session.edit("delete", Delete(FAR))
        assert session.save() == folder / "edited"
        assert {name: (folder / name).read_bytes() for name in before} == before
        again = load_labelled_scene(folder / "edited")
        assert {s.id: s.name for s in again.segments} == {FLOOR: None, NEAR: "Ann's chair", NASTY: None}
        assert len(again.splats) == 2800
        assert torch.equal(again.labels.to_dense(20), session.scene.labels.to_dense(20))

    def test_saving_twice_replaces_and_an_earlier_session_stays(self, session, folder):
        session.save()
        session.edit("rename", Rename(NEAR, "x"))
        session.save()
        assert not session.history.unsaved
        assert Session(open_scene(folder)).out == folder / "edited-2"

    @pytest.mark.parametrize("out", ["../elsewhere", "/tmp/elsewhere", ".", "splats.ply"])
    def test_only_new_folders_inside_the_scene_are_written(self, folder, out):
        with pytest.raises(InputError, match="--out"):
            Session(open_scene(folder), Path(out))

    def test_a_link_out_of_the_scene_is_refused(self, folder, tmp_path):
        (folder / "link").symlink_to(tmp_path)
        with pytest.raises(InputError, match="--out"):
            Session(open_scene(folder), Path("link/new"))

    def test_a_sample_is_not_edited(self, folder):
        session = Session(open_scene(folder, 500))
        with pytest.raises(InputError, match="--max-gaussians"):
            session.edit("rename", Rename(NEAR, "x"))

    def test_an_edit_forgets_what_is_gone(self, session):
        session.select(FAR)
        session.look.hidden = {FAR, NEAR}
        session.edit("delete", Delete(FAR))
        assert (session.look.selected, session.look.hidden) == (0, {NEAR})
        assert session.undo() == "delete"
        assert session.table[FAR].count == 600


def test_opened_scene_knows_its_size():
    assert OpenedScene(small_room(), Path("x"), 3401).thinned
