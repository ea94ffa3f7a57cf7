# SPDX-License-Identifier: Apache-2.0
"""The panels of the page, worked without a browser."""

import time
from types import SimpleNamespace

import numpy as np
import pytest
from small_rooms import CENTERS, FAR, FLOOR, NASTY, NEAR, save, small_room

viser = pytest.importorskip("viser")

from panoptic_gs.scene import write_scene  # noqa: E402
from panoptic_gs.viewer.start import start_viewer  # noqa: E402 (needs viser)


class Visitor:
    """Stands for a browser: remembers what it is told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def add_notification(self, title: str, body: str, **_) -> None:
        self.told.append(f"{title} {body}")


@pytest.fixture
def visitor():
    return Visitor()


@pytest.fixture
def page(tmp_path):
    save(small_room(), tmp_path / "room")
    page, _ = start_viewer(tmp_path / "room", port=0)
    yield page
    page.close()


def select(page, segment_id: int) -> None:
    with page.change() as session:
        session.select(segment_id)


def press(row, name: str, visitor: Visitor) -> None:
    """Press a button as viser tells it."""
    row._impl.value = name
    for callback in row._impl.update_cb:
        callback(SimpleNamespace(client=visitor, client_id=0, target=row))


def test_a_part_is_split_off_where_the_handle_is(page, visitor):
    select(page, NEAR)
    press(page.edit._shape, "Split", visitor)
    page.edit._handle[2].position = tuple(np.add(CENTERS[NEAR], (0, 0, 0.3)))
    page.edit._size.value = (1.0, 1.0, 0.6)
    press(page.edit._confirm, "", visitor)
    part = page.session.look.selected
    assert part == NASTY + 1
    means = page.session.scene.splats.means.numpy()
    assert means[page.session.table.members(part)][:, 2].min() > 0.29
    assert page.session.table[NEAR].count + page.session.table[part].count == 600
    assert page.edit._handle is None


def test_an_object_is_moved_to_where_the_handle_is(page, visitor):
    select(page, FAR)
    before = page.session.table.box(FAR, page.up).center
    press(page.edit._shape, "Move", visitor)
    page.edit._handle[2].position = tuple(np.add(before, (0, 1, 0)))
    press(page.edit._confirm, "", visitor)
    assert page.session.table.box(FAR, page.up).center == pytest.approx(np.add(before, (0, 1, 0)), abs=1e-5)
    press(page.edit._history, "Undo", visitor)
    assert page.session.table.box(FAR, page.up).center == pytest.approx(before, abs=1e-5)


def test_the_same_button_works_again(page, visitor):
    for name in ("a", "b"):
        select(page, NEAR)
        page.edit._name.value = name
        press(page.edit._rename, "", visitor)
    assert page.session.table[NEAR].name == "b"
    press(page.edit._history, "Undo", visitor)
    press(page.edit._history, "Undo", visitor)
    assert page.session.table[NEAR].name == "chair"
    assert [told.split(":")[0] for told in visitor.told] == ["Took back", "Took back"]


def test_merging_selects_what_it_became(page, visitor):
    select(page, FAR)
    page.edit._other.value = "chair · 7"
    press(page.edit._merge, "", visitor)
    assert page.session.look.selected == NEAR
    assert page.session.table.get(FAR) is None
    assert "chair · 9" not in page.selection._choice.options


def test_what_cannot_be_done_is_told_and_changes_nothing(page, visitor):
    select(page, NEAR)
    page.edit._category.value = "floor (1)"
    press(page.edit._recategorise, "", visitor)
    assert "Merge the object into segment 1" in visitor.told[0]
    assert not page.session.history.unsaved


def test_deleting_forgets_the_selection(page, visitor):
    select(page, NASTY)
    press(page.edit._shape, "Delete", visitor)
    assert page.session.look.selected == 0
    assert len(page.session.scene.splats) == 2800


def test_search_and_show_what_was_found(page, visitor):
    page.objects._search.value = "chair"
    page.refresh()
    assert list(page.objects._boxes) == [NEAR, FAR]
    press(page.objects._actions, "Only", visitor)
    assert page.session.look.hidden == {FLOOR, NASTY}
    assert page.objects._boxes[NEAR].value
    press(page.objects._actions, "Hide", visitor)
    assert not page.objects._boxes[NEAR].value
    assert not page.session.visible().any()


def test_cameras_show_photos_and_predicted_maps(tmp_path, visitor):
    from panoptic_gs.camera import Camera
    from panoptic_gs.panoptic import PanopticScene

    save(small_room(), tmp_path / "room")
    camera = Camera.look_at((4, 0, 1), (0, 0, 0), (0, 0, 1), 1.0, 32, 24)
    photo = np.full((24, 32, 3), 90, dtype=np.uint8)
    points = (np.zeros((1, 3), dtype=np.float32), np.zeros((1, 3), dtype=np.uint8))
    write_scene(tmp_path / "data", {"a": camera}, {"a": photo}, points, {"train": ["a"], "test": []})
    room = small_room()
    PanopticScene(room.categories, room.segments, {"a": np.full((24, 32), NEAR)}).save(tmp_path / "data" / "panoptic")
    page, _ = start_viewer(tmp_path / "room", tmp_path / "data", port=0)
    try:
        assert np.linalg.norm(page.standpoint.eye - (4, 0, 1)) < 1e-5
        panel, frame = page.cameras, page.data.frames[0]
        assert (panel._image(frame) == 90).all()
        panel._picture.value = "predicted map"
        assert len(np.unique(panel._image(frame).reshape(-1, 3), axis=0)) == 1
        panel._show.value = True
        panel._draw()
        assert panel.shown
        assert len(panel._frusta) == 1
    finally:
        page.close()


@pytest.mark.skipif(hasattr(viser.SceneApi, "add_gaussian_splats"), reason="viser 0.2 only")
def test_a_page_that_opens_late_gets_the_splats_once(page):
    for segment_id in (NEAR, FAR, NASTY, 0):
        draws = page.draws
        select(page, segment_id)
        deadline = time.monotonic() + 10
        while page.draws == draws and time.monotonic() < deadline:
            time.sleep(0.01)
    time.sleep(0.2)  # viser hands messages on in threads of its own
    kept = [
        m.name for m in page.server._websock_server._broadcast_buffer.message_from_id.values() if hasattr(m, "buffer")
    ]
    assert page.draws >= 5
    assert len(kept) == 1
