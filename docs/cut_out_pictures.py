# SPDX-License-Identifier: Apache-2.0
"""Make the pictures of an object cut out of its scene, and moved in it: python docs/cut_out_pictures.py LABELLED SCENE
OBJECT."""

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
from panoptic_gs.objects.cut_out import strays
from panoptic_gs.objects.opening import open_scene
from panoptic_gs.objects.survey import Survey
from panoptic_gs.rasterize import rasterization
from panoptic_gs.scene import Scene
from panoptic_gs.splats import Splats
from panoptic_gs.splats.gaussians import RasterizeMode
from panoptic_gs.viewer.edits import move

IMAGES = Path(__file__).parent / "images"
SIDE = 480


@dataclass(frozen=True)
class CutOutPictures:
    """Draw one object alone on white, as export writes it and as 'export --clean' does, beside each other; and the
    scene with the object lifted, with all of its Gaussians and as the viewer moves it."""

    labelled: Positional[Path]
    """A labelled scene, or config.yml of a training."""
    scene: Positional[Path]
    """The scene folder with the photos."""
    object: Positional[int]
    """Its id."""
    turn: float = 30.0
    """From where, in degrees about the world's up."""
    lift: float = 0.35
    """How far up it is moved, in diagonals of its box."""

    def run(self) -> None:
        opened = open_scene(self.labelled)
        cameras = [frame.camera for frame in Scene.load(self.scene).frames]
        splats = opened.scene.splats
        survey = Survey(opened.scene, cameras, opened.rasterize_mode)
        table, up = survey.table, survey.up
        box = table.box(self.object, up)
        if box is None:
            raise InputError("OBJECT", str(self.object), "an object with Gaussians", "Choose another one.")
        angle = math.radians(self.turn)
        away = box.axes @ [math.cos(angle), math.sin(angle), 0.5]
        eye = box.center + away * 1.7 * float(np.linalg.norm(box.size))
        alone, moved = [], []
        lift = up * self.lift * float(np.linalg.norm(box.size))
        camera, higher = (
            Camera.look_at((eye + by).tolist(), (box.center + by).tolist(), up.tolist(), math.radians(40), SIDE, SIDE)
            for by in (np.zeros(3), 0.7 * lift)
        )
        for gone in ((), strays(table, self.object, up)):
            rows = np.setdiff1d(table.members(self.object), np.asarray(gone, dtype=np.int64))
            alone.append(_drawn(splats.subset(torch.from_numpy(rows)), camera, opened.rasterize_mode))
            lifted = move(opened.scene, self.object, lift, gone).splats
            moved.append(_drawn(lifted, higher, opened.rasterize_mode))
            print(f"{len(rows):,} Gaussians")
        for name, pictures in (("cut-out.png", alone), ("moved.png", moved)):
            write_png(IMAGES / name, np.concatenate(pictures, axis=1))
            print(IMAGES / name)


def _drawn(splats: Splats, camera: Camera, mode: RasterizeMode) -> np.ndarray:
    """A picture ``[H, W, 3]`` uint8 on white."""
    colors, alphas, _ = rasterization(
        splats.means, splats.quats, splats.scales, splats.opacities, splats.sh, camera.viewmat[None], camera.K[None],
        SIDE, SIDE, sh_degree=splats.sh_degree, rasterize_mode=mode,
    )  # fmt: skip
    return ((colors[0] + 1 - alphas[0]).clamp(0, 1).numpy() * 255).round().astype(np.uint8)


if __name__ == "__main__":
    try:
        cli(CutOutPictures).run()
    except InputError as error:
        print_input_error(error)
        raise SystemExit(2) from None
