# SPDX-License-Identifier: Apache-2.0
"""Masks that may overlap: a folder of binary images a photo, boolean stacks, and SAM's automatic masks."""

from __future__ import annotations

import csv
import math
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np

from panoptic_gs.associate.formats.photos import IMAGES, MaskFolder, Sizes, by_photo
from panoptic_gs.associate.formats.rle import decode_rle, size_of
from panoptic_gs.associate.masks import OBJECT, ImageMasks, ViewMasks, require_size
from panoptic_gs.errors import InputError
from panoptic_gs.files import image_size, read_image, read_json
from panoptic_gs.panoptic import Category, category_from_json
from panoptic_gs.records import Length, Name, Range, parse_record

_Id = Annotated[int, Range(-(1 << 62), 1 << 62)]
_MOST_BYTES = 1 << 31  # of the arrays of one photo; masks compress a thousandfold, so the file's size bounds nothing


def read_binary_folders(folder: Path, photos: Sizes) -> ImageMasks:
    """Masks of a folder with a subfolder a photo, which holds one black and white image a mask.

    Scores are taken from ``metadata.csv`` where SAM's script wrote one (its predicted IoU).

    Raises:
        InputError: a subfolder of no photo, an image of another shape or with more than two values.
    """
    names = by_photo(folder, MaskFolder.of(folder, photos).folders, photos)

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
            ids=[int(path.stem) if _is_number(path.stem) else k for k, path in enumerate(files, 1)],
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
    names = by_photo(folder, MaskFolder.of(folder, photos).ending([".npz"]), photos)
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
    names = by_photo(folder, MaskFolder.of(folder, photos).ending([".json"]), photos)
    readers = {
        stem: lambda stem=stem, path=folder / name: _rle_masks(path, _listed(read_json(path), path), photos[stem], {})
        for stem, name in names.items()
    }
    return ImageMasks((OBJECT,), readers, str(folder), "SAM's automatic masks")


@dataclass(frozen=True)
class _Mask:
    """A mask as SAM and COCO describe it."""

    segmentation: Any
    id: _Id | None = None
    image_id: _Id | Name | None = None
    category_id: _Id | None = None
    iscrowd: bool = False
    predicted_iou: float | None = None
    score: float | None = None

    @property
    def confidence(self) -> float:
        """What the network says of it, NaN where it says nothing."""
        said = self.predicted_iou if self.predicted_iou is not None else self.score
        return math.nan if said is None else said


@dataclass(frozen=True)
class _Photo:
    id: _Id | Name
    file_name: Annotated[str, Length(1, 1000)]


@dataclass(frozen=True)
class _Instances:
    images: tuple[_Photo, ...]
    annotations: tuple[_Mask, ...]
    categories: tuple[Any, ...] = ()


def read_coco_instances(file: Path, document: Mapping[str, Any], photos: Sizes) -> ImageMasks:
    """Masks of one JSON for all photos: COCO instances with RLE masks, ``images``, ``annotations``, ``categories``.

    Raises:
        InputError: malformed, a photo that the scene has not, polygons instead of masks.
    """
    read = parse_record(document, _Instances, file, mend="Export the annotations again.")
    images = {photo.id: photo.file_name for photo in read.images}
    annotations: dict[str, list[_Mask]] = {name: [] for name in images.values()}
    for number, mask in enumerate(read.annotations):
        if mask.image_id not in images:
            raise InputError(
                file,
                f"annotations[{number}] of image id {mask.image_id!r}",
                "an id that images lists",
                "List it there.",
            )
        if not mask.iscrowd:
            annotations[images[mask.image_id]].append(mask)
    listed = [{"isthing": 1, **entry} if isinstance(entry, dict) else entry for entry in read.categories]
    categories = tuple(category_from_json(entry, file) for entry in listed) or (OBJECT,)
    known = {category.id: category.id for category in categories}
    readers = {
        stem: lambda stem=stem, name=name: _rle_masks(file, annotations[name], photos[stem], known)
        for stem, name in by_photo(file, images.values(), photos).items()
    }
    return ImageMasks(categories, readers, str(file), "COCO instances")


