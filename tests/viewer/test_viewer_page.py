# SPDX-License-Identifier: Apache-2.0
"""The panels of the page, worked without a browser."""

import inspect
import time
from types import SimpleNamespace

import av
import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from small_rooms import CENTERS, FAR, FLOOR, NASTY, NEAR, save, small_room

viser = pytest.importorskip("viser")

from panoptic_gs.camera import Camera  # noqa: E402
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
    handle = page.edit._handle[2]
    assert page.edit._box().center == pytest.approx(CENTERS[NEAR], abs=0.05)
    handle.position = tuple(np.add(handle.position, (0, 0, 0.3)))
    page.edit._size.value = (1.0, 1.0, 0.6)
    press(page.edit._confirms["split"], "", visitor)
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
    handle = page.edit._handle[2]
    assert handle.position[2] > 0.6  # over the object, where no splats are drawn over it
    assert [name for name, button in page.edit._confirms.items() if button.visible] == ["move"]
    handle.position = tuple(np.add(handle.position, (0, 1, 0)))
    press(page.edit._confirms["move"], "", visitor)
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


def ids(page, document=None) -> list[int]:
    return [entry["id"] for entry in (document or page.objects.state())["objects"]]


def test_what_was_found_is_shown_and_hidden(page):
    assert ids(page) == [NEAR, FAR, NASTY, FLOOR]
    assert page.objects.heard({"do": "only", "ids": [NEAR, FAR]}) is None
    assert page.session.look.hidden == {FLOOR, NASTY}
    assert page.objects.state()["hidden"] == [FLOOR, NASTY]
    page.objects.heard({"do": "hide", "ids": [NEAR, FAR, 4711], "hidden": True})
    assert page.session.look.hidden == {FLOOR, NASTY, NEAR, FAR}
    assert not page.session.visible().any()
    page.objects.heard({"do": "show all"})
    assert page.session.visible().all()


def test_the_list_tells_each_object_and_boxes_follow(page):
    deadline = time.monotonic() + 20
    while (near := page.objects.state()["objects"][0])["size"] is None and time.monotonic() < deadline:
        time.sleep(0.02)
    assert near["size"] == pytest.approx([0.6, 0.6, 0.6], abs=0.06)
    assert (near["gaussians"], near["group"], near["name"]) == (600, "thing", "chair")
    assert near["confidence"] == pytest.approx(0.7)
    assert page.objects.state()["objects"][3]["group"] == "stuff"
    assert page.objects.state()["title"] == "room"
    page.objects.heard({"do": "color", "by": "confidence"})
    assert page.session.look.color_by == page._mode.value == "confidence"


def test_edits_from_the_list(page):
    assert page.objects.heard({"do": "rename", "id": NEAR, "name": " chair "}) is None
    assert not page.session.history.unsaved  # as it was
    page.objects.heard({"do": "rename", "id": NEAR, "name": "throne"})
    assert page.session.table[NEAR].name == "throne"
    assert page.objects.heard({"do": "undo"})["text"] == "Took back: rename chair · 7."
    page.objects.heard({"do": "merge", "id": FAR, "into": NEAR})
    assert page.session.look.selected == NEAR
    assert ids(page) == [NEAR, NASTY, FLOOR]
    page.objects.heard({"do": "undo"})
    said = page.objects.heard({"do": "clean", "id": FAR})
    assert said["bad"]
    assert "nothing to clean" in said["text"]


def test_an_untouched_rename_is_no_edit(page, visitor):
    select(page, NEAR)
    press(page.edit._rename, "", visitor)
    assert not page.session.history.unsaved
    page.edit._name.value = "chair"  # what it goes by anyway
    press(page.edit._rename, "", visitor)
    assert not page.session.history.unsaved


@pytest.mark.parametrize(
    "message",
    [
        None, 3, "select", [], {}, {"do": "select"}, {"do": "select", "id": -1}, {"do": "select", "id": "7"},
        {"do": "hide", "ids": [1] * 6000, "hidden": True}, {"do": "color", "by": "__class__"},
        {"do": "rename", "id": NEAR, "name": "x" * 201}, {"do": "rename", "id": NEAR, "name": "a\nb"},
        {"do": "merge", "id": NEAR, "into": 4711}, {"do": "photo"}, {"do": "stand there", "number": 10**9},
        {"do": "settle", "list": 0, "place": 0, "how": "merge"},
        {"do": "settle", "list": 0, "place": -1, "how": "split"}, {"do": "rename", "id": 7},
        {"do": "click", "at": [0.5]}, {"do": "click", "at": [0.5, 1.5]},
        {"do": "close"}, {"do": "go to", "id": 4711}, {"do": "select", "id": float("nan")},
    ],
)  # fmt: skip
def test_a_message_that_no_page_sends_changes_nothing(page, message):
    before = page.objects.state()
    said = page.objects.heard(message)
    assert said["show"] == "message"
    assert said["bad"]
    after = page.objects.state()
    for name in ("selected", "hidden", "unsaved", "colorBy"):
        assert after[name] == before[name]


