# SPDX-License-Identifier: Apache-2.0
"""Boxes and ``on`` relations against the furniture that rooms are made of: ``python -m benchmarks.objects``.

Rooms are trained and labelled from simulated predictions as ns-train does it by default, and each object's upright box
is held against the box around the exact surfaces of its primitives. Two boxes are intersected by SciPy's half-spaces
and hulls, and true boxes are turned by trimesh, so neither side of the comparison measures itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import trimesh
from rich.console import Console
from rich.table import Table
from scipy.spatial import ConvexHull, HalfspaceIntersection, QhullError

from benchmarks.quality.command import main
from benchmarks.quality.cut_outs import measure_cut_outs
from benchmarks.quality.measurements import Measurement, Outcome, scene_stamp
from benchmarks.quality.nerfstudio_run import NerfstudioRun
from benchmarks.quality.rooms import RoomOptions
from panoptic_gs.camera import Camera
from panoptic_gs.errors import InputError
from panoptic_gs.export import placed_objects, relate_objects
from panoptic_gs.files import write_json
from panoptic_gs.objects.boxes import Box
from panoptic_gs.objects.seen import SeenSurfaces
from panoptic_gs.objects.table import ObjectTable
from panoptic_gs.panoptic import PanopticScene
from panoptic_gs.refine import label_gaussians
from panoptic_gs.scene import Scene
from panoptic_gs.synthetic.noise import LEVELS, PredictionNoise, simulate_predictions
from panoptic_gs.synthetic.parts import RoomObject
from panoptic_gs.synthetic.primitives import Primitive
from panoptic_gs.synthetic.room import Room, make_room
from panoptic_gs.uplift import LabelledScene, uplift_labels
from panoptic_gs.uplift.checkpoint import load_checkpoint_splats
from panoptic_gs.uplift.maps import Repeated

_UP = np.array([0.0, 0.0, 1.0])
_MATCHED = 0.5  # intersection over union, in rendered pixels, of a found object with a true one
_SIDE = 0.3  # relative error of a side that counts as wrong
_EVERY = 3  # of the held-out views in which cut-outs are measured
_CLOSE = 0.05  # metres by which a side may be wrong all the same, in the second column
_HANGING = ("door", "window", "curtain", "painting", "ceiling lamp")
"""What a wall or the ceiling holds; nothing is asked of what it stands on."""


@dataclass(frozen=True)
class Objects(RoomOptions):
    """Measure boxes and relations of the objects of trained rooms against the generator's truth."""

    iterations: int = 2000
    """Training iterations."""
    level: str = "default"
    """How wrong the predictions are."""
    runs: str | None = None
    """Trainings that are there already: a path with {seed} in it, as in 'runs/room-{seed}/run'."""
    scenes: str | None = None
    """Their scene folders, also with {seed} in it; by default those of --out."""

    def run(self) -> Outcome:
        """Train what is not trained yet, measure, and write objects.json and a table."""
        if self.level not in LEVELS:
            raise InputError("--level", f"'{self.level}'", f"one of {', '.join(LEVELS)}", "Choose one of these.")
        console = Console()
        outcome = self.measured([self._measurement(seed, console) for seed in self.seeds], console, self.out / "logs",
                                lambda room: f"{room['matched']} of {room['objects']} objects matched")  # fmt: skip
        rooms, total = outcome.results, _summary(outcome.results)
        write_json(self.out / "objects.json", {
            "level": self.level, "total": total, "rooms": list(rooms), "failures": dict(outcome.failures),
        })  # fmt: skip
        table = Table("room", "objects", "matched", "median IoU", "sides within 30 %", "or 5 cm",
                      "on: precision", "on: recall", "halo, cleaned", "silhouette lacking, cleaned")  # fmt: skip
        for room in (*rooms, {"room": "all", **total}):
            table.add_row(str(room["room"]), *(_said(room[name]) for name in _COLUMNS))
        console.print(table)
        return outcome

    def _measurement(self, seed: int, console: Console) -> Measurement:
        root = self.scene(seed, console) if self.scenes is None else Path(self.scenes.format(seed=seed))
        trained = {"iterations": self.iterations} if self.runs is None else {"run": self.runs.format(seed=seed)}
        name = f"room-{seed}"  # folders that --scenes names may all be called the same
        file = self.out / "measured" / f"{name}-{self.level}.json"
        return Measurement(name, self._measure, (seed, root), file,
                           {**scene_stamp(root, "panoptic_gt"), "level": self.level, "seed": seed, **trained},
                           self.out / "runs" / f"{name}-{self.level}" / "log.txt")  # fmt: skip

    def _measure(self, seed: int, root: Path, threads: int) -> dict[str, Any]:
        data = Scene.load(root)
        frames = data.split("train")
        truth = data.load_panoptic("panoptic_gt")
        known = PanopticScene(truth.categories, truth.segments, {f.stem: truth.maps[f.stem] for f in frames})
        noisy = simulate_predictions(known, PredictionNoise.preset(self.level), seed)
        if self.runs is None:
            predicted = f"panoptic-{self.level}"
            if not (root / predicted / "panoptic.json").is_file():
                noisy.save(root / predicted, overwrite=True)
            folder = self.out / "runs" / f"room-{seed}-{self.level}"
            run = NerfstudioRun(folder, Console(quiet=True), folder / "log.txt", threads)
            run.train_once(root, (
                "--max-num-iterations", str(self.iterations), "--machine.seed", "42",
                "--pipeline.datamanager.dataparser.panoptic-folder", predicted,
            ))  # fmt: skip
            checkpoint = run.config
        else:
            checkpoint = Path(self.runs.format(seed=seed))
        splats = load_checkpoint_splats(checkpoint)
        views = Repeated(lambda: ((f.camera, f.fit_labels(noisy.maps[f.stem])) for f in frames))
        labelled = LabelledScene(splats, label_gaussians("weighed", splats, views, None, noisy.labelling), noisy)
        true_labels = uplift_labels(splats, ((f.camera, f.fit_labels(truth.maps[f.stem])) for f in frames))
        seen = SeenSurfaces(labelled, [frame.camera for frame in frames])
        result = measure_room(
            labelled,
            true_labels.best()[0].numpy(),
            make_room(seed),
            seen,
            [frame.camera for frame in data.split("test")][::_EVERY],
        )
        return {"room": f"room-{seed}", **result}


