# SPDX-License-Identifier: Apache-2.0
"""Jobs on this machine, each in a process of its own: one that crashes takes no other along."""

from __future__ import annotations

import multiprocessing
import multiprocessing.process
import os
import socket
from collections import deque
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection, wait

from panoptic_gs.engines.jobs import ATTEMPTS, Attempt, Ended, Engine, EngineOptions, Job, attempt, log_of


class LocalEngine:
    """Runs jobs here.

    Args:
        options: ``at_once`` jobs run side by side; each has ``cpus`` threads.
    """

    def __init__(self, options: EngineOptions) -> None:
        self._options = options
        self._context = multiprocessing.get_context("spawn")

    def run(self, jobs: Sequence[Job]) -> Iterator[Ended]:
        """Run all jobs and yield each when it ended."""
        waiting: deque[tuple[Job, tuple[Attempt, ...]]] = deque((job, ()) for job in jobs)
        running: dict[Connection, tuple[Job, tuple[Attempt, ...], multiprocessing.process.BaseProcess]] = {}
        try:
            while waiting or running:
                while waiting and len(running) < (self._options.at_once or 1):
                    job, before = waiting.popleft()
                    answer, own = self._context.Pipe(duplex=False)
                    process = self._context.Process(target=_child, args=(own, job, self._options), name=job.name)
                    process.start()
                    own.close()  # so that its end is noticed here
                    running[answer] = job, before, process
                for answer in wait(list(running)):
                    assert isinstance(answer, Connection)
                    job, before, process = running.pop(answer)
                    tried = (*before, _answered(answer, process))
                    if tried[-1].error is not None and len(tried) < ATTEMPTS:
                        waiting.append((job, tried))
                    else:
                        yield Ended(job, tried)
        finally:
            for _, _, process in running.values():
                process.terminate()
                process.join()


def _child(answer: Connection, job: Job, options: EngineOptions) -> None:
    os.environ["OMP_NUM_THREADS"] = os.environ["PANOPTIC_GS_NUM_THREADS"] = str(options.cpus)
    answer.send(attempt(job, log_of(job, options)))
    answer.close()


def _answered(answer: Connection, process: multiprocessing.process.BaseProcess) -> Attempt:
    try:
        found = answer.recv()
    except EOFError:
        process.join()
        code = process.exitcode or 0
        how = f"was ended by signal {-code}" if code < 0 else f"ended with exit code {code}"
        return Attempt(socket.gethostname(), error=f"its process {how}")
    process.join()
    return found


def make(options: EngineOptions) -> Engine:
    """The engine of this machine."""
    return LocalEngine(options)
