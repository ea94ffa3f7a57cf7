# SPDX-License-Identifier: Apache-2.0
"""``python -m benchmarks.disk_full``: every command that writes runs out of disk, at many fillings.

The disk is a small tmpfs where one may be mounted; elsewhere the largest file that a process may write is bounded
(``RLIMIT_FSIZE``), which fails in the same places. Each run has to end with code 2 and one screen that says so, or to
have had room after all; the old output is whole, and nothing half-written lies beside it.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import tyro
from rich.console import Console
from rich.table import Table

from benchmarks.writers import WRITERS, outputs, prepared, run, start
from panoptic_gs.files import write_json
from panoptic_gs.report.environment import environment


@dataclass(frozen=True)
class DiskFull:
    """Run commands on a disk that is too small."""

    commands: tyro.conf.Positional[tuple[str, ...]] = ()
    """Names of commands; all by default."""
    fillings: int = 8
    """How many sizes of the rest of the disk are tried for each command."""
    out: Path = Path("outputs/disk_full/results.json")
    """Where the figures are written."""


@dataclass
class Filled:
    """What became of a command on full disks."""

    command: str
    refused: int = 0
    wrote: int = 0
    faults: list[str] = field(default_factory=list)


@contextmanager
def small_disk(folder: Path, size: int) -> Iterator[bool]:
    """A file system of ``size`` bytes on ``folder``; False where none may be mounted."""
    libc = ctypes.CDLL(None, use_errno=True)
    mounted = (
        hasattr(libc, "mount") and libc.mount(b"t", os.fsencode(folder), b"tmpfs", 0, f"size={size}".encode()) == 0
    )
    try:
        yield mounted
    finally:
        if mounted:
            libc.umount2(os.fsencode(folder), 2)


def _bounded(size: int) -> Callable[[], None]:
    def prepare() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

    return prepare


def fill(name: str, inputs: Path, work: Path, fillings: int) -> Filled:
    """Run one command with less and less room."""
    work.mkdir(parents=True)
    filled = Filled(name)
    disk = work / "disk"
    disk.mkdir()
    arguments = WRITERS[name](inputs, disk / "out")
    if code := run(arguments):
        filled.faults.append(f"it ends with {code} on a disk with room")
        return filled
    sizes = [path.stat().st_size for path in disk.rglob("*") if path.is_file()]
    total = sum((size + 4095) // 4096 * 4096 for size in sizes) + 4096 * len(list(disk.rglob("*")))
    for number in range(fillings):
        share = (number + 0.5) / fillings
        for old in (False, True):
            room = int(total * (share + old)) // 4096 * 4096 + 4096
            _try(filled, arguments, work / f"{number}-{old}", disk, room, int(max(sizes) * share), old)
    return filled


def _try(filled: Filled, arguments: Sequence[str], log: Path, disk: Path, room: int, largest: int, old: bool) -> None:
    _empty(disk)
    with small_disk(disk, 256 << 20 if old else room) as mounted:
        if old and run(arguments):
            filled.faults.append(f"no old output for {room} bytes")
            return
        if old and mounted:
            _resize(disk, room)
        before = outputs(disk)
        process = start(arguments, (lambda: None) if mounted else _bounded(largest), log)
        code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
        said, where = log.read_text(), f"{room:,} bytes, {'old' if old else 'no old'} output"
        after = outputs(disk)
        if code == 0:
            filled.wrote += 1
        elif code == 2 and "Cannot use" in said and "Traceback" not in said and len(said) < 2000:
            filled.refused += 1
            begun = [name for name in after if name.split("/")[0].endswith(".preparing")]
            if begun and mounted:  # from which the same command goes on once there is room
                _resize(disk, 256 << 20)
                if code := run(arguments):
                    filled.faults.append(f"{where}: with room it goes on to code {code}")
                left = [name for name in outputs(disk) if name.startswith(".")]
                if left:
                    filled.faults.append(f"{where}: with room it leaves {left}")
            kept = {name: digest for name, digest in after.items() if name not in begun}
            if kept != before:
                filled.faults.append(f"{where}: {sorted(set(kept) ^ set(before)) or 'another content'}")
        else:
            filled.faults.append(f"{where}: code {code}: {said[-300:]}")


def _resize(disk: Path, size: int) -> None:
    ctypes.CDLL(None).mount(b"t", os.fsencode(disk), b"tmpfs", 32, f"size={size}".encode())  # MS_REMOUNT


def _empty(folder: Path) -> None:
    import shutil

    shutil.rmtree(folder)
    folder.mkdir()


def main(options: DiskFull) -> int:
    """Run, print, write."""
    console, results = Console(soft_wrap=True), []
    with prepared("disk-") as (folder, inputs):
        for command in options.commands or tuple(WRITERS):
            results.append(fill(command, inputs, folder / command, options.fillings))
            console.print(command, *results[-1].faults, markup=False)
    table = Table("command", "refused", "had room", "faults")
    for r in results:
        table.add_row(r.command, str(r.refused), str(r.wrote), str(len(r.faults)))
    console.print(table)
    rows = [{"command": r.command, "refused": r.refused, "wrote": r.wrote, "faults": r.faults} for r in results]
    write_json(options.out, {"rows": rows, "environment": environment()})
    return 1 if any(r.faults for r in results) else 0


if __name__ == "__main__":
    raise SystemExit(main(tyro.cli(DiskFull)))
