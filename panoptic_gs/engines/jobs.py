# SPDX-License-Identifier: Apache-2.0
"""A job is one scene's work; an engine runs jobs somewhere and says how each ended."""

from __future__ import annotations

import socket
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from panoptic_gs.errors import InputError

EngineName = Literal["local", "ray", "slurm"]
ATTEMPTS = 2
"""A job that fails is tried once more, elsewhere where there is an elsewhere."""


@dataclass(frozen=True)
class EngineOptions:
    """What a scene gets of a machine, and where an engine finds its machines.

    Args:
        cpus: cores of a scene.
        gpus: GPUs of a scene; a part of one is possible with Ray.
        at_once: most scenes at a time; None: one here, as many as fit on a cluster.
        address: of a Ray cluster; None: the one that RAY_ADDRESS names, else one is started here.
        folder: of logs, on storage that all machines share.
        hours: that a scene may take under Slurm; it is queued again where it takes longer, and goes on.
        partition: of Slurm; None: its default.
        slurm: ``slurm``, or ``local`` to run what would be queued here.

    Raises:
        InputError: numbers out of range.
    """

    cpus: int = 1
    gpus: float = 0.0
    at_once: int | None = None
    address: str | None = None
    folder: Path = Path("panoptic-gs-logs")
    hours: float = 24.0
    partition: str | None = None
    slurm: Literal["slurm", "local"] = "slurm"

    def __post_init__(self) -> None:
        for name, value, good in (
            ("--cpus-per-scene", self.cpus, self.cpus >= 1),
            ("--gpus-per-scene", self.gpus, 0 <= self.gpus <= 1024),
            ("--scenes-at-once", self.at_once, self.at_once is None or self.at_once >= 1),
            ("--hours-per-scene", self.hours, 1 / 60 <= self.hours <= 10_000),
        ):
            if not good:
                raise InputError(name, f"{value:g}", "a positive number", "Leave it out for the default.")


@dataclass(frozen=True)
class Job:
    """One scene's work. It goes on where an earlier attempt stopped, or does nothing where that had finished.

    Args:
        name: of the scene; no two jobs of an engine's run have the same.
        function: to call, importable on every machine.
        arguments: of the call; they are pickled.
    """

    name: str
    function: Callable[..., Any]
    arguments: tuple[Any, ...] = ()


@dataclass(frozen=True)
class Attempt:
    """How one try ended: a result, or what went wrong."""

    host: str
    result: Any = None
    error: str | None = None


@dataclass(frozen=True)
class Ended:
    """How a job ended after all tries: a result, or what went wrong each time."""

    job: Job
    attempts: tuple[Attempt, ...]

    @property
    def result(self) -> Any:
        """What the function returned; None where it failed."""
        return self.attempts[-1].result

    @property
    def error(self) -> str | None:
        """Why the last attempt failed; None where it did not."""
        return self.attempts[-1].error

    def reasons(self) -> str:
        """All failures in a line, each with its machine; one that repeats is said once."""
        said = dict.fromkeys(f"{a.error} (on {a.host})" for a in self.attempts if a.error is not None)
        return "; then ".join(said)


class Engine(Protocol):
    """Runs jobs, each in a process of its own."""

    def run(self, jobs: Sequence[Job]) -> Iterator[Ended]:
        """Run all jobs and yield each when it ended, in any order; one that fails stops no other."""
        ...


def attempt(job: Job, log: Path) -> Attempt:
    """Call a job's function here; what it prints goes to the end of ``log``, and so does its stack trace."""
    host = socket.gethostname()
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a", encoding="utf-8", buffering=1) as file, redirect_stdout(file), redirect_stderr(file):
        try:
            return Attempt(host, result=job.function(*job.arguments))
        except InputError as error:
            print(error)
            return Attempt(host, error=f"{error.source}: {error.found}; expected {error.expected}")
        except Exception as error:  # whatever it is, the other scenes go on
            traceback.print_exc()
            return Attempt(host, error=f"{type(error).__name__}: {error}".splitlines()[0][:300])
        except SystemExit as ended:
            return Attempt(host, error=f"exit code {ended.code}, see {log}")


def log_of(job: Job, options: EngineOptions) -> Path:
    """Where a job's output goes."""
    return options.folder.absolute() / f"{file_name(job.name)}.log"


def file_name(name: str) -> str:
    """A job's name as one that any file system takes."""
    return "".join(c if c.isalnum() or c in "-_." else "_" for c in name)[:120] or "scene"
