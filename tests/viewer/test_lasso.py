# SPDX-License-Identifier: Apache-2.0
"""Gaussians inside an outline that is drawn on the screen"""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation
from small_rooms import CENTERS, FLOOR, NEAR, save, small_room

from panoptic_gs.camera import Camera
from panoptic_gs.errors import InputError
from panoptic_gs.records import parse_record, record_to_json
from panoptic_gs.splats import Splats
from panoptic_gs.viewer import edits
from panoptic_gs.viewer.operations import Lasso, Operation
from panoptic_gs.viewer.outlines import outlined, screen_camera

SIDE = 200
WHOLE = np.array([[0, 0], [1, 0], [1, 1], [0, 1]]) * SIDE


def above(target) -> Camera:
    """From 3 m above, looking down at it."""
    eye = np.add(target, (0, 0, 3.0))
    return Camera.look_at(eye.tolist(), list(map(float, target)), (0.0, 1.0, 0.0), 1.0, SIDE, SIDE)


def two_sheets() -> Splats:
    """A sheet at z = 1 that hides one at z = 0; 400 round Gaussians each."""
    grid = np.stack(np.meshgrid(np.linspace(-0.5, 0.5, 20), np.linspace(-0.5, 0.5, 20)), axis=-1).reshape(-1, 2)
    means = np.concatenate([np.c_[grid, np.full(400, z)] for z in (0.0, 1.0)])
    return Splats(
        torch.from_numpy(means).float(), torch.tensor([[1.0, 0, 0, 0]]).repeat(800, 1),
        torch.full((800, 3), 0.04), torch.full((800,), 0.95), torch.zeros(800, 1, 3),
    )  # fmt: skip


class TestOutlined:
    def test_visible_ones_alone_or_all(self):
        splats, camera = two_sheets(), above((0, 0, 0))
        seen = outlined(splats, camera, WHOLE, through=False)
        upper = splats.means[:, 2] > 0.5
        margin = (
            splats.means[:, :2].abs().amax(dim=1) < 0.3
        )  # the lower sheet is seen past the upper one's rim, not below
        assert seen[upper].all()
        assert not seen[~upper & margin].any()
        assert outlined(splats, camera, WHOLE, through=True).all()

    def test_an_outline_means_what_projects_into_it(self):
        splats, camera = two_sheets(), above((0, 0, 0))
        chosen = outlined(splats, camera, np.array([[0, 0], [100, 0], [100, 200], [0, 200]]), through=True)
        local = splats.means @ camera.viewmat[:3, :3].T.float() + camera.viewmat[:3, 3].float()
        x = local[:, 0] / local[:, 2] * camera.K[0, 0] + camera.K[0, 2]
        clear = (x - 100).abs() > 1.5
        assert (chosen == (x < 100))[clear].all()

    def test_what_lies_behind_the_camera_or_a_loop_is_not_meant(self):
        splats = two_sheets()
        away = Camera.look_at((0, 0, 3), (0, 0, 6), (0, 1, 0), 1.0, SIDE, SIDE)
        assert not outlined(splats, away, WHOLE, through=True).any()
        assert not outlined(splats, above((0, 0, 0)), WHOLE[:2], through=True).any()
        assert not outlined(splats.subset(torch.zeros(800, dtype=torch.bool)), away, WHOLE, through=True).any()

    def test_the_screen_of_a_pose(self):
        camera = above((1, 2, 0))
        again = screen_camera(_wxyz(camera), camera.center.numpy().astype(float), 1.0, (SIDE, SIDE))
        assert torch.allclose(again.viewmat.float(), camera.viewmat.float(), atol=1e-5)
        assert torch.allclose(again.K.float(), camera.K.float(), atol=1e-3)


