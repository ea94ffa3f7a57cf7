# SPDX-License-Identifier: Apache-2.0
"""Masks that may overlap: a folder of binary images a photo, boolean stacks, and SAM's automatic masks."""

from __future__ import annotations

import csv
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from panoptic_gs.associate.formats.photos import IMAGES, Sizes, by_photo
from panoptic_gs.associate.formats.rle import decode_rle, size_of
from panoptic_gs.associate.masks import OBJECT, ImageMasks, ViewMasks, require_size
from panoptic_gs.errors import InputError
from panoptic_gs.files import image_size, read_image, read_json
from panoptic_gs.panoptic import Category, category_from_json


def read_binary_folders(folder: Path, photos: Sizes) -> ImageMasks:
    """Masks of a folder with a subfolder a photo, which holds one black and white image a mask.

    Scores are taken from ``metadata.csv`` where SAM's script wrote one (its predicted IoU).

    Raises:
        InputError: a subfolder of no photo, an image of another shape or with more than two values.
    """
    names = by_photo(folder, [p.name for p in folder.iterdir() if p.is_dir() and _images(p)], photos)

    def reader(stem: str, name: str) -> ViewMasks:
        files = _images(folder / name)
        scores = _sam_scores(folder / name / "metadata.csv")
        for path in files:
            require_size(path, image_size(path), photos[stem])
            require_size(path, image_size(path), image_size(files[0]))
        width, height = image_size(files[0])
        return ViewMasks.from_masks(
            (_binary(path, (height, width)) for path in files),
            (height, width),
            ids=[int(path.stem) if path.stem.isdigit() else k for k, path in enumerate(files, 1)],
            scores=[scores.get(path.stem, np.nan) for path in files],
        )

    readers = {stem: lambda stem=stem, name=name: reader(stem, name) for stem, name in names.items()}
    return ImageMasks((OBJECT,), readers, str(folder), "binary masks")


def read_stacks(folder: Path, photos: Sizes) -> ImageMasks:
    """Masks of one ``.npz`` a photo: ``masks [M, H, W]`` boolean, optional ``scores [M]`` and ``classes [M]``.

    Classes are names, or numbers that a ``names`` array in the file names where it has one.

    Raises:
        InputError: a file of no photo, of another shape, damaged, or whose arrays do not fit each other.
    """
    names = by_photo(folder, [p.name for p in folder.iterdir() if p.suffix == ".npz"], photos)
    classes: dict[str, None] = {}
    for stem, name in names.items():
        masks, _, of = _stack(folder / name)
        require_size(folder / name, (masks.shape[2], masks.shape[1]), photos[stem])
        classes |= dict.fromkeys(of or ())
    numbers = {label: number for number, label in enumerate(sorted(classes), 1)} or {OBJECT.name: OBJECT.id}

    def reader(name: str) -> ViewMasks:
        masks, scores, of = _stack(folder / name)
        categories = None if of is None else [numbers[label] for label in of]
        return ViewMasks.from_masks(masks, (masks.shape[1], masks.shape[2]), category_ids=categories, scores=scores)

    categories = tuple(Category(number, label, True) for label, number in numbers.items())
    readers = {stem: lambda name=name: reader(name) for stem, name in names.items()}
    return ImageMasks(categories, readers, str(folder), "stacks of masks")


def read_sam_folder(folder: Path, photos: Sizes) -> ImageMasks:
    """Masks of a folder with one JSON a photo: SAM's list of automatic masks, or ``{"annotations": [that list]}``.

    Raises:
        InputError: a file of no photo, a mask of another shape, or one whose runs disagree with its size.
    """
    names = by_photo(folder, [p.name for p in folder.iterdir() if p.suffix == ".json"], photos)
    readers = {
        stem: lambda stem=stem, path=folder / name: _rle_masks(path, _listed(read_json(path), path), photos[stem], {})
        for stem, name in names.items()
    }
    return ImageMasks((OBJECT,), readers, str(folder), "SAM's automatic masks")


def read_coco_instances(file: Path, document: Mapping[str, Any], photos: Sizes) -> ImageMasks:
    """Masks of one JSON for all photos: COCO instances with RLE masks, ``images``, ``annotations``, ``categories``.

    Raises:
        InputError: malformed, a photo that the scene has not, polygons instead of masks.
    """
    try:
        images = {int(image["id"]): str(image["file_name"]) for image in document["images"]}
        annotations: dict[str, list[Mapping[str, Any]]] = {name: [] for name in images.values()}
        for entry in document["annotations"]:
            if not entry.get("iscrowd"):
                annotations[images[int(entry["image_id"])]].append(entry)
        listed = [{"isthing": 1, **entry} for entry in document.get("categories", [])]
        categories = tuple(category_from_json(entry, file) for entry in listed) or (OBJECT,)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(
            file,
            f"a missing or malformed field ({error})",
            "COCO instances: images (id, file_name) and annotations (image_id, segmentation, category_id)",
            "Export the annotations again.",
        ) from error
    known = {category.id: category.id for category in categories}
    readers = {
        stem: lambda stem=stem, name=name: _rle_masks(file, annotations[name], photos[stem], known)
        for stem, name in by_photo(file, images.values(), photos).items()
    }
    return ImageMasks(categories, readers, str(file), "COCO instances")


