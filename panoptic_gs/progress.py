# SPDX-License-Identifier: Apache-2.0
"""How long work tells that it goes on: one call for all, and bars on a terminal that show it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from rich.console import Console


class Progress(Protocol):
    """What long work calls: how many steps of a stage are done, and of how many."""

    def __call__(self, stage: str, done: int, total: int) -> None: ...


def silent(stage: str, done: int, total: int) -> None:
    """Progress that nobody looks at."""


@contextmanager
def progress_bars(console: Console, names: Mapping[str, str] | None = None) -> Iterator[Progress]:
    """A bar for each stage from its first report on; all vanish at the end.

    A stage of unknown length reports a total of 0, and its bar pulses until it reports another.

    Args:
        console: where they are drawn.
        names: stage → what people read; by default the stage itself.
    """
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    bars = Bars(*columns, console=console, transient=True)
    tasks = {}

    def report(stage: str, done: int, total: int) -> None:
        if stage not in tasks:
            bars.start()  # not before there is something to show
            tasks[stage] = bars.add_task((names or {}).get(stage, stage), total=total or None)
        bars.update(tasks[stage], completed=done, total=total or None)

    try:
        yield report
    finally:
        if tasks:
            bars.stop()
