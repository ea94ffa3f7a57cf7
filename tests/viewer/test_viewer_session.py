# SPDX-License-Identifier: Apache-2.0
"""What a viewer opens, shows, picks and saves, without a browser."""

import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from small_rooms import CATEGORIES, CENTERS, FAR, FLOOR, NASTY, NEAR, save, small_room

from panoptic_gs.camera import Camera
from panoptic_gs.errors import InputError
from panoptic_gs.objects.boxes import fit_box, upright_axes
from panoptic_gs.objects.opening import OpenedScene, open_scene
from panoptic_gs.objects.orientation import first_standpoint, up_direction
from panoptic_gs.objects.table import ObjectTable
from panoptic_gs.uplift import LabelledScene, load_labelled_scene, render_panoptic
from panoptic_gs.viewer import appearance, edits
from panoptic_gs.viewer.session import Session

EYE = np.array([4.0, 0.0, 0.9])


@pytest.fixture
def folder(tmp_path):
    save(small_room(), tmp_path / "room")
    return tmp_path / "room"


@pytest.fixture
def session(folder):
    return Session(open_scene(folder))


class TestOpening:
    def test_a_folder_and_its_ply_are_the_same(self, folder):
        for path in (folder, folder / "splats.ply"):
            opened = open_scene(path)
            assert (len(opened.scene.splats), opened.folder, opened.thinned) == (3400, folder, False)

    def test_a_sample_is_even_and_repeats(self, folder):
        first, again = open_scene(folder, 1000), open_scene(folder, 1000)
        whole = open_scene(folder).scene
        assert len(first.scene.splats) == 1000
        assert first.num_gaussians == 3400
        assert torch.equal(first.scene.splats.means, again.scene.splats.means)
        index = torch.cdist(first.scene.splats.means, whole.splats.means).argmin(1)
        assert torch.equal(whole.labels.subset(index).to_dense(20), first.scene.labels.to_dense(20))
        share = float((first.scene.labels.best()[0] == FLOOR).float().mean())
        assert share == pytest.approx(1600 / 3400, abs=0.05)

    @pytest.mark.parametrize("missing", ["labels.safetensors", "segments.json"])
    def test_splats_without_labels_say_how_to_get_some(self, folder, missing):
        (folder / missing).unlink()
        for path in (folder, folder / "splats.ply"):
            with pytest.raises(InputError, match="panoptic-gs uplift"):
                open_scene(path)

    def test_any_other_ply_says_how_to_label_it(self, folder):
        shutil.copy(folder / "splats.ply", folder / "garden.ply")
        with pytest.raises(InputError, match=r"uplift \S*garden\.ply"):
            open_scene(folder / "garden.ply")

    def test_labels_of_another_scene(self, folder, tmp_path):
        other = small_room()
        other = other._replace(
            splats=other.splats.subset(torch.arange(100)), labels=other.labels.subset(torch.arange(100))
        )
        save(other, tmp_path / "other")
        shutil.copy(tmp_path / "other" / "labels.safetensors", folder)
        with pytest.raises(InputError, match="labels of 100 Gaussians"):
            open_scene(folder)

    def test_segments_of_another_scene(self, folder):
        file = folder / "segments.json"
        file.write_text(file.read_text().replace('"id": 9', '"id": 99'))
        with pytest.raises(InputError, match="the first 9"):
            open_scene(folder)

    def test_a_scene_folder_is_no_labelled_scene(self, tmp_path):
        (tmp_path / "transforms.json").write_text("{}")
        with pytest.raises(InputError, match="--data"):
            open_scene(tmp_path)

    def test_a_scene_larger_than_memory_offers_a_sample(self, folder, monkeypatch):
        monkeypatch.setattr("panoptic_gs.objects.opening._available_memory", lambda: 200_000.0)
        with pytest.raises(InputError, match="--max-gaussians") as error:
            open_scene(folder)
        assert len(open_scene(folder, int(error.value.mend.split()[-1])).scene.splats) < 3400

    @pytest.mark.parametrize("name", ["nowhere", "."])
    def test_nothing_there(self, tmp_path, name):
        with pytest.raises(InputError):
            open_scene(tmp_path / name)


