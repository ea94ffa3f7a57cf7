# SPDX-License-Identifier: Apache-2.0
"""A hand-made labelled scene: a floor and three cubes in a row, so that it is known what hides what."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
import trimesh

from panoptic_gs.mesh import LabelledMesh, write_mesh_ply
from panoptic_gs.panoptic import Category, Labelling, Segment
from panoptic_gs.splats import SH_C0, Splats
from panoptic_gs.uplift import GaussianLabels, LabelledScene, save_labelled_scene

FLOOR, NEAR, FAR, NASTY = 1, 7, 9, 12
CENTERS = {NEAR: (1.0, 0.0, 0.3), FAR: (-1.0, 0.0, 0.3), NASTY: (0.0, 1.2, 0.3)}
NASTY_NAME = "export const x = {globalThis.hacked = 1}<img src=x onerror='globalThis.hacked = 1'>![a](/etc/passwd)"
CATEGORIES = (
    Category(1, "floor", isthing=False, color=(120, 90, 60)),
    Category(2, "chair", isthing=True),
    Category(3, NASTY_NAME, isthing=True),
    Category(4, "wall", isthing=False),
)
SEGMENTS = (Segment(FLOOR, 1), Segment(NEAR, 2, 0.9), Segment(FAR, 2, 0.4), Segment(NASTY, 3))


def small_room() -> LabelledScene:
    """A floor of 1,600 Gaussians, z up, and cubes of 600 each; the cube NEAR is 30 % unsure, between NEAR and FAR."""
    rng = np.random.default_rng(0)
    grid = np.stack(np.meshgrid(np.linspace(-2, 2, 40), np.linspace(-2, 2, 40)), axis=-1).reshape(-1, 2)
    means = [np.concatenate([grid, np.zeros((len(grid), 1))], axis=1)]
    ids, colors = [np.full(len(grid), FLOOR)], [np.full((len(grid), 3), 0.5)]
    for number, (segment_id, center) in enumerate(CENTERS.items()):
        points = rng.uniform(-0.3, 0.3, (600, 3))
        side = rng.integers(0, 3, 600)
        points[np.arange(600), side] = rng.choice([-0.3, 0.3], 600)
        means.append(points + center)
        ids.append(np.full(600, segment_id))
        colors.append(np.tile(np.eye(3)[number], (600, 1)))
    segment_of, color = np.concatenate(ids), np.concatenate(colors)
    count = len(segment_of)
    splats = Splats(
        torch.tensor(np.concatenate(means), dtype=torch.float32),
        torch.tensor([1.0, 0.0, 0.0, 0.0]).repeat(count, 1),
        torch.full((count, 3), 0.08),
        torch.full((count,), 0.95),
        torch.tensor((color - 0.5) / SH_C0, dtype=torch.float32)[:, None],
    )
    rows = [[(NEAR, 0.7), (FAR, 0.3)] if s == NEAR else [(int(s), 1.0)] for s in segment_of]
    indptr = torch.tensor([0, *np.cumsum([len(row) for row in rows])])
    label, weight = zip(*(entry for row in rows for entry in row))
    labels = GaussianLabels(
        indptr, torch.tensor(label), torch.tensor(weight), torch.full((count,), 10.0), torch.zeros(count)
    )
    return LabelledScene(splats, labels, Labelling(CATEGORIES, SEGMENTS, "by hand"))


def save(scene: LabelledScene, folder) -> None:
    """Write it as 'panoptic-gs uplift' does."""
    save_labelled_scene(folder, scene.splats, scene.labels, scene.labelling)


def boxes(floor: int, centers: Mapping[int, Sequence[float]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A floor and cubes at these centres: vertices ``[V, 3]``, faces ``[F, 3]``, and each vertex's segment ``[V]``."""
    parts = {floor: trimesh.creation.box((4, 4, 0.02))}
    for segment, center in centers.items():
        parts[segment] = trimesh.creation.box((0.6, 0.6, 0.6))
        parts[segment].apply_translation(center)
    whole = trimesh.util.concatenate(list(parts.values()))
    segment = np.repeat(list(parts), [len(part.vertices) for part in parts.values()]).astype(np.int32)
    return np.asarray(whole.vertices), np.asarray(whole.faces, np.int32), segment


def small_mesh() -> LabelledMesh:
    """The same as boxes, one a segment; the cube NEAR is 70 % sure, everything is grey."""
    vertices, faces, segment = boxes(FLOOR, CENTERS)
    count = len(segment)
    return LabelledMesh(vertices, faces,
                        np.full((count, 3), 120, np.uint8), segment,
                        np.where(segment == NEAR, 0.7, 1).astype(np.float32), np.ones(count, np.float32))  # fmt: skip


def save_mesh(scene: LabelledScene, mesh: LabelledMesh, folder: Path) -> None:
    """Write it as 'panoptic-gs mesh' does, as far as it is read."""
    write_mesh_ply(folder / "mesh.ply", mesh, scene.labelling, 1.0)
    (folder / "mesh.json").write_text('{"info": {"meters_per_world_unit": 1.0}}')
