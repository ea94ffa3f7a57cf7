# SPDX-License-Identifier: Apache-2.0
"""Masks numbered image by image, associated and scored: ``python -m benchmarks.association`` needs no network."""

from __future__ import annotations

import shutil
import statistics
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from rich.console import Console

from benchmarks.associating.baselines import BASELINES, baseline
from benchmarks.associating.cases import PROTOCOLS, Case, pairs, renumbered, surface_splats
from benchmarks.associating.hall import chairs_with_one_id, hall
from benchmarks.associating.resources import LOADS, in_own_process
from benchmarks.quality.command import main, plain, require_known
from benchmarks.quality.harness import link_scene
from benchmarks.quality.measurements import Measurement, Outcome, scene_stamp
from benchmarks.quality.nerfstudio_run import NerfstudioRun
from benchmarks.quality.rooms import TabledRooms
from benchmarks.quality.table import require_markers, write_between
from benchmarks.speed.timing import machine
from panoptic_gs.files import write_json
from panoptic_gs.panoptic import PanopticScene
from panoptic_gs.scene import Scene
from panoptic_gs.splats import Splats
from panoptic_gs.synthetic.noise import LEVELS, PredictionNoise, simulate_predictions
from panoptic_gs.uplift.checkpoint import load_checkpoint_splats

CLOSED_FORM = "closed form"
PARTS = ("rooms", "hall", "resources")