_COLUMNS = ("objects", "matched", "median_iou", "sides", "sides_or_close", "precision", "recall", "halo", "lacking")


def measure_room(
    scene: LabelledScene,
    true_segment: np.ndarray,
    room: Room,
    seen: SeenSurfaces | None = None,
    held_out: Sequence[Camera] = (),
) -> dict[str, Any]:
    """Boxes and ``on`` of a labelled room against its furniture.

    Args:
        scene: the room's labelled Gaussians, its floor at z = 0 and centred as the generator's.
        true_segment: ``[N]`` the true segment of each Gaussian.
        room: the furniture.
        seen: what the training views show of its surfaces.
        held_out: views in which objects that were cut out are held against their silhouettes.
    """
    table = ObjectTable(scene, seen)
    total = scene.labels.total.numpy().astype(np.float64)
    matches = match_segments(table.segment_of, true_segment, total)
    items = {segment: index for index, segment in enumerate(room.object_segments)}
    single = {s for s in items if room.object_segments.count(s) == 1 and room.objects[items[s]].name != "rug"}
    boxes = []
    for segment in sorted(single):
        found = matches.get(segment)
        if found is None or (box := table.box(found, _UP)) is None:
            continue
        expected = true_box(room.objects[items[segment]], room.size)
        sides = side_ratios(box, expected)
        boxes.append({
            "object": room.objects[items[segment]].name, "segment": segment, "iou": box_iou(box, expected),
            "size": box.size.tolist(), "true_size": expected.size.tolist(), "sides": sides.tolist(),
            "left_out": box.left_out,
        })  # fmt: skip
    wanted = {(s, o) for s, o in standing(room) if s in matches and o in matches}
    true_of = {found: true for true, found in matches.items()}
    relations = relate_objects(scene.splats, placed_objects(table, _UP, uncertain=False), _UP)
    said = {(true_of.get(r.subject, 0), true_of.get(r.object, 0)) for r in relations if r.relation == "on"}
    floor = int(room.surface_segments[1])
    open_question = {(s, floor) for s in single if room.objects[items[s]].name in ("door", "curtain")}
    said = {pair for pair in said if pair[0] in single} - open_question
    truly = {matches[segment]: room.objects[items[segment]] for segment in sorted(single) if segment in matches}
    cut_outs = [cut._asdict() for cut in measure_cut_outs(table, truly, held_out, _UP)]
    return {
        "objects": len(single), "cut_outs": cut_outs, **_mean_cut_outs(cut_outs), "boxes": boxes,
        "wanted": sorted(wanted), "said": sorted(said),
        **_figures(boxes, wanted, said),
    }  # fmt: skip


