# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from replica_layout import intrinsics, write_replica
from room_frames import HEIGHT, WIDTH, RoomFrame, assert_gives_back_the_room, render_frames, with_void

from panoptic_gs.cli.main import main
from panoptic_gs.datasets.classes import REDUCED21
from panoptic_gs.datasets.preparation import PrepareOptions, prepare_scene
from panoptic_gs.datasets.replica import ReplicaScene
from panoptic_gs.errors import InputError
from panoptic_gs.files import read_json
from panoptic_gs.scene import Scene

PERSON, BAG = REDUCED21.ids["person"], REDUCED21.ids["bag"]


@pytest.fixture(scope="module")
def frames(renderer) -> list[RoomFrame]:
    frames = [with_void(frame) for frame in render_frames(renderer, views=5, K=intrinsics(WIDTH, HEIGHT))]
    # Nobody lives in Replica.
    return [replace(frame, classes=np.where(frame.classes == PERSON, BAG, frame.classes)) for frame in frames]


@pytest.fixture(scope="module")
def downloaded(frames, tmp_path_factory) -> Path:
    return write_replica(tmp_path_factory.mktemp("replica"), frames)


@pytest.fixture
def sequence(downloaded: Path, tmp_path: Path) -> Path:
    """A copy to damage."""
    shutil.copytree(downloaded.parent, tmp_path / "room_9")
    return tmp_path / "room_9" / downloaded.name


def test_the_command_gives_back_the_room(downloaded: Path, frames: list[RoomFrame], tmp_path: Path) -> None:
    main(["prepare", "replica", str(downloaded), "--out", str(tmp_path / "scene"), "--jobs", "1"])
    scene = assert_gives_back_the_room(tmp_path / "scene", frames)
    assert scene.splits == {"train": ("0001", "0002", "0003"), "test": ("0000", "0004")}
    for index, frame in enumerate(frames):
        np.testing.assert_allclose(scene.frame(frame.stem).camera.K, intrinsics(WIDTH, HEIGHT))
        kept = (tmp_path / "scene" / "images" / f"{frame.stem}.png").read_bytes()
        assert kept == (downloaded / "rgb" / f"rgb_{index}.png").read_bytes()


def test_an_object_of_id_0_is_an_object(frames: list[RoomFrame], tmp_path: Path) -> None:
    sequence = write_replica(tmp_path, frames, first_instance=0)
    done = prepare_scene(ReplicaScene.open(sequence), tmp_path / "scene")
    assert_gives_back_the_room(tmp_path / "scene", frames)
    things = [segment.id for segment in done.segments if REDUCED21.categories[segment.category_id - 1].isthing]
    assert sorted(map(int, read_json(tmp_path / "scene" / "preparation.json")["instances"])) == things


def test_the_dataset_s_own_classes(downloaded: Path, frames: list[RoomFrame], tmp_path: Path) -> None:
    prepare_scene(ReplicaScene.open(downloaded), tmp_path / "scene", PrepareOptions(classes="own"))
    truth = Scene.load(tmp_path / "scene").load_panoptic("panoptic_gt")
    assert {category.id: category.name for category in truth.categories}[34] == "desk"
    with pytest.raises(InputError, match=r"classes 'nyu40'.*one of replica, reduced21"):
        prepare_scene(ReplicaScene.open(downloaded), tmp_path / "x", PrepareOptions(classes="nyu40"))


def test_unusable_frames_are_dropped(sequence: Path, frames: list[RoomFrame], tmp_path: Path) -> None:
    (sequence / "rgb" / "rgb_1.png").unlink()
    lines = (sequence / "traj_w_c.txt").read_text().splitlines()
    lines[2] = "0 " * 16
    (sequence / "traj_w_c.txt").write_text("\n".join(lines[:4]))
    (sequence / "semantic_instance" / "semantic_instance_3.png").write_bytes(b"\x89PNG")
    with pytest.raises(SystemExit) as stopped:
        main(["prepare", "replica", str(sequence), "--out", str(tmp_path / "scene"), "--jobs", "1"])
    assert stopped.value.code == 1
    dropped = json.loads((tmp_path / "scene" / "preparation.json").read_text())["dropped"]
    assert list(dropped) == ["0001", "0002", "0003", "0004"]
    assert "rgb_1.png: found no such file" in dropped["0001"]
    assert "line 3: found a 3×3 block that is no rotation" in dropped["0002"]
    assert "cannot be decoded" in dropped["0003"]
    assert "line 5" in dropped["0004"]
    assert [frame.stem for frame in Scene.load(tmp_path / "scene").frames] == ["0000"]


