# SPDX-License-Identifier: Apache-2.0
"""Objects and point clouds as PLY files."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from panoptic_gs.export.objects import PlacedObject
from panoptic_gs.ply import write_points
from panoptic_gs.splats.gaussians import RasterizeMode
from panoptic_gs.uplift import LabelledScene

_OPAQUE = 0.1  # Gaussians below this opacity are no points of a surface


def file_name(entry: PlacedObject) -> str:
    """A name for a file of this object that every file system takes, without ending."""
    return f"{entry.id:04d}_{re.sub(r'[^A-Za-z0-9]+', '_', entry.object.name).strip('_')[:40] or 'object'}"


def write_objects(
    folder: Path,
    scene: LabelledScene,
    objects: Sequence[PlacedObject],
    rasterize_mode: RasterizeMode | None = None,
) -> list[Path]:
    """One 3DGS PLY for each object, with the confidence of each Gaussian; antialiased ones say so in their header."""
    _, share = scene.labels.best()
    paths = []
    for entry in objects:
        rows = torch.from_numpy(entry.members)
        paths.append(folder / f"{file_name(entry)}.ply")
        extra = {
            "segment_id": np.full(len(rows), entry.id, dtype=np.int32),
            "category_id": np.full(len(rows), entry.object.category.id, dtype=np.int32),
            "confidence": share[rows].numpy(),
        }
        scene.splats.subset(rows).save_ply(paths[-1], extra=extra, rasterize_mode=rasterize_mode)
    return paths


def write_point_cloud(path: Path, scene: LabelledScene) -> int:
    """Write the centres of all opaque Gaussians with colour, ``instance``, ``semantic`` and ``confidence``.

    ``instance`` is the segment id and ``semantic`` the category id, 0 where there is none.

    Returns:
        The number of points.
    """
    solid = scene.splats.opacities >= _OPAQUE
    best, share = scene.labels.best()
    category_of = {segment.id: segment.category_id for segment in scene.segments} | {0: 0}
    ids = best[solid].numpy()
    known, inverse = np.unique(ids, return_inverse=True)
    semantic = np.array([category_of[int(value)] for value in known], dtype=np.int32)[inverse]
    points = (scene.splats.means[solid].numpy(), scene.splats.base_colors()[solid.numpy()])
    write_points(path, points, {
        "instance": ids.astype(np.int32), "semantic": semantic, "confidence": share[solid].numpy(),
    })  # fmt: skip
    return len(ids)
