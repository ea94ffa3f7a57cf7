# SPDX-License-Identifier: Apache-2.0
"""Objects as files of formats that have no room for labels, with an index that says what each is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from panoptic_gs.export.clouds import file_name
from panoptic_gs.export.objects import PlacedObject
from panoptic_gs.files import write_json
from panoptic_gs.splats.gaussians import Splats
from panoptic_gs.uplift import LabelledScene


def write_indexed_objects(
    folder: Path,
    scene: LabelledScene,
    objects: Sequence[PlacedObject],
    name: str,
    ending: str,
    write: Callable[[Path, Splats], None],
) -> list[Path]:
    """One file for each object and ``index.json``: file, id, name, category, confidence, number of Gaussians.

    Args:
        folder: where they go.
        scene: the labelled Gaussians.
        objects: which are written.
        name: of the format, for the index.
        ending: of the files.
        write: writes one object.

    Returns:
        The objects' files.
    """
    paths, entries = [], []
    for entry in objects:
        paths.append(folder / f"{file_name(entry)}{ending}")
        write(paths[-1], scene.splats.subset(torch.from_numpy(entry.members)))
        row = entry.object
        entries.append({
            "file": paths[-1].name, "id": row.id, "name": row.name, "gaussians": len(entry.members),
            "category": {"id": row.category.id, "name": row.category.name}, "isthing": row.category.isthing,
            "confidence": round(row.confidence, 6),
        })  # fmt: skip
    write_json(folder / "index.json", {"format": name, "objects": entries})
    return paths
