# SPDX-License-Identifier: Apache-2.0
"""``panoptic-gs render``: colour and panoptic maps of a labelled scene from the cameras of a scene folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from rich.progress import track
from tyro.conf import Positional

from panoptic_gs.cli.placed_splats import PlacedSplats
from panoptic_gs.files import write_arrays, write_png
from panoptic_gs.panoptic import PanopticScene
from panoptic_gs.replacing import replacing_folder
from panoptic_gs.scene import Scene


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
    rasterize_mode: Literal["classic", "antialiased"] = "classic"
    """How the splats were trained."""
    overwrite: bool = False
    """Replace the output folder if it has content."""

    def run(self) -> None:
        from panoptic_gs.export.video import to_bytes
        from panoptic_gs.palette import PanopticPalette
        from panoptic_gs.rasterize import rasterization
        from panoptic_gs.uplift import load_labelled_scene, render_panoptic

        console = self.console()
        scene = Scene.load(self.scene)
        frames = scene.split(self.split)
        splats, labels, labelling = load_labelled_scene(self.labelled)
        splats, said = self.place(splats, scene, self.labelled, console, mode=self.rasterize_mode)
        palette = PanopticPalette(labelling.segment_ids)
        maps: dict[str, np.ndarray] = {}
        with replacing_folder(self.out, overwrite=self.overwrite, known_by="panoptic/panoptic.json") as folder:
            (folder / "depth").mkdir()
            for frame in track(frames, description="Rendering", console=console):
                camera = frame.camera
                colors, alphas, _ = rasterization(
                    splats.means, splats.quats, splats.scales, splats.opacities, splats.sh, camera.viewmat[None],
                    camera.K[None], camera.width, camera.height, sh_degree=splats.sh_degree, render_mode="RGB+ED",
                    rasterize_mode=self.rasterize_mode,
                )  # fmt: skip
                panoptic = render_panoptic(splats, labels, camera, rasterize_mode=self.rasterize_mode)
                maps[frame.stem] = panoptic.ids.numpy()
                write_png(folder / "rgb" / f"{frame.stem}.png", to_bytes(colors[0, ..., :3]))
                write_png(folder / "panoptic_color" / f"{frame.stem}.png", to_bytes(palette.colorize(panoptic.ids)))
                write_png(folder / "confidence" / f"{frame.stem}.png", to_bytes(panoptic.confidence))
                write_arrays(folder / "depth" / f"{frame.stem}.npz", depth=colors[0, ..., 3].numpy(),
                             accumulation=alphas[0, ..., 0].numpy())  # fmt: skip
            source = f"rendered from {self.labelled.name}"
            PanopticScene(labelling.categories, labelling.segments, maps, source).save(folder / "panoptic")
        names = ("rgb", "depth", "panoptic", "panoptic_color", "confidence")
        console.print(f"{len(frames)} views written: {self.out}/{', '.join(names)}", markup=False)
        self.finish([self.out / name for name in names], views=len(frames), **said)
