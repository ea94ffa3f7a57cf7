# SPDX-License-Identifier: Apache-2.0
"""Masks numbered image by image, associated and scored: ``python -m benchmarks.association`` needs no network."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
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
from benchmarks.quality.harness import Outcome, link_scene
from benchmarks.quality.nerfstudio_run import NerfstudioRun
from benchmarks.quality.rooms import RoomOptions
from benchmarks.quality.table import require_markers, write_between
from benchmarks.speed.timing import machine
from panoptic_gs.files import read_json, write_json
from panoptic_gs.panoptic import PanopticScene
from panoptic_gs.scene import Scene
from panoptic_gs.splats import Splats
from panoptic_gs.synthetic.noise import LEVELS, PredictionNoise, simulate_predictions
from panoptic_gs.uplift.checkpoint import load_checkpoint_splats

CLOSED_FORM = "closed form"
PARTS = ("rooms", "hall", "resources")


@dataclass(frozen=True)
class AssociationBenchmark(RoomOptions):
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
        results: list[dict[str, Any]] = []
        for group, name, make in self._cases(console):
            file = self.out / "cases" / f"{group} {name}.json"
            wanted = {"baselines": sorted(self.baselines), "trained": self.trained}
            kept = read_json(file) if file.is_file() else None
            if kept is None or kept["settings"] != wanted:
                kept = {"settings": wanted, "group": group, "scene": name, "rows": scored(make(), self.baselines)}
                write_json(file, kept)
            results.append(kept)
            best = kept["rows"][CLOSED_FORM]["strict"] - kept["rows"]["true ids"]["strict"]
            console.print(f"{group} · {name}: closed form {best:+.1f} to true ids", highlight=False)
        extra: dict[str, Any] = {}
        if "hall" in self.parts:
            extra["hall"] = hall_row(console)
        if "resources" in self.parts:
            extra["resources"] = {name: in_own_process(name) for name in LOADS}
        text = tables(results, extra)
        settings = {name: plain(value) for name, value in asdict(self).items() if name != "scenes"}
        write_json(
            self.out / "results.json", {"machine": machine("cpu"), "settings": settings, "cases": results, **extra}
        )
        (self.out / "table.md").write_text(text + "\n", encoding="utf-8")
        console.print(text, markup=False, highlight=False, soft_wrap=True)
        if self.write_docs is not None:
            write_between(self.write_docs, "association", text)
        return Outcome(tuple(results))

    def _cases(self, console: Console) -> Iterator[tuple[str, str, Any]]:
        if "rooms" in self.parts:
            for seed in self.seeds:
                root = self.scene(seed, console)
                scene = Scene.load(root)
                splats: list[Splats] = []  # made once, and only where a level is not scored yet
                for level in self.levels:
                    yield level, root.name, lambda s=scene, n=level, k=seed, found=splats: self._room(s, n, k, found)
        for root in self.scenes:
            for seed in range(self.trainings):
                yield root.resolve().name, f"training {seed}", lambda r=root, k=seed: self._given(r, k, console)

    def _room(self, scene: Scene, level: str, seed: int, made: list[Splats]) -> Case:
        if not made:
            made.append(self._trained(scene, 0) if self.trained else splats_of_depth(scene))
        return room_case(scene, made[0], level, seed)

    def _given(self, root: Path, seed: int, console: Console) -> Case:
        scene = Scene.load(root)
        predicted, truth = scene.load_panoptic("panoptic"), scene.load_panoptic("panoptic_gt")
        train = [frame.stem for frame in scene.split("train") if frame.stem in predicted.maps]
        return case_of(scene, self._trained(scene, seed), predicted, truth, train, seed)

    def _trained(self, scene: Scene, seed: int) -> Splats:
        """Splats of a training in colour alone; the maps that ns-train asks for are the truth, and weigh nothing."""
        run = NerfstudioRun(self.out / "trainings" / f"{scene.root.resolve().name}-{seed}", Console(quiet=True))
        if not list(run.config.parent.glob("nerfstudio_models/step-*.ckpt")):
            own = run.folder / "scene"
            if not own.is_dir():
                link_scene(scene, own, [frame.stem for frame in scene.split("train")])
                scene.load_panoptic("panoptic_gt").save(own / "panoptic")
            run.train(own, ["--max-num-iterations", str(self.iterations), "--machine.seed", str(seed),
                            "--pipeline.model.panoptic-loss-weight", "0"])  # fmt: skip
        return load_checkpoint_splats(run.config)


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
