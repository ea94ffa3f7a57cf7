# SPDX-License-Identifier: Apache-2.0
"""The door for per-image masks: which layout a path has."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path, PurePosixPath

from panoptic_gs.associate.formats.class_table import NAMES
from panoptic_gs.associate.formats.coco_panoptic import read_coco_panoptic
from panoptic_gs.associate.formats.id_maps import read_id_maps
from panoptic_gs.associate.formats.mask_files import (
    read_binary_folders,
    read_coco_instances,
    read_sam_folder,
    read_stacks,
)
from panoptic_gs.associate.formats.photos import IMAGES, LOSSY, MaskFolder, Sizes
from panoptic_gs.associate.masks import ImageMasks
from panoptic_gs.errors import InputError
from panoptic_gs.files import read_json

EXPECTED = (
    "COCO panoptic maps (panoptic.json), id maps named as the photos, a subfolder of binary masks a photo, SAM's JSON "
    "or an .npz a photo, or a COCO instances file"
)


def read_masks(path: Path | str, photos: Sizes) -> ImageMasks:
    """Per-image masks in any of the layouts of ``docs/formats.md``.

    Args:
        path: a folder, or the JSON file of a COCO annotation.
        photos: width and height of the scene's photos as they are stored.

    Raises:
        InputError: no such layout, masks of unknown photos, or whatever is wrong in the files.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(path, "no such file or folder", EXPECTED, "Check the path.")
    masks = _read_file(path, photos) if path.is_file() else _read_folder(path, photos)
    if not masks.readers:
        raise InputError(path, "no masks of any photo", EXPECTED, "Check the path.")
    return replace(masks, without=tuple(stem for stem in sorted(photos) if stem not in masks.readers))


def _read_file(file: Path, photos: Sizes) -> ImageMasks:
    document = read_json(file) if file.suffix == ".json" else None
    if isinstance(document, dict) and isinstance(document.get("annotations"), list):
        if any(isinstance(e, dict) and "segments_info" in e for e in document["annotations"]):
            return read_coco_panoptic(file, document, photos)
        if "images" in document:
            return read_coco_instances(file, document, photos)
    raise InputError(
        file,
        "no COCO annotation file",
        EXPECTED,
        "Give the folder that holds the masks of all photos, or a COCO JSON.",
    )


def _read_folder(folder: Path, photos: Sizes) -> ImageMasks:
    if (folder / "panoptic.json").is_file():
        return _read_file(folder / "panoptic.json", photos)
    within = MaskFolder.of(folder, photos)
    endings = {PurePosixPath(name).suffix.lower() for name in within.files if PurePosixPath(name).name not in NAMES}
    kinds = {
        "id maps": bool(endings & set(IMAGES)),
        "JSON files": ".json" in endings,
        "stacks": ".npz" in endings,
        "folders of masks": bool(within.folders) and not endings & {*IMAGES, ".json", ".npz"},
    }
    found = [kind for kind, there in kinds.items() if there]
    if len(found) > 1:
        raise InputError(
            folder, " and ".join(found), "masks in one layout: " + EXPECTED, "Put each kind in a folder of its own."
        )
    if not found:
        if endings & set(LOSSY):
            raise InputError(
                folder,
                "lossy images",
                EXPECTED,
                "Write the maps as PNG: JPEG changes ids.",
            )
        raise InputError(folder, "none of these", EXPECTED, "Check the path.")
    readers = {"id maps": read_id_maps, "JSON files": read_sam_folder, "stacks": read_stacks}
    return readers.get(found[0], read_binary_folders)(folder, photos)
