# SPDX-License-Identifier: Apache-2.0
"""Procedural rooms that benchmarks train: made once, kept as scene folders, named by their seeds."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from benchmarks.quality.command import plain
from benchmarks.quality.measurements import Outcome
from benchmarks.quality.on_engine import OnEngine
from benchmarks.quality.report import write_report
from benchmarks.quality.table import write_between
from panoptic_gs.files import read_json, write_json, write_png
from panoptic_gs.replacing import replacing_folder
from panoptic_gs.scene import write_scene
from panoptic_gs.synthetic import synthesize


@dataclass(frozen=True)
class RoomOptions(OnEngine):
    """The rooms that a benchmark is made of."""

    out: Path = Path("outputs/rooms")
    """Folder for scenes, runs and tables; finished runs in it are kept."""
    rooms: int = 8
    """Number of rooms."""
    first_seed: int = 0
    """Seed of the first room; the others count on from it."""
    views: int = 50
    """Views of a room; every fifth is held out."""
    width: int = 240
    """Image width in pixels; the height is three quarters of it."""

    @property
    def seeds(self) -> range:
        """The rooms' seeds."""
        return range(self.first_seed, self.first_seed + self.rooms)

    def scene(self, seed: int, console: Console) -> Path:
        """The scene folder of a room, made where it is not there yet."""
        root = self.out / "scenes" / f"room-{seed}"
        recipe = {"seed": seed, "views": self.views, "width": self.width}
        if (root / "recipe.json").is_file() and read_json(root / "recipe.json") == recipe:
            return root
        with console.status(f"Making {root.name}"):
            self.make_scene(root, seed, recipe)
        console.print(f"Made {root}", highlight=False, soft_wrap=True)
        return root

    def make_scene(self, root: Path, seed: int, recipe: dict[str, Any]) -> None:
        """Make a room's scene folder, with its recipe in it."""
        make_room_scene(root, seed, self.views, self.width, recipe)


@dataclass(frozen=True)
class TabledRooms(RoomOptions):
    """Rooms whose results are a table in the docs."""

    write_docs: Path | None = None
    """A document to write the table into, between its markers."""

    def write_tables(self, title: str, marker: str, outcome: Outcome, console: Console, **options: Any) -> None:
        """Write the tables of what was run, into ``write_docs``, too, where it is given."""
        if not outcome.results:
            return
        settings = {f.name: plain(getattr(self, f.name)) for f in dataclasses.fields(self)}
        text = write_report(self.out, title, outcome, settings, console, **options)
        if self.write_docs is not None:
            write_between(self.write_docs, marker, text)
            console.print(f"Written into {self.write_docs}", soft_wrap=True)


def make_room_scene(root: Path, seed: int, views: int, width: int, recipe: dict[str, Any]) -> None:
    """Write a room with truth and depth, but without predictions: runs simulate their own."""
    scene = synthesize(seed, views, width, 3 * width // 4)
    with replacing_folder(root, overwrite=True, known_by="transforms.json") as folder:
        images = {stem: view.color for stem, view in scene.views.items()}
        write_scene(folder, scene.cameras, images, scene.points, scene.splits, meters_per_unit=1.0)
        scene.truth.save(folder / "panoptic_gt")
        for stem, view in scene.views.items():
            millimetres = np.round(1000 * view.depth).clip(0, 65535).astype(np.uint16)
            write_png(folder / "depth" / f"{stem}.png", millimetres)
        write_json(folder / "recipe.json", recipe)