def test_a_click_is_where_the_page_shows_the_object(page, visitor, monkeypatch):
    """By the page's camera; places are shares of its screen, from the upper left."""
    target = np.array(CENTERS[FAR])
    back, eye = target - CENTERS[NEAR], np.add(target, (0.0, 0.0, 3.0))
    down = Rotation.from_matrix(np.array([[1.0, 0, 0], [0, -1, 0], [0, 0, -1]])).as_quat()[[3, 0, 1, 2]]
    visitor.camera = SimpleNamespace(wxyz=down, position=eye, fov=1.0, aspect=1.6)
    monkeypatch.setattr(page, "client", lambda number: visitor)
    page.objects.heard({"do": "click", "at": [0.5, 0.5]})
    assert page.session.look.selected == FAR
    height = 2 * np.tan(0.5) * 3.0  # of what is seen of the plane through both centres
    at = [0.5 - back[0] / (1.6 * height), 0.5 + back[1] / height]
    page.objects.heard({"do": "click", "at": at})
    assert page.session.look.selected == NEAR
    page.objects.heard({"do": "click", "at": [0.0, 0.0]})
    assert page.session.look.selected not in (NEAR, FAR)


def test_measuring_between_two_clicks(page, visitor):
    visitor.camera = SimpleNamespace(fov=1.0)
    page.objects.heard({"do": "measure", "on": True})
    for number in (NEAR, FAR):  # from above, onto the lids of both cubes
        origin = np.add(CENTERS[number], (0, 0, 3.0))
        page.clicked(visitor, origin, np.array([0.0, 0.0, -1.0]))
    said = page.objects.state()["measure"]
    assert said["length"] == pytest.approx(2.0, abs=0.02)
    assert page.ruler.points[0][2] == pytest.approx(0.6, abs=0.1)
    assert page.session.look.selected == 0
    page.objects.heard({"do": "measure", "on": False})
    assert page.objects.state()["measure"] == {"on": False, "points": 0, "length": None}


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
        if "thickness" not in inspect.signature(viser.SceneApi.add_camera_frustum).parameters:
            assert len(panel._outlines) == 1  # else viser draws rods
            # The picture is before the camera, as far as a frustum of this volume reaches.
            toward = np.asarray(panel._frusta[0].position) - (4, 0, 1)
            assert toward / np.linalg.norm(toward) == pytest.approx(np.array([-4, 0, -1]) / np.sqrt(17), abs=1e-4)
        said = page.objects.heard({"do": "photo", "number": 0})
        assert (said["name"], said["count"], said["width"], said["height"]) == ("a", 1, 32, 24)
        assert page.objects.heard({"do": "photo", "id": NEAR})["sees"].endswith("show the object")
        assert page.objects.heard({"do": "photo"})["number"] == 0
        assert page.objects.heard({"do": "photo", "number": 1})["bad"]
    finally:
        page.close()


def drawn_after(page, change) -> None:
    """Change something, and wait until it was drawn."""
    draws = page.draws
    change()
    deadline = time.monotonic() + 10
    while page.draws == draws and time.monotonic() < deadline:
        time.sleep(0.01)


def splats_kept_for_new_pages(page) -> list:
    time.sleep(0.2)  # viser hands messages on in threads of its own
    kept = page.server._websock_server._broadcast_buffer.message_from_id.values()
    return [message for message in kept if hasattr(message, "buffer")]


