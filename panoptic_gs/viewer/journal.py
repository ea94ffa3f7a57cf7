# SPDX-License-Identifier: Apache-2.0
"""Edits that were not saved, on the disk as they are made, so that no crash takes them.

``.unsaved-edits-….jsonl`` in the scene's folder has a line that says of which scene it is, then a line for each edit,
each on the disk before the page shows it. A viewer that starts takes up the one that fits its scene and that no other
viewer holds; saving removes it.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from typing import Literal

from panoptic_gs.errors import InputError
from panoptic_gs.records import Name, parse_record, record_to_json
from panoptic_gs.uplift import LabelledScene
from panoptic_gs.viewer.operations import Operation

try:
    import fcntl
except ImportError:  # Windows: two viewers of one scene are not told apart there
    fcntl = None

FILES = ".unsaved-edits-*.jsonl"
LARGEST = 32 << 20
"""Bytes of a journal that is read: hundreds of thousands of edits."""


@dataclass(frozen=True)
class Head:
    """A journal's first line."""

    scene: Name
    """What :func:`fingerprint` gives."""
    format: Literal["panoptic-gs edits 1"] = "panoptic-gs edits 1"


@dataclass(frozen=True)
class Done:
    """An edit that was made."""

    edit: Operation
    description: Name


@dataclass(frozen=True)
class Step:
    """An edit that was taken back, or done again."""

    step: Literal["undo", "redo"]


Entry = Done | Step


def fingerprint(scene: LabelledScene) -> str:
    """A short name for a scene as it is in memory; edits are places and ids that mean nothing in another one."""
    digest = blake2b(digest_size=12)
    labels = scene.labels
    for tensor in (scene.splats.means, labels.indptr, labels.label, labels.weight, labels.void):
        digest.update(tensor.contiguous().numpy().data.cast("B") if tensor.numel() else b"")
    digest.update(json.dumps(scene.labelling.to_json(), sort_keys=True).encode())
    return digest.hexdigest()


