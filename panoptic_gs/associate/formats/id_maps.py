# SPDX-License-Identifier: Apache-2.0
"""One id map a photo: grey, palette or colour-coded, as trackers and Gaussian Grouping's preparation write them."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import numpy as np

from panoptic_gs.associate.formats.class_table import NAMES, read_class_table
from panoptic_gs.associate.formats.photos import IMAGES, MaskFolder, Sizes, by_photo
from panoptic_gs.associate.masks import ImageMasks, ViewMasks, require_size
from panoptic_gs.errors import InputError
from panoptic_gs.files import image_size, read_image
from panoptic_gs.panoptic import decode_ids

MOST_IDS = 4096
"""A map with more ids is no map of masks but a picture."""


def read_id_maps(folder: Path, photos: Sizes) -> ImageMasks:
    """Masks of a folder of id maps; 0 or black is no mask, every other value or colour one.

    Raises:
        InputError: a map of no photo, of another shape, with colours as a picture has them, or an id that the class
            table beside the maps lacks.
    """
    within = MaskFolder.of(folder, photos)
    names = by_photo(folder, within.ending(IMAGES), photos)
    table = read_class_table(folder)
    for name in within.files:
        if "/" in name and PurePosixPath(name).name in NAMES:
            raise InputError(
                folder / name, "a class table of one camera", f"one for all photos, in {folder}",
                "Put its entries there, each under the name of its photo with the camera's folder.",
            )  # fmt: skip
    for stem, name in names.items():
        require_size(folder / name, image_size(folder / name), photos[stem])

    def reader(stem: str, name: str) -> ViewMasks:
        ids = read_ids(folder / name)
        categories, scores = table.of(stem, [int(i) for i in np.unique(ids) if i])
        return ViewMasks.from_label_map(ids, categories, scores)

    readers = {stem: lambda stem=stem, name=name: reader(stem, name) for stem, name in names.items()}
    return ImageMasks(table.categories, readers, str(folder), "id maps")


def read_ids(path: Path) -> np.ndarray:
    """Ids ``[H, W]`` int32 of a grey, palette or colour image; transparent pixels are 0.

    Raises:
        InputError: it cannot be decoded, or has more colours than masks can be.
    """
    pixels = read_image(path, expected="an id map: one grey value or colour an object", indices=True)
    if pixels.dtype.kind not in "uib":
        raise InputError(path, f"{pixels.dtype} pixels", "whole numbers", "Export the ids as 8 or 16 bit integers.")
    if pixels.ndim == 2:
        indices = pixels.astype(np.int32)
    else:
        indices = decode_ids(pixels[..., :3].astype(np.uint8))
        if pixels.shape[2] == 4:
            indices[pixels[..., 3] == 0] = 0
    if (indices < 0).any():
        raise InputError(path, f"id {int(indices.min())}", "ids of 0 (no mask) or more", "Number the masks anew.")
    count = len(np.unique(indices))
    if count > MOST_IDS:
        raise InputError(
            path,
            f"{count} different colours",
            f"an id map: one grey value or colour an object, at most {MOST_IDS}",
            "Export the ids themselves, not a blended or anti-aliased picture of them, and resample by nearest "
            "neighbour.",
        )
    return indices
