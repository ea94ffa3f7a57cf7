# SPDX-License-Identifier: Apache-2.0
"""A hand-made labelled scene with photos and truth: a floor and three cubes, seen by four cameras."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from panoptic_gs.camera import Camera
from panoptic_gs.export import render_path
from panoptic_gs.panoptic import Category, Labelling, PanopticScene, Segment
from panoptic_gs.scene import write_scene
from panoptic_gs.splats import SH_C0, Splats
from panoptic_gs.uplift import GaussianLabels, LabelledScene, save_labelled_scene

FLOOR, FIRST, SECOND, NASTY = 1, 7, 9, 12
CENTERS = {FIRST: (0.9, 0.0, 0.3), SECOND: (-0.9, 0.0, 0.3), NASTY: (0.0, 0.9, 0.3)}
NASTY_NAME = """</script><script>globalThis.hacked = 1</script><img src=x onerror='globalThis.hacked = 1'>"&amp;"""
CATEGORIES = (
    Category(1, "floor", isthing=False),
    Category(2, "chair", isthing=True),
    Category(3, NASTY_NAME, isthing=True),
    Category(4, "table", isthing=True),
)
SEGMENTS = (Segment(FLOOR, 1), Segment(FIRST, 2, 0.9), Segment(SECOND, 2, 0.4), Segment(NASTY, 3))
TRUE_IDS = {FLOOR: 2, FIRST: 5, SECOND: 6, NASTY: 9}
"""Predicted id → the true id of the same object."""
TRUE_SEGMENTS = (Segment(2, 1), Segment(5, 2), Segment(6, 4), Segment(9, 3))
"""The second cube is a table in truth."""
WIDTH, HEIGHT = 64, 48


def labelled_room() -> LabelledScene:
    """z is up; the cubes have sides of 0.6."""
    rng = np.random.default_rng(0)
    grid = np.stack(np.meshgrid(np.linspace(-2, 2, 24), np.linspace(-2, 2, 24)), axis=-1).reshape(-1, 2)
    means = [np.concatenate([grid, np.zeros((len(grid), 1))], axis=1)]
    ids, colors = [np.full(len(grid), FLOOR)], [np.full((len(grid), 3), 0.5)]
    for number, (segment_id, center) in enumerate(CENTERS.items()):
        count = 300 + 50 * number
        points = rng.uniform(-0.3, 0.3, (count, 3))
        points[np.arange(count), rng.integers(0, 3, count)] = rng.choice([-0.3, 0.3], count)
        means.append(points + center)
        ids.append(np.full(count, segment_id))
        colors.append(np.tile(np.eye(3)[number], (count, 1)))
    segment_of, color = np.concatenate(ids), np.concatenate(colors)
    count = len(segment_of)
    splats = Splats(
        torch.tensor(np.concatenate(means), dtype=torch.float32),
        torch.tensor([1.0, 0.0, 0.0, 0.0]).repeat(count, 1),
        torch.full((count, 3), 0.1),
        torch.full((count,), 0.95),
        torch.tensor((color - 0.5) / SH_C0, dtype=torch.float32)[:, None],
    )
    labels = GaussianLabels(
        torch.arange(count + 1), torch.from_numpy(segment_of), torch.ones(count), torch.full((count,), 5.0),
        torch.zeros(count),
    )  # fmt: skip
    return LabelledScene(splats, labels, Labelling(CATEGORIES, SEGMENTS, "by hand"))


def cameras() -> dict[str, Camera]:
    """Four cameras around the cubes, a little above."""
    K = torch.tensor([[60.0, 0, WIDTH / 2], [0, 60.0, HEIGHT / 2], [0, 0, 1]])
    found = {}
    for number, angle in enumerate(np.radians([-90, 0, 90, 180])):
        eye = np.array([4 * np.cos(angle), 4 * np.sin(angle), 1.8])
        forward = np.array([0, 0, 0.2]) - eye
        forward /= np.linalg.norm(forward)
        right = np.cross(forward, [0, 0, 1.0])
        right /= np.linalg.norm(right)
        rotation = np.stack([right, np.cross(forward, right), forward])
        viewmat = np.eye(4)
        viewmat[:3, :3], viewmat[:3, 3] = rotation, -rotation @ eye
        found[f"{number:04d}"] = Camera(torch.from_numpy(viewmat).float(), K, WIDTH, HEIGHT)
    return found


def write_room(root: Path) -> tuple[Path, Path]:
    """Write the labelled scene and the scene folder: ``labelled``, ``scene``; the last two views are held out."""
    scene = labelled_room()
    save_labelled_scene(root / "labelled", scene.splats, scene.labels, scene.labelling)
    views = {view.name: view for view in render_path(scene, cameras())}
    folder = root / "scene"
    stems = list(views)
    points = scene.splats.means.numpy()[::10], np.full((len(scene.splats.means[::10]), 3), 128, np.uint8)
    write_scene(folder, cameras(), {stem: view.rgb // 2 for stem, view in views.items()}, points,
                {"train": stems[:2], "test": stems[2:]})  # fmt: skip
    table = np.zeros(max(TRUE_IDS) + 1, np.int32)
    for predicted, true in TRUE_IDS.items():
        table[predicted] = true
    truth = {stem: table[view.ids] for stem, view in views.items()}
    PanopticScene(CATEGORIES, TRUE_SEGMENTS, truth).save(folder / "panoptic_gt")
    PanopticScene(CATEGORIES, SEGMENTS, {s: v.ids for s, v in list(views.items())[:2]}).save(folder / "panoptic")
    return root / "labelled", folder
