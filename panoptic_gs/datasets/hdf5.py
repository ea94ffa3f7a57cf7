# SPDX-License-Identifier: Apache-2.0
"""Arrays of HDF5 files, read in a process of their own.

The HDF5 library is C that trusts what a file says of itself: a file with a damaged byte can hold it in an endless loop,
fill the memory, or end the process, and none of this can be caught in Python. Here it happens to a child process,
within a limit of processor time and memory, and is one more way for a file to be corrupt. The child is started at the
first file and serves all others, so that a file costs no more than the copy of its values through a pipe.
"""

from __future__ import annotations

import atexit
import json
import math
import os
import signal
import struct
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import numpy as np

from panoptic_gs.errors import InputError

MOST_VALUES = 3 << 23
"""Values of an array: those of a colour image of eight megapixels, ten times those of Hypersim."""
SECONDS = 0.8
"""Processor time for what a file says of itself; well-made files take a thousandth of it."""
SECONDS_A_MEGABYTE = 0.05
"""And for each megabyte of values on top of it, ten times what unpacking takes."""
MEMORY = 2 << 30
"""Bytes that the child may take on top of what it has at its start."""

_HEAD = struct.Struct("<Q")
_SERVE = "import sys, json; sys.path[:] = json.loads(sys.argv[1]); from panoptic_gs.datasets.hdf5 import serve; serve()"
_CORRUPT = ("an HDF5 file with '{name}'", "Download it again.")


def read_hdf5(path: Path, size: tuple[int | None, ...], kinds: str = "f", name: str = "dataset") -> np.ndarray:
    """An array of an HDF5 file.

    What it holds is looked at before it is read: a file of two kilobytes may announce any number of values.

    Args:
        path: the file.
        size: the shape that it must have; None for an extent that may be any.
        kinds: the kinds of numbers that it may hold, as in ``numpy.dtype.kind``.
        name: of the array in the file.

    Raises:
        InputError: it is missing, corrupt, of another shape or kind, or too large.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(path, "no such file", "an HDF5 file", "Download the rest of the scene.")
    with _lock:
        global _child
        if _child is None or _child.owner != os.getpid() or not _child.runs:
            _child = _Child()
        return _child.read(path, size, kinds, name)


class _Child:
    """A process that reads HDF5 files, one after the other."""

    def __init__(self) -> None:
        self.owner = os.getpid()
        self._process = subprocess.Popen(
            [sys.executable, "-c", _SERVE, json.dumps([entry or os.getcwd() for entry in sys.path])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},  # threads take address space
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._requests, self._answers = self._process.stdin, self._process.stdout

    @property
    def runs(self) -> bool:
        return self._process.poll() is None

    def read(self, path: Path, size: tuple[int | None, ...], kinds: str, name: str) -> np.ndarray:
        request = {"path": os.fsencode(path.absolute()).hex(), "size": size, "kinds": kinds, "name": name}
        expected, mend = _CORRUPT[0].format(name=name), _CORRUPT[1]
        try:
            _send(self._requests, json.dumps(request).encode())
            answer = json.loads(_receive(self._answers))
            if "found" in answer:
                raise InputError(path, answer["found"], answer["expected"], answer["mend"])
            values = np.empty(answer["shape"], np.dtype(answer["type"]))
            _fill(self._answers, values.reshape(-1).view(np.uint8).data)
        except (EOFError, BrokenPipeError):
            raise InputError(path, f"a corrupt file ({self._end()})", expected, mend) from None
        except InputError:
            raise
        except BaseException:  # interrupted between question and answer: the next answer would be another file's
            self.close()
            raise
        return values

    def _end(self) -> str:
        code = self._process.wait()
        self.close()
        if code == -getattr(signal, "SIGPROF", 0):
            return "reading it does not end"
        return f"the HDF5 library ended with {code} over it"

    def close(self) -> None:
        for pipe in (self._requests, self._answers):
            with suppress(OSError):
                pipe.close()
        if self.owner == os.getpid() and self._process.poll() is None:
            self._process.kill()
            self._process.wait()


_lock = threading.Lock()
_child: _Child | None = None


@atexit.register
def _close() -> None:
    if _child is not None and _child.owner == os.getpid():
        _child.close()


def _send(pipe: IO[bytes], content: bytes) -> None:
    pipe.write(_HEAD.pack(len(content)) + content)
    pipe.flush()


def _receive(pipe: IO[bytes]) -> bytes:
    head = pipe.read(_HEAD.size)
    if len(head) < _HEAD.size:
        raise EOFError
    (length,) = _HEAD.unpack(head)
    content = pipe.read(length)
    if len(content) < length:
        raise EOFError
    return content


def _fill(pipe: IO[bytes], view: memoryview) -> None:
    done = 0
    while done < len(view):
        count = pipe.readinto(view[done:])  # pyright: ignore[reportAttributeAccessIssue] (a BufferedReader)
        if not count:
            raise EOFError
        done += count


# In the child


def serve() -> None:
    """Answer requests on standard input until it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of Ctrl-C learns the parent, and ends this process
    requests, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints must not get between the answers
    import h5py  # noqa: F401 (not within a file's time)

    _limit_memory()
    while True:
        try:
            request = json.loads(_receive(requests))
        except EOFError:
            return
        path = Path(os.fsdecode(bytes.fromhex(request["path"])))
        try:
            values = _read(path, tuple(request["size"]), request["kinds"], request["name"])
        except InputError as error:
            said = {"found": error.found, "expected": error.expected, "mend": error.mend}
            _send(answers, json.dumps(said).encode())
        else:
            _send(answers, json.dumps({"shape": values.shape, "type": values.dtype.str}).encode())
            answers.write(values.reshape(-1).view(np.uint8).data)
            answers.flush()


