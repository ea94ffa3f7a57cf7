# SPDX-License-Identifier: Apache-2.0
"""What a second process saves: ``python -m benchmarks.processes``.

Uplifting, association and evaluation of the same views by one process and by several (``torchrun``, gloo). Seconds on
the clock say what a machine with nothing else to do gains; CPU seconds of the busiest process say how the work divides
whatever else runs. ``--training-steps`` adds a short training on as many processes (``benchmarks.data_parallel``).
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch.distributed as dist
import tyro
from rich.console import Console
from rich.table import Table

from benchmarks import data_parallel
from benchmarks.associating.resources import THING, Load, views_of_wall, wall
from benchmarks.scale import room, views_of
from benchmarks.speed.timing import machine
from panoptic_gs import Category, PanopticScene, Segment
from panoptic_gs.associate import associate
from panoptic_gs.files import read_json, write_json
from panoptic_gs.metrics import evaluate_scenes
from panoptic_gs.processes import Processes, joined_processes
from panoptic_gs.refine import label_gaussians


@dataclass(frozen=True)
class ManyProcesses:
    """Measure commands on one process and on several."""

    processes: tuple[int, ...] = (1, 2)
    """Numbers of processes."""
    gaussians: int = 500_000
    """Of the room that is uplifted; the wall whose masks are associated has a fifth."""
    labels: int = 200
    """Of the room."""
    views: int = 16
    """Of each."""
    width: int = 960
    """Of a view; association's are 640 wide."""
    commands: bool = True
    """Measure the commands."""
    training_steps: int = 0
    """Train for so many steps, too; 0: not."""
    training_width: int = 320
    """Of the training's photos; the height is 3/4 of it."""
    training_points: int = 20_000
    """Seed points of the training."""
    out: Path | None = None
    """JSON to write."""
    folder: Path | None = None
    """Where a process that torchrun started leaves what it measured."""


def measured(options: ManyProcesses, processes: Processes) -> dict[str, dict[str, float]]:
    """Seconds and CPU seconds of this process, by what was done."""
    splats, views = room(options.gaussians), list(views_of(options.views, options.width, options.labels))
    maps = {f"{number:04d}": ids for number, (_, ids) in enumerate(views)}
    segments = [Segment(int(i), 1) for i in np.unique(np.concatenate([ids.ravel() for ids in maps.values()]))]
    truth = PanopticScene([Category(1, "patch", True)], segments, maps)
    found = PanopticScene(truth.categories, truth.segments, {stem: np.roll(ids, 3, 1) for stem, ids in maps.items()})
    load, rng = Load(options.views, 8, options.gaussians // 5), np.random.default_rng(0)
    before = wall(load, rng)
    masked = list(views_of_wall(load, rng))
    cameras, masks = {stem: camera for stem, camera, _ in masked}, {stem: of_view for stem, _, of_view in masked}
    work: dict[str, Callable[[], Any]] = {
        "uplift": lambda: label_gaussians("weighed", splats, processes.share(views), processes=processes),
        "associate": lambda: associate(before, cameras, masks, (THING,), processes=processes),
        "evaluate": lambda: evaluate_scenes(found, truth, processes=processes),
    }
    rows = {}
    for name, call in work.items():
        if processes.count > 1:
            dist.barrier()
        start, used = time.perf_counter(), time.process_time()
        call()
        rows[name] = {"cpu_seconds": time.process_time() - used, "seconds": time.perf_counter() - start}
    return rows


def on(options: ManyProcesses, count: int) -> list[dict[str, dict[str, float]]]:
    """What each of so many processes measured."""
    own = [f"--{name}={value}" for name, value in asdict(options).items()
           if name in ("gaussians", "labels", "views", "width")]  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        words = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(count), "-m",
                 "benchmarks.processes", *own, "--folder", folder]  # fmt: skip
        subprocess.run([sys.executable, *words], check=True, env={**os.environ, "OMP_NUM_THREADS": "1",
                                                                  "PANOPTIC_GS_NUM_THREADS": "1"})  # fmt: skip
        return [read_json(file) for file in sorted(Path(folder).glob("*.json"))]


def table(rows: dict[int, list[dict[str, dict[str, float]]]]) -> Table:
    """What the busiest process took, and its share of one process alone."""
    made = Table("processes", *(f"{name}: {what}" for name in ("uplift", "associate", "evaluate")
                                for what in ("CPU s", "of one", "s")))  # fmt: skip
    first = next(iter(rows.values()))
    for count, of in rows.items():
        cells = []
        for name in first[0]:
            most, alone = (max(row[name]["cpu_seconds"] for row in ranks) for ranks in (of, first))
            seconds = max(row[name]["seconds"] for row in of)
            cells += [f"{most:.2f}", f"{100 * most / alone:.0f} %", f"{seconds:.2f}"]
        made.add_row(str(count), *cells)
    return made


def main(options: ManyProcesses) -> None:
    """Run and print."""
    if options.folder is not None:
        with joined_processes() as processes:
            write_json(options.folder / f"{os.environ['RANK']}.json", measured(options, processes))
        return
    load, console = os.getloadavg()[0], Console(soft_wrap=True)
    rows = {count: on(options, count) for count in options.processes} if options.commands else {}
    if rows:
        console.print(table(rows))
    training = []
    if options.training_steps:
        training = data_parallel.measure(options.processes, options.training_steps, options.training_width,
                                         options.training_points)  # fmt: skip
        console.print(data_parallel.table(training))
    console.print(f"{load:.1f} processes wanted a core when this began, of {os.cpu_count()} cores.", highlight=False)
    if options.out is not None:
        settings = {name: value for name, value in asdict(options).items() if name not in ("out", "folder")}
        write_json(options.out, {"machine": machine("cpu"), "load": load, "settings": settings,
                                 "processes": {str(count): ranks for count, ranks in rows.items()},
                                 "training": training})  # fmt: skip


if __name__ == "__main__":
    main(tyro.cli(ManyProcesses))
