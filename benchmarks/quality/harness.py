# SPDX-License-Identifier: Apache-2.0
"""Scenes × variants: predictions, ``ns-train``, rendered held-out views, scores; each finished run is kept."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from benchmarks.quality.baselines import BASELINES, require_baselines
from benchmarks.quality.measurements import Measurement, Outcome, run_measurements, scene_stamp
from benchmarks.quality.nerfstudio_run import NerfstudioRun
from benchmarks.quality.predictions import PredictionSource
from benchmarks.quality.variants import Variant
from panoptic_gs.engines import Engine
from panoptic_gs.errors import InputError
from panoptic_gs.files import read_json, write_json
from panoptic_gs.scene import Scene

RESULT = "result.json"
_OWN = ("splits.json", "panoptic", "predictions")
"""What a run has of its own; everything else of a scene folder it shares."""


@dataclass(frozen=True)
class Task:
    """One run: a scene, trained and scored in one variant.

    Args:
        scene: name, as in the tables.
        root: the scene folder.
        predictions: where its panoptic maps come from.
        variant: how it is trained.
        folder: the run's own, replaced when it starts.
        group: of scenes whose mean is taken together.
    """

    scene: str
    root: Path
    predictions: PredictionSource
    variant: Variant
    folder: Path
    group: str = ""

    @property
    def label(self) -> str:
        """For messages."""
        return " · ".join(part for part in (self.scene, self.group, self.variant.name) if part)


@dataclass(frozen=True)
class RunSettings:
    """What all runs of a benchmark have in common.

    Raises:
        InputError: an unknown baseline, or no iterations.
    """

    iterations: int | None = None
    """Training iterations; None: the method's own default."""
    train_options: tuple[str, ...] = ()
    """More options of ``ns-train panst3r-ludvig``."""
    baselines: tuple[str, ...] = BASELINES
    """Baselines of the full variant."""
    predict_views: tuple[str, ...] = ()
    """Options of ``panoptic-gs predict --views``: predict on the rendered views, too (the paper's strategy (i))."""
    seed: int = 0
    """Of simulated predictions."""

    def __post_init__(self) -> None:
        require_baselines(self.baselines)
        if self.iterations is not None and self.iterations < 1:
            raise InputError("--iterations", str(self.iterations), "1 or more", "Choose a larger number.")


Execute = Callable[[Task, RunSettings, int], dict[str, Any]]


def run_tasks(
    tasks: Sequence[Task],
    settings: RunSettings,
    console: Console,
    jobs: int = 1,
    execute: Execute | None = None,
    engine: Engine | None = None,
) -> Outcome:
    """Do every task that has not been done with the same settings; a failing one does not stop the others.

    Args:
        tasks: the runs, in the order of the tables.
        settings: of all of them.
        console: where one line a run is printed.
        jobs: how many run at a time; each gets its share of the cores.
        execute: does one task, by default :func:`execute_task`.
        engine: runs the tasks elsewhere; by default threads here.
    """
    measurements: list[Measurement] = []
    unreadable: dict[str, str] = {}
    for task in tasks:
        try:
            measurements.append(measurement_of(task, settings, execute or execute_task))
        except InputError as error:
            unreadable[task.label] = str(error)
            console.print(f"{task.label}: {error}", style="red", markup=False, highlight=False)
    outcome = run_measurements(measurements, console, jobs, engine, _summary)
    return Outcome(outcome.results, {**unreadable, **outcome.failures})


def measurement_of(task: Task, settings: RunSettings, execute: Execute) -> Measurement:
    """A task as what :func:`run_measurements` does.

    Raises:
        InputError: its predictions cannot be read.
    """
    return Measurement(task.label, _result, (execute, task, settings), task.folder / RESULT, signature(task, settings),
                       task.folder / "log.txt")  # fmt: skip


def signature(task: Task, settings: RunSettings) -> dict[str, Any]:
    """What a result depends on, ready for JSON; a run whose signature changed is done again."""
    return {
        **scene_stamp(task.root, "panoptic_gt"),
        "predictions": task.predictions.stamp(),
        "variant": asdict(task.variant),
        "settings": {name: list(v) if isinstance(v, tuple) else v for name, v in asdict(settings).items()},
    }


def finished_result(task: Task, settings: RunSettings) -> dict[str, Any] | None:
    """The result of an earlier run of the same signature; None where there is none."""
    return measurement_of(task, settings, execute_task).kept()


def _result(execute: Execute, task: Task, settings: RunSettings, threads: int) -> dict[str, Any]:
    return {"scene": task.scene, "group": task.group, "variant": task.variant.name, **execute(task, settings, threads)}


