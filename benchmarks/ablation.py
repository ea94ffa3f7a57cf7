# SPDX-License-Identifier: Apache-2.0
"""Regularisation × merge on procedural rooms: ``python -m benchmarks.ablation`` (PanSt3R's Table 5).

The rooms' predictions are simulated raw query masks with duplicates, parts, unions, background and missed objects.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from benchmarks.quality.command import main
from benchmarks.quality.harness import Outcome, RunSettings, Task, run_tasks
from benchmarks.quality.predictions import PredictionSource
from benchmarks.quality.published import PUBLISHED_ABLATION, TITLES
from benchmarks.quality.rooms import TabledRooms
from benchmarks.quality.table import require_markers
from benchmarks.quality.variants import variants_of


@dataclass(frozen=True)
class Ablation(TabledRooms):
    """Train procedural rooms with and without the panoptic colour loss, from masks merged by QUBO and by MaskFormer's
    rules."""

    out: Path = Path("outputs/ablation")
    """Folder for scenes, runs and tables; finished runs in it are kept."""
    rooms: int = 3
    """Number of rooms."""
    first_seed: int = 4
    """Seed of the first room; the simulated masks were settled on rooms 0 to 3, so the others tell more."""
    iterations: int = 700
    """Training iterations."""
    level: str = "default"
    """How wrong the simulated query masks are: none, low, default, high, correlated, parts, fused."""
    ablate: tuple[str, ...] = ("regularisation", "merge")
    """Any of regularisation, merge, views."""
    seen: tuple[int, ...] = ()
    """Numbers of training views, where views are ablated."""

    def run(self) -> Outcome:
        """Do what is not done yet, and write the tables."""
        if self.write_docs is not None:
            require_markers(self.write_docs, "ablation")
        console = Console()
        variants = variants_of(self.ablate, self.seen)
        scenes = [self.scene(seed, console) for seed in self.seeds]
        tasks = [
            Task(root.name, root, PredictionSource("simulated-queries", level=self.level), variant,
                 self.out / "runs" / root.name / variant.slug)
            for root in scenes
            for variant in variants
        ]  # fmt: skip
        engine = self.chosen_engine(self.out / "logs")
        outcome = run_tasks(tasks, RunSettings(self.iterations, baselines=()), console, self.jobs, engine=engine)
        published = {f"Published on {TITLES[name]}": rows for name, rows in PUBLISHED_ABLATION.items()}
        self.write_tables("Regularisation × merge on procedural rooms", "ablation", outcome, console,
                          published=published, ablation=True)  # fmt: skip
        return outcome


if __name__ == "__main__":
    main(Ablation)
