# SPDX-License-Identifier: Apache-2.0
"""``python -m panoptic_gs.network.train RECIPE.json --out FOLDER``, alone or under ``torchrun``.

Started again with the same recipe and folder it goes on where it was. Writes ``training.safetensors`` (all that going
on needs), ``weights.safetensors`` (the averaged network, for ``panoptic-gs predict --network panoptic-gs:FILE``),
``log.jsonl``, sheets of pictures, and TensorBoard's files where it is installed.
"""

from __future__ import annotations

import json
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import tyro
from rich.console import Console
from torch.utils.data import DataLoader
from tyro.conf import Positional

from panoptic_gs.errors import InputError
from panoptic_gs.files import write_json, write_png
from panoptic_gs.network.data.draws import Draws, Folders, Rooms, Sample, Source
from panoptic_gs.network.data.folders import FolderSource
from panoptic_gs.network.data.images import ImageSource
from panoptic_gs.network.data.rooms import FIRST_TRAINING_SEED, RoomSource
from panoptic_gs.network.model import parameters_of
from panoptic_gs.network.pictures import sheet
from panoptic_gs.network.recipe import Recipe
from panoptic_gs.network.training import Training
from panoptic_gs.network.weights import read_weights, save_network
from panoptic_gs.processes import Processes, joined_processes, tell_torchrun
from panoptic_gs.records import read_record, record_to_json
from panoptic_gs.synthetic.classes import CATEGORIES

STATE, WEIGHTS, LOG = "training.safetensors", "weights.safetensors", "log.jsonl"
_SHOWN_SEED = FIRST_TRAINING_SEED - 1
"""The room that sheets of pictures show: none that is trained on."""


@dataclass(frozen=True, kw_only=True)
class Train:
    """Train the multi-view panoptic network."""

    recipe: Positional[Path]
    """JSON file; its fields and their defaults are those of panoptic_gs.network.recipe.Recipe."""
    out: Path
    """Folder of the training; one that has begun goes on."""
    device: str = "cpu"
    """What to run on, as torch names it."""
    stop_after: int | None = None
    """Steps of this run at most; a later run goes on."""
    minutes: float | None = None
    """Minutes of this run at most; a later run goes on."""

    def run(self) -> None:
        """Train until the recipe's steps are done, a limit is met, or the process is asked to end."""
        recipe = read_record(self.recipe, Recipe)
        console = Console(stderr=True)
        with joined_processes() as processes:
            sources = sources_of(recipe, self.recipe.parent)
            classes = sources[0][0].classes
            start = (
                None if recipe.start is None else starting_weights(_beside(self.recipe.parent, recipe.start), recipe)
            )
            training = Training(recipe, classes, processes, self.device, start)
            if (self.out / STATE).is_file():
                training.resume(self.out / STATE)
            if processes.leads:
                self.out.mkdir(parents=True, exist_ok=True)
                write_json(self.out / "recipe.json", record_to_json(recipe))
                console.print(f"{parameters_of(training.network):,} parameters, step {training.step} of {recipe.steps}")
            self._train(training, sources, processes, console)

    def _train(
        self, training: Training, sources: Sequence[tuple[Source, float]], processes: Processes, console: Console
    ) -> None:
        recipe, started = training.recipe, time.monotonic()
        last = recipe.steps if self.stop_after is None else min(recipe.steps, training.step + self.stop_after)
        draws = Draws(
            sources, recipe.seed, recipe.views, recipe.partial, recipe.scenes, training.step, last, processes.rank,
            processes.count, recipe.colours,
        )  # fmt: skip
        saved = training.step
        with asked_to_end() as asked, _tensorboard(self.out if processes.leads else None) as board:
            for samples in batches(draws, recipe.workers):
                begun = time.monotonic()
                losses = training.advance(samples)
                step = training.step
                if processes.leads and (step % recipe.log_every == 0 or step == last):
                    entry = {"step": step, "seconds": round(time.monotonic() - begun, 3)} | losses
                    with (self.out / LOG).open("a", encoding="utf-8") as log:
                        log.write(json.dumps({k: round(v, 5) for k, v in entry.items()}) + "\n")
                    for name, value in losses.items():
                        board.add_scalar(name, value, step)
                    shown = " ".join(f"{name} {value:.3f}" for name, value in losses.items())
                    console.print(f"{step}/{recipe.steps}  {shown}", highlight=False, soft_wrap=True)
                over = self.minutes is not None and time.monotonic() - started > 60 * self.minutes
                ending = bool(processes.summed(torch.tensor(float(over or asked.is_set))))
                if processes.leads and (ending or step == last or step % recipe.save_every == 0):
                    self.keep(training)
                    saved = step
                if processes.leads and recipe.rooms is not None and step % recipe.pictures_every == 0:
                    self._draw(training, board)
                if ending:
                    break
            if processes.leads and saved != training.step:
                self.keep(training)

    def keep(self, training: Training) -> None:
        """Write the state, and the averaged weights in half precision."""
        training.save(self.out / STATE)
        save_network(self.out / WEIGHTS, training.network, training.average, torch.float16)

    def _draw(self, training: Training, board: Any) -> None:
        recipe = training.recipe
        assert recipe.rooms is not None
        cache = _beside(self.recipe.parent, recipe.rooms.cache)
        shown = RoomSource(cache, 1, 8, recipe.width, recipe.height, recipe.rooms.fov, _SHOWN_SEED)[0].chosen(range(5))
        picture = sheet(training.averaged(), shown)
        write_png(self.out / "pictures" / f"{training.step:07d}.png", picture)
        board.add_image("views", picture, training.step, dataformats="HWC")


