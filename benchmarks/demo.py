# SPDX-License-Identifier: Apache-2.0
"""The whole way on a procedural room: make, train, render, score, show."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro
from rich import box
from rich.console import Console
from rich.table import Table

from benchmarks.quality.nerfstudio_run import NerfstudioRun
from panoptic_gs.errors import InputError, print_input_error
from panoptic_gs.files import read_rgb, write_json
from panoptic_gs.metrics import PROTOCOLS, evaluate_scenes
from panoptic_gs.palette import colorized, paired_colors
from panoptic_gs.panoptic import PanopticScene
from panoptic_gs.report import contact_sheet, error_map, match_objects
from panoptic_gs.scene import Scene

_LEGEND = (
    "Errors: red = wrong category, orange = right category but another object, grey = right, white = void in the truth"
)


@dataclass(frozen=True)
class Demo:
    """Make a procedural room with simulated predictions, train it, render and score its held-out views."""

    out: Path = Path("demo")
    """Folder for the scene, the training, the renders and the pictures; its earlier content is replaced."""
    seed: int = 0
    """Seed of the room and of its predictions."""
    iterations: int = 1500
    """Training iterations; the method's own defaults are 2,000 on the CPU and 30,000 on a GPU."""

    def run(self) -> None:
        start = time.monotonic()
        console = Console()
        out = self.out.resolve()
        shutil.rmtree(out, ignore_errors=True)
        subprocess.run(
            [str(Path(sys.executable).with_name("panoptic-gs")), "synth", str(out / "scene"), "--seed", str(self.seed)],
            check=True,
        )
        run = NerfstudioRun(out, console)
        run.train(out / "scene", ("--max-num-iterations", str(self.iterations)))
        run.render()
        results = run.evaluate()

        scene = Scene.load(out / "scene")
        truth = scene.load_panoptic("panoptic_gt")
        predictions = scene.load_panoptic("panoptic")
        rendered = PanopticScene(predictions.categories, predictions.segments, run.rendered_ids(), source="ns-render")
        test = [frame.stem for frame in scene.split("test")]
        train = [frame.stem for frame in scene.split("train")]
        before = {name: s.as_dict() for name, s in evaluate_scenes(predictions, truth, train).items()}
        after = {name: s.as_dict() for name, s in evaluate_scenes(rendered, truth, test).items()}
        sheet = out / "contact_sheet.png"
        draw_sheet(sheet, run, scene, rendered, truth, test)
        caption = (
            f"predictions: training views · novel views: uplifted, held out, PSNR {results['psnr']:.2f} dB, "
            f"SSIM {results['ssim']:.3f}"
        )
        rows = {"predictions": before, "novel views": after}
        console.print(score_table(rows, "Procedural room, in percent", caption))
        minutes = (time.monotonic() - start) / 60
        write_json(
            out / "demo.json", {"predictions": before, "novel views": after, "ns-eval": results, "minutes": minutes}
        )
        console.print(f"Finished in {minutes:.1f} minutes.")
        console.print(f"Report          {out / 'scores.html'}", soft_wrap=True)
        console.print(f"Contact sheet   {sheet}", soft_wrap=True)
        console.print(f"Rendered views  {run.renders}", soft_wrap=True)
        console.print(f"All scores      {out / 'demo.json'}", soft_wrap=True)


def score_table(rows: Mapping[str, Mapping[str, Any]], title: str, caption: str) -> Table:
    """The scores of some views by every protocol, in percent: row → protocol → scores."""
    table = Table(title=title, caption=caption, box=box.SIMPLE_HEAD)
    for heading in ("", "protocol"):
        table.add_column(heading, no_wrap=True)
    keys = {"PQ": "pq", "SQ": "sq", "RQ": "rq", "PQ things": "pq_things", "PQ stuff": "pq_stuff", "mIoU": "miou"}
    for heading in keys:
        table.add_column(heading, justify="right")
    for name, scores in rows.items():
        for protocol in PROTOCOLS:
            cells = [f"{100 * scores[protocol.name][key]:.1f}" for key in keys.values()]
            table.add_row(name if protocol is PROTOCOLS[0] else "", protocol.name, *cells)
    return table


def draw_sheet(
    path: Path, run: NerfstudioRun, scene: Scene, rendered: PanopticScene, truth: PanopticScene, stems: list[str]
) -> None:
    """A contact sheet of up to four held-out views: photo, rendered colour, panoptic, truth, errors."""
    pairs = match_objects([rendered.maps[stem] for stem in stems], [truth.maps[stem] for stem in stems])
    colors, true_colors = paired_colors(rendered, truth, pairs)
    rows = {}
    for stem in stems[:: max(1, len(stems) // 4)][:4]:
        ids, true_ids = rendered.maps[stem], truth.maps[stem]
        rows[stem] = [
            scene.frame(stem).read_image(),
            read_rgb(run.renders / "rgb" / f"{stem}.png"),
            colorized(ids, colors),
            colorized(true_ids, true_colors),
            error_map(ids, true_ids, rendered.category_of(), truth.category_of(), pairs),
        ]
    contact_sheet(path, rows, ("photo", "rendered", "panoptic", "truth", "errors"), legend=_LEGEND)


if __name__ == "__main__":
    try:
        tyro.cli(Demo).run()
    except InputError as error:
        print_input_error(error)
        sys.exit(2)
