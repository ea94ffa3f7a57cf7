# SPDX-License-Identifier: Apache-2.0
"""What all datasets share in ``panoptic-gs prepare``: options, progress bars, the summary."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from tyro.conf import Positional

from panoptic_gs.cli.many_scenes import ManyScenes
from panoptic_gs.errors import InputError
from panoptic_gs.progress import Progress, progress_bars

if TYPE_CHECKING:
    from panoptic_gs.datasets.preparation import Preparation
    from panoptic_gs.datasets.raw_scene import RawScene

_STAGES = {"sharpness": "Looking for the sharpest frames", "frames": "Reading frames", "truth": "Writing the truth"}
_MOST_LISTED = 20


@dataclass(frozen=True)
class PrepareScene(ManyScenes):
    """Options of every dataset; a subclass opens the raw scene."""

    raw: Positional[Path]
    """Folder of one raw scene."""
    out: Path
    """Scene folder to make."""
    classes: str = "reduced21"
    """Classes of the truth: reduced21 (the 21 of the PanLift benchmark), own (the dataset's), nyu40 or scannet20."""
    test_every: int | None = None
    """Every how many frames, from the first, one is held out for testing; by default as the benchmark does."""
    stride: int = 1
    """Take every stride-th frame."""
    max_frames: int | None = None
    """Take at most this many frames, evenly spread."""
    seed_points: int = 100_000
    """Most seed points to write."""
    jobs: int = min(8, os.cpu_count() or 1)
    """Frames to read at a time, each in a process of its own."""
    overwrite: bool = False
    """Replace the output folder if it is an earlier scene."""

    def open(self, report: Progress) -> RawScene:
        """The raw scene; ``report`` is called where opening it takes long."""
        raise NotImplementedError

    def run(self) -> None:
        from panoptic_gs.datasets.preparation import PrepareOptions, prepare_scene

        if not self.raw.is_dir():
            raise InputError(self.raw, "no such folder", "the folder of one raw scene", "Check the path.")
        console = self.console()
        options = PrepareOptions(self.classes, self.test_every, self.stride, self.max_frames, self.seed_points,
                                 self.jobs, self.overwrite)  # fmt: skip
        try:
            with progress_bars(console, _STAGES) as report:
                done = prepare_scene(self.open(report), self.out, options, report)
        except KeyboardInterrupt:
            console.print("Interrupted. The same command goes on where it stopped.")
            raise
        _print_summary(console, self.out, done)
        self.finish([self.out], frames=done.frames, splits={name: len(stems) for name, stems in done.splits.items()},
                    segments=len(done.segments), seed_points=done.points,
                    dropped=[{"stem": entry.stem, "reason": entry.reason} for entry in done.dropped])  # fmt: skip
        if done.dropped:
            sys.exit(1)


def _print_summary(console: Console, out: Path, done: Preparation) -> None:
    things = {category.id for category in done.classes.categories if category.isthing}
    counted = sum(segment.category_id in things for segment in done.segments)
    console.print(
        f"[bold]{escape(str(out))}[/]: {done.frames} frames ({len(done.splits.get('train', ()))} to train on, "
        f"{len(done.splits.get('test', ()))} held out), {done.points} seed points"
    )
    if done.segments:
        stuff = len(done.segments) - counted
        console.print(f"  panoptic_gt/: {counted} things, {stuff} stuff classes of '{done.classes.name}'")
    else:
        console.print("  no ground truth: no frame has labels")
    if done.resumed:
        console.print(f"  {done.resumed} frames were kept from an interrupted run")
    for note in done.notes:
        console.print(f"  {escape(note)}")
    if done.dropped:
        count = f"{len(done.dropped)} frame{'s' * (len(done.dropped) > 1)}"
        console.print(f"[bold red]Dropped {count}[/], listed in preparation.json, too:")
        for entry in done.dropped[:_MOST_LISTED]:
            console.print(f"  {escape(entry.stem)}: {escape(entry.reason)}")
        if len(done.dropped) > _MOST_LISTED:
            console.print(f"  and {len(done.dropped) - _MOST_LISTED} more")
