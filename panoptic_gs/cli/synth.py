# SPDX-License-Identifier: Apache-2.0
"""``panoptic-gs synth``: a procedural room as a scene folder, with exact truth and simulated predictions."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rich.console import Console
from rich.markup import escape
from rich.progress import Progress

from panoptic_gs.synthetic.noise import PredictionNoise, simulate_predictions
from panoptic_gs.synthetic.scenes import check_output, synthesize, write_synthetic_scene


@dataclass(frozen=True)
class Synth:
    """Make a procedural room: photos, cameras, seed points, exact panoptic truth and simulated predictions."""

    out: Path
    """Scene folder to make."""
    seed: int = 0
    """The same seed makes the same scene."""
    views: int = 50
    """Number of views; every fifth is held out for testing."""
    width: int = 320
    """Image width in pixels."""
    height: int = 240
    """Image height in pixels."""
    kind: Literal["living", "office", "bedroom", "kitchen", "washroom"] | None = None
    """Kind of room; by default the seed takes them in turn."""
    noise: Literal["none", "low", "default", "high"] = "default"
    """How wrong the predictions are."""
    raw: bool = False
    """Write query masks as a network gives them, too: raw/predictions.safetensors and .json."""
    overwrite: bool = False
    """Replace an existing scene."""

    def run(self) -> None:
        console = Console()
        check_output(self.out, overwrite=self.overwrite)
        with Progress(console=console, transient=True) as progress:
            tasks = {
                stage: progress.add_task(text, total=1.0)
                for stage, text in (("light", "Lighting the room"), ("views", "Rendering views"))
            }
            scene = synthesize(
                self.seed, self.views, self.width, self.height, self.kind,
                progress=lambda stage, share: progress.update(tasks[stage], completed=share),
            )  # fmt: skip
            last = progress.add_task("Simulating predictions, writing", total=None)
            predictions = simulate_predictions(scene.truth, PredictionNoise.preset(self.noise), self.seed)
            raw = None
            if self.raw:
                from panoptic_gs.synthetic.queries import QueryNoise, simulate_queries

                raw = simulate_queries(scene.truth, scene.cameras, QueryNoise.preset(self.noise), self.seed)
            write_synthetic_scene(self.out, scene, predictions, raw, overwrite=self.overwrite)
            progress.update(last, total=1.0, completed=1.0)
        things = sum(scene.truth.is_thing[segment.category_id] for segment in scene.truth.segments)
        console.print(
            f"[bold]{escape(str(self.out))}[/]: a {scene.room.kind}, seed {self.seed}, with {things} things and "
            f"{len(scene.truth.segments) - things} kinds of stuff",
            highlight=False,
        )
        console.print(
            f"  {self.views} views of {self.width}×{self.height} ({len(scene.splits['train'])} to train on, "
            f"{len(scene.splits['test'])} to test), {len(scene.points[0])} seed points",
            highlight=False,
        )
        if raw is not None:
            queries, height, width = raw.mask_logits.shape[1:]
            console.print(f"  raw/: {queries} queries, masks of {width}×{height}", highlight=False)
        scores = evaluate_training_views(scene.truth, predictions, scene.splits["train"])
        console.print(f"  predictions (noise {self.noise}) on the training views: {scores}", highlight=False)


def evaluate_training_views(truth, predictions, stems: list[str]) -> str:
    """The predictions' scene-PQ in both protocols, in one line."""
    from panoptic_gs.metrics import evaluate_scenes

    scores = evaluate_scenes(predictions, truth, stems)
    return ", ".join(f"PQ {100 * score.panoptic.pq:.1f} ({name})" for name, score in scores.items())