class TestCheckpoints:
    def write(self, run: Path, scene: LabelledScene | None) -> None:
        room = small_room()
        tensors = ("indptr", "label", "weight", "total", "void")
        extra = {"labels": None} if scene is None else {
            "labels": {name: getattr(scene.labels, name) for name in tensors},
            "segments": [(s.id, s.category_id, s.score) for s in scene.segments],
            "categories": [(c.id, c.name, c.isthing, c.color) for c in scene.categories],
            "source": "test",
        }  # fmt: skip
        gaussians = {
            "means": room.splats.means, "quats": room.splats.quats * 2, "scales": room.splats.scales.log(),
            "opacities": room.splats.opacities.logit()[:, None], "features_dc": room.splats.sh[:, 0],
            "features_rest": torch.zeros(len(room.splats), 15, 3),
        }  # fmt: skip
        state = {f"_model.gauss_params.{name}": value for name, value in gaussians.items()}
        (run / "nerfstudio_models").mkdir(parents=True)
        (run / "config.yml").write_text("")
        torch.save({"step": 1, "pipeline": {**state, "_model._extra_state": extra}},
                   run / "nerfstudio_models" / "step-000000001.ckpt")  # fmt: skip

    def test_a_run_opens_as_its_labelled_scene(self, tmp_path):
        room = small_room()
        self.write(tmp_path / "run", room)
        for path in (tmp_path / "run", tmp_path / "run" / "config.yml"):
            opened = open_scene(path)
            assert opened.folder == tmp_path / "run"
            torch.testing.assert_close(opened.scene.splats.scales, room.splats.scales)
            torch.testing.assert_close(opened.scene.splats.opacities, room.splats.opacities)
            assert torch.equal(opened.scene.labels.to_dense(20), room.labels.to_dense(20))
            assert opened.scene.categories == CATEGORIES

    def test_a_run_without_labels(self, tmp_path):
        self.write(tmp_path / "run", None)
        with pytest.raises(InputError, match="no labels"):
            open_scene(tmp_path / "run")

    def test_code_in_a_checkpoint_is_not_run(self, tmp_path):
        class Evil:
            def __reduce__(self):
                return (Path.touch, (tmp_path / "hacked",))

        (tmp_path / "run" / "nerfstudio_models").mkdir(parents=True)
        (tmp_path / "run" / "config.yml").write_text("")
        torch.save({"pipeline": Evil()}, tmp_path / "run" / "nerfstudio_models" / "step-000000001.ckpt")
        with pytest.raises(InputError, match="cannot be read"):
            open_scene(tmp_path / "run")
        assert not (tmp_path / "hacked").exists()


class TestObjects:
    def test_rows(self):
        table = ObjectTable(small_room())
        assert [row.id for row in table][:2] == [NEAR, FAR]
        assert (table[NEAR].count, table[NEAR].confidence) == (600, pytest.approx(0.7))
        assert (table[FLOOR].title, table[FLOOR].count) == ("floor · 1", 1600)
        assert table.get(99) is None

    @pytest.mark.parametrize(
        ("text", "found"), [("CHAIR", [NEAR, FAR]), ("9", [FAR]), ("ann", [NEAR]), ("ann far", [])]
    )
    def test_search(self, text, found):
        table = ObjectTable(edits.rename(small_room(), NEAR, "Ann's chair"))
        assert sorted(row.id for row in table.search(text)) == found

    def test_boxes_are_upright_turned_and_blind_to_strays(self):
        rng = np.random.default_rng(1)
        turn = np.array([[0.8, -0.6, 0.0], [0.6, 0.8, 0.0], [0.0, 0.0, 1.0]])
        points = rng.uniform(-0.5, 0.5, (4000, 3)) * [2.0, 1.0, 0.5] @ turn.T + [1, 2, 3]
        stray = rng.uniform(8.9, 9.1, (150, 3))
        box = fit_box(np.concatenate([points, stray]), np.array([0.0, 0.0, 1.0]))
        assert box is not None
        assert np.sort(box.size) == pytest.approx([0.5, 1.0, 2.0], abs=0.06)
        assert box.size[2] == pytest.approx(0.5, abs=0.03)
        assert box.center == pytest.approx([1, 2, 3], abs=0.05)
        assert abs(box.axes[:, int(box.size.argmax())] @ turn[:, 0]) == pytest.approx(1, abs=1e-3)
        assert box.contains(points).mean() > 0.93

    @pytest.mark.parametrize("points", [np.zeros((1, 3)), np.ones((5, 3)), np.arange(6.0).reshape(2, 3)])
    def test_boxes_of_points_and_lines(self, points):
        box = fit_box(points, np.array([0.0, 1.0, 0.0]))
        assert box is not None
        assert np.isfinite(box.corners()).all()

    def test_corners_span_the_box(self):
        box = fit_box(np.random.default_rng(0).normal(size=(500, 3)), np.array([0.0, 0.0, 1.0]))
        assert box is not None
        local = (box.corners() - box.center) @ box.axes
        assert np.abs(local) == pytest.approx(np.tile(box.size / 2, (8, 1)))


