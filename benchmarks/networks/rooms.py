# SPDX-License-Identifier: Apache-2.0
"""Rooms that a network is measured on, and what the mean of other rooms would say of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from panoptic_gs.files import read_json, write_json
from panoptic_gs.panoptic import PanopticScene, Segment
from panoptic_gs.replacing import replacing_folder
from panoptic_gs.scene import Scene, write_scene
from panoptic_gs.synthetic import CATEGORIES, RoomRenderer, inward_path, make_room, synthesize

WIDTH, HEIGHT = 160, 120
SEEN = 24
_HELD_OUT = 6
_MEAN_ROOMS = range(500_000, 500_020)


@dataclass(frozen=True, eq=False)
class MeasuredRoom:
    """A room's scene folder, 24 views of it to predict on and 6 that are held out, and their true depth."""

    root: Path
    scene: Scene
    truth: PanopticScene
    depth: dict[str, np.ndarray]

    @property
    def seen(self) -> list[str]:
        """The views to predict on, in order."""
        return [frame.stem for frame in self.scene.split("train")]

    def chosen(self, count: int) -> list[str]:
        """So many of them, evenly spaced around the room."""
        seen = self.seen
        return [seen[round(k)] for k in np.linspace(0, len(seen) - len(seen) / count, count)]

    def viewmats(self, stems: Sequence[str]) -> dict[str, np.ndarray]:
        """True world to camera."""
        return {stem: self.scene.frame(stem).camera.viewmat.double().numpy() for stem in stems}


def measured_room(out: Path, seed: int, seen: int = SEEN) -> MeasuredRoom:
    """The room of a seed, made where it is not there yet."""
    root = out / f"room-{seed}-{seen}"
    recipe = {"seed": seed, "views": seen, "size": [WIDTH, HEIGHT]}
    if not (root / "recipe.json").is_file() or read_json(root / "recipe.json") != recipe:
        total = seen + max(1, seen * _HELD_OUT // SEEN)
        scene = synthesize(seed, total, WIDTH, HEIGHT, seed_points=20_000)
        with replacing_folder(root, overwrite=True, known_by="transforms.json") as folder:
            images = {stem: view.color for stem, view in scene.views.items()}
            write_scene(folder, scene.cameras, images, scene.points, scene.splits, meters_per_unit=1.0)
            scene.truth.save(folder / "panoptic_gt")
            np.savez_compressed(folder / "depth.npz", **{stem: view.depth for stem, view in scene.views.items()})
            write_json(folder / "recipe.json", recipe)
    scene = Scene.load(root)
    with np.load(root / "depth.npz") as file:
        depth = {stem: file[stem].astype(np.float32) for stem in file.files}
    return MeasuredRoom(root, scene, scene.load_panoptic("panoptic_gt"), depth)


@cache
def mean_view() -> tuple[np.ndarray, np.ndarray]:
    """Each pixel's most frequent class and median depth, ``[H, W]``, over views of twenty other rooms.

    What a network that did not look at its input would say at best.
    """
    depths, classes = [], []
    for seed in _MEAN_ROOMS:
        renderer = RoomRenderer(make_room(seed))
        for camera in inward_path(renderer, 6, WIDTH, HEIGHT):
            depth, _, category = renderer.geometry(camera)
            depths.append(depth)
            classes.append(category)
    stack = np.stack(classes)
    counts = np.stack([(stack == category.id).sum(0) for category in CATEGORIES])
    ids = np.array([category.id for category in CATEGORIES])
    return ids[counts.argmax(0)], np.median(np.stack(depths), axis=0)


def mean_prediction(stems: Sequence[str]) -> PanopticScene:
    """The mean view's classes as the maps of some views; one segment a class."""
    classes, _ = mean_view()
    present = np.unique(classes)
    segments = tuple(Segment(number, int(category)) for number, category in enumerate(present, 1))
    ids = np.searchsorted(present, classes).astype(np.int32) + 1
    return PanopticScene(CATEGORIES, segments, dict.fromkeys(stems, ids), source="mean view")
