# SPDX-License-Identifier: Apache-2.0
"""How long imports and the start of each command take: ``python -m benchmarks.startup``.

A command's start is its ``--help``: everything up to its first own step is imported by then. Each is started several
times; the least time counts, as whatever else the machine does only adds to it. The exit code is 1 where a bar is
missed.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro
from rich.console import Console
from rich.table import Table

from panoptic_gs.cli.registry import COMMANDS
from panoptic_gs.files import write_json

HELP_BAR, COMMAND_BAR = 0.5, 1.5
"""Seconds that the list of commands and that a command may take."""


@dataclass(frozen=True)
class Startup:
    """Time imports and commands."""

    repeat: int = 5
    """Starts of each."""
    commands: tuple[str, ...] = tuple(COMMANDS)
    """Commands to start."""
    out: Path | None = None
    """JSON to write."""


def least(words: list[str], repeat: int) -> tuple[float, float]:
    """The least seconds that a process takes, by the clock and of a core; it is run once before, to fill caches."""
    clock, core = [], []
    for _ in range(repeat + 1):
        before, start = os.times(), time.perf_counter()
        subprocess.run(words, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        clock.append(time.perf_counter() - start)
        after = os.times()
        core.append(after.children_user + after.children_system - before.children_user - before.children_system)
    return min(clock[1:]), min(core[1:])


def measured(options: Startup) -> list[dict[str, Any]]:
    """A row for each import and each command."""
    python, rows = sys.executable, []

    def add(name: str, words: list[str], bar: float | None) -> None:
        clock, core = least([python, *words], options.repeat)
        rows.append({"name": name, "seconds": clock, "core_seconds": core, "bar": bar})

    add("python", ["-c", ""], None)
    for module in ("torch", "panoptic_gs", "panoptic_gs.uplift"):
        add(f"import {module}", ["-c", f"import {module}"], None)
    add("panoptic-gs --help", ["-m", "panoptic_gs", "--help"], HELP_BAR)
    for name in options.commands:
        add(f"panoptic-gs {name} --help", ["-m", "panoptic_gs", name, "--help"], COMMAND_BAR)
    return rows


def slow(rows: list[dict[str, Any]]) -> list[str]:
    """What misses its bar."""
    return [row["name"] for row in rows if row["bar"] is not None and row["seconds"] > row["bar"]]


def main(options: Startup) -> int:
    """Run and print."""
    rows = measured(options)
    table = Table("start", "seconds", "of a core", "bar")
    for row in rows:
        color = "red" if row["name"] in slow(rows) else ""
        table.add_row(row["name"], f"{row['seconds']:.2f}", f"{row['core_seconds']:.2f}",
                      "" if row["bar"] is None else f"{row['bar']:g}", style=color)  # fmt: skip
    Console().print(table)
    if options.out is not None:
        from benchmarks.speed.timing import machine  # imports torch, whose import is measured above

        write_json(options.out, {"repeat": options.repeat, "rows": rows, "machine": machine("cpu")})
    return 1 if slow(rows) else 0


if __name__ == "__main__":
    raise SystemExit(main(tyro.cli(Startup)))
