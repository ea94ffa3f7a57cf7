# SPDX-License-Identifier: Apache-2.0
"""``panoptic-gs mesh``: the panoptic mesh of a labelled scene."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from tyro.conf import Positional

from panoptic_gs.cli.output import Output
from panoptic_gs.errors import InputError
from panoptic_gs.progress import Progress, progress_bars
from panoptic_gs.replacing import replacing_folder, require_replaceable

if TYPE_CHECKING:
    from panoptic_gs.camera import Camera
    from panoptic_gs.mesh import PanopticMesh
    from panoptic_gs.objects.opening import OpenedScene

_INDEX = "mesh.json"


@dataclass(frozen=True)
class Mesh(Output):
    """Make a panoptic mesh of a labelled scene: its surface, a closed mesh an object, the room without them.

    Depth and labels of all views are fused into signed distances with votes for labels, and so are added views that
    look where no photo did. mesh.ply has a segment, category and confidence at each vertex; objects/ one closed mesh an
    object; shell.ply the room with the objects' places filled; mesh.glb all of it as named nodes; mesh.json says what
    stands on what and how each object was closed.
    """

    labelled: Positional[Path]
    """Folder made by 'panoptic-gs uplift' or 'panoptic-gs view', or a training's folder or config.yml."""
    out: Path
    """New folder."""
    data: Path | None = None
    """Scene folder with the cameras; by default the one that was trained on."""
    split: str = "all"
    """Which of its cameras: a split of splits.json, or 'all'."""
    voxel: float = 0.02
    """Edge of a voxel in metres."""
    depth: Literal["median", "expected"] = "median"
    """Which depth is fused: where a pixel's coverage reaches --quantile, or the mean of what covers it."""
    quantile: float = 0.75
    """For --depth median: the share of a pixel's coverage that lies before its surface. Haze lies before surfaces, so
    0.5, the median proper, is often too near."""
    added_places: int = 6
    """Places of cameras from which six views each look where no photo did; 0 for none."""
    least_views: float = 0.02
    """How often a surface must have been seen, in views that look straight at it; more cuts more floaters."""
    smoothing: bool = True
    """Take noise out of the surface; edges are kept."""
    up: Literal["auto", "x", "y", "z", "-x", "-y", "-z"] = "auto"
    """Direction away from the ground; by default that of the cameras and of what is called floor."""
    meters_per_unit: float = 1.0
    """Size of the scene's unit; everything is written in metres."""
    rasterize_mode: Literal["classic", "antialiased"] | None = None
    """How the splats were trained; by default as the scene says."""
    overwrite: bool = False
    """Replace the output folder if it has content."""

    def run(self) -> None:
        from panoptic_gs.mesh import write_panoptic_mesh
        from panoptic_gs.objects.opening import open_scene

        console = self.console()
        self._check_arguments()
        require_replaceable(self.out, overwrite=self.overwrite, known_by=_INDEX)
        opened = open_scene(self.labelled)
        cameras = self._cameras()
        with progress_bars(console) as progress:
            mesh = self._reconstruct(opened, cameras, progress)
        fusion = mesh.fusion
        info: dict[str, Any] = {
            "source": self.labelled.name, "units": "metres", "meters_per_world_unit": self.meters_per_unit,
            "up": [round(float(v), 5) for v in mesh.up], "voxel": self.voxel, "depth": self.depth,
            "views": fusion.views, "added_views": fusion.added,
        }  # fmt: skip
        with replacing_folder(self.out, overwrite=self.overwrite, known_by=_INDEX) as folder:
            written = write_panoptic_mesh(folder, mesh, opened.scene.labelling, self.meters_per_unit, info)
        if mesh.without_surface:
            names = {entry.id: entry.label for entry in mesh.objects}
            shown = ", ".join(names[i] for i in mesh.without_surface[:5])
            console.print(f"[yellow]No surface of {len(mesh.without_surface)} objects was seen: {shown}", markup=True)
        for name, what in written.items():
            console.print(f"{self.out / name}  [dim]{what}")
        self.finish([self.out / name for name in written], files=written, views=fusion.views,
                    added_views=fusion.added, triangles=len(mesh.surface.faces), objects=len(mesh.solids),
                    without_surface=list(mesh.without_surface))  # fmt: skip

    def _reconstruct(self, opened: OpenedScene, cameras: Sequence[Camera], progress: Progress) -> PanopticMesh:
        from panoptic_gs.mesh import FusionOptions, MeshOptions, reconstruct
        from panoptic_gs.objects.orientation import up_direction
        from panoptic_gs.objects.table import ObjectTable

        scene = opened.scene
        if self.up == "auto":
            up = up_direction(ObjectTable(scene), scene.splats.means.numpy(), list(cameras))
        else:
            up = np.eye(3)["xyz".index(self.up[-1])] * (-1 if self.up[0] == "-" else 1)
        return reconstruct(
            scene, cameras, up,
            FusionOptions(self.voxel / self.meters_per_unit, self.depth, self.quantile, self.added_places),
            MeshOptions(self.least_views, smoothing=self.smoothing, contact=0.05 / self.meters_per_unit),
            self.rasterize_mode or opened.rasterize_mode, progress,
        )  # fmt: skip

    def _cameras(self) -> list[Camera]:
        from panoptic_gs.report.scene_report import trained_data

        return [frame.camera for frame in trained_data(self.labelled, self.data).split(self.split)]

    def _check_arguments(self) -> None:
        for name, value in (("--voxel", self.voxel), ("--meters-per-unit", self.meters_per_unit)):
            if not 0 < value < float("inf"):
                raise InputError(name, f"{value}", "a positive length", "Correct it.")
        if not 0 < self.quantile < 1:
            raise InputError("--quantile", f"{self.quantile}", "a share between 0 and 1", "Pass 0.5 for the median.")
        if self.added_places < 0:
            raise InputError("--added-places", str(self.added_places), "0 or more", "Pass 0 for none.")
        if not self.least_views > 0:
            raise InputError("--least-views", f"{self.least_views}", "a positive number", "Correct it.")
