# SPDX-License-Identifier: Apache-2.0
"""Writing so that the old output or the new one is whole, whatever happens in between.

Everything is written under a hidden name beside its place (``.NAME….part``) and moved there at the end. A folder with
content is *exchanged* with the new one in a single step where the system can do that (Linux), so that at no moment is
there neither; elsewhere the old one is moved aside first, and moved back by the next run if nothing took its place.
What a killed process leaves is removed by the next run that writes the same output.
"""

from __future__ import annotations

import ctypes
import errno
import os
import re
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from safetensors import SafetensorError

from panoptic_gs.errors import InputError

try:
    import fcntl
except ImportError:  # Windows: two processes that write one output are not told apart there
    fcntl = None

_LONGEST_NAME = 200  # of the 255 bytes that file systems allow, with room for what makes a hidden name
_PART = re.compile(r"\.(\d+)\.part$")
_EXCHANGE = 2  # RENAME_EXCHANGE of renameat2(2)
_AT_FDCWD = -100
_swept: set[Path] = set()


@contextmanager
def replacing(path: Path, *, beside: Path | None = None) -> Iterator[Path]:
    """Give a temporary name beside ``path`` and move what was written there into place, or remove it on failure.

    Args:
        path: the file.
        beside: another path of the same file system to give the name beside, where readers of the file's folder would
            take it for one of theirs.

    Raises:
        InputError: the folder cannot be written to, or has no room.
    """
    path = Path(path)
    temporary = _hidden(path if beside is None else beside, f"{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        sweep(temporary.parent)
        yield temporary
        _open_to_usual_readers(temporary)
        if not _is_part(path.parent):
            _to_disk(temporary)
        os.replace(temporary, path)
    except Exception as error:
        _raise_if_unwritable(path, error)
        raise
    finally:
        with suppress(OSError):  # where the folder itself is none, that is what has to be said
            temporary.unlink(missing_ok=True)


def _open_to_usual_readers(file: Path) -> None:
    """Give a file that its writer kept to the owner, as safetensors' does, the mode that the umask says."""
    if os.name != "posix" or not file.is_file() or file.stat().st_mode & 0o077:
        return
    usual = file.with_name(f"{file.name}.mode")  # asking for the umask would mean to set it for all threads
    try:
        usual.touch(exist_ok=False)
        file.chmod(usual.stat().st_mode & 0o777)
    finally:
        usual.unlink(missing_ok=True)


def require_replaceable(folder: Path, *, overwrite: bool, known_by: str) -> None:
    """Stop before anything is computed where a folder could not be written or must not be replaced.

    Args:
        folder: the output.
        overwrite: whether one with content may be replaced.
        known_by: a file that every such output holds; a folder without it is somebody else's and never replaced.

    Raises:
        InputError: the folder has content and may not be replaced.
    """
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    if not folder.is_dir() or not (folder / known_by).is_file():
        raise InputError(
            folder,
            f"content without {known_by}",
            "a new or empty folder, or an earlier output to overwrite",
            "Choose another output folder.",
        )
    if not overwrite:
        raise InputError(
            folder,
            "an existing folder with content",
            "a new or empty folder",
            "Choose another output folder, or pass --overwrite to replace this one.",
        )


@contextmanager
def replacing_folder(folder: Path, *, overwrite: bool = False, known_by: str) -> Iterator[Path]:
    """Give a temporary folder beside ``folder`` and move it into place at the end, or remove it on failure.

    An existing empty folder is replaced; an earlier output only where ``overwrite`` says so, and it stays as it was
    until the new one is complete. See :func:`require_replaceable` for the arguments.

    Raises:
        InputError: the folder has content and may not be replaced, another process is writing it, or it cannot be
            written.
    """
    folder = Path(os.path.realpath(folder))
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        lock = _lock(folder)
    except OSError as error:
        _raise_if_unwritable(folder, error)
        raise
    temporary = _hidden(folder, f"{os.getpid()}.part")
    try:
        recover_folder(folder)
        require_replaceable(folder, overwrite=overwrite, known_by=known_by)
        temporary.mkdir()
        yield temporary
        move_folder_into_place(temporary, folder)
    except Exception as error:
        _raise_if_unwritable(folder, error)
        raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        _unlock(folder, lock)


def recover_folder(folder: Path) -> None:
    """Undo what a killed process left of writing ``folder``. Only for who holds its lock."""
    aside = _hidden(folder, "old")
    if aside.is_dir():
        if folder.exists():
            shutil.rmtree(aside)
        else:
            os.rename(aside, folder)
    # A part may be written as an output of its own, and then has a part and a lock beside it, too.
    left = re.compile(rf"\.+{re.escape(_hidden(folder, '').name[1:])}\d+\.part(\.(\d+\.part|lock|old))?")
    with os.scandir(folder.parent) as entries:
        for entry in entries:
            if left.fullmatch(entry.name):
                if entry.is_dir(follow_symlinks=False):
                    shutil.rmtree(entry.path, ignore_errors=True)
                else:
                    os.unlink(entry.path)


def move_folder_into_place(temporary: Path, folder: Path) -> None:
    """Put a complete folder where ``folder`` is or will be; what was there is removed afterwards.

    Raises:
        OSError: it cannot be moved; then ``folder`` is as it was.
    """
    _to_disk(temporary)
    if not folder.is_dir():
        os.rename(temporary, folder)
    elif _exchange(temporary, folder):
        shutil.rmtree(temporary, ignore_errors=True)
    else:
        aside = _hidden(folder, "old")
        os.rename(folder, aside)
        try:
            os.rename(temporary, folder)
        except OSError:
            os.rename(aside, folder)
            raise
        shutil.rmtree(aside, ignore_errors=True)
    _sync_folder(folder.parent)


def _system_error(error: BaseException) -> OSError | None:
    """The system's error where writing failed, also when a library has wrapped it: no space, no permission, no disk."""
    if isinstance(error, shutil.Error):  # of a copied folder: source, copy and what was said, of each file
        for _, copy, said in error.args[0] if error.args and isinstance(error.args[0], list) else ():
            if code := re.search(r"\[Errno (\d+)\]", str(said)):
                return OSError(int(code[1]), os.strerror(int(code[1])), copy)
    if isinstance(error, OSError):
        return error
    if isinstance(error, SafetensorError) and (code := re.search(r"\(os error (\d+)\)", str(error))):
        number = int(code[1])
        return OSError(number, os.strerror(number))
    return None


def _raise_if_unwritable(path: Path, error: Exception) -> None:
    """Say it as a person should read it where ``path`` could not be written; other errors are left alone."""
    cause = _system_error(error)
    if cause is None:
        return
    # Copying and moving name two files.
    named = [
        os.fsdecode(name) for name in (cause.filename, cause.filename2) if isinstance(name, (str, bytes, os.PathLike))
    ]
    if named and not any(name.startswith(str(path.parent)) for name in named):
        return
    full = cause.errno in (errno.ENOSPC, errno.EDQUOT)
    raise InputError(
        path,
        f"cannot be written ({cause.strerror or cause})",
        "a disk with room" if full else "a writable folder",
        "Free some space, or choose another output folder."
        if full
        else "Choose another output folder or fix its permissions.",
    ) from error


def _hidden(path: Path, ending: str) -> Path:
    name = os.fsdecode(os.fsencode(path.name)[:_LONGEST_NAME])
    return path.with_name(f".{name}.{ending}")


def _is_part(folder: Path) -> bool:
    return any(part.endswith(".part") and part.startswith(".") for part in folder.parts)


def sweep(folder: Path) -> None:
    """Remove files that killed processes left half-written in ``folder``; once a process and folder."""
    if folder in _swept or _is_part(folder):
        return
    _swept.add(folder)
    with os.scandir(folder) as entries:
        left = [
            (entry.path, int(match[1]))
            for entry in entries
            if entry.name.startswith(".") and (match := _PART.search(entry.name))
            if entry.is_file(follow_symlinks=False)
        ]
    for path, process in left:
        if not _is_alive(process):
            with suppress(OSError):
                os.unlink(path)


def _is_alive(process: int) -> bool:
    if sys.platform == "win32":  # os.kill would end it
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _lock(folder: Path) -> int | None:
    """Hold ``folder`` against other processes that would write it; the system lets go when the process ends."""
    if fcntl is None:
        return None
    file = _hidden(folder, "lock")
    while True:
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise InputError(
                folder,
                "an output that another process is writing",
                "one process an output",
                "Wait until it is done, or choose another output folder.",
            ) from None
        except OSError:  # a file system without locks
            os.close(descriptor)
            file.unlink(missing_ok=True)
            return None
        with suppress(FileNotFoundError):
            if os.stat(file).st_ino == os.fstat(descriptor).st_ino:
                return descriptor
        os.close(descriptor)  # who held it has removed it since: what was locked has no name any more


def _unlock(folder: Path, descriptor: int | None) -> None:
    if descriptor is not None:
        _hidden(folder, "lock").unlink(missing_ok=True)
        os.close(descriptor)


def _exchange(one: Path, other: Path) -> bool:
    """Exchange two folders in one step; False where the system or the file system cannot."""
    if not sys.platform.startswith("linux"):
        return False
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if rename is None:
        return False
    return rename(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _EXCHANGE) == 0


def _to_disk(path: Path) -> None:
    """Have the content on the disk before its name changes, so that a power cut leaves the old or the new one whole."""
    if sys.platform == "win32":
        return
    if not path.is_dir():
        _sync_file(path)
        return
    for folder, _, names in os.walk(path):
        for name in names:
            _sync_file(Path(folder) / name)
        _sync_folder(Path(folder))


def _sync_file(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync_folder(path: Path) -> None:
    if sys.platform == "win32":
        return
    with suppress(OSError):  # not every file system has it
        _sync_file(path)
