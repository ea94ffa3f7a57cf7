# SPDX-License-Identifier: Apache-2.0
"""``python -m benchmarks.network``: the multi-view network on rooms that its training never saw, without cameras."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from rich import box
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.nn import Module

from benchmarks.demo_photos import add_held_out_views
from benchmarks.networks.measures import depth_share, id_consistency, relative_pose_share
from benchmarks.networks.overfit import ceiling, overfit
from benchmarks.networks.rooms import MeasuredRoom, mean_prediction, mean_view, measured_room
from benchmarks.quality.command import main
from benchmarks.quality.harness import Outcome
from benchmarks.quality.nerfstudio_run import NerfstudioRun
from benchmarks.speed.timing import machine
from panoptic_gs.errors import InputError
from panoptic_gs.files import write_json
from panoptic_gs.merge import merge_predictions
from panoptic_gs.metrics import evaluate_scenes
from panoptic_gs.network.inference import predict_views
from panoptic_gs.network.model import PanopticNetwork
from panoptic_gs.network.weights import TINY, load_network_file
from panoptic_gs.panoptic import PanopticScene
from panoptic_gs.predict.keyframes import Keyframes
from panoptic_gs.predict.network import NetworkInput, NetworkOptions, NetworkOutput, prepare, raw_predictions
from panoptic_gs.predict.scene_folder import photo_of
from panoptic_gs.raw_predictions import RawPredictions
from panoptic_gs.scene import Scene
from panoptic_gs.synthetic import CATEGORIES
from panoptic_gs.uplift.checkpoint import load_checkpoint

Features = Literal["all", "appearance", "geometry"]
NAME, PROTOCOL = "panoptic-gs", "strict"
OVERFIT = 90.0
"""Scene-PQ in percent of two rooms that are learned by heart."""
BARS = {"masks": 30.0, "true cameras": 38.0, "own cameras": 25.0, "ids": 85.0, "poses": 60.0, "depth": 80.0}
"""In percent."""


@dataclass(frozen=True)
class Network:
    """Measure the network on procedural rooms of seeds that training never saw, at 160×120.

    Scene-PQ of its merged maps, with no cameras given; how consistent ids are; relative poses; depth; by the number of
    views. Beside it what the mean view of other rooms would score, which looks at no photo.
    """

    out: Path = Path("outputs/network")
    """Folder for rooms and results."""
    weights: Path | None = None
    """Of the network; by default those that come with the package."""
    rooms: int = 16
    """Number of rooms."""
    first_seed: int = 0
    """Of the rooms; training rooms have seeds from 1,000,000 on."""
    views: tuple[int, ...] = (8, 24)
    """Numbers of views that are predicted together."""
    splats: int = 0
    """So many of the rooms are trained as splats, with the true cameras and with the network's own (minutes each)."""
    iterations: int = 1000
    """Of those trainings."""
    features: Features = "all"
    """Which features frame tokens and dense features are made of; the others are zero, which training never saw."""
    overfit: int = 0
    """Instead of all that: so many steps of training on two rooms, until masks of the same views reach `OVERFIT`."""

    def run(self) -> Outcome:
        """Measure, print, write ``network.json``."""
        console, rows = Console(), []
        weights = TINY if self.weights is None else self.weights
        if self.overfit:
            return self._overfit(weights)
        network = load_network_file(weights)
        leave_out(network, self.features)
        for number in range(self.rooms):
            seed = self.first_seed + number
            for count in self.views:
                room = measured_room(self.out / "rooms", seed, max(24, count))
                row = {"seed": seed, "views": count} | measured(network, room, room.chosen(count))
                if number < self.splats and count == max(self.views):
                    row |= self._trained(room, weights, console)
                rows.append(row)
                console.print(row, highlight=False)
        summary = {str(count): _mean([row for row in rows if row["views"] == count]) for count in self.views}
        console.print(_table(summary))
        write_json(self.out / "network.json", {
            "machine": machine("cpu"), "weights": str(weights), "features": self.features,
            "rooms": self.rooms, "first_seed": self.first_seed,
            "bars": BARS, "mean": summary, "rows": rows,
        })  # fmt: skip
        return Outcome(())

    def _overfit(self, weights: Path) -> Outcome:
        """Two rooms of eight views and two more, learned by heart; a failure where their masks stay below the bar."""
        rooms = [measured_room(self.out / "rooms", self.first_seed + number, 8) for number in range(2)]
        stride = load_network_file(weights).config.masks.stride
        highest = float(np.mean([ceiling(room, stride, PROTOCOL) for room in rooms]))
        print(f"perfect masks at every {stride} pixels: scene-PQ {highest:.1f}", flush=True)
        found = overfit(rooms, weights, self.overfit, OVERFIT, lambda network, room: masks_and_ids(network, room)[0])
        found["perfect masks"] = highest
        write_json(self.out / "overfit.json", {"machine": machine("cpu"), "weights": str(weights), **found})
        if found["masks"] < OVERFIT:
            return Outcome((), {"overfit": f"scene-PQ {found['masks']:.1f} of two rooms, below {OVERFIT:g}"})
        return Outcome(())

    def _trained(self, room: MeasuredRoom, weights: Path, console: Console) -> dict[str, float]:
        """Scene-PQ of held-out views of splats trained with the true and with the network's own cameras."""
        scores = {}
        base = self.out / "runs" / room.root.name
        shutil.rmtree(base, ignore_errors=True)
        call = NerfstudioRun(base, console, base / "log.txt", 1)
        base.mkdir(parents=True)
        program = str(Path(sys.executable).with_name("panoptic-gs"))
        command = [program, "predict", "--classes", "reduced21", "--shared-focal",
                   "--network", f"panoptic-gs:{weights.resolve()}", "--out"]  # fmt: skip
        photos = base / "photos"
        photos.mkdir()
        for stem in room.seen:
            shutil.copy(room.scene.frame(stem).image_path, photos)
        known = base / "true cameras" / "scene"
        shutil.copytree(room.root, known)
        call.call([*command, str(base / "predicted"), str(photos)])
        shutil.copytree(base / "predicted" / "panoptic", known / "panoptic")
        own = base / "own cameras" / "scene"
        own.parent.mkdir()
        shutil.copytree(base / "predicted", own)
        for name, scene in (("true cameras", known), ("own cameras", own)):
            try:
                if name == "own cameras":
                    add_held_out_views(own, room.scene)
                scores[name] = 100 * self._held_out(scene, NerfstudioRun(scene.parent, console, base / "log.txt", 1))
            except InputError as error:  # cameras that have nothing to do with the truth score nothing
                console.print(f"{room.root.name}, {name}: {error.found}", markup=False)
                scores[name] = 0.0
        return scores

    def _held_out(self, scene: Path, run: NerfstudioRun) -> float:
        run.train(scene, ("--max-num-iterations", str(self.iterations)))
        run.render()
        meaning = load_checkpoint(run.config).labelling
        found = PanopticScene(meaning.categories, meaning.segments, run.rendered_ids(), source="ns-render")
        loaded = Scene.load(scene)
        truth = loaded.load_panoptic("panoptic_gt")
        test = [frame.stem for frame in loaded.split("test")]
        return evaluate_scenes(found, truth, test, [PROTOCOL], allow_missing=True)[PROTOCOL].panoptic.pq