def sources_of(recipe: Recipe, beside: Path) -> list[tuple[Source, float]]:
    """What a recipe trains on, with weights.

    Raises:
        InputError: sources that tell different classes apart, a folder without truth.
    """
    sources: list[tuple[Source, float]] = []
    if recipe.rooms is not None:
        rooms = recipe.rooms
        source = RoomSource(
            _beside(beside, rooms.cache), rooms.rooms, rooms.views, recipe.width, recipe.height, rooms.fov,
            rooms.first_seed,
        )  # fmt: skip
        sources.append((Rooms(source, tuple(category.name for category in CATEGORIES)), rooms.weight))
    if recipe.folders:
        folders = [FolderSource(_beside(beside, name), recipe.width, recipe.height) for name in recipe.folders]
        for folder in folders[1:]:
            _require_classes(folder.classes, folders[0].classes, str(folder.root))
        sources.append((Folders(folders), 1.0))
    if recipe.images is not None:
        images = recipe.images
        source = ImageSource(
            _beside(beside, images.images), _beside(beside, images.panoptic), recipe.width, recipe.height
        )
        sources.append((source, images.weight))
    for other, _ in sources[1:]:
        _require_classes(other.classes, sources[0][0].classes, str(beside))
    return sources


def starting_weights(path: Path, recipe: Recipe) -> dict[str, torch.Tensor]:
    """The weights of a file that fit a recipe's network.

    Raises:
        InputError: unreadable, or of another network.
    """
    config, weights = read_weights(path)
    wanted = recipe.architecture
    for part in ("patch", "appearance", "fused"):
        if getattr(config, part) != getattr(wanted, part):
            raise InputError(path, f"{part}: {getattr(config, part)}", f"{getattr(wanted, part)}",
                             "Start from weights of the same network, or from none.")  # fmt: skip
    return weights


def batches(draws: Draws, workers: int) -> Iterator[list[Sample]]:
    """The scenes of one step after the other."""
    yield from DataLoader(
        draws, batch_size=draws.own, num_workers=workers, collate_fn=list, prefetch_factor=4 if workers else None,
        worker_init_fn=_quiet, multiprocessing_context="fork" if workers and sys.platform == "linux" else None,
    )  # fmt: skip


class _Asked:
    is_set = False


@contextmanager
def asked_to_end() -> Iterator[_Asked]:
    """Tells whether somebody sent SIGTERM or SIGINT, so that the step under way is finished and kept."""
    asked = _Asked()

    def handle(number: int, frame: Any) -> None:
        asked.is_set = True

    earlier = {number: signal.signal(number, handle) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield asked
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)


class _NoBoard:
    def add_scalar(self, *args: Any) -> None: ...

    def add_image(self, *args: Any, **kwargs: Any) -> None: ...


@contextmanager
def _tensorboard(out: Path | None) -> Iterator[Any]:
    try:
        from torch.utils.tensorboard.writer import SummaryWriter
    except ImportError:
        out = None
    if out is None:
        yield _NoBoard()
        return
    with SummaryWriter(str(out / "tensorboard")) as board:
        yield board


def _quiet(worker: int) -> None:
    # The trainer decides when to end; a worker that took the signal would take its data with it.
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _beside(folder: Path, name: str) -> Path:
    return folder / Path(name).expanduser()


def _require_classes(found: tuple[str, ...], expected: tuple[str, ...], source: str) -> None:
    if found != expected:
        raise InputError(source, f"classes {', '.join(found)}", ", ".join(expected),
                         "Prepare all scenes with the same --classes.")  # fmt: skip


def main(options: Train) -> int:
    """Run; what cannot be used is one screen and exit code 2."""
    try:
        options.run()
    except InputError as error:
        tell_torchrun(error)
        Console(stderr=True).print(str(error), markup=False, highlight=False)
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main(tyro.cli(Train)))
