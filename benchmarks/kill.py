# SPDX-License-Identifier: Apache-2.0
"""``python -m benchmarks.kill``: every command that writes is killed, at random moments and at named points.

Each kill meets an output that is there already and carries a mark. Afterwards the output has to be whole, the old one
with the mark or the new one without it, never neither and never a mixture, and after the next run nothing else may lie
beside it. The exit code is 1 where that was not so.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import tyro
from rich.console import Console
from rich.table import Table

from benchmarks.writers import WRITERS, outputs, prepared, run, start
from panoptic_gs import replacing
from panoptic_gs.files import write_json
from panoptic_gs.report.environment import environment

_MARK = "old-output"
POINTS = ("first file", "written", "on the disk", "moved", "done")
"""When a first file is begun, before and after everything is flushed, after the move, and after the clean-up."""


@dataclass(frozen=True)
class Kill:
    """Kill commands while they write."""

    commands: tyro.conf.Positional[tuple[str, ...]] = ()
    """Names of commands; all by default."""
    random: int = 50
    """Kills of each command at random moments."""
    named: int = 50
    """Kills of each command at named points, which take turns."""
    seed: int = 0
    """Of the moments."""
    budget: float = 600.0
    """Seconds for each command, after which no more kills are tried."""
    out: Path = Path("outputs/kill/results.json")
    """Where the figures are written."""


@dataclass
class Killed:
    """What became of a command's output."""

    command: str
    kills: int = 0
    states: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _killed_at(point: str) -> Callable[[], None]:
    """What a fork does first, so that it dies at a point."""

    def prepare() -> None:
        flush, exchange, rename, replace = replacing._to_disk, replacing._exchange, os.rename, os.replace
        remove = replacing.shutil.rmtree

        def flushed(path: Path) -> None:
            if point == "written":
                _die()
            flush(path)
            if point == "on the disk":
                _die()

        def exchanged(one: Path, other: Path) -> bool:
            done = exchange(one, other)
            if point == "moved":
                _die()
            return done

        def moving(move: Callable[..., Any]) -> Callable[..., Any]:
            def moved(one: Any, other: Any) -> None:
                inside = any(part.endswith(".part") for part in Path(other).parent.parts)
                if point == "first file" and inside:
                    _die()
                move(one, other)
                if point in ("moved", "done") and not inside:
                    _die()

            return moved

        def removed(path: Any, *options: Any, **named: Any) -> None:
            remove(path, *options, **named)
            if point == "done" and str(path).endswith(".part"):
                _die()

        replacing._to_disk, replacing._exchange = flushed, exchanged
        replacing.shutil.rmtree = removed  # pyright: ignore[reportAttributeAccessIssue]
        os.rename, os.replace = moving(rename), moving(replace)

    return prepare


def kill_command(name: str, inputs: Path, work: Path, options: Kill) -> Killed:
    """Kill one command as often as it is asked for."""
    work.mkdir(parents=True)
    arguments, killed, random = WRITERS[name](inputs, work / "out"), Killed(name), Random(options.seed)
    if code := run(arguments):
        killed.faults.append(f"it ends with {code} unkilled")
        return killed
    expected = outputs(work)
    folders = [path for path in work.iterdir() if path.is_dir()]
    started = time.monotonic()
    repeatable = run(arguments) == 0 and outputs(work) == expected
    lasted = time.monotonic() - started
    moments = [("random", random.uniform(0, 1.1 * lasted)) for _ in range(options.random)]
    moments += [(POINTS[number % len(POINTS)], 0.0) for number in range(options.named)]
    random.shuffle(moments)
    for number, (point, wait) in enumerate(moments):
        if time.monotonic() - started > options.budget:
            break
        for folder in folders:
            (folder / _MARK).write_text("")
        process = start(arguments, _killed_at(point) if point != "random" else lambda: None)
        if point == "random":
            time.sleep(wait)
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)
        killed.kills += 1
        state = _state(work, expected, [folder.name for folder in folders], repeatable)
        killed.states[state] += 1
        if state not in ("old", "new", "old and new"):
            killed.faults.append(f"{point} {wait:.3f}: {state}")
        if number % 5 == 4 or state not in ("old", "new"):
            if code := run(arguments):
                killed.faults.append(f"{point}: the next run ends with {code}")
            left = set(outputs(work)) ^ set(expected)
            if left or sorted(os.listdir(work)) != sorted({Path(file).parts[0] for file in expected}):
                killed.faults.append(
                    f"{point}: after the next run there are {sorted(os.listdir(work))}, {sorted(left)}"
                )
    return killed


def _state(work: Path, expected: dict[str, str], folders: list[str], repeatable: bool) -> str:
    """What lies in the place of the outputs: each folder, and each file, is old or new where it is whole."""
    found = {file: digest for file, digest in outputs(work).items() if not file.startswith(".")}
    states = set()
    for name in folders:
        own = {file: digest for file, digest in found.items() if file.startswith(f"{name}/")}
        marked = own.pop(f"{name}/{_MARK}", None) is not None
        wanted = {file: digest for file, digest in expected.items() if file.startswith(f"{name}/")}
        if set(own) != set(wanted) or (repeatable and own != wanted):
            return f"{name} is not whole: {len(own)} of {len(wanted)} files"
        states.add("old" if marked else "new")
    for file in expected:
        if "/" not in file:
            if file not in found or not _is_whole(work / file):
                return f"{file} is not whole"
            states.add("old" if not folders else min(states))
    return " and ".join(sorted(states, reverse=True))


def _is_whole(file: Path) -> bool:
    """Whether a report or a JSON has its end; both say when they were made, so that no two are alike."""
    content = file.read_text(encoding="utf-8").rstrip()
    return content.endswith("</html>" if file.suffix == ".html" else "}")


def main(options: Kill) -> int:
    """Run, print, write."""
    console, results = Console(soft_wrap=True), []
    with prepared("kill-") as (folder, inputs):
        for command in options.commands or tuple(WRITERS):
            results.append(kill_command(command, inputs, folder / command, options))
            console.print(f"{command}: {results[-1].kills} kills, {dict(results[-1].states)}", *results[-1].faults)
    table = Table("command", "kills", "old", "new", "old and new", "faults")
    for r in results:
        table.add_row(r.command, str(r.kills), *(str(r.states[s]) for s in ("old", "new", "old and new")),
                      str(len(r.faults)))  # fmt: skip
    console.print(table)
    rows = [{"command": r.command, "kills": r.kills, "states": dict(r.states), "faults": r.faults} for r in results]
    write_json(options.out, {"rows": rows, "environment": environment()})
    return 1 if any(r.faults for r in results) else 0


if __name__ == "__main__":
    raise SystemExit(main(tyro.cli(Kill)))
