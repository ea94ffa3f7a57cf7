# SPDX-License-Identifier: Apache-2.0
"""Small scenes with exact masks: balls on a floor, seen from a ring of cameras."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from panoptic_gs import Camera, Category, GaussianLabels, Splats, render_panoptic
from panoptic_gs.associate import ViewMasks

FLOOR, BALL = Category(1, "floor", False), Category(2, "ball", True)


@dataclass(frozen=True, eq=False)
class Balls:
    """``truth[stem]`` has 1 for the floor and 2, 3, … for the balls."""

    splats: Splats
    cameras: dict[str, Camera]
    truth: dict[str, np.ndarray]

    def masks(self, rng: np.random.Generator | None = None) -> dict[str, ViewMasks]:
        """The true masks; their ids are drawn anew in every view."""
        rng = rng or np.random.default_rng(0)
        result = {}
        for stem, true in self.truth.items():
            ids = rng.permutation(1000)[: int(true.max()) + 1] + 1
            ids[0] = 0
            categories = {int(ids[k]): FLOOR.id if k == 1 else BALL.id for k in range(1, len(ids))}
            result[stem] = ViewMasks.from_label_map(ids[true], categories)
        return result

    def shown(self, stem: str, masks: ViewMasks) -> list[int]:
        """The true label that most of each mask shows."""
        return [int(np.bincount(self.truth[stem][masks.mask(m)]).argmax()) for m in range(len(masks))]


def look_at(eye: np.ndarray, target: np.ndarray, width: int = 96, height: int = 72) -> Camera:
    """A camera at ``eye``, z up in the world."""
    forward = (target - eye) / np.linalg.norm(target - eye)
    right = np.cross(forward, [0.0, 0.0, 1.0])
    right /= np.linalg.norm(right)
    rotation = np.stack([right, np.cross(forward, right), forward])
    viewmat = np.eye(4)
    viewmat[:3, :3], viewmat[:3, 3] = rotation, -rotation @ eye
    K = np.array([[0.9 * width, 0, width / 2], [0, 0.9 * width, height / 2], [0, 0, 1]])
    return Camera(torch.from_numpy(viewmat).float(), torch.from_numpy(K).float(), width, height)


def balls(
    centers: list[tuple[float, float]], eyes: list[tuple[float, float, float]] | None = None, radius: float = 0.35
) -> Balls:
    """Balls at ``centers`` on a floor of 6 × 6, looked at from ``eyes``, by default a ring of 12."""
    rng = np.random.default_rng(5)
    floor = np.stack(np.meshgrid(np.linspace(-3, 3, 41), np.linspace(-3, 3, 41)), -1).reshape(-1, 2)
    points, labels, sizes = [np.c_[floor, np.zeros(len(floor))]], [np.ones(len(floor), int)], [np.full(len(floor), 0.1)]
    for number, (x, y) in enumerate(centers, 2):
        direction = rng.normal(size=(300, 3))
        shell = radius * direction / np.linalg.norm(direction, axis=1, keepdims=True)
        points.append(shell + np.array([x, y, radius]))
        labels.append(np.full(len(shell), number))
        sizes.append(np.full(len(shell), 0.05))
    means, label = np.concatenate(points), np.concatenate(labels)
    count = len(means)
    splats = Splats(
        torch.from_numpy(means).float(),
        torch.tensor([[1.0, 0, 0, 0]]).repeat(count, 1),
        torch.from_numpy(np.concatenate(sizes)).float()[:, None].repeat(1, 3),
        torch.full((count,), 0.95),
        torch.zeros(count, 1, 3),
    )
    if eyes is None:
        angles = np.linspace(0, 2 * np.pi, 12, endpoint=False)
        eyes = [(4.5 * np.cos(a), 4.5 * np.sin(a), 2.5) for a in angles]
    cameras = {f"{k:02d}": look_at(np.array(eye), np.zeros(3)) for k, eye in enumerate(eyes)}
    ones = torch.ones(count)
    hard = GaussianLabels(torch.arange(count + 1), torch.from_numpy(label).int(), ones, ones, 0 * ones)
    truth = {stem: render_panoptic(splats, hard, camera).ids.numpy() for stem, camera in cameras.items()}
    return Balls(splats, cameras, truth)
