# SPDX-License-Identifier: Apache-2.0
"""``panoptic-gs scene``: from photos, or a video, to a labelled scene in the viewer, in one command."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro
from rich.console import Console
from rich.markup import escape
from tyro.conf import Positional

from panoptic_gs.cli.assemble import Assembly, print_geometry, print_masks
from panoptic_gs.cli.output import Output
from panoptic_gs.cli.scene_progress import Estimate, StagedProgress
from panoptic_gs.cli.training_run import STAGE, TrainingRun, find_program
from panoptic_gs.errors import InputError
from panoptic_gs.progress import Progress

if TYPE_CHECKING:
    from panoptic_gs.predict.photos import Photo

CAMERAS, MASKS_OF_PHOTOS, TRAINING, ASSOCIATING, REPORT = (
    "Finding cameras", "Finding masks", STAGE, "Associating", "Report",
)  # fmt: skip
_STAGES = (CAMERAS, MASKS_OF_PHOTOS, TRAINING, ASSOCIATING, REPORT, "Viewer")
_MEASURES = {MASKS_OF_PHOTOS: "Finding masks", TRAINING: STAGE}


@dataclass(frozen=True, kw_only=True)
class SceneFromPhotos(Output):
    """Photos to a labelled scene: cameras, masks, training, association, report, viewer.

    Stopped or failed, the same command goes on where it was, also in the middle of the training. See
    docs/predicting.md for the networks and their licences.
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
    """What finds masks: eomt, mask2former, oneformer, sam2, sam3, a checkpoint's name on the hub or its folder; or
    sam3-video, which follows objects from photo to photo: association joins what it lost."""
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
        from panoptic_gs.predict.assembled import MASKS, RECORD, resume

        if (self.photos is None) == (self.video is None):
            raise InputError("panoptic-gs scene", "both or neither of photos and --video", "one of them", "Give one.")
        if self.iterations < 1:
            raise InputError("--iterations", str(self.iterations), "1 or more", "Choose a larger number.")
        device = self._device()
        assembly = Assembly(
            self.out, self.geometry, self.masks, self.classes, device=device, merge="auto", source=self._source()
        )  # fmt: skip
        assembly.require_installed()
        assembly.wanted()
        find_program("ns-train")
        console = self.console()
        started = time.monotonic()
        if self.overwrite and (self.out / RECORD).is_file():
            shutil.rmtree(self.out)
        if (self.out / RECORD).is_file():
            resume(self.out, assembly.record)
        training = TrainingRun(self.out, self.iterations, device)
        count = len(_STAGES) - (not self.view)
        estimate = Estimate(_expected(self._number_of_photos(), self.iterations, device), _MEASURES)
        progress = StagedProgress(console, estimate, count)
        with progress.shown():
            placed, notes = self._predict(assembly, progress, estimate, console)
            with progress.stage(3, TRAINING, done=training.finished) as needed:
                if needed:
                    if training.done:
                        console.print(f"  goes on from iteration {training.done} of {self.iterations}")
                    training.train(progress)
            segments, report = self.out / "labelled" / "segments.json", self.out / "report.html"
            made_of = [self.out / MASKS, training.checkpoint]
            with progress.stage(4, ASSOCIATING, done=_is_newer(segments, made_of)) as needed:
                if needed:
                    self._associate(training, progress, console)
            with progress.stage(5, REPORT, done=_is_newer(report, [segments])) as needed:
                if needed:
                    self._report(training, progress, console)
        minutes = (time.monotonic() - started) / 60
        console.print(f"[bold]{escape(str(self.out))}[/]: {len(placed)} photos, {minutes:.1f} minutes")
        console.print(f"Written: {self.out}/transforms.json, {MASKS}, training, panoptic, labelled, report.html")
        self.finish([self.out / "labelled", report], photos=len(placed), **notes)
        if self.view:
            from panoptic_gs.cli.view import View

            console.print(f"[bold]\\[{count}/{count}] Viewer[/]")
            View(self.out / "labelled", self.out, quiet=self.quiet).run()
        else:
            console.print(f"Look at it: panoptic-gs view {self.out}/labelled --data {self.out}")

    def _predict(
        self, assembly: Assembly, progress: StagedProgress, estimate: Estimate, console: Console
    ) -> tuple[Sequence[Photo], dict[str, object]]:
        """Cameras and masks; the photos that have cameras, and what to tell scripts."""
        from panoptic_gs.predict.assembled import MASKS, RECORD
        from panoptic_gs.predict.photos import find_photos

        notes: dict[str, object] = {}
        with progress.stage(1, CAMERAS, done=(self.out / RECORD).is_file()) as needed:
            if needed:
                photos = self._photos(console, progress)
                placed, found = assembly.find_cameras(photos, console.print, progress, overwrite=False)
                print_geometry(console, photos, placed, found)
                notes["left_out"] = dict(found.left_out)
        placed = find_photos(self.out / "images")
        expected = _expected(len(placed), self.iterations, assembly.device)
        estimate.expect({name: seconds for name, seconds in expected.items() if name != CAMERAS})
        with progress.stage(2, MASKS_OF_PHOTOS, done=(self.out / MASKS).is_dir()) as needed:
            if needed:
                count, without = assembly.find_masks(placed, console.print, progress)
                print_masks(console, count, len(placed), without)
        return placed, notes

    def _number_of_photos(self) -> int:
        """About how many, before any is opened."""
        if self.photos is None:
            return self.frames
        return sum(1 for _ in self.photos.iterdir()) if self.photos.is_dir() else 0

    def _device(self) -> str:
        import torch

        return ("cuda" if torch.cuda.is_available() else "cpu") if self.device == "auto" else self.device

    def _source(self) -> str | None:
        """What the scene is made of, in a few words that differ where files do; None where there is nothing."""
        from panoptic_gs.predict.photos import fingerprint, photo_files

        if self.video is not None:
            return f"{self.frames} frames of {fingerprint([self.video])}" if self.video.is_file() else None
        assert self.photos is not None
        files = photo_files(self.photos)
        return fingerprint(files) if files else None

    def _photos(self, console: Console, progress: Progress) -> Sequence[Photo]:
        from panoptic_gs.cli.assemble import chosen_photos
        from panoptic_gs.predict.photos import find_photos
        from panoptic_gs.predict.video import frames_of

        if self.video is not None:
            folder = self.out.with_name(f"{self.out.name}-frames")
            count = frames_of(self.video, folder, self.frames, progress)
            console.print(f"  {count} sharp frames in {escape(str(folder))}")
            photos = find_photos(folder)
        else:
            assert self.photos is not None
            photos = find_photos(self.photos, unique=False)
        photos, _ = chosen_photos(photos, console, progress, keep_all=self.keep_all)
        if len(photos) < 3:
            raise InputError(
                self.photos or self.video or "", f"{len(photos)} usable photos", "at least three of one scene",
                "Take more, from different places, or pass --keep-all.",
            )  # fmt: skip
        return photos

    def _associate(self, training: TrainingRun, progress: Progress, console: Console) -> None:
        from panoptic_gs.cli.associate import Associate
        from panoptic_gs.predict.assembled import MASKS

        Associate(
            training.folder, self.out / MASKS, data=self.out, out=self.out / "panoptic", overwrite=True
        ).label(console, progress)  # fmt: skip

    def _report(self, training: TrainingRun, progress: Progress, console: Console) -> None:
        from panoptic_gs.cli.report import Report

        Report(
            self.out / "labelled", data=self.out, out=self.out / "report.html", training=training.folder
        ).write(console, progress)  # fmt: skip


def _is_newer(made: Path, of: Sequence[Path | None]) -> bool:
    """Whether an output is there, and not older than what it was made of."""
    if not made.is_file():
        return False
    return all(path is None or path.stat().st_mtime <= made.stat().st_mtime for path in of)


def _expected(photos: int, iterations: int, device: str) -> dict[str, float]:
    """Seconds that each stage may take: orders of magnitude, which give way to what is measured as stages go on."""
    on_gpu = device != "cpu"
    return {
        CAMERAS: 2.0 * photos + 0.02 * photos * min(photos, 80),
        MASKS_OF_PHOTOS: (0.3 if on_gpu else 12.0) * photos,
        TRAINING: (0.01 if on_gpu else 0.1) * iterations,
        ASSOCIATING: (0.2 if on_gpu else 1.0) * photos,
        REPORT: 10.0 + (0.1 if on_gpu else 0.3) * photos,
    }
