# SPDX-License-Identifier: Apache-2.0
"""What the QUBO's void threshold is worth after uplifting: ``python -m benchmarks.void_threshold``.

Each room is trained once, in colour alone. Its simulated raw query masks are merged with several thresholds, by
MaskFormer's rules, too, uplifted onto the same Gaussians, rendered and scored on the held-out views.
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from benchmarks.quality.command import main
from benchmarks.quality.measurements import Measurement, Outcome, scene_stamp
from benchmarks.quality.nerfstudio_run import NerfstudioRun
from benchmarks.quality.predictions import views_of
from benchmarks.quality.rooms import RoomOptions
from benchmarks.speed.timing import machine
from panoptic_gs.files import write_json
from panoptic_gs.merge import MergeOptions, merge_predictions
from panoptic_gs.metrics import evaluate_scenes
from panoptic_gs.panoptic import PanopticScene
from panoptic_gs.raw_predictions import RawPredictions
from panoptic_gs.scene import Scene
from panoptic_gs.splats import Splats
from panoptic_gs.synthetic.queries import QueryNoise, simulate_queries
from panoptic_gs.uplift import render_panoptic, uplift_labels
from panoptic_gs.uplift.checkpoint import load_checkpoint_splats


@dataclass(frozen=True)
class VoidThreshold(RoomOptions):
    """Score uplifted labels of rooms whose query masks were merged with several void thresholds."""

    out: Path = Path("outputs/void_threshold")
    """Folder for scenes, runs and the table; finished trainings in it are kept."""
    rooms: int = 3
    """Number of rooms."""
    first_seed: int = 4
    """Seed of the first room; the simulated masks were settled on rooms 0 to 3, so the others tell more."""
    iterations: int = 600
    """Training iterations."""
    thresholds: tuple[float, ...] = (0.0, 0.1, 0.25, 0.5)
    """Void thresholds of the QUBO."""
    levels: tuple[str, ...] = ("default", "high")
    """How wrong the simulated query masks are: none, low, default, high."""

    def run(self) -> Outcome:
        """Train, merge, uplift, score; write ``results.json``."""
        console = Console()
        outcome = self.measured([self._measurement(seed, console) for seed in self.seeds], console, self.out / "logs")
        results = [row for result in outcome.results for row in result["rows"]]
        write_json(self.out / "results.json", {
            "machine": machine("cpu"), "results": results, "failures": dict(outcome.failures),
        })  # fmt: skip
        if results:
            console.print(_table(results))
        return outcome

    def _measurement(self, seed: int, console: Console) -> Measurement:
        root = self.scene(seed, console)
        folder = self.out / "runs" / root.name
        signature = {**scene_stamp(root, "panoptic_gt"), "seed": seed, "iterations": self.iterations,
                     "thresholds": list(self.thresholds), "levels": list(self.levels)}  # fmt: skip
        return Measurement(root.name, self._measure, (root, folder, seed), folder / "result.json", signature,
                           folder / "log.txt")  # fmt: skip

    def _measure(self, root: Path, folder: Path, seed: int, threads: int) -> dict[str, Any]:
        run = NerfstudioRun(folder, Console(quiet=True), folder / "log.txt", threads)
        # In colour alone, so that all thresholds label the same Gaussians.
        run.train_once(root, ["--max-num-iterations", str(self.iterations),
                              "--pipeline.datamanager.dataparser.panoptic-folder=",
                              "--pipeline.model.panoptic-loss-weight", "0"])  # fmt: skip
        splats, scene = load_checkpoint_splats(run.config), Scene.load(root)
        truth = scene.load_panoptic("panoptic_gt")
        cameras = {frame.stem: frame.camera for frame in scene.frames}
        rows = []
        for level in self.levels:
            raw = simulate_queries(truth, cameras, QueryNoise.preset(level), seed)
            raw = views_of(raw, list(scene.splits["train"]))
            for method, threshold in [*(("qubo", value) for value in self.thresholds), ("standard-v2", None)]:
                scores = _scores(splats, scene, truth, raw, method, threshold)
                rows.append({"room": root.name, "level": level, "method": method, "threshold": threshold} | scores)
        return {"rows": rows}


def _scores(
    splats: Splats, scene: Scene, truth: PanopticScene, raw: RawPredictions, method: str, threshold: float | None
) -> dict[str, float]:
    options = MergeOptions() if threshold is None else MergeOptions(void_threshold=threshold)
    maps = merge_predictions(raw, method, options=options).scene()
    cameras = {frame.stem: frame.camera for frame in scene.frames}
    labels = uplift_labels(
        splats, ((cameras[stem], torch.from_numpy(np.asarray(maps.maps[stem]))) for stem in maps.stems)
    )
    test = scene.splits["test"]
    rendered = {stem: render_panoptic(splats, labels, cameras[stem]).ids.int().numpy() for stem in test}
    uplifted = PanopticScene(maps.categories, maps.segments, rendered)
    found: dict[str, float] = {}
    for protocol, score in evaluate_scenes(uplifted, truth, test).items():
        found |= {f"{protocol} PQ": score.panoptic.pq, f"{protocol} mIoU": score.miou}
    return found


def _table(results: list[dict[str, Any]]) -> Table:
    names = [name for name in results[0] if name.endswith(("PQ", "mIoU"))]
    table = Table("masks", "method", "void threshold", *names)
    for key in dict.fromkeys((r["level"], r["method"], r["threshold"]) for r in results):
        chosen = [r for r in results if (r["level"], r["method"], r["threshold"]) == key]
        means = [f"{100 * statistics.fmean(r[name] for r in chosen):.2f}" for name in names]
        table.add_row(key[0], key[1], "" if key[2] is None else f"{key[2]:g}", *means)
    return table


if __name__ == "__main__":
    main(VoidThreshold)
