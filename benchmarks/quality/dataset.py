# SPDX-License-Identifier: Apache-2.0
"""What the benchmarks on public datasets share; each dataset is a small module with its scenes."""

from __future__ import annotations

import dataclasses
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from rich.console import Console

from benchmarks.quality.command import plain
from benchmarks.quality.harness import BASELINES, Outcome, RunSettings, Task, require_scorable, run_tasks
from benchmarks.quality.on_engine import OnEngine
from benchmarks.quality.predictions import PredictionSource
from benchmarks.quality.published import PUBLISHED, PUBLISHED_ABLATION, PUBLISHED_VIEWS, TITLES, Published
from benchmarks.quality.report import write_report
from benchmarks.quality.variants import variants_of
from benchmarks.quality.with_parent import guarded
from panoptic_gs.errors import InputError
from panoptic_gs.merge.registry import DEFAULT


@dataclass(frozen=True)
class DatasetBenchmark(OnEngine):
    """Predictions → training → held-out views → scores, over the scenes of a dataset."""

    root: Path
    """Folder of prepared scene folders; with --raw they are made there."""
    predictions: str = "scene"
    """Where predictions come from: 'scene' (predictions/ or panoptic/ of each scene folder), a folder that has one
    subfolder for each scene, or degraded truth: simulated[:LEVEL], simulated-queries[:LEVEL] with LEVEL none, low,
    default, high, correlated, parts, fused."""
    out: Path | None = None
    """Folder for runs and tables, by default outputs/DATASET; finished runs in it are kept."""
    raw: Path | None = None
    """Folder of raw scenes, to prepare those that --root lacks."""
    layout: Literal["raw", "panoptic-lifting"] = "raw"
    """Layout of --raw: the dataset's own, or Panoptic Lifting's processed one."""
    prepare_options: str = ""
    """More options of 'panoptic-gs prepare', as in --prepare-options="--max-frames 300"."""
    scenes: tuple[str, ...] = ()
    """Names of scenes; by default the benchmark's."""
    iterations: int | None = None
    """Training iterations; by default the method's own."""
    train_options: str = ""
    """More options of 'ns-train panst3r-ludvig', as in --train-options="--pipeline.model.sh-degree 2"."""
    ablate: tuple[str, ...] = ()
    """Any of regularisation, merge (the paper's Table 5), views (Table 7, with --views); commas may join them."""
    views: tuple[int, ...] = ()
    """Numbers of training views, where views are ablated."""
    baselines: tuple[str, ...] = BASELINES
    """Any of nearest-view, average, hard-labels, dense-eq7; of the full variant."""
    predict_views: str = ""
    """Predict on the rendered views, too: options of 'panoptic-gs predict --views', as in
    --predict-views="--checkpoint panst3r.pth --trust-checkpoint"."""
    seed: int = 0
    """Of simulated predictions."""

    name: ClassVar[str]
    """As 'panoptic-gs prepare' and the published tables call it."""
    benchmark_scenes: ClassVar[tuple[str, ...]] = ()
    """The benchmark's scenes; where there are none, all of the folder."""
    raw_folders: ClassVar[tuple[str, ...]] = ("{scene}",)
    """Where a raw scene may lie under --raw."""
    raw_part: ClassVar[str] = ""
    """A folder that tells a raw scene from other folders beside it."""

    def run(self) -> Outcome:
        """Do what is not done yet, and write the tables."""
        console = Console()
        out = self.out or Path("outputs") / self.name
        variants = variants_of(self.ablate, self.views)
        settings = RunSettings(self.iterations, tuple(shlex.split(self.train_options)), self.baselines,
                               tuple(shlex.split(self.predict_views)), self.seed)  # fmt: skip
        tasks: list[Task] = []
        missing: dict[str, str] = {}
        for scene in self.scene_names():
            try:
                root = self.scene_folder(scene, console)
                require_scorable(root)
                source = PredictionSource.parse(self.predictions, root)
            except InputError as error:
                missing[scene] = f"{error.found} ({error.source})"
                continue
            if any(variant.merge != DEFAULT for variant in variants) and not source.is_raw:
                raise InputError(
                    "--ablate merge",
                    f"finished maps of {scene}",
                    "raw predictions, which have yet to be merged",
                    "Give raw predictions, or try it with --predictions simulated-queries.",
                )
            tasks += [Task(scene, root, source, v, out / "runs" / scene / v.slug) for v in variants]
        if not tasks:
            first = next(iter(missing.values()), "an empty folder")
            raise InputError(self.root, f"no scene of {len(missing)} that can be run; the first: {first}",
                             "prepared scene folders with predictions",
                             f"Prepare them with 'panoptic-gs prepare {self.name}' or --raw, or name your folders with "
                             "--scenes.")  # fmt: skip
        for note in self.notes(list(dict.fromkeys(task.root for task in tasks))):
            console.print(note, style="yellow", markup=False, highlight=False, soft_wrap=True)
        outcome = run_tasks(tasks, settings, console, self.jobs, engine=self.chosen_engine(out / "logs"))
        outcome = dataclasses.replace(outcome, failures={**missing, **outcome.failures})
        if outcome.results:
            options = {f.name: plain(getattr(self, f.name)) for f in dataclasses.fields(self)}
            inputs = "degraded truth" if self.predictions.startswith("simulated") else "predictions"
            title = f"{TITLES[self.name]}, {inputs}"
            write_report(out, title, outcome, options, console, self.published(), ablation=bool(self.ablate))
        return outcome

    def scene_names(self) -> Sequence[str]:
        """The scenes that were asked for, the benchmark's, or all of the folder."""
        if self.scenes or self.benchmark_scenes:
            return self.scenes or self.benchmark_scenes
        folders = [self.root]
        if self.raw is not None:
            folders = [self.raw / pattern.format(scene="") for pattern in reversed(self.raw_folders)]
        folder = next((folder for folder in folders if folder.is_dir()), None)
        if folder is None:
            raise InputError(folders[-1], "no such folder", "a folder of scenes", "Check the path.")
        part = "" if self.raw is None else self.raw_part
        return sorted(entry.name for entry in folder.iterdir()
                      if (entry / part).is_dir() and not entry.name.startswith("."))  # fmt: skip

    def scene_folder(self, scene: str, console: Console) -> Path:
        """The prepared scene folder, made from the raw scene where it is not there yet.

        Raises:
            InputError: it is not there and cannot be made.
        """
        root = self.root / scene
        if (root / "transforms.json").is_file():
            return root
        if self.raw is None:
            raise InputError(root, "no prepared scene", "a scene folder", f"Make it with 'panoptic-gs prepare "
                             f"{self.name} RAW --out {root}', or pass --raw.")  # fmt: skip
        candidates = [self.raw / pattern.format(scene=scene) for pattern in self.raw_folders]
        source = next((candidate for candidate in candidates if candidate.is_dir()), None)
        if source is None:
            raise InputError(
                candidates[0], "no such folder", f"the raw scene '{scene}'", "Download it, or check --raw."
            )
        layout = self.name if self.layout == "raw" else self.layout
        console.print(f"Preparing {scene}", highlight=False)
        command = [str(Path(sys.executable).with_name("panoptic-gs")), "prepare", layout, str(source), "--out",
                   str(root), *shlex.split(self.prepare_options)]  # fmt: skip
        # Exit code 1 says that frames were dropped; the scene is there all the same.
        subprocess.run(guarded(command), stdin=subprocess.DEVNULL, check=False)
        if not (root / "transforms.json").is_file():
            raise InputError(source, "a raw scene that could not be prepared", "a complete download",
                             "The output of 'panoptic-gs prepare' above says why.")  # fmt: skip
        return root

    def notes(self, scenes: Sequence[Path]) -> Sequence[str]:
        """What the user should know of the prepared scenes before they are run."""
        return ()

    def published(self) -> Mapping[str, Sequence[Published]]:
        """The published rows that stand below the tables."""
        heading = f"Published on {TITLES[self.name]} (protocol panoptic-lifting)"
        tables = {heading: PUBLISHED[self.name]}
        variants = variants_of(self.ablate, self.views)
        if any(variant.merge != DEFAULT or not variant.regularisation for variant in variants):
            tables |= {f"{heading}, ablation": PUBLISHED_ABLATION.get(self.name, ())}
        if any(variant.views for variant in variants):
            tables |= {f"{heading}, number of views": PUBLISHED_VIEWS.get(self.name, ())}
        return {heading: rows for heading, rows in tables.items() if rows}
