# SPDX-License-Identifier: Apache-2.0
"""Whatever happens while an output is written, the old one or the new one is whole."""

from __future__ import annotations

import ctypes
import os
import random
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from panoptic_gs import InputError
from panoptic_gs.files import write_arrays, write_json, write_png
from panoptic_gs.replacing import replacing, replacing_folder, require_replaceable

WRITER = """
import os, signal, sys, time
from pathlib import Path
from panoptic_gs import replacing

folder, version, stop = Path(sys.argv[1]), sys.argv[2], sys.argv[3]

def pause(where):
    if where == stop:
        print("here", flush=True)
        time.sleep(60)

move, exchange, rename = replacing.move_folder_into_place, replacing._exchange, os.rename
if stop.startswith("aside"):
    replacing._exchange = lambda *_: False
def renamed(one, other):
    rename(one, other)
    if str(other).endswith(".old"): pause("aside, old one moved")
    elif str(one).endswith(".part") and Path(other) == folder: pause("aside, new one moved")
os.rename = renamed
def exchanged(*names):
    done = exchange(*names)
    pause("exchanged")
    return done
if not stop.startswith("aside"):
    replacing._exchange = exchanged
with replacing.replacing_folder(folder, overwrite=True, known_by="0") as temporary:
    for number in range(40):
        (temporary / str(number)).write_text(version)
        if number == 20: pause("half")
    pause("written")
    if stop == "fast": print("here", flush=True)
"""
POINTS = ("half", "written", "exchanged", "aside, old one moved", "aside, new one moved")


def start(folder: Path, version: str, stop: str = "") -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, str(folder), version, stop], stdout=subprocess.PIPE, text=True
    )


def version_of(folder: Path) -> str:
    assert sorted(file.name for file in folder.iterdir()) == sorted(map(str, range(40))), "a whole one"
    (version,) = {file.read_text() for file in folder.iterdir()}
    return version


@pytest.mark.parametrize("point", POINTS)
def test_killed_at_a_point(tmp_path: Path, point: str) -> None:
    folder = tmp_path / "out"
    assert start(folder, "old").wait() == 0
    with start(folder, "new", point) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "here\n"
        process.kill()
    if point != "aside, old one moved":  # there, the next run moves it back
        assert version_of(folder) == ("new" if point in ("exchanged", "aside, new one moved") else "old")
    with pytest.raises(RuntimeError), replacing_folder(folder, overwrite=True, known_by="0"):
        raise RuntimeError
    assert version_of(folder) in ("old", "new"), "a run that fails has recovered what was there"
    assert start(folder, "next").wait() == 0
    assert version_of(folder) == "next"
    assert os.listdir(tmp_path) == ["out"], "nothing is left behind"


