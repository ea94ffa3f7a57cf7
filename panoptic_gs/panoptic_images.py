# SPDX-License-Identifier: Apache-2.0
"""COCO panoptic files image by image, whether their ids are scene-wide or mean another object in each image.

A network that sees one image at a time numbers its segments anew in each. Such files are whole, but they say nothing
about which segments of two images are one object; :class:`~panoptic_gs.PanopticScene` refuses them with a
:class:`PerImageIdsError`, and association starts from what is read here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Annotated, Any
from weakref import WeakValueDictionary

import numpy as np

from panoptic_gs.errors import InputError
from panoptic_gs.files import image_size, read_json
from panoptic_gs.label_maps import counted_ids, read_ids, same_shape
from panoptic_gs.labelling import MAX_CATEGORY_ID, MAX_SEGMENT_ID, Category, Segment, SegmentEntry, require_unique
from panoptic_gs.records import MAX_SIDE, Name, Range, parse_record

FILE = "panoptic.json"
_LEAST_REPEATED, _ENOUGH_THINGS = 0.05, 10
"""Share of things that views of one scene have in common at least, where there are that many. COCO derives ids from the
class's colour, so images have some in common by chance: most stuff classes, and 1 of 42 things of its own examples."""
_MEND = (
    "Associate the objects over the images first, so that one object keeps one id: "
    "'panoptic-gs associate SPLATS MASKS --data SCENE --out SCENE/panoptic' does it with any splats of the scene; "
    "'ns-train panst3r-ludvig' does it by itself."
)


_ENTRIES: WeakValueDictionary[SegmentEntry, SegmentEntry] = WeakValueDictionary()
"""Entries of all files that are being read, each once."""


class PerImageIdsError(InputError):
    """Ids that mean another object in each image, where scene-wide ones are needed."""


@dataclass(frozen=True)
class PanopticImage:
    """The map of one image: its file, and the segments that it shows with the ids that they have in it."""

    stem: str
    file: Path
    segments: tuple[Segment, ...]

    def read(self) -> np.ndarray:
        """The ids ``[H, W]`` int32, 0 = void.

        Raises:
            InputError: it is missing, truncated, not in RGB, or has a pixel of an id that is not listed.
        """
        ids = read_ids(self.file)
        unknown = np.setdiff1d(counted_ids(ids)[0], [0, *(segment.id for segment in self.segments)])
        if unknown.size:
            raise InputError(
                self.file,
                f"{unknown.size} ids without a segment, the first {unknown[0]}",
                "ids listed in segments_info of panoptic.json, or 0 for void",
                "List them there, or write the map again without resampling or compression.",
            )
        return ids


