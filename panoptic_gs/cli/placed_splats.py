# SPDX-License-Identifier: Apache-2.0
"""What the commands share that draw Gaussians from the cameras of a scene folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape

from panoptic_gs.cli.output import Output
from panoptic_gs.errors import InputError

if TYPE_CHECKING:
    from panoptic_gs.scene import Scene
    from panoptic_gs.splats import SplatFile, Splats
    from panoptic_gs.splats.gaussians import RasterizeMode
    from panoptic_gs.uplift.placement import Placed


@dataclass(frozen=True, kw_only=True)
class PlacedSplats(Output):
    """Options of commands that hold Gaussians against a scene's photos."""

    frame: Path | None = None
    """nerfstudio's dataparser_transforms.json of the training that the splats are from, where they are in its frame
    and not in the scene's. One beside the splats or in the folder above is found."""
    check_photos: bool = True
    """Render a few views first and hold them against the photos; stop where they have nothing in common."""

    def place(
        self,
        splats: Splats,
        scene: Scene,
        source: Path,
        console: Console,
        *,
        mode: RasterizeMode = "classic",
        has_colors: bool = True,
        notes: Sequence[str] = (),
    ) -> tuple[Splats, dict[str, Any]]:
        """The Gaussians in the scene's frame, and what ``--json`` says of it; notes, the scene's too, are printed.

        Args:
            splats, scene, source, has_colors: see :func:`panoptic_gs.uplift.placement.place`.
            console: where notes go.
            mode: how the Gaussians were trained.
            notes: what was said of the file before.

        Raises:
            InputError: the renders have nothing in common with the photos.
        """
        from panoptic_gs.uplift.placement import place

        placed = place(splats, scene, source, frame=self.frame, has_colors=has_colors, rasterize_mode=mode,
                       check=self.check_photos)  # fmt: skip
        said = [*notes, *placed.notes]
        for note in scene.notes:
            console.print(f"[yellow]{escape(str(scene.root))}: {escape(note)}")
        for note in said:
            console.print(f"[yellow]{escape(source.name)}: {escape(note)}")
        if placed.placement is not None:
            console.print(f"[dim]Renders and photos: {placed.placement.figures}")
        return placed.splats, {"notes": [*scene.notes, *said], "placement": as_json(placed)}


def as_json(placed: Placed) -> dict[str, float] | None:
    """PSNR, correlation, coverage and number of views, or None where the photos were not looked at."""
    return None if placed.placement is None else placed.placement._asdict()


def read_trained_splats(path: Path) -> SplatFile:
    """The Gaussians of a file, of a folder with ``splats.ply`` or SOG's ``meta.json``, or of a nerfstudio run.

    Raises:
        InputError: it is none of them, or cannot be read.
    """
    import torch

    from panoptic_gs.splats import SplatFile, read_splats
    from panoptic_gs.uplift.checkpoint import is_run, load_checkpoint_splats

    if path.suffix == ".ckpt" or is_run(path):
        splats = load_checkpoint_splats(path)
        return SplatFile(splats, torch.arange(len(splats)))
    if path.is_dir() and ((path / "splats.ply").is_file() or not (path / "meta.json").is_file()):
        if not (path / "splats.ply").is_file():
            raise InputError(
                path, "a folder without splats.ply and no nerfstudio run", "a 3DGS PLY, or a run of panst3r-ludvig",
                "Give the PLY, or the folder that holds config.yml.",
            )  # fmt: skip
        path = path / "splats.ply"
    return read_splats(path)
