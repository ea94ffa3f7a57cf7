# SPDX-License-Identifier: Apache-2.0
"""The whole way without any stand-in: a room's photos, the network's masks and cameras, splats, held-out views."""

from __future__ import annotations

import shutil
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from benchmarks.demo import draw_sheet, score_table
from benchmarks.demo_photos import add_held_out_views
from benchmarks.networks.rooms import measured_room
from benchmarks.quality.command import main
from benchmarks.quality.harness import Outcome
from benchmarks.quality.nerfstudio_run import NerfstudioRun
from benchmarks.speed.timing import machine
from panoptic_gs.files import write_json
from panoptic_gs.metrics import evaluate_scenes
from panoptic_gs.panoptic import PanopticScene
from panoptic_gs.predict.photos import Photo
from panoptic_gs.predict.scene_folder import copy_photo
from panoptic_gs.scene import Scene
from panoptic_gs.uplift.checkpoint import load_checkpoint


@dataclass(frozen=True)
class DemoNetwork:
    """Photos of a procedural room that the network was not trained on, without cameras and without masks, to a scene.

    ``panoptic-gs predict --network panoptic-gs`` finds masks and cameras, ``ns-train`` trains splats from them,
    ``ns-render`` draws held-out views, whose true cameras are moved into the world that the network found.
    """

    out: Path = Path("demo-network")
    """Folder for everything; its earlier content is replaced."""
    seed: int = 0
    """Of the room."""
    weights: Path | None = None
    """Of the network; by default those that come with the package."""
    iterations: int = 800
    """Training iterations."""

    def run(self) -> Outcome:
        """Make, find, train, render, score and show."""
        started, console, out = time.monotonic(), Console(), self.out.resolve()
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir(parents=True)
        room = measured_room(out / "rooms", self.seed)
        for stem in room.seen:
            copy_photo(Photo.open(room.scene.frame(stem).image_path), out / "photos")
        run = NerfstudioRun(out, console)
        network = "panoptic-gs" if self.weights is None else f"panoptic-gs:{self.weights.resolve()}"
        run.call([str(Path(sys.executable).with_name("panoptic-gs")), "predict", str(out / "photos"), "--network",
                  network, "--classes", "reduced21", "--shared-focal", "--out", str(out / "scene")])  # fmt: skip
        found = Scene.load(out / "scene")
        predictions = found.load_panoptic("panoptic")
        masks = evaluate_scenes(predictions, room.truth, [frame.stem for frame in found.frames])
        alignment = add_held_out_views(out / "scene", room.scene)
        console.print(
            f"{len(found.frames)} of {len(room.seen)} photos have cameras; against the true ones, after a similarity, "
            f"they are off by {alignment.angle_error:.1f}° and {100 * alignment.center_error:.0f}% of their spread "
            "(medians)"
        )
        run.train(out / "scene", ("--max-num-iterations", str(self.iterations)))
        run.render()
        scene, meaning = Scene.load(out / "scene"), load_checkpoint(run.config).labelling
        truth = scene.load_panoptic("panoptic_gt")
        test = [frame.stem for frame in scene.split("test")]
        rendered = PanopticScene(meaning.categories, meaning.segments, run.rendered_ids(), source="ns-render")
        views = evaluate_scenes(rendered, truth, test)
        rows = {
            "masks": {name: score.as_dict() for name, score in masks.items()},
            "novel views": {name: score.as_dict() for name, score in views.items()},
        }
        draw_sheet(out / "contact_sheet.png", run, scene, rendered, truth, test)
        caption = "masks: of the photos, merged · novel views: held out, true cameras moved into the network's world"
        console.print(score_table(rows, "A small network on a rendered room, in percent", caption))
        minutes = (time.monotonic() - started) / 60
        write_json(out / "demo.json", {
            "machine": machine("cpu"), "seed": self.seed, "iterations": self.iterations, "photos": len(room.seen),
            "placed": len(found.frames), "degrees": alignment.angle_error, "centre": alignment.center_error, **rows,
            "minutes": minutes,
        })  # fmt: skip
        console.print(f"Finished in {minutes:.1f} minutes.")
        console.print(f"Contact sheet   {out / 'contact_sheet.png'}", soft_wrap=True)
        console.print(f"All scores      {out / 'demo.json'}", soft_wrap=True)
        return Outcome(())


if __name__ == "__main__":
    main(DemoNetwork)