@dataclass(frozen=True)
class PanopticImages:
    """A folder of COCO panoptic maps, image by image.

    Args:
        file: ``panoptic.json``.
        categories: the classes.
        images: in the order of the file; one a stem.
        source: what made the labels, free text.
        declared: whether the file says that its ids are scene-wide (or that they are not); None where it says nothing.
        listed_sizes: stem → (width, height) where the file lists the image.
    """

    file: Path
    categories: tuple[Category, ...]
    images: tuple[PanopticImage, ...]
    source: str
    declared: bool | None
    listed_sizes: Mapping[str, tuple[int, int]]

    @property
    def maps(self) -> Mapping[str, np.ndarray]:
        """Image stem → ids ``[H, W]`` int32, read and checked at each access."""
        return MapFiles({image.stem: image for image in self.images})

    @property
    def per_image(self) -> str | None:
        """What shows that ids mean another object in each image, in words; None where they can be scene-wide.

        It shows where the file says so, where an id has two categories, or where no id, or hardly any of many things,
        occurs in two images and the file does not say that ids are scene-wide. A file of one image is never per image.
        """
        category: dict[int, tuple[int, str]] = {}
        seen: Counter[int] = Counter()
        for image in self.images:
            for segment in image.segments:
                first, stem = category.setdefault(segment.id, (segment.category_id, image.stem))
                if first != segment.category_id:
                    return (
                        f"id {segment.id} with category {first} in '{stem}' and "
                        f"{segment.category_id} in '{image.stem}': ids are per image"
                    )
                seen[segment.id] += 1
        if self.declared is False and len(self.images) > 1:
            return '"scene_wide_ids": false: ids are per image'
        labelled = sum(bool(image.segments) for image in self.images)
        if self.declared or labelled < 2 or not seen:
            return None
        isthing = {entry.id: entry.isthing for entry in self.categories}
        things = [count for segment, count in seen.items() if isthing[category[segment][0]]]
        repeated = sum(count > 1 for count in things)
        if max(seen.values()) == 1:
            return "no id that occurs in two images: ids are per image"
        if len(things) >= _ENOUGH_THINGS and repeated < _LEAST_REPEATED * len(things):
            return f"only {repeated} of {len(things)} things in two images: ids are per image"
        return None

    def scene_segments(self) -> tuple[Segment, ...]:
        """The scene's segments by ascending id; of several scores the mean, of several names and queries the first.

        Raises:
            PerImageIdsError: ids are per image.
            InputError: an id is a crowd in one image and an object in another.
        """
        found = self.per_image
        if found is not None:
            declare = "" if self.declared or "categor" in found else (
                ' If they are scene-wide all the same, add "scene_wide_ids": true to "info".'
            )  # fmt: skip
            raise PerImageIdsError(self.file, found, "scene-wide ids, one category each", _MEND + declare)
        entries: dict[int, list[Segment]] = {}
        for image in self.images:
            for segment in image.segments:
                same = entries.setdefault(segment.id, [])
                if same and same[0].iscrowd != segment.iscrowd:
                    raise InputError(
                        self.file,
                        f"id {segment.id} with iscrowd {int(same[0].iscrowd)} in one image and {int(segment.iscrowd)} "
                        f"in '{image.file.name}'",
                        "one iscrowd an id",
                        "Give the crowd and the object ids of their own.",
                    )
                same.append(segment)
        return tuple(_over_images(of_one) for _, of_one in sorted(entries.items()))

    def require_stems(self, stems: Collection[str]) -> None:
        """Check that every map is of one of these images.

        Raises:
            InputError: one is of another.
        """
        for image in self.images:
            if image.stem not in stems:
                raise InputError(
                    self.file,
                    f"a map for '{image.stem}'",
                    "maps of the scene's images only",
                    "Name each map as its image, or remove the maps of images that were dropped.",
                )

    def check(self) -> None:
        """Read every map once; its shape has to be that of its image, where the file lists it.

        Raises:
            InputError: a map cannot be read, has an id that is not listed, or another shape.
        """
        for image in self.images:
            size, listed = image_size(image.file), self.listed_sizes.get(image.stem)
            # A map that was turned as EXIF says has the photo's sides exchanged; only the photo can tell.
            if listed is not None and not (same_shape(size, listed) or same_shape((size[1], size[0]), listed)):
                raise InputError(
                    image.file,
                    f"{size[0]}×{size[1]} pixels",
                    f"{listed[0]}×{listed[1]} as {self.file.name} lists the image, or that size scaled",
                    "Write the map in its image's shape, without cropping it.",
                )
            image.read()


def read_panoptic_images(source: Path | str) -> PanopticImages:
    """Read a COCO panoptic file; maps are read when they are asked for.

    Args:
        source: a folder with ``panoptic.json`` and the maps; or the JSON itself, with the maps beside it, or in the
            folder of its name as COCO has them.

    Raises:
        InputError: it is missing or malformed, ids are out of range, an id has two categories in one image, or an image
            has two annotations.
    """
    source = Path(source)
    file = source if source.suffix == ".json" and source.is_file() else source / FILE
    if file != source and not source.is_dir():
        raise InputError(source, "no such folder", "a folder of COCO panoptic maps", "Check the path.")
    folder = file.with_suffix("") if file.with_suffix("").is_dir() else file.parent
    document = parse_record(
        read_json(file, _shared_objects()), _Document, file,
        mend="It needs categories (id, name, isthing) and annotations (file_name, segments_info with id and "
        "category_id).",
    )  # fmt: skip
    try:
        require_unique("categories", [category.id for category in document.categories], highest=MAX_CATEGORY_ID)
    except InputError as error:
        raise error.inside(file) from error
    known = {category.id for category in document.categories}
    images: dict[str, PanopticImage] = {}
    once: dict[Segment, Segment] = {}
    for annotation in document.annotations:
        name, stem = _name_and_stem(annotation.file_name)
        if name.is_absolute() or ".." in name.parts or not name.name:
            raise InputError(
                file, f"file_name '{annotation.file_name}'", "a file in the same folder",
                "Put the maps beside panoptic.json, or in folders below it that are called as the photos' are.",
            )  # fmt: skip
        if stem in images:
            raise InputError(file, f"two annotations for '{stem}'", "one map an image", "Remove one of them.")
        segments = _segments(file, annotation, known, once)
        images[stem] = PanopticImage(stem, folder / name, segments)
    info = document.info or _Info()
    return PanopticImages(
        file, document.categories, tuple(images.values()), info.source, info.scene_wide_ids, _sizes(document)
    )