class TestEdits:
    def test_a_lasso_cuts_adds_and_deletes(self):
        scene, camera = small_room(), above(CENTERS[NEAR])
        mine = scene.labels.best()[0] == NEAR
        cut, count = edits.lasso(scene, NEAR, camera, WHOLE // [2, 1], "cut", through=True)
        assert 200 < count < 400  # half of a cube of 600
        assert int((cut.labels.best()[0] == NEAR).sum()) == 600 - count
        back, again = edits.lasso(cut, NEAR, camera, WHOLE // [2, 1], "add", through=True, drawn=mine)
        assert again == count
        assert ((back.labels.best()[0] == NEAR) == mine).all()
        less, gone = edits.lasso(scene, NEAR, camera, WHOLE // [2, 1], "delete")
        assert 0 < gone < count  # the top of it is seen, its other sides are not
        assert len(less.splats) == len(scene.splats) - gone

    def test_what_is_not_drawn_stays(self):
        scene, camera = small_room(), above(CENTERS[NEAR])
        drawn = scene.labels.best()[0] != FLOOR
        added, _ = edits.lasso(cut_half(scene, camera), NEAR, camera, WHOLE, "add", through=True, drawn=drawn)
        assert int((added.labels.best()[0] == FLOOR).sum()) == 1600

    @pytest.mark.parametrize("outline", [np.zeros((2, 2)), np.full((4, 2), np.nan), np.zeros((4, 2))])
    def test_refusals(self, outline):
        with pytest.raises(InputError, match="lasso"):
            edits.lasso(small_room(), NEAR, above(CENTERS[NEAR]), outline, "cut")

    def test_a_lasso_is_written_down_and_done_again(self):
        camera = above(CENTERS[NEAR])
        half = np.array([[0, 0], [0.5, 0], [0.5, 1], [0, 1]])
        place = camera.center.double().numpy()
        operation = Lasso(NEAR, half, _wxyz(camera), place, 1.0, 1.0, "cut", through=True, hidden=(FLOOR,))
        again = parse_record(record_to_json(operation), Operation, "edit")  # pyright: ignore[reportArgumentType]
        first, second = operation.apply(small_room()), again.apply(small_room())
        assert (first.labels.best()[0] == second.labels.best()[0]).all()
        assert int((first.labels.best()[0] == NEAR).sum()) == pytest.approx(300, abs=60)


def cut_half(scene, camera):
    return edits.lasso(scene, NEAR, camera, WHOLE // [2, 1], "cut", through=True)[0]


def test_the_list_takes_outlines(tmp_path):
    pytest.importorskip("viser")
    from panoptic_gs.viewer.start import start_viewer

    save(small_room(), tmp_path / "room")
    page, _ = start_viewer(tmp_path / "room", port=0)
    try:
        camera = above(CENTERS[NEAR])
        wxyz = _wxyz(camera)
        page.client = lambda number: SimpleNamespace(
            camera=SimpleNamespace(wxyz=wxyz, position=camera.center.numpy(), fov=1.0, aspect=1.0)
        )
        half = {"do": "lasso", "outline": [[0, 0], [0.5, 0], [0.5, 1], [0, 1]]}
        heard = lambda message: page.objects.heard(message) or {}
        assert heard(half)["bad"]  # nothing is selected
        page.objects.heard({"do": "select", "id": NEAR})
        page.objects.heard({"do": "brush", "how": "cut", "lasso": True, "through": True})
        assert page.objects.state()["lasso"] == {"on": True, "through": True}
        assert heard(half)["bad"] is False
        assert page.session.history.undoable == "cut from chair · 7"
        assert page.session.table[NEAR].count == pytest.approx(300, abs=60)
        page.objects.heard({"do": "undo"})
        assert page.session.table[NEAR].count == 600
        for bad in ([[0, 0], [1, 1]], [[0, 0]] * 501, [[0, 0, 0]] * 4, [[0, "x"]] * 4):
            assert heard(half | {"outline": bad})["bad"]
    finally:
        page.close()


def _wxyz(camera: Camera) -> np.ndarray:
    x, y, z, w = Rotation.from_matrix(camera.viewmat[:3, :3].double().numpy().T).as_quat()
    return np.array([w, x, y, z])
