# SPDX-License-Identifier: Apache-2.0
"""Many damaged files for one reader, in a worker process that is started again when it dies or hangs."""

from __future__ import annotations

import multiprocessing
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from benchmarks.fuzz.readers import READERS
from benchmarks.fuzz.trial import Trials, digest, limit_memory
from panoptic_gs.errors import printable

_STUCK = 60.0  # seconds in which a worker has to come to its next input
_STARTING = 180.0  # and to its first one


@dataclass(frozen=True)
class Campaign:
    """Which inputs to try.

    Args:
        inputs: damaged files for each reader.
        seed: the first input's; each of the others has the next.
        seconds: processor time that an input may take.
        budget: seconds for each reader, after which no more inputs are tried.
        out: folder for the first input of each distinct fault.
    """

    inputs: int
    seed: int
    seconds: float
    budget: float | None
    out: Path


@dataclass
class Result:
    """What became of a reader's inputs."""

    reader: str
    counts: Counter[str] = field(default_factory=Counter)
    faults: dict[str, dict[str, Any]] = field(default_factory=dict)
    """By what they are: how often, the first seed, the file in ``out``, what was said."""
    seconds: float = 0.0

    def add(self, kind: str, fault: str, seed: int, text: str) -> bool:
        """Count an outcome; whether it is a fault that was not seen before."""
        self.counts[kind] += 1
        if not fault:
            return False
        first = fault not in self.faults
        entry = self.faults.setdefault(fault, {"count": 0, "seed": seed, "text": printable(text)})
        entry["count"] += 1
        return first


def _work(name: str, options: Campaign, first: int, last: int, at: Any, pipe: Any) -> None:
    """A worker: the inputs of seeds from ``first`` to before ``last``."""
    torch.set_num_threads(1)
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        trials = Trials(READERS[name], Path(folder) / "valid", options.seconds)
        limit_memory()
        batch: list[tuple[str, str, int, str, str]] = []
        for seed in range(first, last):
            at.value = seed
            outcome = trials.run(seed)
            saved = ""
            if outcome.fault:
                saved = _save(options.out, name, trials, seed)
            batch.append((outcome.kind, outcome.fault, seed, outcome.text, saved))
            over = options.budget is not None and time.monotonic() - started > options.budget
            if len(batch) >= 200 or over or seed == last - 1 or outcome.fault:
                pipe.send(batch)
                batch = []
            if over:
                break
    pipe.send(None)


def _save(out: Path, name: str, trials: Trials, seed: int) -> str:
    file, content = trials.damaged(seed)
    target = out / f"{name}-{digest(content)}{file.suffix}"
    if len(content) < 10 << 20:
        out.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
    return target.name


def fuzz_reader(name: str, options: Campaign) -> Result:
    """Try a reader's inputs; a worker that dies is started again after the input that it held."""
    result, started = Result(name), time.monotonic()
    context = multiprocessing.get_context("spawn")
    first, last = options.seed, options.seed + options.inputs
    while first < last:
        ours, theirs = context.Pipe(duplex=False)
        at = context.Value("q", first, lock=False)
        left = None if options.budget is None else options.budget - (time.monotonic() - started)
        if left is not None and left <= 0:
            break
        worker = context.Process(target=_work, args=(name, options, first, last, at, theirs), daemon=True)
        worker.start()
        theirs.close()
        ended, seen, moved = False, at.value, time.monotonic()
        while True:
            if ours.poll(1.0):
                try:
                    batch = ours.recv()
                except EOFError:
                    break
                if batch is None:
                    ended = True
                    break
                for kind, fault, seed, text, saved in batch:
                    if result.add(kind, fault, seed, text):
                        result.faults[fault]["file"] = saved
            if at.value != seen:
                seen, moved = at.value, time.monotonic()
            if time.monotonic() - moved > (_STARTING if seen == first else _STUCK):
                worker.kill()
                break
        worker.join()
        if ended:
            break
        code = worker.exitcode
        what = "hangs" if code == -9 and time.monotonic() - moved > _STUCK else f"the process ended with {code}"
        if result.add("died", what, at.value, ""):
            result.faults[what]["file"] = ""
        first = at.value + 1
    result.seconds = time.monotonic() - started
    return result