def _listed(document: Any, path: Path) -> Sequence[Mapping[str, Any]]:
    entries = document.get("annotations") if isinstance(document, dict) else document
    if not isinstance(entries, list) or not all(isinstance(e, dict) and "segmentation" in e for e in entries):
        raise InputError(
            path,
            "no list of masks",
            'SAM\'s automatic masks: [{"segmentation": {"size", "counts"}, "predicted_iou", …}, …]',
            "Save them with output_mode='coco_rle' (amg.py --convert-to-rle).",
        )
    return entries


def _rle_masks(
    path: Path, entries: Sequence[Mapping[str, Any]], photo: tuple[int, int], known: Mapping[int, int]
) -> ViewMasks:
    size = (0, 0)
    for number, entry in enumerate(entries):
        segmentation = entry["segmentation"]
        if not isinstance(segmentation, dict):
            raise InputError(
                f"{path}, mask {number}",
                "a polygon" if isinstance(segmentation, list) else type(segmentation).__name__,
                "a run-length encoded mask",
                "Encode it with pycocotools.mask.frPyObjects and merge.",
            )
        size = size_of(segmentation)
        require_size(f"{path}, mask {number}", size, photo)
    size = size if entries else photo
    categories = None
    if known:
        categories = [int(entry.get("category_id", -1)) for entry in entries]
        for number, category in enumerate(categories):
            if category not in known:
                raise InputError(
                    f"{path}, mask {number}", f"category id {category}", "an id that categories lists", "Add it there."
                )
    return ViewMasks.from_masks(
        (_of_size(decode_rle(e["segmentation"], f"{path}, mask {k}"), size, path, k) for k, e in enumerate(entries)),
        (size[1], size[0]),
        ids=[int(entry.get("id", number)) for number, entry in enumerate(entries, 1)],
        category_ids=categories,
        scores=[float(entry.get("predicted_iou", entry.get("score", np.nan))) for entry in entries],
    )


def _of_size(mask: np.ndarray, size: tuple[int, int], path: Path, number: int) -> np.ndarray:
    if mask.shape != (size[1], size[0]):
        raise InputError(
            f"{path}, mask {number}",
            f"{mask.shape[1]}×{mask.shape[0]} pixels",
            f"{size[0]}×{size[1]} as the other masks of the photo",
            "Write all masks of a photo in one size.",
        )
    return mask


def _images(folder: Path) -> list[Path]:
    """Images of a folder, 2 before 10."""
    files = [path for path in folder.iterdir() if path.suffix.lower() in IMAGES]
    return sorted(files, key=lambda path: (len(path.stem), path.stem))


def _binary(path: Path, shape: tuple[int, int]) -> np.ndarray:
    pixels = read_image(path, expected="a black and white image")
    if pixels.ndim == 3:
        pixels = pixels[..., :3].max(axis=2)
    values = np.unique(pixels)
    if pixels.shape != shape or len(values) > 2 or (len(values) == 2 and values[0] != 0):
        raise InputError(
            path,
            f"{pixels.shape[1]}×{pixels.shape[0]} pixels with {len(values)} values",
            f"a black and white image of {shape[1]}×{shape[0]} pixels, one mask",
            "Write each mask as its own image; put maps of several masks beside each other, named as the photos.",
        )
    return pixels != 0


def _sam_scores(file: Path) -> dict[str, float]:
    if not file.is_file():
        return {}
    try:
        with file.open(newline="", encoding="utf-8") as lines:
            return {row["id"]: float(row["predicted_iou"]) for row in csv.DictReader(lines)}
    except (KeyError, ValueError, OSError, csv.Error, TypeError) as error:
        raise InputError(
            file, f"no table of masks ({error})", "SAM's metadata.csv with id and predicted_iou", "Remove the file."
        ) from error


def _stack(path: Path) -> tuple[np.ndarray, list[float] | None, list[str] | None]:
    expected = "masks [M, H, W] boolean, and optional scores [M] and classes [M]"
    mend = "Write it with numpy.savez_compressed(path, masks=masks, scores=scores, classes=classes)."
    try:
        with np.load(path, allow_pickle=False) as arrays:
            found = {name: arrays[name] for name in arrays.files}
    except (OSError, ValueError, zipfile.BadZipFile, EOFError, KeyError) as error:
        raise InputError(path, f"a file that cannot be read ({error})", expected, mend) from error
    masks = found.get("masks")
    if masks is None:
        stacks = [array for array in found.values() if array.ndim == 3]
        masks = stacks[0] if len(stacks) == 1 else None
    if masks is None or masks.ndim != 3 or (masks.dtype != bool and not np.isin(np.unique(masks), [0, 1]).all()):
        shapes = ", ".join(f"{name} {array.dtype} {list(array.shape)}" for name, array in found.items())
        raise InputError(path, shapes or "no arrays", expected, mend)
    scores, classes = found.get("scores"), found.get("classes", found.get("labels"))
    for name, array in (("scores", scores), ("classes", classes)):
        if array is not None and array.shape != (len(masks),):
            raise InputError(path, f"{name} {list(array.shape)} for {len(masks)} masks", expected, mend)
    if classes is not None and classes.dtype.kind in "iu":
        labels = found.get("names")
        classes = [str(labels[c]) if labels is not None and 0 <= c < len(labels) else f"class {c}" for c in classes]
    return (
        masks.astype(bool),
        None if scores is None else [float(s) for s in scores],
        None if classes is None else [str(c) for c in classes],
    )