@dataclass(frozen=True)
class AssociationBenchmark(TabledRooms):
    """Renumber the masks of every image, associate them, and score held-out views against the same masks with true ids.

    A mask's true id is that of the thing it overlaps most. Scores are PQ differences in percent.
    """

    out: Path = Path("outputs/association")
    """Folder for scenes, trainings, results.json and table.md; what is finished in it is kept."""
    scenes: tuple[Path, ...] = ()
    """Scene folders with panoptic/ (predictions), panoptic_gt/ and splits.json to score beside the rooms."""
    levels: tuple[str, ...] = ("low", "default", "high", "parts", "fused")
    """Noise levels of the rooms' masks."""
    baselines: tuple[str, ...] = BASELINES
    """Any of linear-assignment, tracking, view-consensus, contrastive."""
    parts: tuple[str, ...] = PARTS
    """Any of rooms, hall, resources."""
    trained: bool = False
    """Train the rooms' splats (colour only, kept in the folder) in place of putting Gaussians on true surfaces; given
    scenes are always trained."""
    iterations: int = 1000
    """Iterations of a training."""
    trainings: int = 3
    """Trainings of a given scene, each with a seed of its own."""

    def run(self) -> Outcome:
        """Do what is not done yet, print and write the tables."""
        for given, known, option in ((self.levels, LEVELS, "--levels"), (self.baselines, BASELINES, "--baselines"),
                                     (self.parts, PARTS, "--parts")):  # fmt: skip
            require_known(option, given, known)
        if self.write_docs is not None:
            require_markers(self.write_docs, "association")
        console = Console()
        work = [] if "rooms" not in self.parts else [self._room(seed, console) for seed in self.seeds]
        work += [self._training(root, seed) for root in self.scenes for seed in range(self.trainings)]
        outcome = self.measured(work, console, self.out / "logs", _said)
        results = [case for result in outcome.results for case in result["cases"]]
        extra: dict[str, Any] = {}
        if "hall" in self.parts:
            extra["hall"] = hall_row(console)
        if "resources" in self.parts:
            extra["resources"] = {name: in_own_process(name) for name in LOADS}
        text = tables(results, extra)
        settings = {name: plain(value) for name, value in asdict(self).items() if name != "scenes"}
        write_json(
            self.out / "results.json",
            {
                "machine": machine("cpu"),
                "settings": settings,
                "cases": results,
                "failures": dict(outcome.failures),
                **extra,
            },
        )
        (self.out / "table.md").write_text(text + "\n", encoding="utf-8")
        console.print(text, markup=False, highlight=False, soft_wrap=True)
        if self.write_docs is not None:
            write_between(self.write_docs, "association", text)
        return outcome

    def _room(self, seed: int, console: Console) -> Measurement:
        root = self.scene(seed, console)
        signature = {**self._room_signature(root), "seed": seed, "levels": list(self.levels)}
        return Measurement(root.name, self._room_cases, (root, seed), self.out / "cases" / f"{root.name}.json",
                           signature, self.out / "cases" / f"{root.name}.log")  # fmt: skip

    def _room_cases(self, root: Path, seed: int, threads: int) -> dict[str, Any]:
        """Every noise level of a room's masks, on the same Gaussians; a level that was done with others stays."""
        scene = Scene.load(root)
        splats = self._trained(scene, 0, threads) if self.trained else splats_of_depth(scene)
        cases = []
        for level in self.levels:
            file = self.out / "cases" / f"{level} {root.name}.json"
            case = Measurement(level, self._room_case, (scene, splats, level, seed), file,
                               {**self._room_signature(root), "seed": seed}, file.with_suffix(".log"))  # fmt: skip
            cases.append(case.done(threads))
        return {"cases": cases}

    def _room_case(self, scene: Scene, splats: Splats, level: str, seed: int, threads: int) -> dict[str, Any]:
        del threads  # all work is here
        rows = scored(room_case(scene, splats, level, seed), self.baselines)
        return {"group": level, "scene": scene.root.name, "rows": rows}

    def _room_signature(self, root: Path) -> dict[str, Any]:
        return {**self._signature(root), **({"iterations": self.iterations} if self.trained else {})}

    def _training(self, root: Path, seed: int) -> Measurement:
        name = f"{root.resolve().name} · training {seed}"
        return Measurement(name, self._trained_case, (root, seed), self.out / "cases" / f"{name}.json",
                           {**self._signature(root, "panoptic"), "iterations": self.iterations, "seed": seed},
                           self.out / "cases" / f"{name}.log")  # fmt: skip

    def _trained_case(self, root: Path, seed: int, threads: int) -> dict[str, Any]:
        scene = Scene.load(root)
        predicted, truth = scene.load_panoptic("panoptic"), scene.load_panoptic("panoptic_gt")
        train = [frame.stem for frame in scene.split("train") if frame.stem in predicted.maps]
        case = case_of(scene, self._trained(scene, seed, threads), predicted, truth, train, seed)
        rows = scored(case, self.baselines)
        return {"cases": [{"group": root.resolve().name, "scene": f"training {seed}", "rows": rows}]}

    def _signature(self, root: Path, *maps: str) -> dict[str, Any]:
        return {**scene_stamp(root, "panoptic_gt", *maps), "baselines": sorted(self.baselines)}

    def _trained(self, scene: Scene, seed: int, threads: int) -> Splats:
        """Splats of a training in colour alone; the maps that ns-train asks for are the truth, and weigh nothing."""
        folder = self.out / "trainings" / f"{scene.root.resolve().name}-{seed}"
        run = NerfstudioRun(folder, Console(quiet=True), folder / "log.txt", threads)
        own = folder / "scene"
        if not (own / "panoptic" / "panoptic.json").is_file():
            shutil.rmtree(own, ignore_errors=True)
            link_scene(scene, own, [frame.stem for frame in scene.split("train")])
            scene.load_panoptic("panoptic_gt").save(own / "panoptic")
        run.train_once(own, ["--max-num-iterations", str(self.iterations), "--machine.seed", str(seed),
                             "--pipeline.model.panoptic-loss-weight", "0"])  # fmt: skip
        return load_checkpoint_splats(run.config)


def _said(result: dict[str, Any]) -> str:
    gaps = [(c["group"], c["rows"][CLOSED_FORM]["strict"] - c["rows"]["true ids"]["strict"]) for c in result["cases"]]
    return "closed form to true ids: " + ", ".join(f"{group} {gap:+.1f}" for group, gap in gaps)


def splats_of_depth(scene: Scene, voxel: float = 0.03) -> Splats:
    """Gaussians on the surfaces of a room's exact depth maps of training views, one a voxel of this many metres."""
    frames = scene.split("train")
    depths = [np.asarray(Image.open(scene.root / "depth" / f"{f.stem}.png")).astype(float) / 1000 for f in frames]
    return surface_splats([frame.camera for frame in frames], depths, voxel)


def room_case(scene: Scene, splats: Splats, level: str, seed: int) -> Case:
    """A room whose training views have simulated predictions of a noise level."""
    truth = scene.load_panoptic("panoptic_gt")
    train = [frame.stem for frame in scene.split("train")]
    seen = PanopticScene(truth.categories, truth.segments, {stem: np.asarray(truth.maps[stem]) for stem in train})
    predicted = simulate_predictions(seen, PredictionNoise.preset(level), seed)
    return case_of(scene, splats, predicted, truth, train, seed)


