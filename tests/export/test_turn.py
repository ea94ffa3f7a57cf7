# SPDX-License-Identifier: Apache-2.0
"""The video without a path: where it goes, and what is written on it."""

import av
import numpy as np
import pytest
import torch
from small_rooms import FAR, FLOOR, NASTY, NEAR, save, small_room

from panoptic_gs.camera import Camera
from panoptic_gs.cli.main import main
from panoptic_gs.export import around_the_room, legend, name_objects, render_path
from panoptic_gs.objects.table import ObjectTable
from panoptic_gs.palette import colors_of

UP = np.array([0.0, 0.0, 1.0])


def eyes(path) -> np.ndarray:
    return np.stack([camera.center.numpy() for camera in path.values()])


def turned(points: np.ndarray) -> float:
    """Degrees that a path turns about its middle, signed."""
    offset = points[:, :2] - points[:, :2].mean(axis=0)
    angle = np.unwrap(np.arctan2(offset[:, 1], offset[:, 0]))
    return float(np.degrees(angle[-1] - angle[0]))


def test_it_turns_once_around_and_sees_every_object():
    scene = small_room()
    path = around_the_room(ObjectTable(scene), scene.splats.means.numpy(), UP, 24)
    assert len(path) == 24
    assert abs(turned(eyes(path))) == pytest.approx(360 * 23 / 24, abs=2)
    assert (eyes(path)[:, 2] > 0.3).all()  # above the floor
    seen = [set(np.unique(view.ids)) for view in render_path(scene, path)]
    assert all(len(ids & {NEAR, FAR, NASTY}) >= 2 for ids in seen)
    assert set.union(*seen) >= {FLOOR, NEAR, FAR, NASTY}


def ring(degrees, radius=4.0, outward=False) -> list[Camera]:
    cameras = []
    for angle in np.radians(degrees):
        eye = radius * np.array([np.cos(angle), np.sin(angle), 0.4])
        target = 3 * eye if outward else np.array([0.0, 0.0, 0.3])
        cameras.append(Camera.look_at(eye.tolist(), target.tolist(), (0, 0, 1), 1.0, 64, 48))
    return cameras


def test_it_goes_where_the_photos_were_taken():
    scene = small_room()
    table, means = ObjectTable(scene), scene.splats.means.numpy()
    around = eyes(around_the_room(table, means, UP, 24, ring(range(0, 360, 20))))
    assert np.linalg.norm(around[:, :2], axis=1) == pytest.approx(4.0, abs=0.05)
    assert around[:, 2] == pytest.approx(1.6, abs=0.05)
    assert abs(turned(around)) == pytest.approx(345, abs=2)
    half = eyes(around_the_room(table, means, UP, 24, ring(range(30, 151, 20))))
    angle = np.degrees(np.arctan2(half[:, 1], half[:, 0]))
    assert angle.min() == pytest.approx(30, abs=1)
    assert angle.max() == pytest.approx(150, abs=1)
    assert abs(angle[0] - angle[-1]) < 5  # back where it began
    spot = list(around_the_room(table, means, UP, 24, ring(range(0, 360, 20), 0.3, outward=True)).values())
    assert np.ptp(np.stack([camera.center.numpy() for camera in spot]), axis=0) == pytest.approx(0, abs=1e-5)
    forward = torch.stack([camera.viewmat[2, :3] for camera in spot])
    assert float((forward[0] * forward[12]).sum()) < -0.5  # half a turn later it looks the other way


def test_it_goes_past_photos_that_all_look_to_one_side():
    scene = small_room()
    row = [Camera.look_at((x, -5, 1), (x + 0.1 * x, 0, 0.5), (0, 0, 1), 1.0, 64, 48) for x in np.linspace(-2, 2, 9)]
    path = around_the_room(ObjectTable(scene), scene.splats.means.numpy(), UP, 24, row)
    points = eyes(path)
    assert points[0] == pytest.approx([-2, -5, 1], abs=0.05)
    assert points[12] == pytest.approx([2, -5, 1], abs=0.05)
    assert np.abs(points[:, 1:] - [-5, 1]).max() < 0.05
    assert np.stack([camera.viewmat[2, :3].numpy() for camera in path.values()])[:, 1].min() > 0.95


def test_names_are_written_where_objects_are():
    ids = np.zeros((120, 160), dtype=np.int64)
    ids[20:60, 10:80], ids[80:110, 90:150], ids[0:4, 0:4] = 5, 6, 7
    plain = np.full((120, 160, 3), 90, dtype=np.uint8)
    named = name_objects(plain, ids, {5: "chair", 6: "table", 7: "too small"})
    changed = (named != plain).any(axis=-1)
    assert changed[20:60, 10:80].sum() > 50
    assert changed[80:110, 90:150].sum() > 50
    assert not changed[:10].any()
    assert (name_objects(plain, ids, {}) == plain).all()


def test_a_legend_has_every_colour_that_fits_and_counts_the_rest():
    colors = colors_of(small_room().labelling)
    strip = legend(400, [("chair", colors[NEAR]), ("table", colors[FAR])])
    assert {colors[NEAR], colors[FAR]} <= set(map(tuple, strip.reshape(-1, 3).tolist()))
    assert legend(400, [(f"thing {i}", colors[NEAR]) for i in range(100)]).shape[0] < 90


def test_the_command_makes_the_video_without_a_path(tmp_path):
    save(small_room(), tmp_path / "room")
    main(["export", str(tmp_path / "room"), "--out", str(tmp_path / "out"), "--formats", "video", "--fps", "4",
          "--seconds", "2", "-q"])  # fmt: skip
    with av.open(str(tmp_path / "out" / "video.mp4")) as video:
        frames = [frame.to_ndarray(format="rgb24") for frame in video.decode(video=0)]
    assert len(frames) == 8
    assert frames[0].shape[1] == 1280
    assert frames[0].shape[0] > 480  # with its legend
    with pytest.raises(SystemExit):
        main(["export", str(tmp_path / "room"), "--out", str(tmp_path / "no"), "--formats", "video", "--seconds", "0"])
