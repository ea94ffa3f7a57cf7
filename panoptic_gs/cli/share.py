# SPDX-License-Identifier: Apache-2.0
"""``panoptic-gs share``: a labelled scene as one static page."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from rich.markup import escape
from tyro.conf import Positional

from panoptic_gs.cli.output import Output
from panoptic_gs.errors import InputError

_AROUND = 3.3e6  # bytes of a page beside its Gaussians and objects: the renderer, mostly
_BASE64 = 4 / 3


@dataclass(frozen=True)
class Share(Output):
    """Make one page of a labelled scene that opens from a disk or any web server, without Python and without a network.

    The page holds the Gaussians compressed, their labels, and the objects: turn the scene, click an object, isolate it,
    search the list. It is the scene as it is, edits that were saved included; nothing in it can be changed.
    """

    scene: Positional[Path]
    """Folder made by 'panoptic-gs uplift' or 'panoptic-gs view', or a training's folder or config.yml."""
    out: Path
    """HTML file."""
    data: Path | None = None
    """The scene folder with its photos, for the first view, which way is up and where boxes end; nothing else of it is
    shared. By default the one that was trained on."""
    title: str | None = None
    """What the page is called; by default as the scene is."""
    max_megabytes: float = 30.0
    """Leave out harmonics (how colours change with the view) of higher degrees until the page is no larger."""
    sh_degree: Literal[0, 1, 2, 3] | None = None
    """Keep harmonics up to this degree, however large the page is."""
    max_gaussians: int | None = None
    """Keep this many, those with the largest opacity times area."""
    up: Literal["auto", "x", "y", "z", "-x", "-y", "-z"] = "auto"
    """Direction away from the ground; by default that of the cameras, else of the segment named floor, else z."""
    meters_per_unit: float | None = None
    """Size of the scene's unit, for the sizes of objects; by default what the scene folder says, else 1."""
    rasterize_mode: Literal["classic", "antialiased"] | None = None
    """How the splats were trained; by default as the scene says."""

    def run(self) -> None:
        from panoptic_gs.objects.opening import open_scene, scene_name
        from panoptic_gs.objects.orientation import axis_named
        from panoptic_gs.objects.survey import photos_of, unit_of
        from panoptic_gs.share import shared_scene, write_page

        self._check_arguments()
        console = self.console()
        with console.status("Packing the scene"):
            opened = open_scene(self.scene)
            data = photos_of(self.scene, self.data)
            shared = shared_scene(
                opened.scene,
                self.title or scene_name(opened, None if data is None else data.root),
                cameras=[] if data is None else [frame.camera for frame in data.frames],
                up=axis_named(self.up),
                meters_per_unit=unit_of(data, self.meters_per_unit),
                rasterize_mode=self.rasterize_mode or opened.rasterize_mode,
                most_bytes=int((self.max_megabytes * 1e6 - _AROUND) / _BASE64),
                sh_degree=self.sh_degree,
                most_gaussians=self.max_gaussians,
            )
            write_page(self.out, shared)
        size = self.out.stat().st_size
        sample = f" of {len(opened.scene.splats):,}" if shared.num_gaussians < len(opened.scene.splats) else ""
        console.print(f"{shared.num_gaussians:,}{sample} Gaussians with harmonics of degree {shared.sh_degree}, "
                      f"{shared.counted}")  # fmt: skip
        if size > self.max_megabytes * 1e6:
            console.print(f"[yellow]The page has {size / 1e6:.1f} MB, more than {self.max_megabytes:g} MB. "
                          "Leave some Gaussians out: --max-gaussians 500000")  # fmt: skip
        console.print(f"Written: [bold]{escape(str(self.out))}[/] ({size / 1e6:.1f} MB); open it in a browser.")
        self.finish([self.out], gaussians=shared.num_gaussians, sh_degree=shared.sh_degree, bytes=size,
                    objects=len(shared.document["objects"]))  # fmt: skip

    def _check_arguments(self) -> None:
        from panoptic_gs.share.page import MARK

        if not np.isfinite(self.max_megabytes) or self.max_megabytes <= 0:
            raise InputError("--max-megabytes", f"{self.max_megabytes:g}", "a positive size", "Correct it.")
        if self.meters_per_unit is not None and not self.meters_per_unit > 0:
            raise InputError("--meters-per-unit", f"{self.meters_per_unit:g}", "a positive length", "Correct it.")
        if self.max_gaussians is not None and self.max_gaussians < 1:
            raise InputError("--max-gaussians", str(self.max_gaussians), "at least 1", "Leave it out to take all.")
        if self.out.is_dir():
            raise InputError("--out", f"{self.out}, a folder", "an HTML file", f"Say {self.out / 'scene.html'}.")
        if self.out.is_file() and not self.out.read_bytes().startswith(MARK):
            raise InputError("--out", f"{self.out}, which is no shared page", "a new file or an earlier page",
                             "Choose another file.")  # fmt: skip