def _listed(document: Any, path: Path) -> Sequence[_Mask]:
    entries = document.get("annotations") if isinstance(document, dict) else document
    if not isinstance(entries, list) or not all(isinstance(e, dict) and "segmentation" in e for e in entries):
        raise InputError(
            path,
            "no list of masks",
            'SAM\'s automatic masks: [{"segmentation": {"size", "counts"}, "predicted_iou", …}, …]',
            "Save them with output_mode='coco_rle' (amg.py --convert-to-rle).",
        )
    return parse_record(entries, tuple[_Mask, ...], path, mend="Write the masks again.")


def _rle_masks(path: Path, entries: Sequence[_Mask], photo: tuple[int, int], known: Mapping[int, int]) -> ViewMasks:
    size = (0, 0)
    for number, entry in enumerate(entries):
        segmentation = entry.segmentation
        if not isinstance(segmentation, dict):
            raise InputError(
                f"{path}, mask {number}",
                "a polygon" if isinstance(segmentation, list) else type(segmentation).__name__,
                "a run-length encoded mask",
                "Encode it with pycocotools.mask.frPyObjects and merge.",
            )
        size = size_of(segmentation, f"{path}, mask {number}")
        require_size(f"{path}, mask {number}", size, photo)
    size = size if entries else photo
    categories = None
    if known:
        categories = [-1 if entry.category_id is None else entry.category_id for entry in entries]
        for number, category in enumerate(categories):
            if category not in known:
                raise InputError(
                    f"{path}, mask {number}", f"category id {category}", "an id that categories lists", "Add it there."
                )
    return ViewMasks.from_masks(
        (_of_size(decode_rle(e.segmentation, f"{path}, mask {k}"), size, path, k) for k, e in enumerate(entries)),
        (size[1], size[0]),
        ids=[number if entry.id is None else entry.id for number, entry in enumerate(entries, 1)],
        category_ids=categories,
        scores=[entry.confidence for entry in entries],
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


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 19


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
        with zipfile.ZipFile(path) as archive:
            size = sum(member.file_size for member in archive.infolist())
        if size > _MOST_BYTES:
            raise InputError(path, f"{size:,} bytes of arrays", f"at most {_MOST_BYTES:,}", "Write fewer masks.")
        with np.load(path, allow_pickle=False) as arrays:
            found = {name: arrays[name] for name in arrays.files}
    except InputError:
        raise
    except Exception as error:  # what zipfile, zlib and NumPy's header raise at damaged files is no short list
        reason = str(error)[:200] or type(error).__name__
        raise InputError(path, f"a file that cannot be read ({reason})", expected, mend) from error
    found = {name: array for name, array in found.items() if isinstance(array, np.ndarray)}
    masks = found.get("masks")
    if masks is None:
        stacks = [array for array in found.values() if array.ndim == 3]
        masks = stacks[0] if len(stacks) == 1 else None
    if (
        masks is None
        or masks.ndim != 3
        or masks.dtype.kind not in "biuf"
        or (masks.dtype != bool and not np.isin(np.unique(masks), [0, 1]).all())
    ):
        shapes = ", ".join(f"{name} {array.dtype} {list(array.shape)}" for name, array in found.items())
        raise InputError(path, shapes or "no arrays", expected, mend)
    scores, classes = found.get("scores"), found.get("classes", found.get("labels"))
    for name, array in (("scores", scores), ("classes", classes)):
        if array is not None and array.shape != (len(masks),):
            raise InputError(path, f"{name} {list(array.shape)} for {len(masks)} masks", expected, mend)
    if scores is not None and scores.dtype.kind not in "biuf":
        raise InputError(path, f"scores of {scores.dtype}", expected, mend)
    if classes is not None and classes.dtype.kind in "iu":
        labels = found.get("names")
        if labels is not None and labels.ndim != 1:
            raise InputError(path, f"names {list(labels.shape)}", "names [C]", mend)
        classes = [str(labels[c]) if labels is not None and 0 <= c < len(labels) else f"class {c}" for c in classes]
    return (
        masks.astype(bool),
        None if scores is None else [float(s) for s in scores],
        None if classes is None else [str(c) for c in classes],
    )