def _figures(boxes: list[dict[str, Any]], wanted: set[Any], said: set[Any]) -> dict[str, Any]:
    right = len(wanted & said)
    return {
        "matched": len(boxes),
        "median_iou": float(np.median([box["iou"] for box in boxes])) if boxes else None,
        "sides": float(np.mean([_right(box) for box in boxes])) if boxes else None,
        "sides_or_close": float(np.mean([_right(box, _CLOSE) for box in boxes])) if boxes else None,
        "precision": right / len(said) if said else None,
        "recall": right / len(wanted) if wanted else None,
    }


def _mean_cut_outs(cut_outs: Sequence[dict[str, Any]]) -> dict[str, list[float] | None]:
    """Halo and what is lacking, as they are and cleaned; means over objects and views."""
    return {
        name: np.mean([cut[name] for cut in cut_outs], axis=0).tolist() if cut_outs else None
        for name in ("halo", "lacking")
    }


def _right(box: dict[str, Any], close: float = 0.0) -> bool:
    """Whether each side is right to within :data:`_SIDE` of it, or ``close`` in metres."""
    return all(abs(r - 1) <= _SIDE or abs(r - 1) * true <= close for r, true in zip(box["sides"], box["true_size"]))


def _summary(rooms: Sequence[dict[str, Any]]) -> dict[str, Any]:
    boxes = [box for room in rooms for box in room["boxes"]]
    wanted, said = ({(room["room"], *pair) for room in rooms for pair in room[name]} for name in ("wanted", "said"))
    cut_outs = [cut for room in rooms for cut in room["cut_outs"]]
    return {
        "objects": sum(room["objects"] for room in rooms),
        **_mean_cut_outs(cut_outs),
        **_figures(boxes, wanted, said),
    }


def _said(value: Any) -> str:
    if isinstance(value, list):
        return " → ".join(f"{part:.3f}" for part in value)
    return "–" if value is None else f"{value:.3f}" if isinstance(value, float) else str(value)


def match_segments(found: np.ndarray, true: np.ndarray, weight: np.ndarray) -> dict[int, int]:
    """True segment → the found one that shares at least half of both in weight; ids ``[N]`` with 0 for none."""
    pairs, inverse = np.unique(np.stack([true, found]), axis=1, return_inverse=True)
    shared = np.bincount(inverse.ravel(), weight)
    of_true, of_found = np.bincount(true, weight), np.bincount(found, weight)
    matches = {}
    for (a, b), both in zip(pairs.T.tolist(), shared):
        if a and b and both > 0 and both / (of_true[a] + of_found[b] - both) >= _MATCHED:
            matches[a] = b
    return matches


