# SPDX-License-Identifier: Apache-2.0
"""What every command has for scripts: ``-q`` and ``--json``."""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro
from rich.console import Console
from rich.markup import escape

from panoptic_gs.files import write_json
from panoptic_gs.processes import started_processes

_STDOUT = "-"


@dataclass(frozen=True, kw_only=True)
class Output:
    """Options of every command. A command prints to :meth:`console` and ends with :meth:`finish`."""

    quiet: Annotated[bool, tyro.conf.arg(aliases=["-q"]), tyro.conf.FlagCreatePairsOff] = False
    """Print only the paths of what was written."""
    json: Annotated[Path | None, tyro.conf.arg(metavar="[FILE]")] = None
    """Say what was done as JSON: to this file, or without one to standard output, and everything else to standard
    error."""

    def console(self) -> Console:
        """Where people read what happens: progress, tables, notes."""
        quiet = self.quiet or not started_processes().leads
        return Console(quiet=quiet, stderr=self._prints_json, soft_wrap=True, highlight=False)

    def finish(self, written: Sequence[Path | str] = (), **result: Any) -> None:
        """Say what was done to scripts.

        Args:
            written: what was written, the most telling first.
            result: the rest, ready for JSON.
        """
        if not started_processes().leads:
            return
        paths = [str(path) for path in written]
        document = _without_nan({"command": _name(self), "written": paths, **result})
        if self._prints_json:
            print(json.dumps(document, ensure_ascii=False), flush=True)
            return
        if self.json is not None:
            write_json(self.json, document)
            self.console().print(f"Written: {self.json}", markup=False)
            paths.append(str(self.json))
        if self.quiet:
            for path in paths:
                print(path)

    @property
    def _prints_json(self) -> bool:
        return self.json is not None and str(self.json) == _STDOUT


def next_command(console: Console, *words: str | Path) -> None:
    """Tell what to do with what was made, as a line to copy."""
    line = shlex.join(["panoptic-gs", *map(str, words)])
    console.print(f"[dim]Next:[/] {escape(line)}")


def _name(command: Output) -> str:
    """``EvaluatePoints`` → ``evaluate-points``."""
    name = type(command).__name__
    return "".join(f"-{c.lower()}" if c.isupper() else c for c in name).lstrip("-")


def _without_nan(value: Any) -> Any:
    """The same document with None for NaN and infinity, which are no JSON."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {name: _without_nan(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_nan(item) for item in value]
    return value


def complete_json(arguments: Sequence[str]) -> list[str]:
    """Give ``--json`` without a file the one that stands for standard output."""
    completed: list[str] = []
    for index, argument in enumerate(arguments):
        completed.append(argument)
        following = arguments[index + 1] if index + 1 < len(arguments) else None
        if argument == "--json" and (following is None or (following.startswith("-") and following != _STDOUT)):
            completed.append(_STDOUT)
    return completed
