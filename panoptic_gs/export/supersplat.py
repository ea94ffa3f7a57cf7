# SPDX-License-Identifier: Apache-2.0
"""A PLY for editors that select by a property, as SuperSplat and SplatTransform do, with a dictionary of its ids."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from panoptic_gs.export.objects import PlacedObject
from panoptic_gs.files import write_json
from panoptic_gs.splats.gaussians import RasterizeMode
from panoptic_gs.uplift import LabelledScene


def write_labelled_ply(
    path: Path, scene: LabelledScene, objects: Sequence[PlacedObject], rasterize_mode: RasterizeMode | None = None
) -> None:
    """Write the usual 3DGS PLY with ``class_id``, ``instance_id`` and ``confidence``, and what ids mean beside it.

    ``class_id`` is the category's id and ``instance_id`` the segment's, 0 where a Gaussian has no label. The dictionary
    has the PLY's name and the ending ``.json``.
    """
    best, share = scene.labels.best()
    ids = best.numpy()
    class_id = scene.labelling.category_of()[ids]
    extra = {"class_id": class_id.astype(np.int32), "instance_id": ids.astype(np.int32), "confidence": share.numpy()}
    scene.splats.save_ply(path, extra=extra, rasterize_mode=rasterize_mode)
    rows = [entry.object for entry in objects]
    classes = {row.category.id: row.category for row in rows}
    write_json(path.with_suffix(".json"), {
        "class_id": {
            str(c.id): {"name": c.name, "isthing": c.isthing} for c in sorted(classes.values(), key=lambda c: c.id)
        },
        "instance_id": {
            str(row.id): {"name": row.name, "class_id": row.category.id, "category": row.category.name,
                          "confidence": round(row.confidence, 6), "gaussians": row.count}
            for row in sorted(rows, key=lambda row: row.id)
        },
    })  # fmt: skip