def standing(room: Room) -> set[tuple[int, int]]:
    """Which segment stands on which by construction: on the floor at z = 0, or on a flat top some 2 mm above it."""
    floor = int(room.surface_segments[1])
    pairs = set()
    for index, item in enumerate(room.objects):
        if item.name in (*_HANGING, "rug") or room.object_segments.count(room.object_segments[index]) > 1:
            continue
        low, high = item.bounds()
        if low[2] < 0.02:
            pairs.add((room.object_segments[index], floor))
            continue
        middle = (low + high)[:2] / 2
        for other, support in enumerate(room.objects):
            tops = [p for p in support.primitives if abs(low[2] - p.bounds()[1][2]) < 0.02]
            if other != index and any(
                (p.bounds()[0][:2] <= middle).all() and (middle <= p.bounds()[1][:2]).all() for p in tops
            ):
                pairs.add((room.object_segments[index], room.object_segments[other]))
    return pairs


def true_box(item: RoomObject, size: tuple[float, float, float]) -> Box:
    """The upright box around the surfaces of an object, as far as they are inside the room."""
    points = np.concatenate([_surface(primitive) for primitive in item.primitives])
    half = np.array(size[:2]) / 2
    points = np.concatenate([points[:, :2].clip(-half, half), points[:, 2:].clip(0, size[2])], axis=1)
    to_box, extents = trimesh.bounds.oriented_bounds_2D(points[:, :2])
    axes = np.eye(3)
    axes[:2, :2] = np.asarray(to_box)[:2, :2].T
    low, high = (points @ axes).min(axis=0), (points @ axes).max(axis=0)
    return Box(axes @ ((low + high) / 2), axes, np.array([*extents, high[2] - low[2]]))


def _surface(primitive: Primitive, steps: int = 25) -> np.ndarray:
    """Points ``[P, 3]`` on a primitive, its extremes included."""
    u, v = (grid.ravel() for grid in np.meshgrid(np.linspace(-1, 1, steps), np.linspace(-1, 1, steps)))
    if primitive.shape == "box":
        unit = np.concatenate([np.roll(np.stack([np.full_like(u, side), u, v]), axis, axis=0) for axis in range(3)
                               for side in (-1.0, 1.0)], axis=1)  # fmt: skip
    else:
        radius = np.sqrt(1 - v * v) if primitive.shape == "ball" else 1 + (primitive.taper - 1) / 2 * (v + 1)
        unit = np.stack([radius * np.cos(np.pi * u), radius * np.sin(np.pi * u), v])
    return (primitive.rotation @ (unit * primitive.size[:, None])).T + primitive.center


def side_ratios(box: Box, expected: Box) -> np.ndarray:
    """Found over true edge lengths ``[3]``; the ground's edges are paired by direction, or where that is open, best."""
    cosine = abs(float(expected.axes[:, 0] @ box.axes[:, 0]))
    straight, crossed = box.size[:2] / expected.size[:2], box.size[[1, 0]] / expected.size[:2]
    if cosine > np.cos(np.pi / 6):
        ground = straight
    elif cosine < np.sin(np.pi / 6):
        ground = crossed
    else:
        ground = min((straight, crossed), key=lambda ratio: np.abs(np.log(ratio)).max())
    return np.append(ground, box.size[2] / expected.size[2])


def box_iou(one: Box, other: Box) -> float:
    """The volume that two boxes share over that of both."""
    planes = []
    for box in (one, other):
        for axis in range(3):
            normal = box.axes[:, axis]
            at = float(normal @ box.center)
            planes += [[*normal, -at - 0.5 * box.size[axis]], [*-normal, at - 0.5 * box.size[axis]]]
    grid = (np.stack(np.meshgrid(*[(np.arange(16) + 0.5) / 16 - 0.5] * 3), axis=-1)).reshape(-1, 3)
    points = one.center + (grid * one.size) @ one.axes.T
    shared = points[other.contains(points)]
    if not len(shared):
        return 0.0
    try:
        corners = HalfspaceIntersection(np.array(planes), shared.mean(axis=0)).intersections
        both = float(ConvexHull(corners).volume)
    except QhullError:
        return 0.0
    return both / float(one.size.prod() + other.size.prod() - both)


if __name__ == "__main__":
    main(Objects)
