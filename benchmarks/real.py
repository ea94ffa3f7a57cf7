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
from benchmarks.quality.harness import Outcome, require_scorable
from benchmarks.quality.nerfstudio_run import NerfstudioRun
from panoptic_gs.errors import InputError
from panoptic_gs.files import write_json
from panoptic_gs.scene import Scene
from panoptic_gs.synthetic.noise import LEVELS, PredictionNoise, simulate_predictions
from panoptic_gs.uplift.checkpoint import load_checkpoint_splats


@dataclass(frozen=True)
class Real:
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
        results: list[dict[str, Any]] = []
        for root in self.scenes:
            for seed in range(self.seeds):
                results += self._scored(root, seed, console)
                write_json(self.out / "results.json", {"iterations": self.iterations, "results": results})
        _print(results, console)
        console.print(f"Written: {self.out / 'results.json'}", highlight=False, soft_wrap=True)
        return Outcome(tuple(results))

    def _scored(self, root: Path, seed: int, console: Console) -> list[dict[str, Any]]:
        run = NerfstudioRun(self.out / f"{root.resolve().name}-{self.iterations}" / f"seed-{seed}", console)
        if not list(run.config.parent.glob("nerfstudio_models/step-*.ckpt")):
            run.train(root.resolve(), ["--max-num-iterations", str(self.iterations), "--machine.seed", str(seed)])
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
        return found


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
