# SPDX-License-Identifier: Apache-2.0
"""Labelled splats on disk: a PLY that any 3DGS viewer opens, the full label distribution, and what the labels mean."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from torch import Tensor

from panoptic_gs.errors import InputError
from panoptic_gs.files import read_json, write_json
from panoptic_gs.panoptic import Category, PanopticScene, Segment, category_from_json, category_to_json
from panoptic_gs.ply import count_vertices
from panoptic_gs.replacing import replacing_folder
from panoptic_gs.splats import Splats
from panoptic_gs.uplift.labels import GaussianLabels


class LabelledScene(NamedTuple):
    """Gaussians, their labels, and what the labels mean."""

    splats: Splats
    labels: GaussianLabels
    segments: tuple[Segment, ...]
    categories: tuple[Category, ...]


def save_labelled_scene(
    folder: Path | str,
    splats: Splats,
    labels: GaussianLabels,
    panoptic: PanopticScene,
    *,
    overwrite: bool = False,
) -> None:
    """Write ``splats.ply``, ``labels.safetensors`` and ``segments.json`` into ``folder``, all or nothing.

    ``splats.ply`` is the usual 3DGS layout plus, per Gaussian, ``segment_id`` and ``category_id`` (int32; 0 where it
    has no label) and ``confidence`` (float32), the share of the winning segment.

    Raises:
        InputError: the labels are of another scene, a label is no listed segment, or the folder has content and
            ``overwrite`` is false.
    """
    labels.require_count(len(splats))
    segment_id, confidence = (value.cpu().numpy() for value in labels.best())
    known = np.array(sorted({0, *(segment.id for segment in panoptic.segments)}))
    unknown = np.setdiff1d(labels.label.cpu().numpy(), known)
    if unknown.size:
        raise InputError(
            "labels",
            f"{unknown.size} labels that are no segment, the first {unknown[0]}",
            "ids of the panoptic scene's segments",
            "Pass the scene whose maps were uplifted.",
        )
    with replacing_folder(Path(folder), overwrite=overwrite, known_by="segments.json") as temporary:
        splats.save_ply(temporary / "splats.ply", extra={
            "segment_id": segment_id.astype(np.int32),
            "category_id": panoptic.category_of()[segment_id],
            "confidence": confidence,
        })  # fmt: skip
        labels.save(temporary / "labels.safetensors")
        write_json(temporary / "segments.json", {
            "info": {"source": panoptic.source},
            "segments": [
                {"id": s.id, "category_id": s.category_id}
                | ({} if s.score is None else {"score": s.score})
                | ({} if s.name is None else {"name": s.name})
                for s in panoptic.segments
            ],
            "categories": [category_to_json(category) for category in panoptic.categories],
        })  # fmt: skip


def load_labelled_scene(folder: Path | str, rows: Tensor | None = None) -> LabelledScene:
    """Read what :func:`save_labelled_scene` wrote.

    Args:
        folder: the labelled scene.
        rows: numbers ``[M]`` of the Gaussians to take, all by default.

    Raises:
        InputError: a file is missing, truncated or malformed, or labels and splats differ in number.
    """
    folder = Path(folder)
    file = folder / "segments.json"
    document = read_json(file)
    count = count_vertices(folder / "splats.ply")
    labels = GaussianLabels.load(folder / "labels.safetensors")
    if len(labels) != count:
        raise InputError(
            folder / "labels.safetensors",
            f"labels of {len(labels)} Gaussians",
            f"{count}, as many as in splats.ply",
            "Take both files from one uplift.",
        )
    splats = Splats.load_ply(folder / "splats.ply", rows, strict=True)
    labels = labels if rows is None else labels.subset(rows)
    try:
        categories = [category_from_json(entry) for entry in document["categories"]]
        segments = [
            Segment(
                int(entry["id"]),
                int(entry["category_id"]),
                None if entry.get("score") is None else float(entry["score"]),
                name=None if entry.get("name") is None else str(entry["name"]),
            )
            for entry in document["segments"]
        ]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(
            file,
            f"a missing or malformed field ({error})",
            "segments (id, category_id) and categories (id, name, isthing)",
            "Write the labelled scene again.",
        ) from error
    return LabelledScene(splats, labels, tuple(segments), tuple(categories))
