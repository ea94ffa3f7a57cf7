# SPDX-License-Identifier: Apache-2.0
"""Jobs under Slurm, through submitit: an array, one element a scene, that may be queued again at any time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import submitit
from submitit.core.utils import FailedJobError, UncompletedJobError
from submitit.helpers import Checkpointable, as_completed

from panoptic_gs.engines.jobs import ATTEMPTS, Attempt, Ended, Engine, EngineOptions, Job, attempt, log_of
from panoptic_gs.errors import InputError

_POLL_HERE, _POLL_SLURM = 0.2, 20.0
"""Seconds between two looks at what has ended. Slurm's answer is asked of a server that all users share."""


class _Try(Checkpointable):
    """A try that is queued again as it was where its time ends or another job takes its place: jobs resume."""

    def __call__(self, job: Job, log: Path) -> Attempt:
        return attempt(job, log)


class SlurmEngine:
    """Runs jobs as an array of Slurm. Scenes and outputs lie on storage that all machines share.

    Args:
        options: ``cpus``, ``gpus`` and ``hours`` of each job, ``partition``, ``folder`` for Slurm's own logs.
    """

    def __init__(self, options: EngineOptions) -> None:
        self._options = options

    def run(self, jobs: Sequence[Job]) -> Iterator[Ended]:
        """Run all jobs and yield each when it ended; one that fails is queued once more, for another machine.

        Raises:
            InputError: Slurm takes no jobs.
        """
        running: dict[Any, tuple[Job, tuple[Attempt, ...]]] = {
            submitted: (job, ()) for submitted, job in zip(self._submitted(jobs), jobs)
        }
        poll = _POLL_HERE if self._options.slurm == "local" else _POLL_SLURM
        try:
            while running:
                again: list[tuple[Job, tuple[Attempt, ...], str | None]] = []
                for ended in as_completed(list(running), poll_frequency=poll):
                    job, before = running.pop(ended)
                    found, node = _answered(ended)
                    tried = (*before, found)
                    if found.error is not None and len(tried) < ATTEMPTS:
                        again.append((job, tried, node))
                    else:
                        yield Ended(job, tried)
                for job, tried, node in again:
                    (submitted,) = self._submitted([job], avoid=node)
                    running[submitted] = job, tried
        finally:
            for submitted in running:
                submitted.cancel()

    def _submitted(self, jobs: Sequence[Job], avoid: str | None = None) -> list[Any]:
        try:
            return self._queued(jobs, avoid)
        except (RuntimeError, OSError, FailedJobError) as error:
            reason = str(error).strip().splitlines() or [type(error).__name__]
            raise InputError("--engine slurm", reason[0][:300], "a machine that may submit jobs to Slurm",
                             "Run the command on a login node, and check what it asks for.") from error  # fmt: skip

    def _queued(self, jobs: Sequence[Job], avoid: str | None = None) -> list[Any]:
        options = self._options
        executor = submitit.AutoExecutor(folder=options.folder.absolute() / "slurm", cluster=options.slurm)
        # submitit asks for whole GPUs.
        parameters: dict[str, Any] = {"name": "panoptic-gs", "cpus_per_task": options.cpus,
                                      "gpus_per_node": -int(-options.gpus // 1),
                                      "timeout_min": max(1, round(60 * options.hours))}  # fmt: skip
        if options.slurm == "slurm":
            parameters["slurm_array_parallelism"] = options.at_once or len(jobs)
            parameters["slurm_additional_parameters"] = {"requeue": True}
            if options.partition is not None:
                parameters["slurm_partition"] = options.partition
            if avoid is not None:
                parameters["slurm_exclude"] = avoid
        executor.update_parameters(**parameters)
        logs = [log_of(job, options) for job in jobs]
        return list(executor.map_array(_Try(), jobs, logs)) if jobs else []


def _answered(ended: Any) -> tuple[Attempt, str | None]:
    node = ended.get_info().get("NodeList") if isinstance(ended, submitit.SlurmJob) else None
    try:
        found = ended.result()
    except (UncompletedJobError, FailedJobError) as error:
        reason = str(error).strip().splitlines()[0][:200] if str(error).strip() else "no result"
        return Attempt(node or "this machine", error=f"Slurm's job {ended.job_id}: {reason}"), node
    return found, node


def make(options: EngineOptions) -> Engine:
    """The engine of Slurm."""
    return SlurmEngine(options)
