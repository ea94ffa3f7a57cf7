# SPDX-License-Identifier: Apache-2.0
"""Labelled splats on disk: a PLY that any 3DGS viewer opens, the full label distribution, and what the labels mean."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

import numpy as np
from torch import Tensor

from panoptic_gs.errors import InputError
from panoptic_gs.files import read_json, write_json
from panoptic_gs.labelling import Category, Labelling, Segment
from panoptic_gs.palette import colors_of
from panoptic_gs.ply import count_vertices
from panoptic_gs.replacing import replacing_folder
from panoptic_gs.splats import Splats
from panoptic_gs.splats.gaussians import RasterizeMode
from panoptic_gs.uplift.labels import GaussianLabels


class LabelledScene(NamedTuple):
    """Gaussians, their labels, and what the labels mean."""

    splats: Splats
    labels: GaussianLabels
    labelling: Labelling

    @property
    def segments(self) -> tuple[Segment, ...]:
        """The segments that labels are ids of."""
        return self.labelling.segments

    @property
    def categories(self) -> tuple[Category, ...]:
        """The segments' classes."""
        return self.labelling.categories

    def with_segments(self, segments: Collection[Segment]) -> LabelledScene:
        """The same Gaussians and labels with other segments."""
        return self._replace(labelling=self.labelling.with_segments(segments))


def save_labelled_scene(
    folder: Path | str,
    splats: Splats,
    labels: GaussianLabels,
    labelling: Labelling,
    *,
    overwrite: bool = False,
    rasterize_mode: RasterizeMode | None = None,
) -> None:
    """Write ``splats.ply``, ``labels.safetensors`` and ``segments.json`` into ``folder``, all or nothing.

    ``splats.ply`` is the usual 3DGS layout plus, per Gaussian, ``segment_id`` and ``category_id`` (int32; 0 where it
    has no label) and ``confidence`` (float32), the share of the winning segment; its header says where the Gaussians
    are antialiased.

    Raises:
        InputError: the labels are of another scene, a label is no listed segment, or the folder has content and
            ``overwrite`` is false.
    """
    labels.require_count(len(splats))
    segment_id, confidence = (value.cpu().numpy() for value in labels.best())
    labelling.require_known(labels.label.cpu().numpy(), "labels", "Pass the scene whose maps were uplifted.")
    with replacing_folder(Path(folder), overwrite=overwrite, known_by="segments.json") as temporary:
        splats.save_ply(temporary / "splats.ply", extra={
            "segment_id": segment_id.astype(np.int32),
            "category_id": labelling.category_of()[segment_id],
            "confidence": confidence,
        }, rasterize_mode=rasterize_mode)  # fmt: skip
        labels.save(temporary / "labels.safetensors")
        # Colours are stored, so that a segment keeps its own when others come and go.
        write_json(temporary / "segments.json", labelling.with_colors(colors_of(labelling)).to_json())


def load_labelled_scene(folder: Path | str, rows: Tensor | None = None) -> LabelledScene:
    """Read what :func:`save_labelled_scene` wrote.

    Args:
        folder: the labelled scene.
        rows: numbers ``[M]`` of the Gaussians to take, all by default.

    Raises:
        InputError: a file is missing, truncated or malformed, labels and splats differ in number, or a label is no
            segment.
    """
    folder = Path(folder)
    file = folder / "segments.json"
    labelling = Labelling.from_json(read_json(file), file)
    count = count_vertices(folder / "splats.ply")
    labels = GaussianLabels.load(folder / "labels.safetensors")
    if len(labels) != count:
        raise InputError(
            folder / "labels.safetensors",
            f"labels of {len(labels)} Gaussians",
            f"{count}, as many as in splats.ply",
            "Take both files from one uplift.",
        )
    labelling.require_known(
        labels.label.numpy(), folder / "labels.safetensors", "Take it and segments.json from one uplift."
    )
    splats = Splats.load_ply(folder / "splats.ply", rows, strict=True)
    return LabelledScene(splats, labels if rows is None else labels.subset(rows), labelling)
