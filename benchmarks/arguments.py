# SPDX-License-Identifier: Apache-2.0
"""``python -m benchmarks.arguments``: every command with arguments that make no sense.

Missing files, folders for files, negative, endless and huge numbers, unknown words. Each run has to end with code 0 or
2 and without a stack trace. The exit code is 1 where one did not.
"""

from __future__ import annotations

import dataclasses
import os
import signal
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from random import Random

import tyro
from rich.console import Console

from benchmarks.writers import WRITERS, prepared, start
from panoptic_gs.cli.registry import COMMANDS

# No path outside of the working folder: --overwrite and --json are among the options.
_VALUES = ("-1", "0", "nan", "inf", "-inf", "1e308", "1e-300", "99999999999999999999", "", " ", "x", "-", "--", "é🙂",
           "\n", "a" * 5000, "missing/file.ply", "[", "{}", "%s", "True")  # fmt: skip


@dataclass(frozen=True)
class Arguments:
    """Run commands with arguments that make no sense."""

    runs: int = 300
    """Runs in all."""
    seed: int = 0
    """Of the arguments."""
    seconds: float = 60.0
    """That a run may take."""


def arguments(name: str, inputs: Path, out: Path, random: Random) -> list[str]:
    """A run that would work, with some of its arguments changed, lost or added."""
    given = list(WRITERS[name](inputs, out)) if name in WRITERS else [name, str(inputs / "missing")]
    options = [f"--{f.name.replace('_', '-')}" for f in dataclasses.fields(COMMANDS[name].load())]  # pyright: ignore[reportArgumentType]
    paths = [str(path) for path in (inputs, inputs / "splats.ply", inputs / "scene" / "transforms.json", out.parent)]
    value = lambda: random.choice((*_VALUES, *paths))
    for _ in range(random.randint(1, 3)):
        kind, place = random.random(), random.randint(1, len(given))
        if kind < 0.5:
            given[place:place] = [random.choice(options), value()]
        elif kind < 0.85 and place < len(given):
            given[place] = value()
        elif place < len(given):
            del given[place]
    return given


def wrong(given: list[str], log: Path, seconds: float) -> str:
    """What was wrong with how a run ended; empty where nothing was."""
    process, started = start(given, log=log), time.monotonic()
    while (status := os.waitpid(process, os.WNOHANG))[0] == 0:
        if time.monotonic() - started > seconds:
            os.kill(process, signal.SIGKILL)
            os.waitpid(process, 0)
            return f"it took more than {seconds:g} s"
        time.sleep(0.01)
    code, said = os.waitstatus_to_exitcode(status[1]), log.read_text(errors="replace")
    if "Traceback" in said or code not in (0, 2):
        return f"code {code}: {said[-400:]}"
    return ""


def main(options: Arguments) -> int:
    """Run and print."""
    console, random, faults, counts = Console(soft_wrap=True), Random(options.seed), 0, Counter[str]()
    # view serves without end; predict and scene load networks once their arguments make sense.
    names = [name for name in COMMANDS if name not in ("view", "scene", "predict")]
    with prepared("arguments-") as (folder, inputs):
        os.chdir(folder)
        for number in range(options.runs):
            name = names[number % len(names)]
            given = arguments(name, inputs, folder / "work" / str(number) / "out", random)
            counts[name] += 1
            if fault := wrong(given, folder / "log", options.seconds):
                faults += 1
                console.print(f"{[a[:80] for a in given]}: {fault}", markup=False)
    console.print(f"{sum(counts.values())} runs of {len(counts)} commands, {faults} faults")
    return 1 if faults else 0


if __name__ == "__main__":
    raise SystemExit(main(tyro.cli(Arguments)))