@pytest.mark.parametrize(("line", "found"), [("inf " * 16, "infinite"), ("here be poses", "no pose"), ("", "no pose")])
def test_unusable_poses(sequence: Path, tmp_path: Path, line: str, found: str) -> None:
    lines = (sequence / "traj_w_c.txt").read_text().splitlines()
    lines[0] = line
    (sequence / "traj_w_c.txt").write_text("\n".join(lines))
    (sequence / "rgb" / "rgb_2.png").unlink()
    done = prepare_scene(ReplicaScene.open(sequence), tmp_path / "scene")
    assert [entry.stem for entry in done.dropped] == ["0000", "0002"]
    assert f"line 1: found {found}" in done.dropped[0].reason or "NaN or infinite" in done.dropped[0].reason
    # The split is that of the whole sequence.
    assert done.splits == {"train": ["0001", "0003"], "test": ["0004"]}


def test_the_class_names_may_lie_where_the_downloads_have_them(sequence: Path) -> None:
    expected = ReplicaScene.open(sequence).classes.ids
    file = sequence.parent / "info_semantic.json"
    for folder in (sequence.parent / "habitat", sequence.parent.parent / "semantic_info" / "room_9"):
        folder.mkdir(parents=True)
        file = shutil.move(file, folder / "info_semantic.json")
        assert ReplicaScene.open(sequence).classes.ids == expected
    file = Path(shutil.move(file, sequence.parent.parent / "names.json"))
    assert ReplicaScene.open(sequence, file).classes.ids == expected


def test_an_unknown_class_name(sequence: Path) -> None:
    file = sequence.parent / "info_semantic.json"
    file.write_text(file.read_text().replace('"floor"', '"flor"'))
    with pytest.raises(InputError, match=r"unknown class 'flor'.*Did you mean floor"):
        ReplicaScene.open(sequence)


def test_names_that_no_pixel_has_do_not_refuse_a_scene(sequence: Path, frames: list[RoomFrame], tmp_path: Path) -> None:
    file = sequence.parent / "info_semantic.json"
    info = json.loads(file.read_text())
    names = ("other-leaf", "anonymize_picture", "anonymize_text", "non-plane", "gizmo")
    info["classes"] += [{"id": 200 + number, "name": name} for number, name in enumerate(names)]
    file.write_text(json.dumps(info))
    prepare_scene(ReplicaScene.open(sequence), tmp_path / "scene")
    assert_gives_back_the_room(tmp_path / "scene", frames)


def test_objects_without_a_class_are_other(sequence: Path, frames: list[RoomFrame], tmp_path: Path) -> None:
    """They are stored as class 0, as pixels of no object are, which stay void."""
    file = sequence.parent / "info_semantic.json"
    info = json.loads(file.read_text())
    info["classes"].append({"id": 0, "name": "undefined"})
    path = sequence / "semantic_instance" / "semantic_instance_0.png"
    instances, classes = np.array(Image.open(path)), sequence / "semantic_class" / "semantic_class_0.png"
    number = int(np.bincount(instances[instances > 0]).argmax())
    next(entry for entry in info["objects"] if entry["id"] == number)["class_name"] = "undefined"
    file.write_text(json.dumps(info))
    stored = np.array(Image.open(classes))
    stored[instances == number] = 0
    Image.fromarray(stored).save(classes)
    scene = ReplicaScene.open(sequence)
    frame = scene.read("0000")
    assert frame.classes is not None
    reduced = np.array([0] * 300)
    for own, target in scene.classes.to(REDUCED21).items():
        reduced[own] = target
    assert (reduced[frame.classes][instances == number] == REDUCED21.ids["other"]).all()
    assert (frame.classes[(stored == 0) & (instances != number)] == 0).all()
    assert (frame.classes == 0).any()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda s: (s / "traj_w_c.txt").unlink(), "no such file"),
        (lambda s: (s / "traj_w_c.txt").write_text("1 0 zero 1"), "no pose in 1 lines"),
        (lambda s: shutil.rmtree(s / "rgb"), r"no rgb_\*\.png"),
        (lambda s: shutil.rmtree(s / "semantic_instance"), "an archive of its own"),
        (lambda s: (s.parent / "info_semantic.json").unlink(), "--semantic-info"),
        (lambda s: (s.parent / "info_semantic.json").write_text('{"classes": [{"id": 1}]}'), "malformed field"),
    ],
)
def test_a_sequence_that_lacks_what_all_frames_need(sequence: Path, damage, message: str) -> None:
    damage(sequence)
    with pytest.raises(InputError, match=message):
        ReplicaScene.open(sequence)
