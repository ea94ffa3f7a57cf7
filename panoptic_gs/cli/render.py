# SPDX-License-Identifier: Apache-2.0
"""``panoptic-gs render``: colour and panoptic maps of a labelled scene from the cameras of a scene folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rich.progress import track
from tyro.conf import Positional

from panoptic_gs.cli.output import next_command
from panoptic_gs.cli.placed_splats import PlacedSplats
from panoptic_gs.files import write_arrays, write_png
from panoptic_gs.panoptic import PanopticWriter
from panoptic_gs.replacing import replacing_folder


@dataclass(frozen=True)
class Render(PlacedSplats):
    """Render a labelled scene from the cameras of a scene folder: photos, depth and COCO panoptic maps."""

    labelled: Positional[Path]
    """Folder made by 'panoptic-gs uplift'."""
    scene: Positional[Path]
    """Scene folder whose cameras are rendered."""
    out: Path
    """New folder; its panoptic/ can be given to 'panoptic-gs evaluate'."""
    split: str = "all"
    """Cameras: a split of splits.json, or 'all'."""
    rasterize_mode: Literal["classic", "antialiased"] | None = None
    """How the splats were trained; by default as the PLY says, else classic."""
    overwrite: bool = False
    """Replace the output folder if it has content."""

    def run(self) -> None:
        from panoptic_gs.palette import palette_of
        from panoptic_gs.scene import Scene
        from panoptic_gs.splats.reading import rasterize_mode_of
        from panoptic_gs.uplift import load_labelled_scene
        from panoptic_gs.uplift.view import render_view, to_bytes

        console = self.console()
        scene = Scene.load(self.scene)
        frames = scene.split(self.split)
        labelled = load_labelled_scene(self.labelled)
        labelling = labelled.labelling
        mode = self.rasterize_mode or rasterize_mode_of(self.labelled / "splats.ply") or "classic"
        splats, said = self.place(labelled.splats, scene, self.labelled, console, mode=mode)
        labelled = labelled._replace(splats=splats)
        palette = palette_of(labelling)
        with replacing_folder(self.out, overwrite=self.overwrite, known_by="panoptic/panoptic.json") as folder:
            (folder / "depth").mkdir()
            maps = PanopticWriter(folder / "panoptic", labelling.with_source(f"rendered from {self.labelled.name}"))
            for frame in track(frames, description="Rendering", console=console):
                view = render_view(labelled, frame.camera, mode)
                maps.add(frame.stem, view.ids.numpy())
                write_png(folder / "rgb" / f"{frame.stem}.png", view.rgb_bytes)
                write_png(folder / "panoptic_color" / f"{frame.stem}.png", to_bytes(palette.colorize(view.ids)))
                write_png(folder / "confidence" / f"{frame.stem}.png", to_bytes(view.confidence))
                write_arrays(folder / "depth" / f"{frame.stem}.npz", depth=view.depth.numpy(),
                             accumulation=view.accumulation.numpy())  # fmt: skip
            maps.finish()
        names = ("rgb", "depth", "panoptic", "panoptic_color", "confidence")
        console.print(f"{len(frames)} views written: {self.out}/{', '.join(names)}", markup=False)
        if (self.scene / "panoptic_gt" / "panoptic.json").is_file():
            next_command(console, "evaluate", self.out / "panoptic", self.scene / "panoptic_gt")
        next_command(console, "report", self.out, "--data", self.scene)
        self.finish([self.out / name for name in names], views=len(frames), **said)
