# SPDX-License-Identifier: Apache-2.0
"""COCO panoptic maps whose ids are numbered image by image, as 2D networks and COCO itself write them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np

from panoptic_gs.associate.formats.photos import Sizes, by_photo
from panoptic_gs.associate.masks import ImageMasks, ViewMasks, require_size
from panoptic_gs.errors import InputError
from panoptic_gs.files import image_size, read_image
from panoptic_gs.panoptic import category_from_json, decode_ids
from panoptic_gs.records import Length, Range, parse_record


@dataclass(frozen=True)
class _Info:
    id: Annotated[int, Range(0, (1 << 24) - 1)]
    category_id: int
    score: float | None = None
    iscrowd: bool = False


@dataclass(frozen=True)
class _Map:
    file_name: Annotated[str, Length(1, 1000)]
    segments_info: tuple[_Info, ...]


@dataclass(frozen=True)
class _Document:
    categories: tuple[Any, ...]
    annotations: tuple[_Map, ...]


def read_coco_panoptic(file: Path, document: Mapping[str, Any], photos: Sizes) -> ImageMasks:
    """Masks of a COCO panoptic file; the PNGs lie beside it, or in the folder of its name as COCO has them.

    Crowds are no objects and are left out.

    Raises:
        InputError: malformed, a map that is missing or of no photo, an id or a class without an entry.
    """
    read = parse_record(
        document,
        _Document,
        file,
        mend="The COCO panoptic format has categories (id, name, isthing) and annotations (file_name, segments_info "
        "with id and category_id).",
    )
    categories = tuple(category_from_json(entry, file) for entry in read.categories)
    segments = {
        entry.file_name: {info.id: (info.category_id, info.score, info.iscrowd) for info in entry.segments_info}
        for entry in read.annotations
    }
    known = {category.id for category in categories}
    for name, infos in segments.items():
        for segment, (category, _, _) in infos.items():
            if category not in known:
                raise InputError(
                    file,
                    f"category id {category} of segment {segment} in '{name}'",
                    "an id that categories lists",
                    "Add the category to the list.",
                )
    folder = file.parent / file.stem
    folder = folder if folder.is_dir() else file.parent
    names = by_photo(file, segments, photos)
    for stem, name in names.items():
        require_size(folder / name, image_size(folder / name), photos[stem])

    def reader(name: str) -> ViewMasks:
        path = folder / name
        pixels = read_image(path, expected="an RGB PNG with id = R + 256·G + 65536·B")
        if pixels.ndim != 3 or pixels.dtype != np.uint8:
            raise InputError(
                path,
                f"{pixels.dtype} pixels of shape {list(pixels.shape)}",
                "an RGB PNG with id = R + 256·G + 65536·B",
                "Write ids as RGB; panoptic_gs.panoptic.encode_ids does it.",
            )
        ids, infos = decode_ids(pixels), segments[name]
        unknown = np.setdiff1d(np.unique(ids), [0, *infos])
        if unknown.size:
            raise InputError(
                path,
                f"{unknown.size} ids without a segment, the first {unknown[0]}",
                "ids listed in segments_info, or 0 for void",
                "List them there, or write the map again without resampling or compression.",
            )
        ids[np.isin(ids, [i for i, info in infos.items() if info[2]])] = 0
        scores = {i: float(score) for i, (_, score, _) in infos.items() if score is not None}
        return ViewMasks.from_label_map(ids, {i: info[0] for i, info in infos.items()}, scores)

    readers = {stem: lambda name=name: reader(name) for stem, name in names.items()}
    return ImageMasks(categories, readers, str(file), "COCO panoptic maps")
