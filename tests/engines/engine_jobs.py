# SPDX-License-Identifier: Apache-2.0
"""Jobs that tests of engines run, importable in other processes. They note each try in a file."""

import os
import signal
import sys
import time
from pathlib import Path

from panoptic_gs.engines import Job
from panoptic_gs.errors import InputError


def tries(folder: Path, name: str) -> int:
    """How often a job has begun."""
    file = folder / f"{name}.tries"
    return len(file.read_text()) if file.is_file() else 0


def running(folder: Path, name: str) -> bool:
    """Whether the process of a job's last try lives."""
    return lives(process_of(folder, name))


def process_of(folder: Path, name: str) -> int:
    """The process of a job's last try."""
    return int((folder / f"{name}.pid").read_text())


def lives(process: int) -> bool:
    """Whether there is such a process that has not ended."""
    return _stat(process)[:1] not in ([], ["Z"])


def parent_of(process: int) -> int:
    """Who started a process that lives."""
    return int(_stat(process)[1])


def _stat(process: int) -> list[str]:
    try:
        return Path("/proc", str(process), "stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []


def work(folder: Path, name: str, how: str) -> str:
    (folder / f"{name}.pid").write_text(str(os.getpid()))
    with (folder / f"{name}.tries").open("a") as file:
        file.write("x")
    print(f"working on {name}")
    first = tries(folder, name) == 1
    if how == "dies" or (how == "dies once" and first):
        os.kill(os.getpid(), signal.SIGKILL)
    if how == "bad input":
        raise InputError(name, "nothing", "something", "Give something.")
    if how == "raises":
        raise ValueError("no luck\nat all")
    if how == "exits":
        sys.exit(2)
    if how == "waits":
        while first and not (folder / "go").exists():
            time.sleep(0.05)
    return f"{name} done"


def jobs(folder: Path, **how: str) -> list[Job]:
    return [Job(name, work, (folder, name, kind)) for name, kind in how.items()]
