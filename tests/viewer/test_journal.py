# SPDX-License-Identifier: Apache-2.0
"""Edits that were not saved outlive the viewer that made them, however it ends."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from small_rooms import FAR, FLOOR, NASTY, NEAR, save, small_room

from panoptic_gs.errors import InputError
from panoptic_gs.objects.boxes import Box
from panoptic_gs.objects.opening import open_scene
from panoptic_gs.uplift import LabelledScene
from panoptic_gs.viewer import journal
from panoptic_gs.viewer.operations import Delete, Merge, Move, Recategorise, Rename, SplitBox
from panoptic_gs.viewer.session import Session

BOX = Box(np.array([0.0, 0.0, 0.0]), np.eye(3), np.array([2.0, 9.0, 9.0]))
MIXED = (
    Rename(NEAR, "Ann's chair"), SplitBox.of(FLOOR, BOX), Move(FAR, np.array([0.1, 0.25, -1 / 3])),
    Merge(NASTY, NEAR), "undo", "undo", "redo", Recategorise(FAR, 2), Delete(FAR), "undo", Rename(FAR, "é🙂"),
)  # fmt: skip

KILLED = """
import os, signal, sys
sys.path[:0] = sys.argv[2:]
from test_journal import MIXED, make
from panoptic_gs.objects.opening import open_scene
from panoptic_gs.viewer.session import Session
session = Session(open_scene(sys.argv[1]))
make(session, MIXED)
os.kill(os.getpid(), signal.SIGKILL)
"""


def make(session: Session, steps) -> None:
    for step in steps:
        if step == "undo":
            session.undo()
        elif step == "redo":
            session.redo()
        else:
            session.edit(type(step).__name__, step)


def same(one: LabelledScene, other: LabelledScene) -> bool:
    tensors = [(s.splats.means, s.labels.label, s.labels.weight, s.labels.void, s.labels.indptr) for s in (one, other)]
    return all(torch.equal(a, b) for a, b in zip(*tensors)) and one.labelling == other.labelling


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save(small_room(), tmp_path / "room")
    return tmp_path / "room"


def files(folder: Path) -> list[Path]:
    return sorted(folder.glob(journal.FILES))


def test_a_killed_viewers_edits_are_made_again(folder: Path) -> None:
    paths = [str(Path(__file__).parent), *(entry for entry in sys.path if entry)]
    with subprocess.Popen([sys.executable, "-c", KILLED, str(folder), *paths]) as process:
        assert process.wait() == -signal.SIGKILL
    expected = Session(open_scene(folder))
    make(expected, MIXED)
    expected.close()
    again = Session(open_scene(folder))
    notes = again.restore()
    assert len(notes) == 2, "of this one, and that the other one has edits, too"
    assert "11 edits of an earlier viewer" in notes[0]
    assert same(again.scene, expected.scene)
    assert again.undo() == "Rename"
    assert again.undo() == "Recategorise", "the edit that was taken back stays so"
    again.redo()
    again.redo()
    out = again.save()
    assert len(files(folder)) == 1, "saved: only the other one's are left"
    assert open_scene(out).scene.segments == expected.scene.segments


def test_saving_takes_the_file_away_and_later_edits_bring_all_back(folder: Path) -> None:
    session = Session(open_scene(folder))
    assert session.restore() == []
    assert files(folder) == [], "nothing was edited yet"
    make(session, MIXED[:2])
    assert len(files(folder)) == 1
    session.save()
    assert files(folder) == []
    make(session, MIXED[2:])
    session.journal.close()  # the process dies
    again = Session(open_scene(folder))
    assert "were made again" in again.restore()[0]
    assert same(again.scene, session.scene)


def test_what_was_taken_back_leaves_nothing(folder: Path) -> None:
    session = Session(open_scene(folder))
    make(session, (Delete(NEAR), "undo"))
    assert not session.close()
    assert files(folder) == []


@pytest.mark.parametrize("cut", [1, 5, 30])
def test_half_a_line_is_an_edit_that_was_not_made(folder: Path, cut: int) -> None:
    session = Session(open_scene(folder))
    make(session, (Rename(NEAR, "a"), Rename(NEAR, "b")))
    session.journal.close()
    (file,) = files(folder)
    file.write_bytes(file.read_bytes()[:-cut])
    again = Session(open_scene(folder))
    assert "1 edit of" in again.restore()[0]
    assert again.table[NEAR].name == "a"
    make(again, (Rename(NEAR, "c"),))
    again.journal.close()
    third = Session(open_scene(folder))
    third.restore()
    assert third.table[NEAR].name == "c"
    assert third.undo() == "Rename"
    assert third.table[NEAR].name == "a"


@pytest.mark.parametrize("line", [b"\xff\n", b"[[[[\n", b'{"edit": {"do": "delete"}, "description": "x"}\n',
                                  b'{"edit": {"do": "delete", "segment_id": 999}, "description": "x"}\n'])  # fmt: skip
def test_damaged_lines_end_it_and_all_of_it_is_kept(folder: Path, line: bytes) -> None:
    session = Session(open_scene(folder))
    make(session, (Rename(NEAR, "a"), Rename(NEAR, "b")))
    session.journal.close()
    (file,) = files(folder)
    lines = file.read_bytes().splitlines(keepends=True)
    content = b"".join((*lines[:2], line, *lines[2:]))
    file.write_bytes(content)
    again = Session(open_scene(folder))
    notes = "\n".join(again.restore())
    assert "earlier viewer" in notes
    assert again.table[NEAR].name == "a"
    (aside,) = folder.glob(".unsaved-edits-*.damaged")
    assert str(aside) in notes
    assert aside.read_bytes() == content
    again.journal.close()
    third = Session(open_scene(folder))
    assert "1 edit of" in third.restore()[0]
    assert third.table[NEAR].name == "a"


def test_edits_of_another_state_of_the_scene_stay_where_they_are(folder: Path, tmp_path: Path) -> None:
    session = Session(open_scene(folder))
    make(session, (Delete(NEAR),))
    session.journal.close()
    (file,) = files(folder)
    scene = small_room()
    scene.splats.means[0, 0] += 0.5
    save(scene, tmp_path / "other")
    other = tmp_path / "other" / file.name
    other.write_bytes(file.read_bytes())
    again = Session(open_scene(tmp_path / "other"))
    assert "as it was before" in again.restore()[0]
    assert not again.history.unsaved
    assert other.read_bytes() == file.read_bytes()


def test_a_viewer_that_runs_keeps_its_edits_to_itself(folder: Path) -> None:
    session = Session(open_scene(folder))
    make(session, (Delete(NEAR),))
    second = Session(open_scene(folder))
    assert second.restore() == []
    make(second, (Delete(FAR),))
    assert len(files(folder)) == 2
    session.save()
    assert len(files(folder)) == 1


def test_a_folder_that_cannot_be_written_is_said(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(30, "Read-only file system")

    session = Session(open_scene(folder))
    with monkeypatch.context() as patch:
        patch.setattr(os, "open", refuse)
        session.edit("delete", Delete(NEAR))
    assert isinstance(session.journal.trouble, InputError)
    assert "Read-only file system" in str(session.journal.trouble)
    assert session.table.get(NEAR) is None, "the edit is made all the same"
    session.edit("delete", Delete(FAR))
    assert session.journal.trouble is None
    session.journal.close()
    again = Session(open_scene(folder))
    again.restore()
    assert same(again.scene, session.scene), "the edit before, too"


def test_a_full_disk_leaves_no_half_lines(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    session = Session(open_scene(folder))
    make(session, (Rename(NEAR, "a"),))
    write = os.write
    with monkeypatch.context() as patch:

        def half(descriptor: int, content: bytes) -> int:
            write(descriptor, content[: len(content) // 2])
            raise OSError(28, "No space left on device")

        patch.setattr(os, "write", half)
        make(session, (Rename(NEAR, "b"),))
        assert "No space left" in str(session.journal.trouble)
    make(session, (Rename(NEAR, "c"),))
    session.journal.close()
    again = Session(open_scene(folder))
    assert "3 edits" in again.restore()[0]
    assert again.table[NEAR].name == "c"