def measured(network: PanopticNetwork, room: MeasuredRoom, stems: Sequence[str]) -> dict[str, float]:
    """All shares of one prediction, in percent, its seconds, and what the mean view scores."""
    photos = [photo_of(room.scene.frame(stem)) for stem in stems]
    views = prepare(photos, [network.config.size])
    names = [category.name for category in CATEGORIES]
    begun = time.perf_counter()
    output = predict_views(network, views.crops, names, Keyframes(50))
    seconds = time.perf_counter() - begun
    raw = as_raw(views, output)
    masks = raw_predictions(views, CATEGORIES, output, NAME, NetworkOptions(estimate_cameras=False))
    pq, ids = _scores(masks, room, stems)
    void_pq, void_ids = _scores(masks, room, stems, 0.5)
    found: dict[str, np.ndarray] = {}
    if raw is not None and raw.viewmats is not None:
        found = dict(zip([image.stem for image in raw.images], raw.viewmats.double().numpy(), strict=True))
    assert output.points_local is not None
    local = {stem: points[..., 2].numpy() for stem, points in zip(stems, output.points_local, strict=True)}
    true = {stem: room.depth[stem] for stem in stems}
    mean = mean_prediction(stems)
    mean_pq = evaluate_scenes(mean, room.truth, stems, [PROTOCOL])[PROTOCOL].panoptic.pq
    return {
        "masks": pq,
        "ids": ids,
        "masks, void below one half": void_pq,
        "ids, void below one half": void_ids,
        "poses": 100 * relative_pose_share(found, room.viewmats(stems)),
        "depth": 100 * depth_share(local, true),
        "seconds": seconds,
        "mean view: masks": 100 * mean_pq,
        "mean view: depth": 100 * depth_share(dict.fromkeys(stems, mean_view()[1]), true),
    }


