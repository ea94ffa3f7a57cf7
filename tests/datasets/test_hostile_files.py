# SPDX-License-Identifier: Apache-2.0
"""Files of datasets that were tampered with: an InputError, soon, and without much memory."""

from __future__ import annotations

import csv
import io
import json
import resource
import shutil
import struct
import time
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypersim_layout import opengl_projection, write_hypersim
from panoptic_lifting_layout import write_panoptic_lifting
from PIL import Image
from replica_layout import intrinsics, write_replica
from room_frames import HEIGHT, WIDTH, RoomFrame, render_frames
from scannet_layout import write_scannet

from panoptic_gs.datasets.classes import REDUCED21
from panoptic_gs.datasets.hdf5 import read_hdf5
from panoptic_gs.datasets.hypersim import HypersimScene
from panoptic_gs.datasets.panoptic_lifting import PanopticLiftingScene
from panoptic_gs.datasets.raw_scene import RawScene
from panoptic_gs.datasets.replica import ReplicaScene
from panoptic_gs.datasets.scannet import ScanNetScene
from panoptic_gs.datasets.scannet_labels import LabelArchive
from panoptic_gs.datasets.sens import SensStream
from panoptic_gs.errors import InputError

HOSTILE = Path(__file__).parents[3] / "shared" / "data" / "hostile"
MOST_MEMORY = 500 << 20
MOST_SECONDS = 3.0  # of a busy machine


def read_everything(scene: RawScene) -> list[InputError]:
    """Read all frames; the errors of those that are dropped."""
    errors = []
    for stem in scene.stems:
        try:
            scene.read(stem)
        except InputError as error:
            errors.append(error)
    return errors


class Layout:
    """A scene of a dataset in a folder, how it is opened, and its files that another can be put in the place of."""

    def __init__(self, root: Path, opened: Callable[[], RawScene], twins: list[Path]) -> None:
        self.root, self.opened, self.twins = root, opened, twins

    def errors(self) -> list[InputError]:
        try:
            return read_everything(self.opened())
        except InputError as error:
            return [error]


@pytest.fixture(scope="module")
def frames(renderer) -> list[RoomFrame]:
    frames = render_frames(renderer, views=2, K=intrinsics(WIDTH, HEIGHT))
    person, bag = REDUCED21.ids["person"], REDUCED21.ids["bag"]
    return [replace(frame, classes=np.where(frame.classes == person, bag, frame.classes)) for frame in frames]


@pytest.fixture(scope="module")
def layouts(frames: list[RoomFrame], renderer, tmp_path_factory) -> dict[str, Layout]:
    root = tmp_path_factory.mktemp("layouts")
    scannet, exported = write_scannet(root / "a", frames), write_scannet(root / "b", frames, exported=True)
    replica = write_replica(root / "c", frames)
    lifting = write_panoptic_lifting(root / "d" / "scene", frames)
    K = intrinsics(WIDTH, HEIGHT)
    rendered = render_frames(renderer, views=2, K=K, stems=("0_0000", "0_0001"))
    hypersim = write_hypersim(root / "e", rendered, opengl_projection(K, WIDTH, HEIGHT))
    return {
        "scannet": Layout(root / "a", lambda: ScanNetScene.open(scannet), [
            *scannet.glob("*.zip"), *scannet.glob("*.sens")]),
        "scannet_exp": Layout(root / "b", lambda: ScanNetScene.open(exported), [
            *exported.glob("*.zip"), exported / "depth" / "1.png", exported / "color" / "1.jpg"]),
        "replica": Layout(root / "c", lambda: ReplicaScene.open(replica), [
            replica.parent / "info_semantic.json", *replica.glob("*/*_1.png")]),
        "lifting": Layout(root / "d", lambda: PanopticLiftingScene.open(lifting), [
            path for folder in ("depth", "rs_semantics", "rs_instance") for path in [
                lifting / folder / f"{frames[1].stem}.png"]]),
        "hypersim": Layout(root / "e", lambda: HypersimScene.open(hypersim), sorted(hypersim.rglob("*.hdf5"))),
    }  # fmt: skip


def test_untouched_layouts_are_read(layouts: dict[str, Layout]) -> None:
    assert {name: layout.errors() for name, layout in layouts.items()} == {name: [] for name in layouts}


def cases() -> list[tuple[str, str]]:
    kinds = ("scannet", "scannet_exp", "hypersim", "replica", "lifting")
    return [
        (path.name.split("-")[0], path.name) for path in sorted(HOSTILE.glob("*")) if path.name.split("-")[0] in kinds
    ]


