# SPDX-License-Identifier: Apache-2.0
"""Label uplift and panoptic rendering against the RGB forward pass, on one view and for any number of labels."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from scipy.spatial import KDTree
from torch import Tensor

from panoptic_gs import Camera, Splats, rasterization
from panoptic_gs.uplift import LabelVotes, render_panoptic, uplift_features, uplift_labels

LABELS = (2, 200, 2000, 10000)


def voronoi(num: int, width: int, height: int, seed: int = 0) -> np.ndarray:
    """A map ``[H, W]`` int32 of ``num`` regions around random points, labels 1 … num."""
    points = np.random.default_rng(seed).random((num, 2)) * (width, height)
    rows, columns = np.mgrid[:height, :width]
    nearest = KDTree(points).query(np.stack([columns.ravel(), rows.ravel()], axis=1))[1]
    return (nearest + 1).reshape(height, width).astype(np.int32)


def uplift_rows(
    splats: Splats,
    camera: Camera,
    colors: Tensor,  # [N, 3]
    labels: Sequence[int] = LABELS,
    repeat: int = 15,
) -> list[dict[str, Any]]:
    """Time uplift, one more view, and rendering; interleaved with the forward pass, so that all meet the same machine.

    Returns:
        Rows with ``name``, ``labels``, ``milliseconds`` (least and median), ``ratio`` to the forward pass (of the least
        and of the median), and, for uplifts, ``bytes_per_gaussian``.
    """
    maps = {num: voronoi(num, camera.width, camera.height) for num in labels}
    features = torch.rand(camera.height, camera.width, 64, generator=torch.Generator().manual_seed(0))
    work: dict[tuple[str, int], Callable[[], object]] = {
        ("RGB forward", 0): lambda: rasterization(
            splats.means, splats.quats, splats.scales, splats.opacities, colors, camera.viewmat[None], camera.K[None],
            camera.width, camera.height,
        ),
        ("uplift 64 features", 0): lambda: uplift_features(splats, [(camera, features)]),
    }  # fmt: skip
    memory: dict[int, float] = {}
    for num, label_map in maps.items():
        votes = LabelVotes(len(splats))
        votes.add(splats, camera, label_map)
        memory[num] = votes.num_bytes / max(len(splats), 1)
        result = votes.finish()
        view = [(camera, label_map)]
        work["uplift one view, start to end", num] = lambda view=view: uplift_labels(splats, view)
        work["uplift one more view", num] = lambda votes=votes, m=label_map: votes.add(splats, camera, m)
        work["render panoptic", num] = lambda result=result: render_panoptic(splats, result, camera)
    times: dict[tuple[str, int], list[float]] = {key: [] for key in work}
    for _ in range(repeat):
        for key, call in work.items():
            call()  # untimed: what the call before left in the caches is not this one's
            start = time.perf_counter()
            call()
            times[key].append(1e3 * (time.perf_counter() - start))
    forward = times["RGB forward", 0]
    rows = []
    for (name, num), taken in times.items():
        least, median = min(taken), float(np.median(taken))
        row: dict[str, Any] = {
            "name": name,
            "labels": num,
            "milliseconds": {"least": least, "median": median},
            "ratio": {"least": least / min(forward), "median": median / float(np.median(forward))},
        }
        if name.startswith("uplift one"):
            row["bytes_per_gaussian"] = memory[num]
        rows.append(row)
    return rows
