# SPDX-License-Identifier: Apache-2.0
"""Make the picture of an object cut out of its scene: python docs/cut_out_pictures.py LABELLED SCENE OBJECT."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from tyro import cli
from tyro.conf import Positional

from panoptic_gs import Camera
from panoptic_gs.errors import InputError, print_input_error
from panoptic_gs.files import write_png
from panoptic_gs.objects.cut_out import cut_out
from panoptic_gs.objects.opening import open_scene
from panoptic_gs.objects.orientation import up_direction
from panoptic_gs.objects.seen import SeenSurfaces
from panoptic_gs.objects.table import ObjectTable
from panoptic_gs.rasterize import rasterization
from panoptic_gs.scene import Scene

IMAGES = Path(__file__).parent / "images"
SIDE = 480


@dataclass(frozen=True)
class CutOutPictures:
    """Draw one object alone on white, as export writes it and as 'export --clean' does, beside each other."""

    labelled: Positional[Path]
    """A labelled scene, or config.yml of a training."""
    scene: Positional[Path]
    """The scene folder with the photos."""
    object: Positional[int]
    """Its id."""
    turn: float = 30.0
    """From where, in degrees about the world's up."""

    def run(self) -> None:
        opened = open_scene(self.labelled)
        cameras = [frame.camera for frame in Scene.load(self.scene).frames]
        splats = opened.scene.splats
        table = ObjectTable(opened.scene, SeenSurfaces(opened.scene, cameras, opened.rasterize_mode))
        up = up_direction(table, splats.means.numpy(), cameras)
        box = table.box(self.object, up)
        if box is None:
            raise InputError("OBJECT", str(self.object), "an object with Gaussians", "Choose another one.")
        angle = math.radians(self.turn)
        away = box.axes @ [math.cos(angle), math.sin(angle), 0.5]
        eye = box.center + away * 1.7 * float(np.linalg.norm(box.size))
        camera = Camera.look_at(eye.tolist(), box.center.tolist(), up.tolist(), math.radians(40), SIDE, SIDE)
        pictures = []
        for rows in (table.members(self.object), cut_out(table, self.object, up)):
            part = splats.subset(torch.from_numpy(rows))
            colors, alphas, _ = rasterization(
                part.means, part.quats, part.scales, part.opacities, part.sh, camera.viewmat[None], camera.K[None],
                SIDE, SIDE, sh_degree=part.sh_degree, rasterize_mode=opened.rasterize_mode,
            )  # fmt: skip
            on_white = (colors[0] + 1 - alphas[0]).clamp(0, 1).numpy()
            pictures.append((on_white * 255).round().astype(np.uint8))
            print(f"{len(rows):,} Gaussians")
        write_png(IMAGES / "cut-out.png", np.concatenate(pictures, axis=1))
        print(IMAGES / "cut-out.png")


if __name__ == "__main__":
    try:
        cli(CutOutPictures).run()
    except InputError as error:
        print_input_error(error)
        raise SystemExit(2) from None
