# SPDX-License-Identifier: Apache-2.0
"""The options by which a benchmark's runs go to other machines."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from rich.console import Console

from benchmarks.quality.measurements import Measurement, Outcome, run_measurements
from panoptic_gs.engines import Engine, EngineOptions, engine_of


@dataclass(frozen=True, kw_only=True)
class OnEngine:
    """Options of benchmarks whose runs are of one scene each."""

    jobs: int = 1
    """Runs at a time on this machine; each gets its share of the cores."""
    engine: Literal["local", "ray", "slurm"] | None = None
    """Who does the runs: threads here (the default), a process each here, a Ray cluster, or Slurm. Run folders lie on
    storage that all machines share; finished runs in them are kept."""
    cpus_per_scene: int = 1
    """With --engine: cores of a run."""
    gpus_per_scene: float = 0.0
    """With --engine: GPUs of a run."""
    hours_per_scene: float = 24.0
    """Slurm: that a run may take."""
    ray_address: str | None = None
    """Ray: the cluster; by default RAY_ADDRESS, else one is started here."""
    slurm_partition: str | None = None
    """Slurm: its partition."""

    def chosen_engine(self, logs: Path) -> Engine | None:
        """The engine; None where threads here do the runs.

        Args:
            logs: folder of a log for each run.

        Raises:
            InputError: options out of range, or a package that is missing.
        """
        if self.engine is None:
            return None
        here = self.jobs if self.engine == "local" else None
        options = EngineOptions(self.cpus_per_scene, self.gpus_per_scene, here, self.ray_address, logs,
                                self.hours_per_scene, self.slurm_partition)  # fmt: skip
        return engine_of(self.engine, options)

    def measured(
        self,
        measurements: Sequence[Measurement],
        console: Console,
        logs: Path,
        say: Callable[[dict[str, Any]], str] = lambda _: "done",
    ) -> Outcome:
        """:func:`run_measurements` on the chosen engine.

        Raises:
            InputError: options out of range, or a package that is missing.
        """
        return run_measurements(measurements, console, self.jobs, self.chosen_engine(logs), say)
