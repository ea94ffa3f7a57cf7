# SPDX-License-Identifier: Apache-2.0
"""``panoptic-gs scene``: from photos, or a video, to a labelled scene in the viewer, in one command."""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro
from rich.console import Console
from rich.markup import escape
from tyro.conf import Positional

from panoptic_gs.cli.assemble import Assembly, print_geometry, print_masks
from panoptic_gs.cli.output import Output
from panoptic_gs.errors import InputError
from panoptic_gs.progress import progress_bars

if TYPE_CHECKING:
    from panoptic_gs.predict.photos import Photo

_STAGES = 5


@dataclass(frozen=True, kw_only=True)
class SceneFromPhotos(Output):
    """Photos to a labelled scene: cameras, masks, training, association, viewer. What is done is not done again.

    Stopped or failed, the same command goes on where it was. See docs/predicting.md for the networks and their
    licences.
    """

    photos: Positional[Path | None] = None
    """Folder of photos of one scene."""
    out: Path
    """New scene folder, or one that this command began."""
    video: Path | None = None
    """Instead of photos: a video, of which the sharpest frames are taken."""
    frames: int = 120
    """Most frames of a video."""
    geometry: str = "colmap"
    """What finds the cameras: colmap, mapanything, da3."""
    masks: str = "eomt"
    """What finds masks: eomt, mask2former, oneformer, a checkpoint's name on the hub or its folder."""
    classes: str | None = None
    """The classes that are wanted, as for 'panoptic-gs predict'; by default all that the network knows."""
    iterations: int = 7000
    """Training iterations."""
    device: str = "auto"
    """cuda, cpu, …; by default CUDA where there is a GPU."""
    keep_all: bool = False
    """Take blurred photos and duplicates, too."""
    view: Annotated[bool, tyro.conf.arg(help="Open the scene in the viewer at the end.")] = True
    overwrite: bool = False
    """Begin anew where the folder holds another scene of this command."""

    def run(self) -> None:
        from panoptic_gs.files import read_json
        from panoptic_gs.predict.assembled import MASKS, RECORD, require_resumable

        if (self.photos is None) == (self.video is None):
            raise InputError("panoptic-gs scene", "both or neither of photos and --video", "one of them", "Give one.")
        assembly = Assembly(self.out, self.geometry, self.masks, self.classes, device=self._device(), merge="auto")
        assembly.require_installed()
        assembly.wanted()
        trainer = _program("ns-train")
        console = self.console()
        started = time.monotonic()
        notes: dict[str, object] = {}
        if self.overwrite and (self.out / RECORD).is_file():
            shutil.rmtree(self.out)
        if (self.out / RECORD).is_file():
            require_resumable(self.out, assembly.record, read_json(self.out / RECORD))
        with progress_bars(console) as progress:
            with _stage(console, 1, "Finding cameras", (self.out / RECORD).is_file()) as needed:
                if needed:
                    photos = self._photos(console)
                    placed, found = assembly.find_cameras(photos, console.print, progress, overwrite=False)
                    print_geometry(console, photos, placed, found)
                    notes["left_out"] = dict(found.left_out)
            from panoptic_gs.predict.photos import find_photos

            placed = find_photos(self.out / "images")
            with _stage(console, 2, "Finding masks", (self.out / MASKS / "panoptic.json").is_file()) as needed:
                if needed:
                    count, without = assembly.find_masks(placed, console.print, progress)
                    print_masks(console, count, len(placed), without)
        training = self.out / "training"
        with _stage(console, 3, "Training", any(training.rglob("*.ckpt"))) as needed:
            if needed:
                self._train(trainer, training)
        with _stage(console, 4, "Associating", (self.out / "labelled" / "segments.json").is_file()) as needed:
            if needed:
                self._associate(training)
        minutes = (time.monotonic() - started) / 60
        console.print(f"[bold]{escape(str(self.out))}[/]: {len(placed)} photos, {minutes:.1f} minutes")
        console.print(f"Written: {self.out}/transforms.json, {MASKS}, training, panoptic, labelled")
        self.finish([self.out / "labelled"], photos=len(placed), **notes)
        if self.view:
            from panoptic_gs.cli.view import View

            with _stage(console, 5, "Viewer", False):
                View(self.out / "labelled", self.out, quiet=self.quiet).run()
        else:
            console.print(f"Look at it: panoptic-gs view {self.out}/labelled --data {self.out}")

    def _device(self) -> str:
        import torch

        return ("cuda" if torch.cuda.is_available() else "cpu") if self.device == "auto" else self.device

    def _photos(self, console: Console) -> Sequence[Photo]:
        from panoptic_gs.predict.photos import find_photos
        from panoptic_gs.predict.selection import select_photos
        from panoptic_gs.predict.video import sharp_frames

        if self.video is not None:
            folder = self.out.with_name(f"{self.out.name}-frames")
            if not folder.is_dir():
                sharp_frames(self.video, folder, self.frames)
            photos = find_photos(folder)
        else:
            assert self.photos is not None
            photos = find_photos(self.photos)
        left_out: dict[str, str] = {}
        if not self.keep_all:
            photos, left_out = select_photos(photos)
        for name, why in left_out.items():
            console.print(f"  [yellow]left out      {escape(name)}: {escape(why)}[/]")
        if len(photos) < 3:
            raise InputError(
                self.photos or self.video or "", f"{len(photos)} usable photos", "at least three of one scene",
                "Take more, from different places, or pass --keep-all.",
            )  # fmt: skip
        return photos

    def _train(self, trainer: str, training: Path) -> None:
        shutil.rmtree(training, ignore_errors=True)
        command = [
            trainer, "panst3r-ludvig", "--data", str(self.out), "--output-dir", str(training), "--experiment-name",
            "scene", "--timestamp", "run", "--vis", "tensorboard", "--max-num-iterations", str(self.iterations),
            "--pipeline.datamanager.dataparser.panoptic-folder=",
        ]  # fmt: skip
        log = self.out / "training.log"
        with log.open("w") as output:
            ended = subprocess.run(command, stdout=output, stderr=subprocess.STDOUT, check=False)
        if ended.returncode:
            raise InputError("ns-train", f"exit code {ended.returncode}", "0", f"The end of {log} says why.")

    def _associate(self, training: Path) -> None:
        from panoptic_gs.cli.associate import Associate
        from panoptic_gs.predict.assembled import MASKS

        run = next(training.rglob("config.yml")).parent
        replace_ = replace(
            Associate(run, self.out / MASKS, data=self.out, out=self.out / "panoptic", overwrite=True),
            quiet=True if self._prints_json else self.quiet,
        )
        replace_.run()


@contextmanager
def _stage(console: Console, number: int, name: str, done: bool) -> Iterator[bool]:
    """Say which stage begins and how long it took; gives whether it is needed."""
    if done:
        console.print(f"[dim]\\[{number}/{_STAGES}] {name}: done before[/]")
        yield False
        return
    console.print(f"[bold]\\[{number}/{_STAGES}] {name}[/]")
    started = time.monotonic()
    yield True
    console.print(f"[dim]      {time.monotonic() - started:.0f} s[/]")


def _program(name: str) -> str:
    """A command of this environment.

    Raises:
        InputError: it is not installed.
    """
    for folder in (Path(sys.executable).parent, Path(sysconfig.get_path("scripts"))):
        if (folder / name).is_file():
            return str(folder / name)
    if (found := shutil.which(name)) is not None:
        return found
    raise InputError(name, "no such command", "nerfstudio", "Run: pip install 'panoptic-gs[nerfstudio]'.")
