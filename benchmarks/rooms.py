# SPDX-License-Identifier: Apache-2.0
"""Procedural rooms × noise levels: ``python -m benchmarks.rooms`` needs no download and no network."""

from __future__ import annotations

from dataclasses import dataclass

from rich.console import Console

from benchmarks.quality.command import main, require_known
from benchmarks.quality.harness import BASELINES, Outcome, RunSettings, Task, run_tasks
from benchmarks.quality.predictions import PredictionSource
from benchmarks.quality.rooms import TabledRooms
from benchmarks.quality.table import require_markers
from benchmarks.quality.variants import Variant
from panoptic_gs.synthetic.noise import LEVELS


@dataclass(frozen=True)
class Rooms(TabledRooms):
    """Train procedural rooms from simulated predictions of several noise levels, and score held-out views.

    Rows: the predictions themselves on the training views; predictions carried over to the held-out views without 3D;
    the average without a look at the other views; one label per Gaussian; the dense Eq. 7; the uplifted labels.
    """

    iterations: int = 1000
    """Training iterations."""
    levels: tuple[str, ...] = ("low", "default", "high")
    """How wrong the predictions are: any of none, low, default, high, correlated, parts, fused."""
    baselines: tuple[str, ...] = BASELINES
    """Any of nearest-view, average, hard-labels, dense-eq7."""

    def run(self) -> Outcome:
        """Do what is not done yet, and write the tables."""
        require_known("--levels", self.levels, LEVELS)
        if self.write_docs is not None:
            require_markers(self.write_docs, "rooms")
        console = Console()
        scenes = [self.scene(seed, console) for seed in self.seeds]
        tasks = [
            Task(root.name, root, PredictionSource("simulated", level=level), Variant(),
                 self.out / "runs" / root.name / level, group=f"noise {level}")
            for level in self.levels
            for root in scenes
        ]  # fmt: skip
        settings = RunSettings(self.iterations, baselines=self.baselines)
        engine = self.chosen_engine(self.out / "logs")
        outcome = run_tasks(tasks, settings, console, self.jobs, engine=engine)
        self.write_tables("Procedural rooms", "rooms", outcome, console)
        return outcome


if __name__ == "__main__":
    main(Rooms)