def test_killed_at_random(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    assert start(folder, "old").wait() == 0
    pause = random.Random(0)
    for number in range(6):
        with start(folder, str(number), "fast") as process:
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(pause.uniform(0, 0.02))
            process.send_signal(signal.SIGKILL)
        version_of(folder)
    assert start(folder, "next").wait() == 0
    assert os.listdir(tmp_path) == ["out"]


def test_two_processes_write_one_folder(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    with start(folder, "first", "half") as process:
        assert process.stdout is not None
        process.stdout.readline()
        with (
            pytest.raises(InputError, match="another process is writing"),
            replacing_folder(folder, overwrite=True, known_by="0"),
        ):
            pass
        process.kill()
    assert start(folder, "second").wait() == 0
    assert version_of(folder) == "second"


def test_half_written_files_of_dead_processes_are_removed(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    left, alive, foreign = (
        tmp_path / name for name in (f".a.json.{process.pid}.part", f".b.{os.getpid()}.part", ".c.part")
    )
    for file in (left, alive, foreign):
        file.touch()
    write_json(tmp_path / "a.json", {})
    assert not left.exists()
    assert alive.exists()
    assert foreign.exists()


def test_parts_of_parts_are_removed(tmp_path: Path) -> None:
    for name in ("..out.71.part.71.part", ".out.71.part"):
        (tmp_path / name).mkdir()
    (tmp_path / "..out.71.part.lock").touch()
    (tmp_path / "..other.71.part.lock").touch()
    with replacing_folder(tmp_path / "out", known_by="0"):
        pass
    assert sorted(os.listdir(tmp_path)) == ["..other.71.part.lock", "out"]


def test_modes_are_those_of_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        with replacing_folder(tmp_path / "out", known_by="a.json") as folder:
            write_json(folder / "a.json", {})
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "out").stat().st_mode) == 0o750
    assert stat.S_IMODE((tmp_path / "out" / "a.json").stat().st_mode) == 0o640


def test_a_link_goes_on_leading_to_its_folder(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "0").write_text("old")
    (tmp_path / "link").symlink_to(tmp_path / "there")
    with replacing_folder(tmp_path / "link", overwrite=True, known_by="0") as folder:
        (folder / "0").write_text("new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "there" / "0").read_text() == "new"


def test_long_names_can_be_written(tmp_path: Path) -> None:
    name = "ä" * 127
    write_json(tmp_path / name, 1)
    with replacing_folder(tmp_path / ("n" * 255), known_by="0"):
        pass
    assert (tmp_path / name).is_file()


def test_what_is_read_meanwhile_is_not_blamed_on_the_output(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), replacing(tmp_path / "out" / "file"):
        (tmp_path / "elsewhere").read_bytes()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    libc = ctypes.CDLL(None, use_errno=True)
    if not hasattr(libc, "mount") or libc.mount(b"tmpfs", os.fsencode(tmp_path), b"tmpfs", 0, b"size=64k") != 0:
        pytest.skip("no file system can be mounted here")
    yield tmp_path
    libc.umount2(os.fsencode(tmp_path), 2)


def test_a_full_disk_is_said(small_disk: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (200, 200, 3), dtype=np.uint8)
    writers = {
        "text": lambda path: path.write_text("x" * 100_000),
        "safetensors": lambda path: save_file({"a": torch.zeros(100_000)}, path),
        "png": lambda path: write_png(path, noise),
        "npz": lambda path: write_arrays(path, a=noise),
    }
    for write in writers.values():
        with pytest.raises(InputError, match="No space left") as caught, replacing(small_disk / "file") as path:
            write(path)
        assert "Free some space" in caught.value.mend
        with (
            pytest.raises(InputError, match="No space left"),
            replacing_folder(small_disk / "folder", known_by="a") as folder,
        ):
            write(folder / "a")
    assert os.listdir(small_disk) == []


def test_a_full_disk_is_said_of_copies_too(small_disk: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    source = tmp_path_factory.mktemp("elsewhere")
    (source / "big").write_bytes(b"x" * 100_000)
    with pytest.raises(InputError, match="No space left"), replacing(small_disk / "file") as path:
        shutil.copyfile(source / "big", path)  # its error names the source first
    with (
        pytest.raises(InputError, match="No space left") as caught,
        replacing_folder(small_disk / "folder", known_by="a") as folder,
    ):
        shutil.copytree(source, folder / "copy")
    assert len(str(caught.value)) < 500
    assert os.listdir(small_disk) == []


def test_foreign_folders_are_kept(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("")
    with pytest.raises(InputError, match="content without"):
        require_replaceable(tmp_path, overwrite=True, known_by="index")


@pytest.mark.skipif(os.name != "posix", reason="no umask")
@pytest.mark.parametrize("umask", [0o022, 0o002, 0o077])
def test_files_have_the_mode_of_the_umask(tmp_path, umask):
    before = os.umask(umask)
    try:
        with replacing(tmp_path / "private") as temporary:  # as safetensors writes
            os.close(os.open(temporary, os.O_CREAT | os.O_WRONLY, 0o600))
        with replacing(tmp_path / "usual") as temporary:
            temporary.write_text("x")
    finally:
        os.umask(before)
    for name in ("private", "usual"):
        assert (tmp_path / name).stat().st_mode & 0o777 == 0o666 & ~umask
    assert sorted(file.name for file in tmp_path.iterdir()) == ["private", "usual"]
