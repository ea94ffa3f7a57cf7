# SPDX-License-Identifier: Apache-2.0
"""Seconds and memory of the closed form, each in a process of its own."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from panoptic_gs import Camera, Category, Splats
from panoptic_gs.associate import MaskEvidence, ViewMasks, associate_evidence

THING = Category(1, "object", True)


@dataclass(frozen=True)
class Load:
    """A wall of tiles: ``columns × columns`` objects, ``views`` cameras before it, a mask for each tile in sight."""

    views: int
    columns: int
    gaussians: int
    width: int = 640


LOADS = {"2,500 masks": Load(100, 8, 200_000), "10,000 masks": Load(100, 20, 200_000)}


def wall(load: Load, rng: np.random.Generator) -> Splats:
    """The wall's Gaussians, spread evenly."""
    side = float(load.columns)
    points = np.c_[rng.uniform(0, side, (load.gaussians, 2)), rng.normal(0, 0.01, load.gaussians)]
    return Splats(
        torch.from_numpy(points).float(),
        torch.tensor([[1.0, 0, 0, 0]]).repeat(load.gaussians, 1),
        torch.full((load.gaussians, 3), 0.7 * side / load.gaussians**0.5),
        torch.full((load.gaussians,), 0.8),
        torch.zeros(load.gaussians, 1, 3),
    )


def views_of_wall(load: Load, rng: np.random.Generator) -> Iterator[tuple[str, Camera, ViewMasks]]:
    """Image stem, camera and masks of each view."""
    side, height = float(load.columns), 3 * load.width // 4
    for k in range(load.views):
        eye = [*rng.uniform(0.3 * side, 0.7 * side, 2), -0.55 * side]
        target = [eye[0] + rng.normal(0, 0.05 * side), eye[1] + rng.normal(0, 0.05 * side), 0.0]
        camera = Camera.look_at(eye, target, [0.0, 1.0, 0.0], np.radians(60.0), load.width, height)
        inverse = np.linalg.inv(camera.viewmat.double().numpy())
        u, v = np.meshgrid(np.arange(load.width) + 0.5, np.arange(height) + 0.5)
        rays = np.stack([u, v, np.ones_like(u)], -1) @ np.linalg.inv(camera.K.double().numpy()).T @ inverse[:3, :3].T
        hit = inverse[:3, 3] - rays * (inverse[2, 3] / rays[..., 2])[..., None]
        tile = np.floor(hit[..., 0]) + load.columns * np.floor(hit[..., 1]) + 1
        inside = ((hit[..., :2] >= 0) & (hit[..., :2] < side)).all(-1) & (rays[..., 2] > 0)
        ids = np.where(inside, tile, 0).astype(np.int64)
        yield f"{k:04d}", camera, ViewMasks.from_label_map(ids, {int(i): THING.id for i in np.unique(ids) if i})


def measured(load: Load) -> dict[str, Any]:
    """Associate and measure, in this process."""
    rng = np.random.default_rng(0)
    evidence = MaskEvidence(wall(load, rng))
    start, before, masks = time.perf_counter(), time.process_time(), 0
    for stem, camera, of_view in views_of_wall(load, rng):
        masks += len(of_view)
        evidence.add(stem, camera, of_view)
    weighed = time.perf_counter()
    found = associate_evidence(evidence, (THING,))
    end = time.perf_counter()
    return {"views": load.views, "masks": masks, "gaussians": load.gaussians, "objects": len(found.things),
            "tiles": load.columns**2, "threads": torch.get_num_threads(), "weighing_seconds": weighed - start,
            "linking_seconds": end - weighed, "seconds": end - start, "cpu_seconds": time.process_time() - before,
            "peak_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20}  # fmt: skip


def in_own_process(name: str) -> dict[str, Any]:
    """One of :data:`LOADS` in a new process, whose peak memory is its own."""
    command = [sys.executable, "-m", "benchmarks.associating.resources", name]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


if __name__ == "__main__":
    print(json.dumps(measured(LOADS[sys.argv[1]])))
