# SPDX-License-Identifier: Apache-2.0
"""One display for a command of several long stages: a bar for all of it with the time left, and one for each part."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

_LEAST_LEFT = 0.1
"""Of what a stage was expected to take: what it may still take once that time is over."""


class Estimate:
    """How long several stages still take: expected seconds, and what the stage that runs reports instead.

    Args:
        expected: stage → seconds, in order; rough guesses, of which the later ones may be corrected on the way.
        measures: stage → the one kind of steps whose speed tells how long it takes; others have parts of unlike speed.
        clock: seconds that go by.
    """

    def __init__(
        self, expected: Mapping[str, float], measures: Mapping[str, str], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._expected, self._measures, self._clock = dict(expected), dict(measures), clock
        self._over: set[str] = set()
        self._stage: str | None = None
        self._began = clock()
        self._first: tuple[float, int] | None = None
        self._left: tuple[float, float] | None = None

    def expect(self, seconds: Mapping[str, float]) -> None:
        """Correct what stages are expected to take."""
        self._expected |= seconds

    def begin(self, stage: str) -> None:
        """A stage begins; those before it are over."""
        self._stage, self._began, self._first, self._left = stage, self._clock(), None, None

    def end(self, stage: str) -> None:
        """A stage is over, or not needed."""
        self._over.add(stage)
        self._stage = None

    def report(self, kind: str, done: int, total: int) -> None:
        """Steps of the stage that runs."""
        if self._stage is None or self._measures.get(self._stage) != kind or not total:
            return
        now = self._clock()
        if self._first is None:  # what an earlier try did says nothing of the speed of this one
            self._first = now, done
        elif done > self._first[1]:
            self._left = now, (now - self._first[0]) / (done - self._first[1]) * (total - done)

    def remaining(self) -> float:
        """Seconds until all stages are over."""
        now = self._clock()
        left = sum(s for stage, s in self._expected.items() if stage not in self._over and stage != self._stage)
        if self._stage is None:
            return left
        if self._left is not None:
            return left + max(0.0, self._left[1] - (now - self._left[0]))
        expected = self._expected.get(self._stage, 0.0)
        return left + max(expected - (now - self._began), _LEAST_LEFT * expected)


class StagedProgress:
    """Says which stage runs and how long the rest will take; called with steps, as any other progress."""

    def __init__(self, console: Console, estimate: Estimate, count: int) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, ProgressColumn, TextColumn
        from rich.progress import Progress as Bars
        from rich.text import Text

        class Left(ProgressColumn):
            """Computed as it is drawn, so that it counts down while nothing is reported."""

            def render(self, task: Any) -> Text:
                return Text(time_left(estimate.remaining()) if task.fields.get("whole") else "")

        self._console, self._estimate, self._count = console, estimate, count
        self._bars = Bars(
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), Left(), console=console, transient=True
        )
        self._whole = self._bars.add_task("All stages", total=count, whole=True)
        self._parts: dict[str, Any] = {}

    def __call__(self, stage: str, done: int, total: int) -> None:
        if stage not in self._parts:
            self._parts[stage] = self._bars.add_task(f"  {stage}", total=total or None)
        self._bars.update(self._parts[stage], completed=done, total=total or None)
        self._estimate.report(stage, done, total)

    @contextmanager
    def stage(self, number: int, name: str, *, done: bool) -> Iterator[bool]:
        """Say that a stage begins and how long it took; gives whether it is needed."""
        head = f"\\[{number}/{self._count}] {name}"
        if done:
            self._estimate.end(name)
            self._bars.update(self._whole, completed=number)
            self._console.print(f"[dim]{head}: done before[/]")
            yield False
            return
        self._estimate.begin(name)
        self._console.print(f"[bold]{head}[/] ({time_left(self._estimate.remaining())} in all)")
        started = time.monotonic()
        yield True
        self._estimate.end(name)
        self._bars.update(self._whole, completed=number)
        for part in self._parts.values():
            self._bars.remove_task(part)
        self._parts.clear()
        self._console.print(f"[dim]      {time.monotonic() - started:.0f} s[/]")

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Draw it for as long as the block lasts."""
        with self._bars:
            yield


def time_left(seconds: float) -> str:
    """Seconds as people say what is no more than an estimate."""
    if seconds < 60:
        return "less than a minute left"
    if seconds < 5400:
        return f"about {seconds / 60:.0f} min left"
    return f"about {seconds / 3600:.1f} h left"