def masks_and_ids(network: PanopticNetwork, room: MeasuredRoom) -> tuple[float, float]:
    """Scene-PQ and consistency of ids of a room's views, in percent."""
    views = prepare([photo_of(room.scene.frame(stem)) for stem in room.seen], [network.config.size])
    names = [category.name for category in CATEGORIES]
    output = predict_views(network, views.crops, names, Keyframes(50), matching=False)
    masks = raw_predictions(views, CATEGORIES, output, NAME, NetworkOptions(estimate_cameras=False))
    return _scores(masks, room, room.seen)


def leave_out(network: PanopticNetwork, features: Features) -> None:
    """Make all features but these zero where frame tokens and dense features are made of them."""

    def nothing(module: Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        return torch.zeros_like(output)

    if features == "all":
        return
    left_out = {"appearance": ("encoder", "decoder"), "geometry": ("appearance",)}[features]
    modules = [network.fuse_norms[name] for name in left_out if name in network.fuse_norms]
    if features == "geometry":
        modules += list(network.dense.skips.values())
    elif network.located is not None:
        modules.append(network.located)
    for module in modules:
        module.register_forward_hook(nothing)


def as_raw(views: NetworkInput, output: NetworkOutput) -> RawPredictions | None:
    """Raw predictions with cameras; None where they cannot be told."""
    try:
        return raw_predictions(views, CATEGORIES, output, NAME, NetworkOptions())
    except InputError:
        return None


def _scores(
    masks: RawPredictions, room: MeasuredRoom, stems: Sequence[str], void_threshold: float = 0.0
) -> tuple[float, float]:
    """Scene-PQ and consistency of ids of merged masks; no room has void, so that by default every pixel is labelled."""
    try:
        found = merge_predictions(masks, "qubo", void_threshold=void_threshold).scene()
    except InputError:  # no segment at all
        return 0.0, 0.0
    maps = {stem: np.asarray(found.maps[stem]) for stem in stems}
    pq = evaluate_scenes(found, room.truth, stems, [PROTOCOL])[PROTOCOL].panoptic.pq
    things = {category.id for category in room.truth.categories if category.isthing}
    ids = [segment.id for segment in room.truth.segments if segment.category_id in things]
    true = {stem: np.asarray(room.truth.maps[stem]) for stem in stems}
    return 100 * pq, 100 * id_consistency(maps, true, ids)


def _mean(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    names = dict.fromkeys(name for row in rows for name in row if name not in ("seed", "views"))
    return {name: float(np.mean([row[name] for row in rows if name in row])) for name in names}


def _table(summary: Mapping[str, Mapping[str, float]]) -> Table:
    table = Table(title="Unseen rooms, in percent; seconds", box=box.SIMPLE_HEAD)
    table.add_column("")
    for views in summary:
        table.add_column(f"{views} views", justify="right")
    table.add_column("bar", justify="right")
    for name in dict.fromkeys(name for row in summary.values() for name in row):
        cells = [f"{row[name]:.1f}" if name in row else "" for row in summary.values()]
        table.add_row(name, *cells, f"{BARS[name]:g}" if name in BARS else "")
    return table


if __name__ == "__main__":
    main(Network)