@pytest.mark.skipif(hasattr(viser.SceneApi, "add_gaussian_splats"), reason="viser 0.2 only")
def test_other_colours_and_hiding_send_no_splats_again(page):
    drawn_after(page, lambda: None)
    first = splats_kept_for_new_pages(page)
    for segment_id in (NEAR, FAR, NASTY, 0):
        drawn_after(page, lambda segment_id=segment_id: select(page, segment_id))
    with page.change() as session:
        session.look.color_by, session.look.hidden = "confidence", {FAR}
    drawn_after(page, lambda: None)
    assert len(first) == 1
    assert splats_kept_for_new_pages(page) == first

    # A page that has these splats, whenever it opened, gets the colours of now: version, then a word a Gaussian.
    version, *words = np.frombuffer(page.objects._socket._painting, dtype="<u4").tolist()
    mark = first[0].buffer[-1]
    assert (mark[4] + (mark[5] << 14), mark[6] != 0, mark[7]) == (version, True, 0)
    rgba = np.array(words, dtype="<u4").view(np.uint8).reshape(-1, 4)
    np.testing.assert_array_equal(rgba[:, :3], page.session.colors())
    np.testing.assert_array_equal(rgba[:, 3] == 0, page.session.table.segment_of == FAR)
    assert rgba.nbytes == first[0].buffer[:-1].nbytes / 8


@pytest.mark.skipif(hasattr(viser.SceneApi, "add_gaussian_splats"), reason="viser 0.2 only")
def test_other_splats_are_sent_once_with_their_colours(page, visitor):
    drawn_after(page, lambda: None)
    drawn_after(page, lambda: select(page, FAR))
    (before,) = splats_kept_for_new_pages(page)
    drawn_after(page, lambda: press(page.edit._shape, "Delete", visitor))
    (after,) = splats_kept_for_new_pages(page)
    assert len(after.buffer) == len(page.session.scene.splats) + 1 < len(before.buffer)
    assert after.name != before.name  # else viser 0.2 keeps what it has
    assert (after.buffer[-1, 4:6] != before.buffer[-1, 4:6]).any()
    assert page.objects._socket._painting is None
    rgb = np.ascontiguousarray(after.buffer[:-1, 7]).view(np.uint8).reshape(-1, 4)[:, :3]
    np.testing.assert_array_equal(rgb, page.session.colors())


class Traveller(Visitor):
    """A browser with a camera that looks from a place to another, and takes downloads."""

    def __init__(self) -> None:
        super().__init__()
        self.files: dict[str, bytes] = {}
        self.camera = SimpleNamespace(fov=0.8)

    def look(self, eye, target) -> None:
        viewmat = Camera.look_at(eye, target, [0, 0, 1.0], 1.0, 4, 4).viewmat.double().numpy()
        x, y, z, w = Rotation.from_matrix(viewmat[:3, :3].T).as_quat()
        self.camera.wxyz, self.camera.position = (w, x, y, z), tuple(eye)

    def send_file_download(self, name: str, content: bytes) -> None:
        self.files[name] = content


def test_a_path_of_key_views_becomes_a_video(page, tmp_path):
    traveller = Traveller()
    panel = page.video
    press(panel._make, "", traveller)
    assert "0 key views" in traveller.told.pop()
    target = list(CENTERS[NASTY])
    for eye in ([4.0, 0, 1], [4.0, 0, 1], [0, 4.0, 1.5], [-4.0, 0, 1]):
        traveller.look(eye, target)
        press(panel._buttons, "Add this view", traveller)
    press(panel._buttons, "Remove last", traveller)
    assert len(panel.views) == 3
    panel._seconds.value, panel._size.value, panel._content.value = 0.5, "640 × 360", "colour"
    page.session.look.hidden = {FAR, NEAR}
    cameras = list(panel.path((640, 360), 0.5).values())
    assert len(cameras) == 25
    for camera, eye in ((cameras[0], [4.0, 0, 1]), (cameras[-1], [0, 4.0, 1.5])):
        np.testing.assert_allclose(camera.center.numpy(), eye, atol=1e-4)
        seen = camera.viewmat.numpy() @ [*target, 1]
        np.testing.assert_allclose(seen[:2], 0, atol=1e-4)  # in the middle of the picture
    press(panel._make, "", traveller)
    press(panel._make, "", traveller)
    assert "being made" in traveller.told.pop()
    end = time.monotonic() + 120
    while "path.mp4" not in traveller.files:
        assert time.monotonic() < end, traveller.told
        time.sleep(0.05)
    (tmp_path / "path.mp4").write_bytes(traveller.files["path.mp4"])
    with av.open(str(tmp_path / "path.mp4")) as video:
        frames = [frame.to_ndarray(format="rgb24") for frame in video.decode(video=0)]
    assert len(frames) == 25
    assert frames[0].shape == (360, 640, 3)
    assert frames[-1][180, 320].argmax() == 2, "the blue cube"
    reds = [int(((f[..., 0] > 150) & (f[..., 1] < 80)).sum()) for f in frames]
    assert max(reds) == 0, "what is hidden is not in it"
