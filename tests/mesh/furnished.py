# SPDX-License-Identifier: Apache-2.0
"""A room of boxes that is known exactly: a floor, two walls, a table of a top and four legs, a cup on it, a chest by a
wall. As Gaussians, and as cameras that go around in it."""

from __future__ import annotations

import numpy as np
import torch

from panoptic_gs import Camera, Segment, Splats
from panoptic_gs.labelling import Category, Labelling
from panoptic_gs.splats import SH_C0
from panoptic_gs.uplift import GaussianLabels, LabelledScene

SPACING = 0.03
CATEGORIES = (
    Category(1, "floor", False), Category(2, "wall", False), Category(3, "table", True), Category(4, "cup", True),
    Category(5, "chest", True),
)  # fmt: skip
BOXES = {  # segment → centre and size of its boxes
    1: [([0, 0, -0.05], [3, 3, 0.1])],
    2: [([0, 1.55, 0.7], [3, 0.1, 1.4]), ([-1.55, 0, 0.7], [0.1, 3, 1.4])],
    3: [([0, 0, 0.47], [0.9, 0.6, 0.06])]
    + [([x, y, 0.22], [0.08, 0.08, 0.44]) for x in (-0.4, 0.4) for y in (-0.25, 0.25)],
    4: [([0.15, 0.1, 0.59], [0.16, 0.16, 0.18])],
    5: [([0.8, 1.27, 0.25], [0.7, 0.44, 0.5])],
}
COLORS = np.array([[90, 90, 90], [200, 190, 170], [150, 90, 40], [220, 30, 30], [30, 60, 220]]) / 255
TABLE, CUP, CHEST = 3, 4, 5


def furnished() -> LabelledScene:
    """Small round Gaussians all over the boxes' faces."""
    clouds, ids = [], []
    for segment, boxes in BOXES.items():
        for center, size in boxes:
            points = _faces(np.array(center, dtype=float), np.array(size))
            clouds.append(points)
            ids.append(np.full(len(points), segment))
    means, segment = np.concatenate(clouds), np.concatenate(ids)
    count = len(means)
    splats = Splats(
        torch.from_numpy(means).float(),
        torch.tensor([[1.0, 0, 0, 0]]).repeat(count, 1),
        torch.full((count, 3), 0.4 * SPACING),
        torch.full((count,), 0.95),
        torch.from_numpy((COLORS[segment - 1] - 0.5) / SH_C0).float()[:, None],
    )
    labels = GaussianLabels(
        torch.arange(count + 1), torch.from_numpy(segment).int(), torch.ones(count), torch.full((count,), 10.0),
        torch.zeros(count),
    )  # fmt: skip
    return LabelledScene(splats, labels, Labelling(CATEGORIES, tuple(Segment(k, k) for k in BOXES)))


def cameras(count: int = 16, size: tuple[int, int] = (160, 120)) -> dict[str, Camera]:
    """All around, from above and from just over the floor."""
    found = {}
    for k in range(count):
        angle = 2 * np.pi * k / count
        eye = [1.3 * np.cos(angle), 1.3 * np.sin(angle), (1.3, 0.75, 0.2)[k % 3]]
        found[f"{k:02d}"] = Camera.look_at(eye, [0.1, 0.15, 0.35], [0, 0, 1], 1.3, *size)
    return found


def _faces(center: np.ndarray, size: np.ndarray) -> np.ndarray:
    points = []
    for axis in range(3):
        u, v = (k for k in range(3) if k != axis)
        steps = [np.linspace(-0.5, 0.5, max(2, round(size[k] / SPACING))) * size[k] for k in (u, v)]
        a, b = (grid.ravel() for grid in np.meshgrid(*steps))
        for side in (-0.5, 0.5):
            face = np.empty((len(a), 3))
            face[:, axis], face[:, u], face[:, v] = side * size[axis], a, b
            points.append(face + center)
    return np.concatenate(points)
