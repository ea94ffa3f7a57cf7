# SPDX-License-Identifier: Apache-2.0
"""Scene folders with truth: ``python -m benchmarks.real SCENE …`` trains each with several seeds, and says how much of
the gap between the paper's literal uplift and the ceiling is recovered."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from tyro.conf import Positional

from benchmarks.quality.command import main, require_known
from benchmarks.quality.evidence import PROTOCOLS, ROWS, Evidence, recovered
from benchmarks.quality.harness import require_scorable
from benchmarks.quality.measurements import Measurement, Outcome, scene_stamp
from benchmarks.quality.nerfstudio_run import NerfstudioRun
from benchmarks.quality.on_engine import OnEngine
from panoptic_gs.errors import InputError
from panoptic_gs.files import write_json
from panoptic_gs.scene import Scene
from panoptic_gs.synthetic.noise import LEVELS, PredictionNoise, simulate_predictions
from panoptic_gs.uplift.checkpoint import load_checkpoint_splats


@dataclass(frozen=True)
class Real(OnEngine):
    """Train scene folders that have truth, and score each way to label the same splats.

    Rows: the literal Eq. 7 (void is a label), the average (void abstains), the same with squared shares, each view as
    one witness, one label per Gaussian, the refined labels, and the ceiling: true outlines with the predicted classes.
    Recovered = (PQ − literal) ÷ (ceiling − literal).
    """

    scenes: Positional[tuple[Path, ...]]
    """Scene folders with panoptic/ (predictions), panoptic_gt/ (truth) and splits.json."""
    out: Path = Path("outputs/real")
    """Folder for trainings and results.json; finished trainings in it are kept."""
    iterations: int = 1500
    """Training iterations."""
    seeds: int = 3
    """Trainings of a scene."""
    panoptic: str = "panoptic"
    """Subfolder with the predictions."""
    simulated: tuple[str, ...] = ()
    """Score predictions that are simulated from the truth, too, on the same splats, with a noise of each of these
    levels and the training's seed."""

    def run(self) -> Outcome:
        """Train what is not trained yet, score, print and write."""
        require_known("--simulated", self.simulated, LEVELS)
        if not self.scenes or self.seeds < 1:
            raise InputError("scenes", f"{len(self.scenes)} scenes, {self.seeds} seeds", "at least one of each",
                             "Name scene folders.")  # fmt: skip
        for root in self.scenes:
            require_scorable(root)
        console = Console()
        work = [self._measurement(root, seed) for root in self.scenes for seed in range(self.seeds)]
        outcome = self.measured(work, console, self.out / "logs", _said)
        results = [row for result in outcome.results for row in result["rows"]]
        write_json(self.out / "results.json", {
            "iterations": self.iterations, "results": results, "failures": dict(outcome.failures),
        })  # fmt: skip
        _print(results, console)
        console.print(f"Written: {self.out / 'results.json'}", highlight=False, soft_wrap=True)
        return outcome

    def _measurement(self, root: Path, seed: int) -> Measurement:
        folder = self.out / f"{root.resolve().name}-{self.iterations}" / f"seed-{seed}"
        signature = {**scene_stamp(root, self.panoptic, "panoptic_gt"), "iterations": self.iterations, "seed": seed,
                     "panoptic": self.panoptic, "simulated": list(self.simulated)}  # fmt: skip
        return Measurement(f"{root.resolve().name} · training {seed}", self._scored, (root, folder, seed),
                           folder / "result.json", signature, folder / "log.txt")  # fmt: skip

    def _scored(self, root: Path, folder: Path, seed: int, threads: int) -> dict[str, Any]:
        run = NerfstudioRun(folder, Console(quiet=True), folder / "log.txt", threads)
        run.train_once(root.resolve(), ["--max-num-iterations", str(self.iterations), "--machine.seed", str(seed)])
        splats, scene = load_checkpoint_splats(run.config), Scene.load(root)
        truth = scene.load_panoptic("panoptic_gt")
        found = []
        for level in ("given", *self.simulated):
            predicted = (
                scene.load_panoptic(self.panoptic)
                if level == "given"
                else simulate_predictions(truth, PredictionNoise.preset(level), seed)
            )
            scores = Evidence(splats, scene, predicted, truth).scores()
            found.append({"scene": root.resolve().name, "predictions": level, "seed": seed, "scores": scores})
        return {"rows": found}


def _said(result: dict[str, Any]) -> str:
    return ", ".join(f"{row['predictions']}: PQ* {row['scores']['refined']['strict']:.1f}" for row in result["rows"])


def _print(results: list[dict[str, Any]], console: Console) -> None:
    table = Table("scene", "predictions", "row", *(f"PQ {name}" for name in PROTOCOLS), "recovered", "seeds")
    groups = dict.fromkeys((result["scene"], result["predictions"]) for result in results)
    for scene, level in groups:
        runs = [r["scores"] for r in results if (r["scene"], r["predictions"]) == (scene, level)]
        for row in ROWS:
            means = [float(np.mean([scores[row][name] for scores in runs])) for name in PROTOCOLS]
            gaps = [float(np.mean([recovered(scores, row, name) for scores in runs])) for name in PROTOCOLS]
            table.add_row(scene, level, row, *(f"{mean:.1f}" for mean in means),
                          " / ".join(f"{gap:.0f} %" for gap in gaps), str(len(runs)))  # fmt: skip
    console.print(table)


if __name__ == "__main__":
    main(Real)
