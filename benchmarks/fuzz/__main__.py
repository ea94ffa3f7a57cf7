# SPDX-License-Identifier: Apache-2.0
"""``python -m benchmarks.fuzz``: damaged files for every reader, from a seed.

Each input is a valid file with damage in the place of the whole one. It has to be read, or refused by an
``InputError`` that names it, within a second of processor time and 500 MB (or a hundred times its size). Readers run in
worker processes; one that dies or hangs is a fault of the input that it held, and is started again after it. The exit
code is 1 where there was a fault.
"""

from __future__ import annotations

import io
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console
from rich.table import Table

from benchmarks.fuzz.campaign import Campaign, Result, fuzz_reader
from benchmarks.fuzz.readers import chosen
from panoptic_gs.errors import InputError, print_input_error
from panoptic_gs.files import write_json
from panoptic_gs.report.environment import environment


@dataclass(frozen=True)
class Fuzz:
    """Damage the files of every reader, or of some, and tell what became of them."""

    readers: tyro.conf.Positional[tuple[str, ...]] = ()
    """Names of readers; all by default. --list prints them."""
    inputs: int = 1000
    """Damaged files for each reader."""
    seed: int = 0
    """The first input's; each of the others has the next."""
    seconds: float = 1.0
    """Processor time that an input may take; other work on the machine does not count."""
    budget: float | None = None
    """Seconds for each reader, after which no more inputs are tried."""
    jobs: Annotated[int, tyro.conf.arg(aliases=["-j"])] = 1
    """Readers at a time."""
    out: Path = Path("outputs/fuzz")
    """Folder for results.json and the first input of each distinct fault."""
    list: bool = False
    """Print the readers' names and end."""


def table_of(results: list[Result]) -> Table:
    """Counts and distinct faults."""
    table = Table(title=f"{sum(r.counts.total() for r in results):,} damaged files")
    for column in ("reader", "inputs", "refused", "read", "faults", "distinct", "minutes"):
        table.add_column(column, justify="left" if column == "reader" else "right")
    for r in results:
        faults = sum(entry["count"] for entry in r.faults.values())
        table.add_row(r.reader, f"{r.counts.total():,}", f"{r.counts['refused']:,}", f"{r.counts['read']:,}",
                      f"{faults:,}", str(len(r.faults)), f"{r.seconds / 60:.1f}")  # fmt: skip
    return table


def main(options: Fuzz) -> int:
    """Run, print, write."""
    from concurrent.futures import ThreadPoolExecutor

    console = Console(soft_wrap=True, highlight=False, file=sys.stdout)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)
    try:
        readers = chosen(options.readers)
    except InputError as error:
        print_input_error(error)
        return 2
    if options.list:
        print("\n".join(readers))
        return 0
    campaign = Campaign(options.inputs, options.seed, options.seconds, options.budget, options.out)
    results: list[Result] = []
    with ThreadPoolExecutor(max_workers=options.jobs) as pool:
        for result in pool.map(lambda name: fuzz_reader(name, campaign), readers):
            results.append(result)
            for fault, entry in sorted(result.faults.items(), key=lambda item: -item[1]["count"]):
                console.print(f"{result.reader}: {fault} ({entry['count']:,} times, first seed {entry['seed']}, "
                              f"{entry.get('file', '')}) {entry['text']}", markup=False)  # fmt: skip
            console.print(f"{result.reader}: {result.counts.total():,} inputs, {len(result.faults)} distinct faults")
            rows = [{"reader": r.reader, "counts": dict(r.counts), "faults": r.faults, "seconds": round(r.seconds, 1)}
                    for r in results]  # fmt: skip
            settings = {"inputs": options.inputs, "seed": options.seed, "seconds": options.seconds}
            write_json(
                options.out / "results.json", {"options": settings, "readers": rows, "environment": environment()}
            )
    console.print(table_of(results))
    return 1 if any(result.faults for result in results) else 0


if __name__ == "__main__":
    raise SystemExit(main(tyro.cli(Fuzz)))
