# SPDX-License-Identifier: Apache-2.0
"""Make the picture of docs/exporting.md: python docs/export_pictures.py EXPORT SCENE."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import av
import numpy as np
from PIL import Image, ImageDraw, ImageFont
from tyro import cli
from tyro.conf import Positional

from panoptic_gs.errors import InputError, print_input_error
from panoptic_gs.files import read_json, write_png
from panoptic_gs.palette import PanopticPalette
from panoptic_gs.scene import Frame, Scene

IMAGES = Path(__file__).parent / "images"
WIDTH = 480


@dataclass(frozen=True)
class ExportPictures:
    """Draw a frame of an export's video and, beside it, the boxes of its scene graph on the photo of the same view."""

    export: Positional[Path]
    """What 'panoptic-gs export LABELLED --path SCENE' wrote, with the scene's own cameras."""
    scene: Positional[Path]
    """The scene folder."""
    frame: int = 0
    """Which view."""

    def run(self) -> None:
        graph = read_json(self.export / "scene_graph.json")
        frames = Scene.load(self.scene).frames
        if not 0 <= self.frame < len(frames):
            raise InputError("--frame", f"{self.frame}", f"a view from 0 to {len(frames) - 1}", "Choose another.")
        with av.open(str(self.export / "video.mp4")) as video:
            shown = next(f for number, f in enumerate(video.decode(video=0)) if number == self.frame)
        pixels = Image.fromarray(shown.to_ndarray(format="rgb24"))
        video_picture = pixels.resize((2 * WIDTH, WIDTH * 2 * pixels.height // pixels.width), Image.Resampling.LANCZOS)
        boxes = self._boxes(graph, frames[self.frame]).resize((WIDTH, video_picture.height), Image.Resampling.LANCZOS)
        sheet = np.concatenate([np.asarray(video_picture), np.asarray(boxes)], axis=1)
        write_png(IMAGES / "export.png", sheet)
        print(IMAGES / "export.png")
        print(json.dumps([r["text"] for r in graph["relations"] if r["relation"] != "next to"]))

    @staticmethod
    def _boxes(graph: dict[str, Any], frame: Frame) -> Image.Image:
        """The photo with the boxes of all things in it and their names, at twice its size."""
        camera = frame.camera.resized(2 * frame.camera.width, 2 * frame.camera.height)
        K, viewmat = camera.K.numpy(), camera.viewmat.numpy()
        picture = Image.fromarray(frame.read_image()).resize((camera.width, camera.height), Image.Resampling.LANCZOS)
        draw = ImageDraw.Draw(picture)
        things = [entry for entry in graph["objects"] if entry["isthing"]]
        palette = PanopticPalette([entry["id"] for entry in things])
        font = ImageFont.load_default(size=16)
        for entry in things:
            box = {name: np.array(value) for name, value in entry["box"].items()}
            sides = ((np.arange(8)[:, None] >> np.arange(3)) & 1) - 0.5
            corners = box["center"] + (sides * box["size"]) @ box["axes"]
            seen = corners @ viewmat[:3, :3].T + viewmat[:3, 3]
            if seen[:, 2].min() < 0.1:
                continue
            on_screen = (seen @ K.T)[:, :2] / seen[:, 2:]
            color = tuple(int(255 * c) for c in palette.colorize(np.array([entry["id"]]))[0])
            for one, other in combinations(range(8), 2):
                if (one ^ other).bit_count() == 1:
                    draw.line([*on_screen[one], *on_screen[other]], fill=color, width=3)
            at = tuple(on_screen[on_screen[:, 1].argmin()] - (0, 20))
            draw.text(at, entry["name"], fill=(255, 255, 255), font=font, stroke_width=2, stroke_fill=(0, 0, 0))
        return picture


if __name__ == "__main__":
    try:
        cli(ExportPictures).run()
    except InputError as error:
        print_input_error(error)
        sys.exit(2)
