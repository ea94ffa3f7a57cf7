# SPDX-License-Identifier: Apache-2.0
"""``panoptic-gs synth``: a procedural room as a scene folder, with exact truth and simulated predictions."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rich.markup import escape
from tyro.conf import Positional

from panoptic_gs.cli.output import Output
from panoptic_gs.progress import progress_bars
from panoptic_gs.replacing import replacing_folder

_STAGES = {
    "light": "Lighting the room",
    "views": "Rendering the views",
    "predictions": "Simulating predictions",
}


@dataclass(frozen=True)
class Synth(Output):
    """Make a procedural room: photos, cameras, seed points, exact panoptic truth and simulated predictions."""

    out: Positional[Path]
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
    noise: Literal["none", "low", "default", "high", "correlated", "parts", "fused"] = "default"
    """How wrong the predictions are; correlated, parts and fused are errors that most views share."""
    raw: bool = False
    """Write query masks as a network gives them, too: predictions/predictions.safetensors and .json."""
    depth: bool = False
    """Write exact depth, too: depth/, which training takes with --pipeline.datamanager.dataparser.depth photos."""
    overwrite: bool = False
    """Replace an existing scene."""

    def run(self) -> None:
        from panoptic_gs.metrics import evaluate_scenes
        from panoptic_gs.synthetic.noise import PredictionNoise, simulate_predictions
        from panoptic_gs.synthetic.queries import QueryNoise, simulate_queries
        from panoptic_gs.synthetic.scenes import fill_scene_folder, synthesize

        console = self.console()
        folder_in_place = replacing_folder(self.out, overwrite=self.overwrite, known_by="transforms.json")
        with folder_in_place as folder, progress_bars(console, _STAGES) as progress:
            scene = synthesize(self.seed, self.views, self.width, self.height, self.kind, progress=progress)
            progress("predictions", 0, 3)
            predictions = simulate_predictions(scene.truth, PredictionNoise.preset(self.noise), self.seed)
            progress("predictions", 1, 3)
            raw = None
            if self.raw:
                raw = simulate_queries(scene.truth, scene.cameras, QueryNoise.preset(self.noise), self.seed)
            fill_scene_folder(folder, scene, predictions, raw, self.depth)
            progress("predictions", 2, 3)
            scores = evaluate_scenes(predictions, scene.truth, scene.splits["train"])
            progress("predictions", 3, 3)

        things = sum(scene.truth.is_thing[segment.category_id] for segment in scene.truth.segments)
        stuff = len(scene.truth.segments) - things
        console.print(
            f"[bold]{escape(str(self.out))}[/]: {scene.room.kind}, seed {self.seed}, "
            f"{things} things, {stuff} stuff classes"
        )
        console.print(
            f"  {self.views} views of {self.width}×{self.height}: {len(scene.splits['train'])} to train on, "
            f"{len(scene.splits['test'])} held out; {len(scene.points[0])} seed points"
        )
        if raw is not None:
            queries, height, width = raw.mask_logits[0].shape
            console.print(f"  predictions/: {queries} queries, masks of {width}×{height}")
        numbers = ", ".join(f"PQ {100 * score.panoptic.pq:.1f} {name}" for name, score in scores.items())
        console.print(f"  panoptic/: simulated predictions, noise '{self.noise}'; on the training views {numbers}")
        self.finish([self.out], kind=scene.room.kind, seed=self.seed, things=things, stuff=stuff, views=self.views,
                    predictions={name: score.as_dict() for name, score in scores.items()})  # fmt: skip
