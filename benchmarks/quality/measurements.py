# SPDX-License-Identifier: Apache-2.0
"""What a benchmark does of each scene: kept when it is finished, done by threads here or by an engine."""

from __future__ import annotations

import json
import os
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from panoptic_gs.engines import Engine, Job
from panoptic_gs.errors import InputError
from panoptic_gs.files import read_json, write_json

SIGNATURE = "signature"
"""What a kept result depends on is kept with it, by this name."""


@dataclass(frozen=True)
class Measurement:
    """One scene's part of a benchmark.

    Args:
        name: as in messages; no two of a benchmark have the same.
        function: makes the result, ready for JSON. It is called with ``arguments`` and, last, the number of threads
            that commands of its own may have; an engine's machines have to be able to import it.
        arguments: of the function.
        file: where the result is kept.
        signature: what the result depends on, ready for JSON; where it is another, the result is made again.
        log: where a failure's stack trace goes.
    """

    name: str
    function: Callable[..., dict[str, Any]]
    arguments: tuple[Any, ...]
    file: Path
    signature: Mapping[str, Any]
    log: Path

    def kept(self) -> dict[str, Any] | None:
        """The result of an earlier run of the same signature; None where there is none.

        Raises:
            InputError: the file cannot be read.
        """
        if not self.file.is_file():
            return None
        result = read_json(self.file)
        return result if result.get(SIGNATURE) == json.loads(json.dumps(self.signature)) else None

    def done(self, threads: int) -> dict[str, Any]:
        """The kept result, or a new one, which is kept."""
        kept = self.kept()  # of a try whose machine was lost right after it, too
        if kept is None:
            kept = {SIGNATURE: dict(self.signature), **self.function(*self.arguments, threads)}
            write_json(self.file, kept)
        return kept


@dataclass(frozen=True)
class Outcome:
    """Finished measurements, and what became of the others."""

    results: tuple[dict[str, Any], ...]
    failures: Mapping[str, str] = field(default_factory=dict)
    """Name of a measurement → the first line of its error."""


def scene_stamp(root: Path, *maps: str) -> dict[str, Any]:
    """A scene folder and when its cameras, splits and ``maps`` (subfolders) were written, for signatures."""
    files = (root / name for name in ("transforms.json", "splits.json", *(f"{name}/panoptic.json" for name in maps)))
    modified = {str(file.relative_to(root)): file.stat().st_mtime_ns for file in files if file.is_file()}
    return {"scene": str(root.resolve()), "modified": modified}


def run_measurements(
    measurements: Sequence[Measurement],
    console: Console,
    jobs: int = 1,
    engine: Engine | None = None,
    say: Callable[[dict[str, Any]], str] = lambda _: "done",
) -> Outcome:
    """Do every measurement that has not been done; a failing one does not stop the others.

    Args:
        measurements: in the order of the tables.
        console: where one line a measurement is printed.
        jobs: how many run at a time; each gets its share of the cores.
        engine: runs them elsewhere; by default threads here.
        say: what to print of a result.
    """
    finished: dict[str, dict[str, Any]] = {}
    failures: dict[str, str] = {}
    waiting: list[Measurement] = []
    for measurement in measurements:
        try:
            kept = measurement.kept()
        except InputError as error:
            failures[measurement.name] = str(error)
            continue
        if kept is None:
            waiting.append(measurement)
        else:
            finished[measurement.name] = kept
    if finished:
        console.print(f"{len(finished)} of {len(measurements)} runs are finished already.", highlight=False)
    endings = _here(waiting, jobs) if engine is None else _on(engine, waiting)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        runs = bar.add_task("Runs", total=len(measurements), completed=len(measurements) - len(waiting))
        for name, result, reason in endings:
            bar.advance(runs)
            number = f"[{len(finished) + len(failures) + 1}/{len(measurements)}]"
            if result is None:
                failures[name] = reason
                console.print(f"{number} {name}: {reason}", style="red", markup=False, highlight=False)
                continue
            finished[name] = result
            console.print(f"{number} {name}: {say(result)}", markup=False, highlight=False)
    return Outcome(tuple(finished[m.name] for m in measurements if m.name in finished), failures)


Ending = tuple[str, dict[str, Any] | None, str]
"""A measurement's name, its result, and why it has none."""


def _here(measurements: Sequence[Measurement], jobs: int) -> Iterator[Ending]:
    """Do them in threads, whose commands are processes."""
    threads = max(1, (os.cpu_count() or 1) // max(1, jobs))
    with ThreadPoolExecutor(max(1, jobs)) as pool:
        futures = {pool.submit(m.done, threads): m for m in measurements}
        try:
            for future in as_completed(futures):
                measurement = futures[future]
                try:
                    yield measurement.name, future.result(), ""
                except Exception as error:
                    # Hours of other runs must not be lost, whatever went wrong in this one.
                    yield measurement.name, None, _failure(measurement, error)
        except KeyboardInterrupt:
            pool.shutdown(cancel_futures=True)
            raise


def _on(engine: Engine, measurements: Sequence[Measurement]) -> Iterator[Ending]:
    """Let an engine do them."""
    folder = str(Path.cwd())
    for ended in engine.run([Job(m.name, _done_in, (folder, m)) for m in measurements]):
        yield ended.job.name, ended.result, ended.reasons()


def _done_in(folder: str, measurement: Measurement) -> dict[str, Any]:
    os.chdir(folder)  # where relative paths begin
    return measurement.done(int(os.environ.get("OMP_NUM_THREADS") or 1))


def _failure(measurement: Measurement, error: Exception) -> str:
    """What to say of a failure; of other errors than bad input, the log has the whole trace."""
    if isinstance(error, InputError):
        return str(error)
    measurement.log.parent.mkdir(parents=True, exist_ok=True)
    with measurement.log.open("a", encoding="utf-8") as log:
        log.writelines(traceback.format_exception(error))
    return f"{type(error).__name__}: {error}. The end of {measurement.log} says where."