@pytest.mark.skipif(not HOSTILE.is_dir(), reason="the hostile files are not here")
@pytest.mark.parametrize(("kind", "name"), cases())
def test_a_file_that_broke_a_reader_is_refused_by_name(layouts: dict[str, Layout], kind: str, name: str) -> None:
    layout, file = layouts[kind], HOSTILE / name
    twins = [path for path in layout.twins if path.suffix == file.suffix]
    assert twins
    refused = 0
    for twin in twins:
        original = twin.read_bytes()
        shutil.copyfile(file, twin)
        try:
            start, before = time.monotonic(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            errors = layout.errors()
            assert time.monotonic() - start < MOST_SECONDS
            assert 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) < MOST_MEMORY
        finally:
            twin.chmod(0o644)
            twin.write_bytes(original)
        refused += any(twin.name in str(error) or twin.parent.name in str(error) for error in errors)
    assert refused  # in the place that it was made for


class TestKinds:
    """Other files of the same kinds, made here."""

    def test_a_stream_that_announces_many_frames(self, layouts: dict[str, Layout], tmp_path: Path) -> None:
        (whole,) = [path for path in layouts["scannet"].twins if path.suffix == ".sens"]
        data = bytearray(whole.read_bytes())
        place = 4 + 8 + len("StructureSensor") + 256 + 28
        file = tmp_path / "many.sens"
        for count in (2**63, 10**9, 100_001, 0):
            data[place : place + 8] = struct.pack("<Q", count)
            file.write_bytes(data)
            tracemalloc.start()
            with pytest.raises(InputError, match=r"many\.sens"):
                SensStream.open(file)
            assert tracemalloc.get_traced_memory()[1] < 10 << 20
            tracemalloc.stop()

    def test_a_bomb_of_depth(self, tmp_path: Path) -> None:
        """One pixel of depth, and a gigabyte of zeros in a megabyte of zlib."""
        bomb = zlib.compressobj(9)
        depth = b"".join(bomb.compress(bytes(1 << 20)) for _ in range(256)) + bomb.flush()
        color = bytes(3)
        head = struct.pack("<IQ", 4, 1) + b"x" + np.tile(np.eye(4, dtype="<f4"), (4, 1, 1)).tobytes()
        head += struct.pack("<ii4IfQ", 0, 1, 1, 1, 1, 1, 1000.0, 1) + np.eye(4, dtype="<f4").tobytes()
        file = tmp_path / "bomb.sens"
        file.write_bytes(head + struct.pack("<4Q", 0, 0, len(color), len(depth)) + color + depth)
        stream = SensStream.open(file)
        tracemalloc.start()
        with pytest.raises(InputError, match="depth that cannot be decoded"):
            stream.read_depth(0)
        assert tracemalloc.get_traced_memory()[1] < 4 * len(depth) + (1 << 20)
        tracemalloc.stop()

    @pytest.mark.parametrize("name", ["", "/", "//", "\\", "../1.png", "a/../../1.png"])
    def test_zip_members_of_no_name(self, tmp_path: Path, name: str) -> None:
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            archive.writestr(zipfile.ZipInfo("placeholder"), b"")
        # ZipInfo does not take such names; they are written into the file.
        data = buffer.getvalue().replace(b"placeholder", name.encode().ljust(11, b"\0")[:11])
        (tmp_path / "labels.zip").write_bytes(data)
        with pytest.raises(InputError, match=r"labels\.zip"):
            LabelArchive.open(tmp_path / "labels.zip", tmp_path / "none").read(1)

    def test_a_zip_member_of_5000_digits_is_no_frame(self, tmp_path: Path) -> None:
        with zipfile.ZipFile(tmp_path / "labels.zip", "w") as archive:
            archive.writestr(f"{'9' * 5000}.png", b"")
            archive.writestr("٣.png", b"")
        assert LabelArchive.open(tmp_path / "labels.zip", tmp_path / "none").members == {}

    @pytest.mark.parametrize(("offset", "value"), [(4, b"\xff\x00"), (6, b"\x01\x00"), (8, b"\x63\x00")])
    def test_zip_members_of_an_unknown_version_or_method_or_encrypted(
        self, tmp_path: Path, offset: int, value: bytes
    ) -> None:
        file = tmp_path / "labels.zip"
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("1.png", b"no picture")
        data = bytearray(file.read_bytes())
        for start, shift in ((0, 0), (data.index(b"PK\x01\x02"), 2)):
            data[start + shift + offset : start + shift + offset + 2] = value
        file.write_bytes(data)
        with pytest.raises(InputError, match=r"labels\.zip"):
            LabelArchive.open(file, tmp_path / "none").read(1)

    def test_a_bomb_in_an_archive_of_labels(self, tmp_path: Path) -> None:
        file = tmp_path / "labels.zip"
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("1.png", "w") as member:
            for _ in range(200):
                member.write(bytes(1 << 20))
        png = io.BytesIO()
        Image.fromarray(np.zeros((1, 1), np.uint16)).save(png, "PNG")
        large = bytearray(png.getvalue())
        large[16:24] = struct.pack(">II", 8_000, 8_000)
        large[29:33] = struct.pack(">I", zlib.crc32(bytes(large[12:29])))
        with zipfile.ZipFile(file, "a") as archive:
            archive.writestr("2.png", bytes(large))
        labels = LabelArchive.open(file, tmp_path / "none")
        with pytest.raises(InputError, match="more than 134,217,728 bytes"):
            labels.read(1)
        with pytest.raises(InputError, match="8000×8000 pixels"):
            labels.read(2)

    def test_hdf5_that_is_not_what_it_should_be(self, tmp_path: Path) -> None:
        def write(name: str, make: Callable[[h5py.File], object]) -> Path:
            with h5py.File(tmp_path / name, "w") as file:
                make(file)
            return tmp_path / name

        text = h5py.string_dtype()
        compound = np.dtype([("a", "f4"), ("b", "i4")])
        large = write("large.hdf5", lambda f: f.create_dataset("dataset", (200_000, 200_000, 3), "f2", chunks=True))
        hollow = write("hollow.hdf5", lambda f: f.create_dataset("dataset", (2000, 2000, 3), "f2", chunks=True))
        write("other.hdf5", lambda f: f.create_dataset("dataset", data=np.zeros((2, 2, 3), "f4")))
        files = [
            write("text.hdf5", lambda f: f.create_dataset("dataset", (2, 2, 3), text)),
            write("compound.hdf5", lambda f: f.create_dataset("dataset", (2, 2, 3), compound)),
            write("complex.hdf5", lambda f: f.create_dataset("dataset", data=np.zeros((2, 2, 3), "c8"))),
            write("integers.hdf5", lambda f: f.create_dataset("dataset", data=np.zeros((2, 2, 3), "i4"))),
            write("scalar.hdf5", lambda f: f.create_dataset("dataset", data=1.0)),
            write("null.hdf5", lambda f: f.create_dataset("dataset", data=h5py.Empty("f4"))),
            write("group.hdf5", lambda f: f.create_group("dataset")),
            write("nothing.hdf5", lambda f: f.create_group("other")),
            write("link.hdf5", lambda f: f.__setitem__("dataset", h5py.ExternalLink("other.hdf5", "dataset"))),
            large, hollow,
        ]  # fmt: skip
        for path in files:
            with pytest.raises(InputError, match=path.name):
                read_hdf5(path, (None, None, 3))
        with pytest.raises(InputError, match="whole numbers"):
            read_hdf5(tmp_path / "other.hdf5", (None, None, 3), "iu")
        assert read_hdf5(tmp_path / "other.hdf5", (2, None, 3)).shape == (2, 2, 3)

    @pytest.mark.parametrize("entry", [0.0, 1e-9, float("nan"), float("inf"), 1e30])
    def test_projections_that_are_singular(self, layouts: dict[str, Layout], entry: float) -> None:
        (file,) = layouts["hypersim"].root.rglob("metadata_camera_parameters.csv")
        text = file.read_text()
        lines = list(csv.reader(io.StringIO(text)))
        row = next(line for line in lines if line[0] == "ai_099_001")
        row[lines[0].index("M_proj_00")] = repr(entry)
        with file.open("w", newline="") as opened:
            csv.writer(opened).writerows(lines)
        try:
            (error,) = layouts["hypersim"].errors()
        finally:
            file.write_text(text)
        assert "M_proj" in str(error)
        assert file.name in str(error)

    def test_a_sequence_of_a_frame_with_a_huge_number(self, layouts: dict[str, Layout]) -> None:
        folder = next(layouts["replica"].root.rglob("rgb"))
        file = folder / "rgb_999999999.png"
        shutil.copyfile(folder / "rgb_0.png", file)
        try:
            (error,) = layouts["replica"].errors()
        finally:
            file.unlink()
        assert "at most 100,000 frames" in str(error)

    @pytest.mark.parametrize(
        "value",
        [
            "[[[[",
            '{"classes": [{"id": Infinity, "name": "wall"}]}',
            '{"classes": [{"id": 1, "name": ["wall"]}]}',
            '{"classes": {"1": "wall"}}',
            '{"classes": [{"id": 1, "name": "wall"}], "objects": [{"id": 1e30}]}',
        ],
    )
    def test_json_of_other_types(self, layouts: dict[str, Layout], value: str) -> None:
        (file,) = layouts["replica"].root.rglob("info_semantic.json")
        text = file.read_text()
        file.write_text(value)
        try:
            (error,) = layouts["replica"].errors()
        finally:
            file.write_text(text)
        assert file.name in str(error)
        assert json.loads(text)["classes"]
