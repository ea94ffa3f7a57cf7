# SPDX-License-Identifier: Apache-2.0
"""``panoptic-gs mesh``: the panoptic mesh of a labelled scene."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro
from tyro.conf import Positional

from panoptic_gs import memory
from panoptic_gs.cli.output import Output
from panoptic_gs.errors import InputError
from panoptic_gs.progress import Progress, progress_bars
from panoptic_gs.replacing import replacing_folder, require_replaceable

if TYPE_CHECKING:
    from rich.console import Console

    from panoptic_gs.mesh import PanopticMesh
    from panoptic_gs.objects.opening import OpenedScene
    from panoptic_gs.scene import Scene

_INDEX = "mesh.json"
_OF_FREE = 14  # of the memory that is free, voxels take one part: the mesh that is made of them takes six times as much


@dataclass(frozen=True)
class Mesh(Output):
    """Make a panoptic mesh of a labelled scene: its surface, a closed mesh an object, the room without them.

    Depth and labels of all views are fused into signed distances with votes for labels, and so are added views that
    look where no photo did. mesh.ply has a segment, category and confidence at each vertex; objects/ one closed mesh an
    object; shell.ply the room with the objects' places filled; mesh.glb all of it as named nodes; mesh.json says what
    stands on what and how each object was closed. With --physics a simulator can load it.
    """

    labelled: Positional[Path]
    """Folder made by 'panoptic-gs uplift' or 'panoptic-gs view', or a training's folder or config.yml."""
    out: Path
    """New folder."""
    data: Path | None = None
    """Scene folder with the cameras; by default the one that was trained on."""
    split: str = "all"
    """Which of its cameras: a split of splits.json, or 'all'."""
    most_views: int = 240
    """Photos that are fused at most: of more, those that together show the surfaces best; 0 for all."""
    voxel: float = 0.02
    """Edge of a voxel in metres. Where the mesh would take more than half of the memory that is free, or its voxels
    more than 2.5 GiB, larger ones are taken, up to four times as large, and the command says so."""
    depth: Literal["median", "expected"] = "median"
    """Which depth is fused: where a pixel's coverage reaches --quantile, or the mean of what covers it."""
    quantile: float | None = None
    """For --depth median: the share of a pixel's coverage that lies before its surface. By default 0.75 where Gaussians
    are opaque, down to 0.6 where training kept them thin. Haze lies before surfaces, so 0.5, the median proper, is
    often too near."""
    added_places: int = 6
    """Places of cameras from which six views each look where no photo did; 0 for none."""
    least_views: float = 0.02
    """How often a surface must have been seen, in views that look straight at it; more cuts more floaters."""
    smoothing: bool = True
    """Take noise out of the surface; edges are kept."""
    up: Literal["auto", "x", "y", "z", "-x", "-y", "-z"] = "auto"
    """Direction away from the ground; by default that of the cameras and of what is called floor."""
    meters_per_unit: Annotated[float | None, tyro.conf.arg(aliases=["--metres-per-unit"])] = None
    """Size of the scene's unit; everything is written in metres. By default what the scene folder says, else 1."""
    physics: bool = False
    """Write scene.xml (MJCF) and scene.urdf, too: a body an object on a room that stands still, with convex pieces,
    masses and friction. Needs a scene whose unit is known."""
    materials: Path | None = None
    """JSON with densities in kg/m³ and friction by word of the category, over those of the built-in table:
    {"chair": {"density": 250, "friction": 0.6}}."""
    rasterize_mode: Literal["classic", "antialiased"] | None = None
    """How the splats were trained; by default as the scene says."""
    overwrite: bool = False
    """Replace the output folder if it has content."""

    def run(self) -> None:
        from panoptic_gs.mesh import MATERIALS, make_physics, read_materials, write_panoptic_mesh, write_simulation
        from panoptic_gs.objects.opening import open_scene
        from panoptic_gs.report.scene_report import trained_data

        console = self.console()
        self._check_arguments()
        require_replaceable(self.out, overwrite=self.overwrite, known_by=_INDEX)
        opened = open_scene(self.labelled)
        data = trained_data(self.labelled, self.data)
        scale = self._scale(data, console)
        materials = MATERIALS if self.materials is None else read_materials(self.materials)
        physics = None
        with progress_bars(console) as progress:
            mesh = self._reconstruct(opened, data, scale, progress)
            if self.physics:
                physics = make_physics(mesh, scale, materials, progress=progress)
        fusion = mesh.fusion
        voxel = self.voxel if fusion.voxel * scale <= self.voxel * (1 + 1e-9) else fusion.voxel * scale
        if voxel > self.voxel:
            console.print(f"[yellow]Voxels of {self.voxel:g} m do not fit into memory; {voxel:.3g} m are taken.")
        if fusion.views < fusion.of_views:
            shown = f"{100 * fusion.shown:.1f} % of what all of them show"
            console.print(f"{fusion.views} of {fusion.of_views:,} views were fused; they show {shown} "
                          "(--most-views 0 takes all).")  # fmt: skip
        info: dict[str, Any] = {
            "source": self.labelled.name, "units": "metres", "meters_per_world_unit": scale,
            "up": [round(float(v), 5) for v in mesh.up], "voxel": voxel, "depth": self.depth,
            **({"quantile": round(fusion.quantile, 3)} if self.depth == "median" else {}),
            "views": fusion.views, "of_views": fusion.of_views, "shown": round(fusion.shown, 4),
            "added_views": fusion.added,
        }  # fmt: skip
        with replacing_folder(self.out, overwrite=self.overwrite, known_by=_INDEX) as folder:
            written = write_panoptic_mesh(folder, mesh, opened.scene.labelling, scale, info)
            if physics is not None:
                written |= write_simulation(folder, physics)
        if mesh.without_surface:
            names = {entry.id: entry.label for entry in mesh.objects}
            shown = ", ".join(names[i] for i in mesh.without_surface[:5])
            console.print(f"[yellow]No surface of {len(mesh.without_surface)} objects was seen: {shown}", markup=True)
        for name, what in written.items():
            console.print(f"{self.out / name}  [dim]{what}")
        self.finish([self.out / name for name in written], files=written, views=fusion.views, voxel=voxel,
                    added_views=fusion.added, triangles=len(mesh.surface.faces), objects=len(mesh.solids),
                    without_surface=list(mesh.without_surface))  # fmt: skip

    def _reconstruct(self, opened: OpenedScene, data: Scene, scale: float, progress: Progress) -> PanopticMesh:
        from panoptic_gs.mesh import FusionOptions, MeshOptions, reconstruct
        from panoptic_gs.objects.orientation import axis_named
        from panoptic_gs.objects.survey import Survey

        mode = self.rasterize_mode or opened.rasterize_mode
        # All photos say how large an object is, whichever of them the surface is made from.
        survey = Survey(opened.scene, [frame.camera for frame in data.frames], mode, axis_named(self.up))
        return reconstruct(
            opened.scene, [frame.camera for frame in data.split(self.split)], survey.up,
            FusionOptions(self.voxel / scale, self.depth, self.quantile, self.added_places, most_bytes=_voxel_memory(),
                          most_views=self.most_views),
            MeshOptions(self.least_views, smoothing=self.smoothing, contact=0.05 / scale),
            mode, progress, survey.table,
        )  # fmt: skip

    def _scale(self, data: Scene, console: Console) -> float:
        """Metres of the scene's unit."""
        unit = data.meters_per_unit if self.meters_per_unit is None else self.meters_per_unit
        if unit is not None:
            return unit
        if self.physics:
            raise InputError(
                data.root, "nothing that says how large its unit is", "a scene in metres, for masses and gravity",
                "Measure something in the scene and pass --metres-per-unit.",
            )  # fmt: skip
        console.print(
            "[yellow]Nothing says how large the scene's unit is; it is taken to be a metre (--metres-per-unit)."
        )
        return 1.0

    def _check_arguments(self) -> None:
        for name, value in (("--voxel", self.voxel), ("--metres-per-unit", self.meters_per_unit)):
            if value is not None and not 0 < value < float("inf"):
                raise InputError(name, f"{value}", "a positive length", "Correct it.")
        if self.quantile is not None and not 0 < self.quantile < 1:
            raise InputError("--quantile", f"{self.quantile}", "a share between 0 and 1", "Pass 0.5 for the median.")
        if self.added_places < 0:
            raise InputError("--added-places", str(self.added_places), "0 or more", "Pass 0 for none.")
        if self.most_views < 0:
            raise InputError("--most-views", str(self.most_views), "0 or more", "Pass 0 for all.")
        if self.materials is not None and not self.physics:
            raise InputError("--materials", "without --physics", "both, or neither", "Add --physics.")
        if not self.least_views > 0:
            raise InputError("--least-views", f"{self.least_views}", "a positive number", "Correct it.")


def _voxel_memory() -> float:
    """Bytes that voxels may take: the surfaces that are made of them take more than that again."""
    from panoptic_gs.mesh import FusionOptions

    free = memory.available()
    return FusionOptions().most_bytes if free is None else min(FusionOptions().most_bytes, free / _OF_FREE)