class Journal:
    """The edits of one viewer, on the disk from the first one on.

    Args:
        folder: of the scene.
        scene: that the edits start from.

    What cannot be written is no reason to refuse an edit: :attr:`trouble` says it.
    """

    def __init__(self, folder: Path, scene: LabelledScene) -> None:
        self._folder, self._scene = folder, scene
        self._entries: list[Entry] = []
        self._file: Path | None = None
        self._descriptor: int | None = None
        self.trouble: InputError | None = None
        """Why edits are not kept, or None."""
        if not os.access(folder, os.W_OK):
            self._fail(PermissionError(0, "no permission to write"))

    @cached_property
    def _fingerprint(self) -> str:
        return fingerprint(self._scene)

    def add(self, entry: Entry) -> None:
        """Note an edit, on the disk when this returns."""
        self._entries.append(entry)
        try:
            if self._descriptor is None:
                self._create()
            else:
                self._write([record_to_json(entry)])
            self.trouble = None
        except OSError as error:
            self._fail(error)

    def clear(self) -> None:
        """The scene as it is now is on the disk: no edit is lost without the file.

        The edits stay in memory: the ones that follow are edits of what they led to, and the file that these begin
        has them all.
        """
        self.close()
        if self._file is not None:
            with suppress(OSError):
                self._file.unlink(missing_ok=True)
        self._file = None

    def close(self) -> None:
        """Let another viewer take the file up."""
        if self._descriptor is not None:
            os.close(self._descriptor)
        self._descriptor = None

    def take_up(self) -> tuple[list[Entry], list[str]]:
        """The edits that a viewer of this scene left, newest file first, and what is to be said of others.

        The file goes on with the edits of this viewer.
        """
        notes: list[str] = []
        for path in sorted(self._folder.glob(FILES), key=_age):
            try:
                descriptor = os.open(path, os.O_RDWR | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0))
            except OSError as error:
                notes.append(f"{path}: unsaved edits that cannot be opened ({error.strerror})")
                continue
            if not _locked(descriptor):  # of a viewer that runs
                os.close(descriptor)
                continue
            try:
                head, entries, end, note = read_journal(path)
            except InputError as error:
                notes.append(str(error))
                os.close(descriptor)
                continue
            if head.scene != self._fingerprint:
                notes.append(
                    f"{path}: unsaved edits of this scene as it was before, or with other options (--data); "
                    "they stay there"
                )
                os.close(descriptor)
                continue
            if self._descriptor is not None or not entries:
                if entries:
                    notes.append(f"{path}: more unsaved edits, older ones; the next start takes them up")
                os.close(descriptor)
                continue
            self._file, self._descriptor, self._entries = path, descriptor, entries
            if note:
                notes.append(f"{note} {self._set_aside()}")
                continue
            with suppress(OSError):
                os.ftruncate(descriptor, end)  # without a line that a crash cut
                os.lseek(descriptor, 0, os.SEEK_END)
        return list(self._entries), notes

    def keep(self, count: int) -> str:
        """Go on after the first ``count`` of the edits that were taken up; the rest could not be made again.

        Says where the file with all of them is.
        """
        self._entries = self._entries[:count]
        return self._set_aside()

    def _set_aside(self) -> str:
        assert self._file is not None
        aside = self._file.with_suffix(".damaged")
        try:
            os.replace(self._file, aside)
            self.close()
            self._create()
        except OSError as error:
            self._fail(error)
        return f"All that was written is in {aside}."

    def _create(self) -> None:
        path = self._folder / FILES.replace("*", secrets.token_hex(4))
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0)
        self._descriptor, self._file = os.open(path, flags, 0o666), path
        _locked(self._descriptor)
        self._write([record_to_json(Head(self._fingerprint)), *map(record_to_json, self._entries)])

    def _write(self, lines: Sequence[object]) -> None:
        assert self._descriptor is not None
        content = "".join(json.dumps(line) + "\n" for line in lines).encode()
        start = os.fstat(self._descriptor).st_size
        try:
            done = 0
            while done < len(content):
                done += os.write(self._descriptor, content[done:])
            os.fsync(self._descriptor)
        except OSError:
            with suppress(OSError):  # the next line must not follow half of this one
                os.ftruncate(self._descriptor, start)
            raise

    def _fail(self, error: OSError) -> None:
        self.clear()  # with the next edit all are tried again
        self.trouble = InputError(
            self._folder,
            f"a folder that cannot be written ({error.strerror or error})",
            "room for the edits that are not saved yet",
            "A crash would take them: free some space, or copy the scene to a folder that can be written.",
        )


def read_journal(path: Path) -> tuple[Head, list[Entry], int, str]:
    """A journal as far as it can be read.

    Returns:
        Its head, its edits, the bytes that they take, and what is to be said where lines were left out; a last line
        without an end is what a crash leaves, and no more than that.

    Raises:
        InputError: it is none.
    """
    with path.open("rb") as file:
        content = file.read(LARGEST + 1)
    mend = "Delete it if it is not a viewer's."
    if len(content) > LARGEST:
        raise InputError(path, f"more than {LARGEST >> 20} MiB", "unsaved edits of a viewer", mend)
    lines = content.split(b"\n")[:-1]
    if not lines:
        raise InputError(path, "no line", "unsaved edits of a viewer", mend)
    head = parse_record(_json(lines[0], path, 1), Head, path, mend=mend)
    entries: list[Entry] = []
    end, note = len(lines[0]) + 1, ""
    for number, line in enumerate(lines[1:], 2):
        try:
            entries.append(parse_record(_json(line, path, number), Entry, f"{path}, line {number}"))  # pyright: ignore[reportArgumentType] (a union is a kind, too)
        except InputError as error:
            note = f"{error} The edits from there on are left out."
            break
        end += len(line) + 1
    return head, entries, end, note


def _json(line: bytes, path: Path, number: int) -> object:
    try:
        return json.loads(line)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}, line {number}", f"no JSON ({error})", "an edit", "It is damaged.") from None


def _age(path: Path) -> float:
    try:
        return -path.stat().st_mtime
    except OSError:
        return 0.0


def _locked(descriptor: int) -> bool:
    """Hold a file against other viewers; the system lets go when the process ends. False where another one holds it."""
    if fcntl is None:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        return True
    return True