class TestUp:
    def test_the_floor_tells(self):
        room = small_room()
        for axes in (np.eye(3), np.diag([1.0, -1.0, -1.0]), upright_axes(np.array([1.0, 2.0, 3.0]))):
            means = room.splats.means.numpy() @ axes.T
            assert up_direction(ObjectTable(room), means, []) == pytest.approx(axes[:, 2], abs=1e-6)

    def test_cameras_tell_more_than_the_floor(self):
        camera = Camera.look_at((4, 0, 1), (0, 0, 0), (0, 0, -1), 1.0, 8, 8)
        room = small_room()
        up = up_direction(ObjectTable(room), room.splats.means.numpy(), [camera])
        assert up[2] < -0.9

    def test_cameras_that_all_look_down_do_not_tilt_the_floor(self):
        camera = Camera.look_at((4, 0, 3), (0, 0, 0), (0, 0, 1), 1.0, 8, 8)
        room = small_room()
        up = up_direction(ObjectTable(room), room.splats.means.numpy(), [camera])
        assert up == pytest.approx([0, 0, 1], abs=1e-6)

    def test_a_wall_called_floor_does_not_tilt_the_cameras(self):
        camera = Camera.look_at((4, 0, 0), (0, 0, 0), (0, 0, 1), 1.0, 8, 8)
        room = small_room()
        upended = room.splats.means.numpy()[:, [2, 0, 1]]
        assert up_direction(ObjectTable(room), upended, [camera]) == pytest.approx([0, 0, 1], abs=1e-6)

    def test_the_first_view_sees_the_scene(self):
        room = small_room()
        table, means, up = ObjectTable(room), room.splats.means.numpy(), np.array([0.0, 0.0, 1.0])
        eye, target = first_standpoint(table, means, up, [])
        camera = Camera.look_at(torch.tensor(eye), torch.tensor(target), torch.tensor(up), 1.2, 60, 40)
        ids = render_panoptic(room.splats, room.labels, camera).ids
        assert {FLOOR, NEAR, FAR, NASTY} <= set(ids.unique().tolist())


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
        session.edit("delete", edits.delete(session.scene, NEAR))
        assert session.pick(*self.ray(CENTERS[FAR]), fov_y=1.0) == FAR


class TestSaving:
    def test_edits_survive_and_the_original_stays(self, session, folder):
        before = {file.name: file.read_bytes() for file in folder.iterdir()}
        session.edit("rename", edits.rename(session.scene, NEAR, "Ann's chair"))
        session.edit("delete", edits.delete(session.scene, FAR))
        assert session.save() == folder / "edited"
        assert {name: (folder / name).read_bytes() for name in before} == before
        again = load_labelled_scene(folder / "edited")
        assert {s.id: s.name for s in again.segments} == {FLOOR: None, NEAR: "Ann's chair", NASTY: None}
        assert len(again.splats) == 2800
        assert torch.equal(again.labels.to_dense(20), session.scene.labels.to_dense(20))

    def test_saving_twice_replaces_and_an_earlier_session_stays(self, session, folder):
        session.save()
        session.edit("rename", edits.rename(session.scene, NEAR, "x"))
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
            session.edit("rename", edits.rename(session.scene, NEAR, "x"))

    def test_an_edit_forgets_what_is_gone(self, session):
        session.select(FAR)
        session.look.hidden = {FAR, NEAR}
        session.edit("delete", edits.delete(session.scene, FAR))
        assert (session.look.selected, session.look.hidden) == (0, {NEAR})
        assert session.undo() == "delete"
        assert session.table[FAR].count == 600


def test_opened_scene_knows_its_size():
    assert OpenedScene(small_room(), Path("x"), 3401).thinned