def _read(path: Path, size: tuple[int | None, ...], kinds: str, name: str) -> np.ndarray:
    import h5py

    _end_after(SECONDS)
    try:
        with h5py.File(path, "r") as file:
            if not isinstance(file.get(name, getlink=True), h5py.HardLink):
                raise KeyError(f"'{name}' is not in this file")
            dataset = file[name]
            if not isinstance(dataset, h5py.Dataset) or dataset.is_virtual or dataset.external:
                raise KeyError(f"'{name}' is no array of this file")
            _require_fitting(path, dataset, size, kinds)
            _end_after(SECONDS + SECONDS_A_MEGABYTE * int(dataset.size or 0) * dataset.dtype.itemsize / 1e6)
            return np.ascontiguousarray(dataset)
    except InputError:
        raise
    except Exception as error:  # the library has errors of many kinds
        expected, mend = _CORRUPT[0].format(name=name), _CORRUPT[1]
        raise InputError(path, f"a corrupt file ({error})", expected, mend) from error
    finally:
        _end_after(0)


def _require_fitting(path: Path, dataset: Any, size: tuple[int | None, ...], kinds: str) -> None:
    shape, kind = tuple(dataset.shape or ()), dataset.dtype.kind
    if len(shape) != len(size) or not all(a > 0 and b in (None, a) for a, b in zip(shape, size)):
        wanted = [extent or "any" for extent in size]
        raise InputError(path, f"an array of shape {list(shape)}", f"shape {wanted}", "Download the frame again.")
    if kind not in kinds or math.prod(shape) > MOST_VALUES:
        raise InputError(
            path, f"{math.prod(shape):,} values of type {dataset.dtype}",
            f"{'whole' if kinds == 'iu' else 'floating point'} numbers, at most {MOST_VALUES:,}", "Download it again.",
        )  # fmt: skip
    if not dataset.id.get_storage_size():
        raise InputError(path, "an array of which no value is stored", "values", "Download it again.")


def _end_after(seconds: float) -> None:
    """Have the system end this process after so much processor time: C that does not return cannot be interrupted.

    It is not the time on the clock, so that a slow disk is no damage. 0 takes the limit away.
    """
    if hasattr(signal, "setitimer"):
        signal.signal(signal.SIGPROF, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_PROF, seconds)


def _limit_memory() -> None:
    try:
        import resource
    except ImportError:  # Windows
        return
    with suppress(ValueError, OSError):
        taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (taken + MEMORY, taken + MEMORY))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
