# SPDX-License-Identifier: Apache-2.0
"""Panoptic label maps of a scene, and the COCO panoptic format they are stored in.

A scene's panoptic labelling is one integer map ``[H, W]`` per image. A value is the id of a segment, 0 is void. Ids are
**scene-wide**: the same object has the same id in every image. On disk it is a folder of PNGs with
id = R + 256·G + 65536·B and one ``panoptic.json`` as COCO tools read and write it (https://cocodataset.org/#format-data).
Files whose ids mean another object in each image are read by :mod:`panoptic_gs.panoptic_images`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage

from panoptic_gs.errors import InputError
from panoptic_gs.files import write_json, write_png
from panoptic_gs.label_maps import counted_ids, decode_ids, encode_ids, resize_nearest, same_shape
from panoptic_gs.labelling import (
    MAX_SEGMENT_ID,
    Category,
    Labelling,
    Segment,
    categories_to_json,
    category_from_json,
    segment_to_json,
)
from panoptic_gs.panoptic_images import PerImageIdsError, read_panoptic_images
from panoptic_gs.replacing import replacing_folder

__all__ = [
    "MAX_SEGMENT_ID",
    "Category",
    "Labelling",
    "PanopticScene",
    "PanopticWriter",
    "PerImageIdsError",
    "Segment",
    "category_from_json",
    "decode_ids",
    "encode_ids",
    "read_panoptic_images",
    "resize_nearest",
    "same_shape",
]


class PanopticScene(Labelling):
    """Panoptic maps of a scene with scene-wide ids: a :class:`Labelling` and its maps.

    Args:
        categories: the classes; ids positive and unique.
        segments: the segments; ids in 1 … 2²⁴−1 and unique, each of a listed category.
        maps: image stem → ``[H, W]`` integer map, 0 = void. May read lazily.
        source: what made the labels, free text.

    Raises:
        InputError: an id listed twice or out of range, a segment without a category.
    """

    maps: Mapping[str, np.ndarray]

    def __init__(
        self,
        categories: Collection[Category],
        segments: Collection[Segment],
        maps: Mapping[str, np.ndarray],
        source: str = "",
    ) -> None:
        super().__init__(tuple(categories), tuple(segments), source)
        object.__setattr__(self, "maps", maps)

    def __eq__(self, other: object) -> bool:
        return self is other  # maps may be read lazily, so two scenes are never compared by what they hold

    __hash__ = object.__hash__

    @property
    def labelling(self) -> Labelling:
        """What the ids mean, without the maps."""
        return Labelling(self.categories, self.segments, self.source, self.colors, self.scene)

    @property
    def stems(self) -> list[str]:
        """The images that have a map, in order."""
        return sorted(self.maps)

    @classmethod
    def load(cls, folder: Path | str, stems: Collection[str] | None = None) -> PanopticScene:
        """Read a folder of COCO panoptic maps.

        Every map is read and checked once here; later each access reads its file again, so that a long scene does not
        fill the memory.

        Args:
            folder: holds ``panoptic.json`` and the PNGs.
            stems: names (without ending) of the scene's images; a map of any other image is refused.

        Raises:
            PerImageIdsError: ids mean another object in each image; :func:`read_panoptic_images` reads those.
            InputError: something is missing, truncated or inconsistent.
        """
        images = read_panoptic_images(folder)
        segments = images.scene_segments()
        if stems is not None:
            images.require_stems(stems)
        images.check()
        try:
            return cls(images.categories, segments, images.maps, images.source)
        except InputError as error:
            raise error.inside(images.file) from error

    def save(self, folder: Path | str, *, overwrite: bool = False) -> None:
        """Write the maps and ``panoptic.json`` as COCO tools read them; nothing is left behind on failure.

        Raises:
            InputError: the folder has content and ``overwrite`` is false; a pixel's id is not listed.
        """
        with replacing_folder(Path(folder), overwrite=overwrite, known_by="panoptic.json") as temporary:
            writer = PanopticWriter(temporary, self.labelling)
            for stem in self.stems:
                writer.add(stem, np.asarray(self.maps[stem]))
            writer.finish()


class PanopticWriter:
    """Writes maps and ``panoptic.json`` as COCO tools read them, one map at a time; none is kept.

    Args:
        folder: where to; made where it is missing.
        labelling: what the maps' ids mean.
    """

    def __init__(self, folder: Path, labelling: Labelling) -> None:
        self._folder, self._labelling = folder, labelling
        self._listed = {segment.id: segment for segment in labelling.segments}
        self._written: dict[str, tuple[tuple[int, ...], list[tuple[int, int, list[int]]]]] = {}

    def add(self, stem: str, ids: np.ndarray) -> None:
        """Write the map of an image.

        Args:
            stem: the image's name, which may have folders before it.
            ids: ``[H, W]`` integers, 0 = void.

        Raises:
            InputError: a pixel's id is not listed.
        """
        shown = _areas_and_boxes(ids)
        for segment_id, _, _ in shown:
            if segment_id not in self._listed:
                raise InputError(
                    f"map '{stem}'",
                    f"id {segment_id}",
                    "ids of listed segments",
                    "Add a Segment for it or set these pixels to 0 (void).",
                )
        write_png(self._folder / f"{stem}.png", encode_ids(ids))
        self._written[stem] = ids.shape, shown

    def finish(self) -> None:
        """Write ``panoptic.json``, images in the order of their names."""
        images: list[dict[str, Any]] = []
        annotations: list[dict[str, Any]] = []
        for number, (stem, (shape, shown)) in enumerate(sorted(self._written.items()), start=1):
            segments_info = [segment_to_json(self._listed[segment_id]) | {"area": area, "bbox": bbox}
                             for segment_id, area, bbox in shown]  # fmt: skip
            images.append({"id": number, "file_name": f"{stem}.png", "width": shape[1], "height": shape[0]})
            annotations.append({"image_id": number, "file_name": f"{stem}.png", "segments_info": segments_info})
        write_json(self._folder / "panoptic.json", {
            "info": {"source": self._labelling.source, "scene_wide_ids": True},
            "images": images,
            "annotations": annotations,
            "categories": categories_to_json(self._labelling.categories),
        })  # fmt: skip


def _areas_and_boxes(ids: np.ndarray) -> list[tuple[int, int, list[int]]]:
    """(id, area, [x, y, width, height]) of every non-void id of a map."""
    values, areas = counted_ids(ids)
    boxes = ndimage.find_objects(np.searchsorted(values, ids) + 1)
    return [
        (int(value), int(area), [columns.start, rows.start, columns.stop - columns.start, rows.stop - rows.start])
        for value, area, (rows, columns) in zip(values, areas, boxes)
        if value != 0
    ]
