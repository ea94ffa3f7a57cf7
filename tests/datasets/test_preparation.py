# SPDX-License-Identifier: Apache-2.0
"""The frame that all datasets share: dropped frames, resuming, splits, parallel reading."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
from room_frames import RoomFrame, assert_gives_back_the_room, render_frames

from panoptic_gs.cli.main import main
from panoptic_gs.datasets.classes import REDUCED21, ClassList
from panoptic_gs.datasets.preparation import PrepareOptions, choose_frames, choose_views, prepare_scene
from panoptic_gs.datasets.raw_scene import Dropped, RawFrame
from panoptic_gs.datasets.seed_points import Points
from panoptic_gs.errors import InputError
from panoptic_gs.files import read_json
from panoptic_gs.scene import Scene


@dataclass(frozen=True, eq=False)
class RoomScene:
    """A reader of frames that are in memory already."""

    frames: dict[str, RoomFrame]
    broken: tuple[str, ...] = ()
    read_log: Path | None = None
    source: str = "room"
    classes: ClassList = REDUCED21
    dropped: Sequence[Dropped] = ()
    notes: Sequence[str] = ()
    splits: Mapping[str, Sequence[str]] | None = None
    test_every: int = 3
    settings: Mapping[str, object] = field(default_factory=dict)

    @property
    def stems(self) -> list[str]:
        return list(self.frames)

    def read(self, stem: str) -> RawFrame:
        if self.read_log is not None:
            with self.read_log.open("a") as log:
                log.write(stem + "\n")
        if stem in self.broken:
            raise InputError(stem, "a torn file", "a whole one", "Download it again.")
        frame = self.frames[stem]
        return RawFrame(frame.camera, frame.rgb, frame.depth, frame.classes, frame.instances, notes=("as rendered",))

    def seed_points(self, count: int) -> Points | None:
        return None


@pytest.fixture(scope="module")
def raw(renderer) -> RoomScene:
    return RoomScene({frame.stem: frame for frame in render_frames(renderer, views=6)})


def test_the_scene_folder_gives_back_the_frames(raw: RoomScene, tmp_path: Path) -> None:
    done = prepare_scene(raw, tmp_path / "scene")
    scene = assert_gives_back_the_room(tmp_path / "scene", list(raw.frames.values()))
    assert scene.splits == {"train": ("0001", "0002", "0004", "0005"), "test": ("0000", "0003")}
    assert (done.frames, done.dropped, done.notes) == (6, (), ("all frames: as rendered",))
    assert [path.name for path in tmp_path.iterdir()] == ["scene"]


def test_a_frame_that_cannot_be_read_is_dropped_and_named(raw: RoomScene, tmp_path: Path) -> None:
    pose = Dropped("0006", "no pose")
    done = prepare_scene(replace(raw, broken=("0001",), dropped=(pose,)), tmp_path / "scene")
    assert [entry.stem for entry in done.dropped] == ["0006", "0001"]
    assert "torn file" in done.dropped[1].reason
    scene = Scene.load(tmp_path / "scene")
    # The split does not shift: 0003 stays the second test view.
    assert scene.splits == {"train": ("0002", "0004", "0005"), "test": ("0000", "0003")}
    assert not list((tmp_path / "scene").rglob("*0001*"))
    assert set(read_json(tmp_path / "scene" / "preparation.json")["dropped"]) == {"0001", "0006"}


def test_nothing_is_left_where_no_frame_is_usable(raw: RoomScene, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no usable frame among 6.*torn file"):
        prepare_scene(replace(raw, broken=tuple(raw.stems)), tmp_path / "scene")
    assert not list(tmp_path.iterdir())


def test_an_interrupted_run_goes_on_where_it_stopped(raw: RoomScene, tmp_path: Path) -> None:
    log = tmp_path / "log"
    logged = replace(raw, read_log=log)

    def stop(stage: str, done: int, total: int) -> None:
        if done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare_scene(logged, tmp_path / "out" / "scene", progress=stop)
    assert not (tmp_path / "out" / "scene").exists()
    log.unlink()
    done = prepare_scene(logged, tmp_path / "out" / "scene")
    assert (done.resumed, log.read_text().split()) == (4, ["0004", "0005"])
    assert_gives_back_the_room(tmp_path / "out" / "scene", list(raw.frames.values()))
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["scene"]


def test_other_options_start_anew(raw: RoomScene, tmp_path: Path) -> None:
    def stop(stage: str, done: int, total: int) -> None:
        if stage == "truth":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare_scene(raw, tmp_path / "scene", progress=stop)
    done = prepare_scene(raw, tmp_path / "scene", PrepareOptions(stride=2))
    assert (done.resumed, done.frames) == (0, 3)
    assert sorted(path.stem for path in (tmp_path / "scene" / "images").iterdir()) == ["0000", "0002", "0004"]


def test_processes_give_the_same_scene(raw: RoomScene, tmp_path: Path) -> None:
    for jobs in (1, 2):
        prepare_scene(replace(raw, broken=("0002",)), tmp_path / str(jobs), PrepareOptions(jobs=jobs))
    one, two = ({path.relative_to(root): path.read_bytes() for path in root.rglob("*") if path.is_file()}
                for root in (tmp_path / "1", tmp_path / "2"))  # fmt: skip
    assert one == two


def test_a_full_disk_stops_the_run_instead_of_dropping_frames(raw: RoomScene, tmp_path: Path) -> None:
    def block(stage: str, done: int, total: int) -> None:
        shutil.rmtree(tmp_path / ".scene.preparing" / "images", ignore_errors=True)
        (tmp_path / ".scene.preparing" / "images").write_text("no folder can be made here")

    with pytest.raises(InputError, match="cannot be written") as error:
        prepare_scene(raw, tmp_path / "scene", PrepareOptions(max_frames=2), progress=block)
    # It comes whole out of a worker process, too.
    assert pickle.loads(pickle.dumps(error.value)).mend == error.value.mend
    assert not (tmp_path / "scene").exists()


def test_one_run_at_a_time(raw: RoomScene, tmp_path: Path) -> None:
    def again(stage: str, done: int, total: int) -> None:
        with pytest.raises(InputError, match="another run"):
            prepare_scene(raw, tmp_path / "scene")

    prepare_scene(raw, tmp_path / "scene", PrepareOptions(max_frames=1, test_every=2), progress=again)


def test_an_earlier_scene_is_replaced_only_when_asked(raw: RoomScene, tmp_path: Path) -> None:
    options = PrepareOptions(max_frames=2)
    prepare_scene(raw, tmp_path / "scene", options)
    with pytest.raises(InputError, match="overwrite"):
        prepare_scene(raw, tmp_path / "scene", options)
    (tmp_path / "scene" / "old").touch()
    prepare_scene(raw, tmp_path / "scene", replace(options, overwrite=True))
    assert not (tmp_path / "scene" / "old").exists()
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "thesis.tex").touch()
    with pytest.raises(InputError, match=r"without transforms\.json"):
        prepare_scene(raw, tmp_path / "theirs", replace(options, overwrite=True))


def test_a_class_id_outside_the_list_drops_the_frame(raw: RoomScene, tmp_path: Path) -> None:
    frame = raw.frames["0002"]
    classes = frame.classes.copy()
    classes[3, 4:6] = 57
    odd = replace(raw, frames=raw.frames | {"0002": replace(frame, classes=classes)})
    done = prepare_scene(odd, tmp_path / "scene")
    assert [entry.stem for entry in done.dropped] == ["0002"]
    assert "class id 57 at 2 pixels" in done.dropped[0].reason


def test_a_frame_of_another_size_than_most_is_dropped(raw: RoomScene, tmp_path: Path) -> None:
    frames = dict(raw.frames)
    for stem, what in (("0001", "labels"), ("0003", "photo")):
        frame = frames[stem]
        halves = {name: getattr(frame, name)[::2, ::2] for name in ("classes", "instances")}
        if what == "photo":
            halves |= {"rgb": frame.rgb[::2, ::2], "camera": frame.camera.resized(32, 24)}
        frames[stem] = replace(frame, **halves)
    done = prepare_scene(replace(raw, frames=frames), tmp_path / "scene")
    assert {entry.stem: entry.reason for entry in done.dropped} == {
        "0001": "labels of 32×24 pixels, where most frames have 64×48",
        "0003": "a photo of 32×24 pixels, where most frames have 64×48",
    }
    assert len(Scene.load(tmp_path / "scene").load_panoptic("panoptic_gt").maps) == 4
    assert not (tmp_path / "scene" / "images" / "0001.png").exists()


def test_an_own_split_keeps_its_proportions_where_frames_are_fewer(raw: RoomScene) -> None:
    split = replace(raw, splits={"train": ["0000", "0001", "0003", "0004", "gone"], "test": ["0002", "0005"]})
    for options, train, test in (
        ({}, ["0000", "0001", "0003", "0004"], ["0002", "0005"]),
        ({"max_frames": 3}, ["0000", "0003"], ["0002"]),
        ({"stride": 3}, ["0000"], ["0002"]),
        ({"max_frames": 99}, ["0000", "0001", "0003", "0004"], ["0002", "0005"]),
    ):
        chosen, splits = choose_views(split, PrepareOptions(**options))
        assert splits == {"train": train, "test": test}
        assert chosen == sorted(train + test)


def test_the_dataset_s_own_split_is_kept_unless_asked(raw: RoomScene, tmp_path: Path) -> None:
    split = replace(raw, splits={"train": ["0005", "0001"], "test": ["0004"]})
    prepare_scene(split, tmp_path / "own")
    assert read_json(tmp_path / "own" / "splits.json") == {"train": ["0005", "0001"], "test": ["0004"]}
    prepare_scene(split, tmp_path / "every", PrepareOptions(test_every=4))
    assert read_json(tmp_path / "every" / "splits.json")["test"] == ["0000", "0004"]


def test_seed_points_come_from_training_views_only(raw: RoomScene, tmp_path: Path) -> None:
    frames = {stem: replace(frame, rgb=np.full_like(frame.rgb, 255 if stem == "0000" else 7))
              for stem, frame in raw.frames.items()}  # fmt: skip
    prepare_scene(replace(raw, frames=frames), tmp_path / "scene", PrepareOptions(test_every=6, seed_points=900))
    points = Scene.load(tmp_path / "scene").points
    assert points is not None
    assert 600 < len(points[0]) <= 900
    assert (points[1] == 7).all()


def test_frames_are_chosen_evenly() -> None:
    stems = [f"{index:02d}" for index in range(20)]
    assert choose_frames(stems, stride=4) == ["00", "04", "08", "12", "16"]
    assert choose_frames(stems, max_frames=3) == ["00", "06", "13"]
    assert choose_frames(stems, stride=3, max_frames=9) == stems[::3]


@pytest.mark.parametrize("options", [{"stride": 0}, {"jobs": 0}, {"max_frames": 0}, {"test_every": 1}])
def test_options_that_make_no_sense(raw: RoomScene, tmp_path: Path, options: dict[str, int]) -> None:
    with pytest.raises(InputError, match=f"--{next(iter(options)).replace('_', '-')}"):
        prepare_scene(raw, tmp_path / "scene", PrepareOptions(**options))


def test_coco_tools_find_the_objects_of_the_dataset(raw: RoomScene, tmp_path: Path) -> None:
    prepare_scene(raw, tmp_path / "scene")
    instances = {
        int(key): value for key, value in read_json(tmp_path / "scene" / "preparation.json")["instances"].items()
    }
    truth = Scene.load(tmp_path / "scene").load_panoptic("panoptic_gt")
    for stem, frame in raw.frames.items():
        ids = truth.maps[stem]
        table = np.zeros(ids.max() + 1, dtype=np.int64)
        for segment_id, instance in instances.items():
            if segment_id <= ids.max():
                table[segment_id] = instance
        np.testing.assert_array_equal(table[ids], frame.instances)
    assert json.loads((tmp_path / "scene" / "panoptic_gt" / "panoptic.json").read_text())["info"]["scene_wide_ids"]


@pytest.mark.parametrize("dataset", ["hypersim", "replica", "scannet", "scannetpp", "panoptic-lifting"])
def test_a_raw_folder_that_is_not_there(tmp_path: Path, dataset: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["prepare", dataset, str(tmp_path / "nowhere"), "--out", str(tmp_path / "scene")])
    assert stopped.value.code == 2
    assert "no such folder" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_depth_beside_the_photos_is_optional(raw: RoomScene, tmp_path: Path) -> None:
    class NoDepth(RoomScene):
        def read(self, stem: str) -> RawFrame:
            return replace(super().read(stem), depth=None, classes=None, instances=None)

    done = prepare_scene(NoDepth(raw.frames), tmp_path / "scene")
    scene = Scene.load(tmp_path / "scene")
    assert scene.points is None
    assert any("no seed points" in note for note in done.notes)
    assert not (tmp_path / "scene" / "panoptic_gt").exists()
    shutil.rmtree(tmp_path / "scene")
