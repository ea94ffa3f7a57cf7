# SPDX-License-Identifier: Apache-2.0
"""The kernels while other processes keep cores busy, as a browser does."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

BOUNDS = {1: 2.2, 2: 3.5}
"""Of a training iteration on two cores, times the quiet one: what one thread that loses nothing would take (twice as
long; beside two processes three times), and some."""

Row = dict[str, Any]


@contextmanager
def busy_processes(count: int) -> Iterator[None]:
    """So many processes that do nothing but keep a core busy, each."""
    loops = [subprocess.Popen([sys.executable, "-S", "-c", "while True: pass"]) for _ in range(count)]
    try:
        time.sleep(0.3 if loops else 0.0)
        yield
    finally:
        for loop in loops:
            loop.kill()
        for loop in loops:
            loop.wait()


def beside_rows(
    workload: str, calls: Mapping[str, Callable[[], object]], most: int, repeat: int, rounds: int = 3
) -> list[Row]:
    """Time calls quietly and beside 1 … ``most`` busy processes, in turns.

    The mean counts, not the median: a call that waits for a process's turn takes many times as long as the one before.

    Args:
        workload: its name, for the rows.
        calls: what to time; each is called as often.
        most: busy processes at most.
        repeat: timed calls of each in a round.
        rounds: quiet, beside one, beside two, …, and again.
    """
    taken: dict[tuple[str, int], list[float]] = {(name, beside): [] for name in calls for beside in range(most + 1)}
    for _ in range(rounds):
        for beside in range(most + 1):
            with busy_processes(beside):
                for name, call in calls.items():
                    call()
                    for _ in range(repeat):
                        start = time.perf_counter()
                        call()
                        taken[name, beside].append(1e3 * (time.perf_counter() - start))
    rows = []
    for (name, beside), times in taken.items():
        mean, quiet = float(np.mean(times)), float(np.mean(taken[name, 0]))
        row: Row = {
            "workload": workload, "name": f"{name}, {_beside(beside)}", "mean_ms": mean,
            "median_ms": float(np.median(times)), "least_ms": min(times),
        }  # fmt: skip
        if beside:
            row["ratio"], row["ratio_to"] = mean / quiet, "quiet, means"
            if beside in BOUNDS and name.startswith("training"):
                row["goal"], row["goal_met"] = f"at most {BOUNDS[beside]:g}", row["ratio"] <= BOUNDS[beside]
        rows.append(row)
    return rows


def _beside(count: int) -> str:
    return "quiet" if count == 0 else f"beside {count} busy process{'es' if count > 1 else ''}"