def case_of(
    scene: Scene, splats: Splats, predicted: PanopticScene, truth: PanopticScene, train: list[str], seed: int
) -> Case:
    """A scene's predictions with ids of their own in every image, on the pixels of its ideal cameras."""
    cameras = {frame.stem: frame.camera for frame in scene.frames}
    masks = {s: m.remapped(scene.frame(s).fit_labels) for s, m in renumbered(predicted, train, seed).items()}
    test = [frame.stem for frame in scene.split("test") if frame.stem in truth.maps]
    stems = [*dict.fromkeys((*train, *test))]
    maps = {s: scene.frame(s).fit_labels(np.asarray(truth.maps[s])) for s in stems if s in truth.maps}
    return Case(splats, cameras, masks, PanopticScene(truth.categories, truth.segments, maps), test)


def scored(case: Case, baselines: tuple[str, ...]) -> dict[str, dict[str, Any]]:
    """Row → PQ in percent in both protocols, precision and recall of pairs of masks, and seconds."""
    true = case.true_objects()
    rows = {"true ids": case.scores(case.maps_of(true), true)}
    evidence = case.evidence()
    start = time.perf_counter()
    objects, maps = case.closed_form(evidence)
    rows[CLOSED_FORM] = {"seconds": time.perf_counter() - start, **case.scores(maps, objects)}
    for name in baselines:
        start = time.perf_counter()
        objects = baseline(name, case, evidence)
        seconds = time.perf_counter() - start
        rows[name] = {"seconds": seconds, **case.scores(case.maps_of(objects), objects)}
    return rows


def hall_row(console: Console) -> dict[str, Any]:
    """The hall of 60 equal chairs."""
    case = hall()
    evidence = case.evidence()
    start = time.perf_counter()
    objects, _ = case.closed_form(evidence)
    seconds = time.perf_counter() - start
    count = chairs_with_one_id(case, objects)
    precision, recall = pairs(case.true_objects(), objects)
    console.print(f"hall: {count.by_pixels} of {count.chairs} chairs have one id", highlight=False)
    return {**asdict(count), "precision": precision, "recall": recall, "seconds": seconds}


def tables(results: list[dict[str, Any]], extra: dict[str, Any]) -> str:
    """Means (and worst scenes) as Markdown."""
    lines = ["| masks | method | PQ\\* − true ids | worst | PQ − true ids | worst | pairs: precision | recall | s |",
             "|---|---|---:|---:|---:|---:|---:|---:|---:|"]  # fmt: skip
    for group in dict.fromkeys(result["group"] for result in results):
        mine = [result["rows"] for result in results if result["group"] == group]
        true = [statistics.fmean(rows["true ids"][name] for rows in mine) for name in PROTOCOLS]
        lines.append(f"| {group} ({len(mine)}) | *true ids, PQ itself* | {true[0]:.1f} | | {true[1]:.1f} | | | | |")
        for method in (name for name in mine[0] if name != "true ids"):
            cells = []
            for name in PROTOCOLS:
                gaps = [rows[method][name] - rows["true ids"][name] for rows in mine]
                cells += [f"{statistics.fmean(gaps):+.1f}", f"{min(gaps):+.1f}"]
            means = [statistics.fmean(rows[method][key] for rows in mine) for key in ("precision", "recall", "seconds")]
            lines.append(f"| | {method} | {' | '.join(cells)} | {' | '.join(f'{mean:.1f}' for mean in means)} |")
    if "hall" in extra:
        row = extra["hall"]
        lines += [
            "",
            f"Hall of {row['chairs']} equal chairs, 120 views: {row['by_pixels']} have one id in 0.9 of their pixels, "
            f"{row['by_masks']} in 0.9 of their masks of at least 12 pixels (pairs of masks: precision "
            f"{row['precision']:.1f}, recall {row['recall']:.1f}; {row['seconds']:.0f} s)",
        ]
    if "resources" in extra:
        lines += [
            "",
            "| views | masks | Gaussians | s: weighing | linking | CPU | peak GiB | objects | true |",
            "|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
        ]
        for row in extra["resources"].values():
            lines.append(f"| {row['views']} | {row['masks']:,} | {row['gaussians']:,} | {row['weighing_seconds']:.0f} "
                         f"| {row['linking_seconds']:.0f} | {row['cpu_seconds']:.0f} | {row['peak_gib']:.1f} "
                         f"| {row['objects']} | {row['tiles']} |")  # fmt: skip
    return "\n".join(lines)


if __name__ == "__main__":
    main(AssociationBenchmark)
