# SPDX-License-Identifier: Apache-2.0
"""HDF5 files whose library does not come back are corrupt files, and the next one is read."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest

from panoptic_gs.datasets import hdf5
from panoptic_gs.datasets.hdf5 import read_hdf5
from panoptic_gs.errors import InputError


@pytest.fixture
def good(tmp_path: Path) -> Path:
    path = tmp_path / "good.hdf5"
    with h5py.File(path, "w") as file:
        file.create_dataset("dataset", data=np.arange(12, dtype="f4").reshape(2, 2, 3))
    return path


def endless(good: Path) -> Path:
    """The array's name in the group's heap leads back to the heap: libhdf5 1.14 walks in a circle."""
    content = bytearray(good.read_bytes())
    heap = content.index(b"HEAP")
    free = int.from_bytes(content[heap + 16 : heap + 24], "little")
    data = int.from_bytes(content[heap + 24 : heap + 32], "little")
    content[data + free : data + free + 8] = free.to_bytes(8, "little")  # the free list's next entry is this one
    path = good.with_name("endless.hdf5")
    path.write_bytes(content)
    return path


def test_a_file_without_an_end_is_refused_soon_and_the_next_is_read(good: Path) -> None:
    read_hdf5(good, (None, None, 3))  # starts the child
    started = time.process_time()
    clock = time.monotonic()
    with pytest.raises(InputError, match=r"endless\.hdf5.*reading it does not end"):
        read_hdf5(endless(good), (None, None, 3))
    assert time.process_time() - started < 0.5
    assert time.monotonic() - clock < 60
    assert np.array_equal(read_hdf5(good, (2, 2, 3)), np.arange(12).reshape(2, 2, 3))


def test_a_library_that_ends_the_process_is_a_corrupt_file(good: Path) -> None:
    read_hdf5(good, (None, None, 3))
    assert hdf5._child is not None
    os.kill(hdf5._child._process.pid, signal.SIGSTOP)  # so that it dies over the next file, not before
    script = f"sleep 0.3; kill -SEGV {hdf5._child._process.pid}; kill -CONT {hdf5._child._process.pid}"
    with subprocess.Popen(["sh", "-c", script]), pytest.raises(InputError, match=r"good\.hdf5.*ended with -11"):
        read_hdf5(good, (None, None, 3))
    assert read_hdf5(good, (None, None, 3)).shape == (2, 2, 3)


def test_the_child_ends_with_its_parent(good: Path) -> None:
    code = (
        "import os, signal, sys; from pathlib import Path; from panoptic_gs.datasets import hdf5; "
        "hdf5.read_hdf5(Path(sys.argv[1]), (2, 2, 3)); print(hdf5._child._process.pid, flush=True); "
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    child = int(subprocess.run([sys.executable, "-c", code, str(good)], stdout=subprocess.PIPE, text=True).stdout)
    for _ in range(100):
        try:
            os.kill(child, 0)
        except ProcessLookupError:
            break
        if "Z" in Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[0]:
            break  # nobody collects it here
        time.sleep(0.1)
    else:
        pytest.fail("it goes on")


def test_large_arrays_come_whole_and_the_memory_of_a_file_is_bounded(tmp_path: Path) -> None:
    values = np.random.default_rng(0).random((768, 1024, 3)).astype("f2")
    with h5py.File(tmp_path / "large.hdf5", "w") as file:
        file.create_dataset("dataset", data=values, compression="gzip", compression_opts=1)
    assert np.array_equal(read_hdf5(tmp_path / "large.hdf5", (768, 1024, 3)), values)