def _shared_objects() -> Callable[[list[tuple[str, Any]]], dict[str, Any]]:
    """Makes equal objects of a JSON file one, without what nobody here asks of a segment.

    A long scene's maps list a million segments, which differ by their area and box alone, and take a gigabyte else.
    """
    once: dict[tuple[Any, ...], dict[str, Any]] = {}

    def made(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = {key: value for key, value in pairs if key not in ("area", "bbox")}
        try:
            return once.setdefault(tuple((key, type(value), value) for key, value in found.items()), found)
        except TypeError:  # something in it is no plain value
            return found

    return made


def _name_and_stem(file_name: str) -> tuple[PurePosixPath, str]:
    """A map's path, and what it calls its image: the path without ending."""
    name = PurePosixPath(file_name.replace("\\", "/"))
    return name, name.with_suffix("").as_posix() if name.name else ""


def _segments(
    file: Path, annotation: _Annotation, known: Collection[int], once: dict[Segment, Segment]
) -> tuple[Segment, ...]:
    """The segments of an image; what images say alike of one is kept once, since long scenes say it a million times."""
    segments: dict[int, Segment] = {}
    for entry in annotation.segments_info:
        segment = entry.segment()
        earlier = segments.setdefault(entry.id, once.setdefault(segment, segment))
        if earlier.category_id != entry.category_id:
            raise InputError(
                file,
                f"id {entry.id} twice in '{annotation.file_name}', with categories {earlier.category_id} and "
                f"{entry.category_id}",
                "one segment an id",
                "Give each segment of an image an id of its own, in the map and in segments_info.",
            )
        if not 0 < entry.id <= MAX_SEGMENT_ID or entry.category_id not in known:
            raise InputError(
                file,
                f"segment {entry.id} of category id {entry.category_id} in '{annotation.file_name}'",
                f"ids from 1 to {MAX_SEGMENT_ID} (0 means void) of a listed category",
                "Number the segments anew, or add the category to the list.",
            )
    return tuple(segments.values())


def _sizes(document: _Document) -> dict[str, tuple[int, int]]:
    """Stem → size as ``images`` lists it, by the annotation's image_id, or else by name."""
    sized = [image for image in document.images or () if image.width is not None and image.height is not None]
    by_id = {image.id: (image.width, image.height) for image in sized if image.id is not None}
    by_stem = {_name_and_stem(image.file_name)[1]: (image.width, image.height) for image in sized if image.file_name}
    found = {}
    for annotation in document.annotations:
        _, stem = _name_and_stem(annotation.file_name)
        size = by_id.get(annotation.image_id) if annotation.image_id is not None else by_stem.get(stem)
        if size is not None:
            found[stem] = size
    return found


def _over_images(entries: list[Segment]) -> Segment:
    """One segment of what images say of it: the mean of the scores, the first name and queries."""
    scores = [entry.score for entry in entries if entry.score is not None]
    return replace(
        entries[0],
        score=float(np.mean(scores)) if scores else None,
        queries=next((entry.queries for entry in entries if entry.queries), ()),
        name=next((entry.name for entry in entries if entry.name), None),
    )


class MapFiles(Mapping[str, np.ndarray]):
    """Label maps on disk, read and checked at each access."""

    def __init__(self, images: Mapping[str, PanopticImage]) -> None:
        self._images = images

    def __getitem__(self, stem: str) -> np.ndarray:
        return self._images[stem].read()

    def __contains__(self, stem: object) -> bool:
        return stem in self._images  # a mapping's own looks an item up, which reads its file

    def size(self, stem: str) -> tuple[int, int]:
        """Width and height of a map, from its header."""
        return image_size(self._images[stem].file)

    def __iter__(self) -> Iterator[str]:
        return iter(self._images)

    def __len__(self) -> int:
        return len(self._images)


@dataclass(frozen=True)
class _Annotation:
    file_name: Name
    segments_info: tuple[SegmentEntry, ...]
    image_id: int | str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "segments_info", tuple(_ENTRIES.setdefault(e, e) for e in self.segments_info))


@dataclass(frozen=True)
class _Image:
    id: int | str | None = None
    file_name: Name | None = None
    width: Annotated[int, Range(1, MAX_SIDE)] | None = None
    height: Annotated[int, Range(1, MAX_SIDE)] | None = None


@dataclass(frozen=True)
class _Info:
    source: str = ""
    scene_wide_ids: bool | None = None


@dataclass(frozen=True)
class _Document:
    categories: tuple[Category, ...]
    annotations: tuple[_Annotation, ...]
    images: tuple[_Image, ...] | None = None
    info: _Info | None = None
