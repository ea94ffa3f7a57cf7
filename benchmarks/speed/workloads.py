# SPDX-License-Identifier: Apache-2.0
"""What is measured: the garden workload, or random scenes of its size; a room for training."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from panoptic_gs import Camera, Splats
from panoptic_gs.splats import SH_C0


@dataclass(frozen=True)
class Workload:
    """Gaussians and one view of them."""

    name: str
    means: Tensor  # [N, 3]
    quats: Tensor  # [N, 4]
    scales: Tensor  # [N, 3]
    opacities: Tensor  # [N]
    colors: Tensor  # [N, 3]
    viewmat: Tensor  # [4, 4]
    K: Tensor  # [3, 3]
    width: int
    height: int
    seed: int | None

    def __len__(self) -> int:
        return self.means.shape[0]


def garden(path: Path, view: int = 1) -> Workload:
    """The fixed workload of ``garden_splats.npz``."""
    with np.load(path) as data:
        values = {
            name: torch.from_numpy(data[name].astype(np.float32))
            for name in ("means", "quats", "scales", "opacities", "colors", "viewmats", "Ks")
        }
        width, height = int(data["width"]), int(data["height"])
    return Workload(
        f"garden, view {view}", values["means"], values["quats"], values["scales"], values["opacities"],
        values["colors"] / 255, values["viewmats"][view], values["Ks"][view], width, height, None,
    )  # fmt: skip


def load(path: Path) -> Workload:
    """The garden of an .npz file, a view of a .ply file, or a random scene where there is no file."""
    if not path.is_file():
        return random_scene()
    return from_ply(path) if path.suffix.lower() == ".ply" else garden(path)


def from_ply(path: Path, width: int = 1297, height: int = 840) -> Workload:
    """Gaussians of a 3DGS PLY, seen from a point between their middle and their rim, towards the middle."""
    splats = Splats.load_ply(path)
    middle = splats.means.median(dim=0).values
    reach = float((splats.means - middle).norm(dim=1).median())
    eye = middle + reach * torch.tensor([0.6, -0.45, 0.6])
    camera = Camera.look_at(eye.tolist(), middle.tolist(), (0.0, -1.0, 0.0), 0.9, width, height)
    colors = (0.5 + SH_C0 * splats.sh[:, 0]).clamp(0, 1)
    return Workload(path.stem, splats.means, splats.quats, splats.scales, splats.opacities, colors, camera.viewmat,
                    camera.K, width, height, None)  # fmt: skip


def random_scene(count: int = 111_785, width: int = 648, height: int = 420, seed: int = 0) -> Workload:
    """Gaussians of the garden's number and sizes in a ball before the camera."""
    rng = np.random.default_rng(seed)
    means = rng.normal(size=(count, 3))
    means *= 2.0 * rng.random((count, 1)) ** (1 / 3) / np.linalg.norm(means, axis=1, keepdims=True)
    viewmat, K = torch.eye(4), torch.tensor([[480.0, 0, width / 2], [0, 480.0, height / 2], [0, 0, 1]])
    viewmat[2, 3] = 2.5
    return _workload("random", rng, means, 10 ** rng.uniform(-4, -1.7, (count, 3)), viewmat, K, width, height, seed)


def room(count: int = 50_000, width: int = 640, height: int = 480, seed: int = 0) -> Workload:
    """Flat Gaussians on the walls of a closed box of 5 × 3 × 4 m, seen from within: the size of a trained room."""
    rng = np.random.default_rng(seed)
    size = np.array([5.0, 3.0, 4.0])
    means = rng.random((count, 3))
    wall = rng.integers(0, 3, count)
    means[np.arange(count), wall] = rng.integers(0, 2, count)
    means = (means - 0.5) * size
    scales = 10 ** rng.uniform(-2.2, -1.3, (count, 3))
    K = torch.tensor([[400.0, 0, width / 2], [0, 400.0, height / 2], [0, 0, 1]])
    return _workload("room", rng, means, scales, torch.eye(4), K, width, height, seed)


def _workload(
    name: str,
    rng: np.random.Generator,
    means: np.ndarray,
    scales: np.ndarray,
    viewmat: Tensor,
    K: Tensor,
    width: int,
    height: int,
    seed: int,
) -> Workload:
    count = len(means)

    def tensor(values: np.ndarray) -> Tensor:
        return torch.from_numpy(values.astype(np.float32))

    return Workload(
        name, tensor(means), tensor(rng.normal(size=(count, 4))), tensor(scales), tensor(rng.random(count)),
        tensor(rng.random((count, 3))), viewmat, K, width, height, seed,
    )  # fmt: skip