def execute_task(task: Task, settings: RunSettings, threads: int) -> dict[str, Any]:
    """Predictions → ``ns-train`` → rendered views → scores, all in the task's folder."""
    start = time.monotonic()
    shutil.rmtree(task.folder, ignore_errors=True)
    task.folder.mkdir(parents=True)
    scene = Scene.load(task.root)
    seen = seen_views(scene, task.variant.views)
    own = link_scene(scene, task.folder / "scene", seen)
    task.predictions.write(own / "panoptic", scene, seen, task.variant.merge, settings.seed)
    predicted = time.monotonic()

    run = NerfstudioRun(task.folder, Console(quiet=True), task.folder / "log.txt", threads)
    options = list(settings.train_options)
    if settings.iterations is not None:
        options += ["--max-num-iterations", str(settings.iterations)]
    if not task.variant.regularisation:
        options += ["--pipeline.model.panoptic-loss-weight", "0"]
    run.train(own, options)
    trained = time.monotonic()

    baselines = settings.baselines if task.variant == Variant() else ()
    run.call([sys.executable, "-m", "benchmarks.quality.score_run", str(task.folder), "--baselines", *baselines])
    scores = read_json(task.folder / "scores.json")
    if settings.predict_views and task.variant == Variant():
        scores["rows"]["rendered-views"] = predicted_renders(run, own, settings.predict_views)
    end = time.monotonic()
    minutes = {"predictions": predicted - start, "train": trained - predicted, "score": end - trained,
               "total": end - start}  # fmt: skip
    return {**scores, "views": len(seen), "minutes": {name: seconds / 60 for name, seconds in minutes.items()}}


def predicted_renders(run: NerfstudioRun, scene: Path, options: Sequence[str]) -> dict[str, Any]:
    """The paper's strategy (i): a network predicts on the rendered held-out views, and its maps are scored."""
    from panoptic_gs.metrics import evaluate_scenes
    from panoptic_gs.panoptic import PanopticScene

    out = run.folder / "rendered-views"
    command = str(Path(sys.executable).with_name("panoptic-gs"))
    run.call([command, "predict", "--views", str(run.folder / "renders"), "--classes", str(scene), "--out", str(out),
              *options])  # fmt: skip
    truth = PanopticScene.load(scene / "panoptic_gt")
    stems = [frame.stem for frame in Scene.load(scene).split("test") if frame.stem in truth.maps]
    scores = evaluate_scenes(PanopticScene.load(out / "panoptic"), truth, stems, allow_missing=True)
    return {"scores": {name: score.as_dict() for name, score in scores.items()}}


def require_scorable(root: Path) -> None:
    """Check, before anything is trained, that a scene folder can be trained and scored.

    Raises:
        InputError: it has no training views, no held-out views or no truth, or it cannot be read.
    """
    scene = Scene.load(root)
    for name in ("train", "test"):
        scene.split(name)
    if not (root / "panoptic_gt" / "panoptic.json").is_file():
        raise InputError(root, "no panoptic_gt/", "true maps to score with", "Prepare the scene with its labels.")


def seen_views(scene: Scene, number: int | None) -> list[str]:
    """The names of the training views that are seen: all, or a number of them, evenly spaced.

    Raises:
        InputError: the scene has no training split, or not so many views.
    """
    stems = [frame.stem for frame in scene.split("train")]
    if number is None:
        return stems
    if not 2 <= number <= len(stems):
        raise InputError(
            scene.root / "splits.json", f"{len(stems)} training views", f"at least {number} (and 2)",
            "Ask for fewer --views.",
        )  # fmt: skip
    return [stems[index] for index in np.linspace(0, len(stems) - 1, number).round().astype(int)]


def link_scene(scene: Scene, folder: Path, train: Sequence[str]) -> Path:
    """A scene folder of a run's own: photos, poses and truth are links, splits and predictions are its own."""
    folder.mkdir(parents=True)
    for entry in scene.root.iterdir():
        if entry.name not in _OWN and not entry.name.startswith("."):
            (folder / entry.name).symlink_to(entry.resolve(), target_is_directory=entry.is_dir())
    write_json(folder / "splits.json", {"train": list(train), "test": list(scene.splits["test"])})
    return folder


def _summary(result: Mapping[str, Any]) -> str:
    scores = result["rows"]["uplifted"]["scores"]["panoptic-lifting"]
    pq = "–" if scores["pq"] is None else f"{100 * scores['pq']:.1f}"
    return f"PQ {pq}, {result['minutes']['total']:.1f} minutes"
