# SPDX-License-Identifier: Apache-2.0
"""ScanNet: the room laid out as a .sens stream, or exported, with label zips, comes back as it was."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter
from room_frames import (
    RoomFrame,
    assert_gives_back_the_room,
    assert_same_labels,
    camera_to_world,
    render_frames,
)
from room_mesh import room_mesh, write_mesh
from scannet_layout import SCENE, png, write_labels, write_scannet, write_sens

from panoptic_gs.camera import Camera
from panoptic_gs.cli.main import main
from panoptic_gs.datasets.classes import NYU40, REDUCED21
from panoptic_gs.datasets.preparation import Preparation, PrepareOptions, choose_views, prepare_scene
from panoptic_gs.datasets.scannet import ScanNetScene, resample_depth
from panoptic_gs.datasets.scannet_labels import find_label_table, read_label_table
from panoptic_gs.datasets.scannet_recording import open_recording, sharpest
from panoptic_gs.datasets.sens import SensStream
from panoptic_gs.errors import InputError
from panoptic_gs.files import read_json
from panoptic_gs.scene import Scene
from panoptic_gs.synthetic import RoomRenderer

SAMPLES = Path(__file__).parents[3] / "shared" / "data" / "dataset_samples"
SAMPLE = SAMPLES / "scannet_sens" / "written_by_sensreader.sens"
JPEG_LOSS = 3.0  # mean absolute difference that the codec itself makes at quality 95


@pytest.fixture(scope="module")
def frames(renderer: RoomRenderer) -> list[RoomFrame]:
    # Principal point off the middle, unequal focal lengths.
    return render_frames(renderer, views=6, K=np.array([[50.0, 0, 30.2], [0, 51.0, 25.1], [0, 0, 1]]))


def prepare(folder: Path, out: Path) -> Preparation:
    return prepare_scene(ScanNetScene.open(folder), out)


@pytest.mark.parametrize("exported", [False, True], ids=["sens", "exported"])
def test_prepare_gives_back_the_room(frames: list[RoomFrame], tmp_path: Path, exported: bool) -> None:
    done = prepare(write_scannet(tmp_path / "raw", frames, exported=exported), tmp_path / "scene")
    scene = assert_gives_back_the_room(tmp_path / "scene", frames, color_tolerance=JPEG_LOSS)
    assert scene.splits == {"train": ("0001", "0002", "0003", "0004"), "test": ("0000", "0005")}
    assert done.dropped == ()
    assert done.notes == (f"no {SCENE}_vh_clean_2.ply: seed points from depth",)
    assert not list((tmp_path / "raw").rglob("label-filt")), "archives are read without unpacking them"


def test_photos_are_kept_as_they_are_stored(frames: list[RoomFrame], tmp_path: Path) -> None:
    folder = write_scannet(tmp_path, frames)
    prepare(folder, tmp_path / "scene")
    stored = SensStream.open(folder / f"{SCENE}.sens").read_color_bytes(2)
    assert (tmp_path / "scene" / "images" / "0002.jpg").read_bytes() == stored


def test_stream_frames_are_read_in_any_order(frames: list[RoomFrame], tmp_path: Path) -> None:
    stream = SensStream.open(write_scannet(tmp_path, frames) / f"{SCENE}.sens")
    assert (stream.sensor_name, stream.color_size, stream.missing_frames) == ("StructureSensor", (64, 48), 0)
    for number in (4, 0, 5, 2):
        np.testing.assert_allclose(stream.read_depth(number), frames[number].depth, atol=0.00051)
        assert np.abs(stream.read_color(number).astype(float) - frames[number].rgb).mean() < JPEG_LOSS
        np.testing.assert_allclose(stream.frames[number].camera_to_world, camera_to_world(frames[number].camera),
                                   atol=1e-6)  # fmt: skip
        assert stream.frames[number].timestamp_depth == 33 * number


@pytest.mark.parametrize(("color", "depth", "suffix"), [("png", "raw_ushort", ".png"), ("raw", "zlib_ushort", ".png")])
def test_other_compressions(
    frames: list[RoomFrame],
    tmp_path: Path,
    color: Literal["png", "raw"],
    depth: Literal["raw_ushort", "zlib_ushort"],
    suffix: str,
) -> None:
    folder = write_scannet(tmp_path, frames)
    write_sens(folder, frames, [camera_to_world(frame.camera) for frame in frames], color, depth)
    prepare(folder, tmp_path / "scene")
    scene = assert_gives_back_the_room(tmp_path / "scene", frames)  # no loss at all
    assert {frame.image_path.suffix for frame in scene.frames} == {suffix}


def test_archives_that_were_unpacked(frames: list[RoomFrame], tmp_path: Path) -> None:
    folder = write_scannet(tmp_path, frames)
    for archive in folder.glob("*.zip"):
        with zipfile.ZipFile(archive) as opened:
            opened.extractall(folder)
        archive.unlink()
    prepare(folder, tmp_path / "scene")
    assert_same_labels(Scene.load(tmp_path / "scene").load_panoptic("panoptic_gt"), frames)


def test_other_class_lists(frames: list[RoomFrame], tmp_path: Path) -> None:
    folder = write_scannet(tmp_path, frames)
    for classes, last in (("nyu40", 40), ("scannet20", 39), ("own", 40)):
        main(["prepare", "scannet", str(folder), "--out", str(tmp_path / classes), "--classes", classes, "--jobs", "1"])
        truth = Scene.load(tmp_path / classes).load_panoptic("panoptic_gt")
        assert truth.categories[-1].id == last
        names = {category.id: category.name for category in truth.categories}
        assert {"wall", "floor"} <= {names[segment.category_id] for segment in truth.segments}
    # otherprop, NYU40's 40, has no place among the 20.
    assert all(
        segment.category_id != 40
        for segment in Scene.load(tmp_path / "scannet20").load_panoptic("panoptic_gt").segments
    )


def test_an_instance_takes_its_majority_class(frames: list[RoomFrame], tmp_path: Path) -> None:
    folder = write_scannet(tmp_path / "raw", frames)
    thing = max((i for f in frames for i in np.unique(f.instances) if i), key=lambda i: sum(
        int((f.instances == i).sum()) for f in frames))  # fmt: skip
    noisy = []
    for frame in frames:
        # A corner of the object is labelled as wall.
        rows = np.flatnonzero((frame.instances == thing).any(1))
        spill = (frame.instances == thing) & (np.arange(frame.depth.shape[0])[:, None] <= rows[:1].sum())
        noisy.append(RoomFrame(frame.stem, frame.camera, frame.rgb, frame.depth, np.where(spill, 1, frame.classes),
                               frame.instances))  # fmt: skip
    assert any((a.classes != b.classes).any() for a, b in zip(noisy, frames))
    write_labels(folder, noisy)
    prepare(folder, tmp_path / "scene")
    assert_same_labels(Scene.load(tmp_path / "scene").load_panoptic("panoptic_gt"), frames)


def test_depth_of_another_camera_is_resampled() -> None:
    depth_K = np.array([[48.0, 0, 39], [0, 49, 31], [0, 0, 1]])
    photo = Camera(torch.eye(4), [[115.0, 0, 82], [0, 116, 59], [0, 0, 1]], 160, 121)

    def plane(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return 2 / (0.3 * x - 0.2 * y + 0.9)

    columns, rows = np.meshgrid(np.arange(80) + 0.5, np.arange(60) + 0.5)
    seen = plane((columns - 39) / 48, (rows - 31) / 49)
    got = resample_depth(seen, depth_K, photo)
    x, y = (columns * 2 - 82) / 115, (rows * 121 / 60 - 59) / 116
    # The nearest pixel of the depth is at most half a pixel away from the photo's ray.
    corners = [plane(x + dx / 48, y + dy / 49) for dx in (-0.5, 0.5) for dy in (-0.5, 0.5)]
    inside = (np.abs(48 * x) < 38) & (np.abs(49 * y) < 28)
    assert inside.mean() > 0.9
    assert ((np.min(corners, 0) <= got + 1e-6) & (got <= np.max(corners, 0) + 1e-6))[inside].all()
    corner = resample_depth(np.ones((10, 10)), np.array([[40.0, 0, 5], [0, 40, 5], [0, 0, 1]]), photo)
    assert corner[0, 0] == 0, "outside the depth image there is none"
    assert corner[5, 5] == 1


def test_extrinsics_that_differ_are_said(frames: list[RoomFrame], tmp_path: Path) -> None:
    folder = write_scannet(tmp_path, frames[:1], exported=True)
    assert open_recording(folder).registered
    moved = np.eye(4)
    moved[0, 3] = 0.03
    np.savetxt(folder / "intrinsic" / "extrinsic_depth.txt", moved)
    assert any("extrinsics" in note for note in ScanNetScene.open(folder).notes)


def test_seed_points_lie_on_the_mesh(renderer: RoomRenderer, frames: list[RoomFrame], tmp_path: Path) -> None:
    folder = write_scannet(tmp_path, frames)
    mesh, _ = room_mesh(renderer.room)
    write_mesh(folder / f"{SCENE}_vh_clean_2.ply", mesh)
    assert prepare(folder, tmp_path / "scene").notes == ()
    points = Scene.load(tmp_path / "scene").points
    assert points is not None
    floor = np.abs(points[0][:, 2]) < 1e-4
    assert floor.mean() > 0.05
    low, high = mesh.vertices.min(0), mesh.vertices.max(0)
    assert (points[0] >= low - 1e-4).all()
    assert (points[0] <= high + 1e-4).all()


class TestSharpest:
    def test_each_window_keeps_its_sharpest(self, frames: list[RoomFrame], tmp_path: Path) -> None:
        folder = write_scannet(tmp_path, frames, exported=True)
        for number in (0, 2, 3, 4):
            path = folder / "color" / f"{number}.jpg"
            with Image.open(path) as image:
                blurred = image.filter(ImageFilter.GaussianBlur(2 if number != 3 else 4))
            blurred.save(path, quality=95)
        recording = open_recording(folder)
        numbers = sorted(recording.poses)
        assert sharpest(recording, numbers, most=5) == [1, 2, 5]  # windows of two at least
        assert sharpest(recording, numbers, most=2, jobs=2) == [1, 5]  # ⌈6 / 2⌉ = 3
        assert sharpest(recording, numbers, most=6) == numbers

    def test_frames_that_are_not_there_are_not_asked(
        self, frames: list[RoomFrame], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        recording, asked = open_recording(write_scannet(tmp_path, frames, exported=True)), []
        monkeypatch.setattr(
            "panoptic_gs.datasets.scannet_recording.sharpness", lambda recording, number: asked.append(number) or 1.0
        )
        announced = [*sorted(recording.poses), *range(100, 70_000)]
        assert set(sharpest(recording, announced, most=5)) & set(recording.poses)
        assert asked == sorted(recording.poses)

    def test_a_long_recording_is_thinned(
        self,
        frames: list[RoomFrame],
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        monkeypatch.setattr("panoptic_gs.datasets.scannet.MOST_FRAMES", 4)
        poses = [camera_to_world(frame.camera) for frame in frames]
        poses[0] = np.full((4, 4), np.inf)
        folder = write_scannet(tmp_path, frames, poses)
        with pytest.raises(SystemExit):
            main(["prepare", "scannet", str(folder), "--out", str(tmp_path / "scene"), "--jobs", "1"])
        assert "6 frames: the sharpest 3 were kept" in capsys.readouterr().out
        stems = [frame.stem for frame in Scene.load(tmp_path / "scene").frames]
        # Windows are over all six; the sharpest of the first may be the frame without a pose.
        assert all(any(stem in window for window in (("0001",), ("0002", "0003"), ("0004", "0005"))) for stem in stems)
        assert len(stems) == len({int(stem) // 2 for stem in stems})
        assert set(read_json(tmp_path / "scene" / "preparation.json")["dropped"]) == {"0000"}

    def test_windows_are_over_all_frames_and_lost_poses_leave_afterwards(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """1,000 frames of which 130 in a row have no pose keep 435 and hold out 87 views."""
        recording = TinyRecording(1000, lost=range(400, 530))
        monkeypatch.setattr("panoptic_gs.datasets.scannet.open_recording", lambda root: recording)
        scene = ScanNetScene.open(Path(__file__).parent)
        assert len(scene.stems) == 435
        assert len(scene.dropped) == 130
        _, splits = choose_views(scene, PrepareOptions())
        assert (len(splits["test"]), len(splits["train"])) == (87, 348)
        assert "1000 frames: the sharpest 500 were kept" in scene.notes[0]

    def test_a_broken_photo_loses(self, frames: list[RoomFrame], tmp_path: Path) -> None:
        folder = write_scannet(tmp_path, frames, exported=True)
        (folder / "color" / "1.jpg").write_bytes(b"\xff\xd8 torn")
        assert sharpest(open_recording(folder), range(6), most=3)[0] == 0


@pytest.mark.skipif(not SAMPLE.is_file(), reason="the sample is not here")
def test_a_stream_that_scannets_own_class_wrote() -> None:
    """Four frames of content that is known by formula; frame 2 has lost its pose, inertial records follow."""
    stream = SensStream.open(SAMPLE)
    assert (stream.color_compression, stream.depth_compression) == ("raw", "zlib_ushort")
    assert (stream.color_size, stream.depth_size, len(stream.frames)) == ((40, 30), (64, 48), 4)
    assert (stream.missing_frames, stream.depth_shift) == (0, 1000)
    np.testing.assert_allclose(stream.intrinsic_color[:2, :3], [[1170.1876, 0, 647.75], [0, 1170.1876, 483.75]])
    np.testing.assert_allclose(stream.intrinsic_depth[:2, 2], [319.5, 239.5])
    for i, frame in enumerate(stream.frames):
        assert (frame.timestamp_color, frame.timestamp_depth) == (33000 * i, 33000 * i + 5)
        k = np.arange(64 * 48).reshape(48, 64)
        np.testing.assert_allclose(stream.read_depth(i), ((1000 * i + k) % 65536) / 1000, rtol=1e-6)
        k = np.arange(40 * 30).reshape(30, 40)
        np.testing.assert_array_equal(stream.read_color(i), np.stack([k % 251, k // 40 % 251, 0 * k + 40 * i], -1))
        if i == 2:
            assert np.isinf(frame.camera_to_world).any()
        else:
            np.testing.assert_allclose(frame.camera_to_world[:3, 3], [0.25 * i, -0.5, 1.5])


class TestBadInput:
    """What can go wrong with a download: named, the rest is finished."""

    def test_infinite_poses(self, frames: list[RoomFrame], tmp_path: Path) -> None:
        poses = [camera_to_world(frame.camera) for frame in frames]
        poses[1] = np.full((4, 4), -np.inf)
        poses[4] = np.zeros((4, 4))
        done = prepare(write_scannet(tmp_path, frames, poses), tmp_path / "scene")
        assert {entry.stem for entry in done.dropped} == {"0001", "0004"}
        assert "not finite" in done.dropped[0].reason
        assert "rotation" in done.dropped[1].reason
        assert done.frames == 4

    def test_truncated_stream(self, frames: list[RoomFrame], tmp_path: Path) -> None:
        file = write_scannet(tmp_path, frames) / f"{SCENE}.sens"
        whole = file.read_bytes()
        stream = SensStream.open(file)
        file.write_bytes(whole[: stream.frames[4].color_offset + 100])
        done = prepare(file.parent, tmp_path / "scene")
        assert [entry.stem for entry in done.dropped] == ["0004", "0005"]
        assert "truncated" in done.dropped[0].reason
        assert done.frames == 4
        for length, found in ((300, "truncated"), (400, "no whole frame"), (0, "truncated"), (2, "truncated")):
            file.write_bytes(whole[:length])
            with pytest.raises(InputError, match=found):
                SensStream.open(file)

    def test_not_a_stream_of_this_version(self, frames: list[RoomFrame], tmp_path: Path) -> None:
        file = write_scannet(tmp_path, frames) / f"{SCENE}.sens"
        file.write_bytes(b"\x03\0\0\0" + file.read_bytes()[4:])
        with pytest.raises(InputError, match="version 3"):
            SensStream.open(file)

    def test_broken_photo_and_broken_depth(self, frames: list[RoomFrame], tmp_path: Path) -> None:
        file = write_scannet(tmp_path, frames) / f"{SCENE}.sens"
        stream = SensStream.open(file)
        data = bytearray(file.read_bytes())
        start = stream.frames[1].color_offset
        data[start : start + 20] = bytes(20)
        start = stream.frames[2].color_offset + stream.frames[2].color_bytes
        data[start : start + 20] = bytes(20)
        file.write_bytes(data)
        done = prepare(file.parent, tmp_path / "scene")
        assert {entry.stem: "colour" in entry.reason for entry in done.dropped} == {"0001": True, "0002": False}

    def test_missing_exported_files(self, frames: list[RoomFrame], tmp_path: Path) -> None:
        folder = write_scannet(tmp_path, frames, exported=True)
        for name in ("color/0.jpg", "pose/3.txt", "depth/5.png"):
            (folder / name).unlink()
        (folder / "pose" / "2.txt").write_text("1 0 0\n")
        done = prepare(folder, tmp_path / "scene")
        assert {entry.stem for entry in done.dropped} == {"0000", "0002", "0003"}
        assert any("no depth" in note for note in done.notes)
        assert done.frames == 3

    def test_labels_missing_from_or_torn_in_an_archive(self, frames: list[RoomFrame], tmp_path: Path) -> None:
        folder = write_scannet(tmp_path, frames)
        archive = folder / f"{SCENE}_2d-label-filt.zip"
        rewrite(archive, {"label-filt/1.png": None, "label-filt/3.png": b"no PNG"})
        data = bytearray(archive.read_bytes())
        with zipfile.ZipFile(archive) as opened:
            info = opened.getinfo("label-filt/4.png")
        data[info.header_offset + 60 : info.header_offset + 70] = b"\xff" * 10
        archive.write_bytes(data)
        done = prepare(folder, tmp_path / "scene")
        assert {entry.stem for entry in done.dropped} == {"0001", "0003", "0004"}
        assert_same_labels(Scene.load(tmp_path / "scene").load_panoptic("panoptic_gt"), [frames[i] for i in (0, 2, 5)])

    def test_a_label_that_the_table_does_not_list_is_other(self, frames: list[RoomFrame], tmp_path: Path) -> None:
        folder = write_scannet(tmp_path, frames)
        odd = np.full((48, 64), 5000, np.uint16)
        rewrite(folder / f"{SCENE}_2d-label-filt.zip", {"label-filt/2.png": png(odd)})
        done = prepare(folder, tmp_path / "scene")
        assert done.dropped == ()
        assert "1 frame: labels that scannetv2-labels.combined.tsv does not list count as 'other'" in done.notes
        truth = Scene.load(tmp_path / "scene").load_panoptic("panoptic_gt")
        # What has an instance takes its majority class over all frames; the rest of the frame is "other".
        assert done.frames == 6
        assert (truth.maps["0002"] > 0).all()

    def test_an_instance_that_the_aggregation_does_not_list(self, frames: list[RoomFrame], tmp_path: Path) -> None:
        folder = write_scannet(tmp_path, frames)
        file = folder / f"{SCENE}.aggregation.json"
        document = json.loads(file.read_text())
        document["segGroups"] = [group for group in document["segGroups"] if group["label"] != "floor"]
        file.write_text(json.dumps(document))
        assert any("aggregation.json does not list" in note for note in prepare(folder, tmp_path / "scene").notes)

    @pytest.mark.parametrize("name", ["../../evil/1.png", "/etc/1.png", "C:\\1.png", "a\\..\\..\\1.png"])
    def test_an_archive_that_reaches_out_is_refused(self, frames: list[RoomFrame], tmp_path: Path, name: str) -> None:
        folder = write_scannet(tmp_path, frames[:1])
        rewrite(folder / f"{SCENE}_2d-instance-filt.zip", {name: png(np.zeros((48, 64), np.uint8))})
        with pytest.raises(InputError, match="within the archive"):
            prepare(folder, tmp_path / "scene")
        assert not (tmp_path / "scene").exists()

    def test_half_downloaded(self, frames: list[RoomFrame], tmp_path: Path) -> None:
        folder = write_scannet(tmp_path, frames)
        archive = folder / f"{SCENE}_2d-instance-filt.zip"
        whole = archive.read_bytes()
        archive.write_bytes(whole[: len(whole) // 2])
        with pytest.raises(InputError, match="no readable zip"):
            ScanNetScene.open(folder)
        archive.unlink()
        with pytest.raises(InputError, match="no such file"):
            ScanNetScene.open(folder)
        archive.write_bytes(whole)
        (tmp_path / "scannetv2-labels.combined.tsv").rename(tmp_path / "elsewhere.tsv")
        with pytest.raises(InputError, match="table of labels"):
            ScanNetScene.open(folder)
        assert ScanNetScene.open(folder, labels=tmp_path / "elsewhere.tsv").labels is not None
        (folder / f"{SCENE}.sens").unlink()
        with pytest.raises(InputError, match="neither a"):
            ScanNetScene.open(folder)

    def test_a_broken_table_of_labels(self, frames: list[RoomFrame], tmp_path: Path) -> None:
        folder = write_scannet(tmp_path, frames[:1])
        for text, found in (("id\tname\n1\twall\n", "no column 'nyu40id'"), ("id\tnyu40id\nx\t1\n", "no number"),
                            ("id\tnyu40id\n3\t77\n", "77")):  # fmt: skip
            (tmp_path / "scannetv2-labels.combined.tsv").write_text(text)
            with pytest.raises(InputError, match=found):
                ScanNetScene.open(folder)

    def test_the_first_table_comes_before_the_later_one(self, frames: list[RoomFrame], tmp_path: Path) -> None:
        """A door frame is 'other' in the first table, and a door in the later one; --labels takes either."""
        folder = write_scannet(tmp_path, frames[:1])
        later, first = tmp_path / "scannetv2-labels.combined.tsv", tmp_path / "scannet-labels.combined.tsv"
        later.write_text("id\traw_category\tcategory\tnyu40id\n1\twall\twall\t1\n161\tdoorframe\tdoor\t8\n")
        rows = ["wall\t100\t1", *(f"thing {number}\t9\t40" for number in range(159)), "doorframe\t4\t38"]
        first.write_text("category\tcount\tnyu40id\n" + "\n".join(rows) + "\n")
        assert read_label_table(first)[161] == 38  # numbered by its rows
        assert read_label_table(later) == {1: 1, 161: 8}
        assert find_label_table(folder) == first
        for table, expected in ((None, "other"), (first, "other"), (later, "door")):
            labels = ScanNetScene.open(folder, table).labels
            assert labels is not None
            reduced = NYU40.to(REDUCED21)
            assert REDUCED21.categories[reduced[int(labels.nyu40[161])] - 1].name == expected
            assert REDUCED21.categories[reduced[int(labels.nyu40[999])] - 1].name == "other"  # beyond the table
        first.write_text("id\tcategory\tnyu40id\n7\tgizmo\t\n")
        assert read_label_table(first) == {7: 40}  # annotated, but none of the 40

    def test_without_labels_there_is_no_truth(self, frames: list[RoomFrame], tmp_path: Path) -> None:
        folder = write_scannet(tmp_path, frames)
        for path in (*folder.glob("*.zip"), *folder.glob("*.json")):
            path.unlink()
        done = prepare(folder, tmp_path / "scene")
        assert any("no ground truth" in note for note in done.notes)
        assert not (tmp_path / "scene" / "panoptic_gt").exists()
        assert len(Scene.load(tmp_path / "scene").frames) == 6

    def test_a_broken_mesh_is_said(self, frames: list[RoomFrame], tmp_path: Path) -> None:
        folder = write_scannet(tmp_path, frames)
        (folder / f"{SCENE}_vh_clean_2.ply").write_bytes(b"ply\nformat binary_little_endian 1.0\nelement vertex 9\n")
        done = prepare(folder, tmp_path / "scene")
        assert any("Seed points from depth" in note for note in done.notes)
        assert done.points > 500

    def test_exit_code_and_summary(
        self, frames: list[RoomFrame], tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        poses = [camera_to_world(frame.camera) for frame in frames]
        poses[3][:] = np.inf
        folder = write_scannet(tmp_path, frames, poses)
        out = tmp_path / "scene"
        with pytest.raises(SystemExit) as stopped:
            main(["prepare", "scannet", str(folder), "--out", str(out), "--jobs", "1"])
        assert stopped.value.code == 1
        printed = capsys.readouterr().out
        assert "Dropped 1 frame," in printed
        assert "0003: its pose is not finite" in printed
        assert read_json(out / "preparation.json")["dropped"].keys() == {"0003"}
        with pytest.raises(SystemExit) as stopped:
            main(["prepare", "scannet", str(folder), "--out", str(tmp_path / "b"), "--classes", "nyu41"])
        assert stopped.value.code == 2
        assert "Did you mean nyu40?" in capsys.readouterr().err
        assert not (tmp_path / "b").exists()


class TinyRecording:
    """A recording of grey photos that are all equally sharp."""

    def __init__(self, frames: int, lost: range) -> None:
        self.poses = {number: np.full((4, 4), -np.inf) if number in lost else np.eye(4) for number in range(frames)}
        self.missing: dict[int, str] = {}
        self.registered = True
        self.intrinsic_color = self.intrinsic_depth = np.array([[8.0, 0, 3.5], [0, 8, 2.5], [0, 0, 1]])

    def encoded(self, number: int) -> None:
        return None

    def color(self, number: int) -> np.ndarray:
        return np.zeros((6, 8, 3), np.uint8)

    def depth(self, number: int) -> None:
        return None


def rewrite(archive: Path, changes: dict[str, bytes | None]) -> None:
    """Replace, add or remove entries of a zip."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(archive) as old, zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            if name not in changes:
                new.writestr(name, old.read(name))
        for name, data in changes.items():
            if data is not None:
                new.writestr(name, data)
    archive.write_bytes(buffer.getvalue())
