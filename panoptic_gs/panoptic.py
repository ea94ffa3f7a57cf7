# SPDX-License-Identifier: Apache-2.0
"""Panoptic label maps of a scene, and the COCO panoptic format they are stored in.

A scene's panoptic labelling is one integer map ``[H, W]`` per image. A value is the id of a segment, 0 is void. Ids are
**scene-wide**: the same object has the same id in every image. On disk it is a folder of PNGs with
id = R + 256·G + 65536·B and one ``panoptic.json`` as COCO tools read and write it (https://cocodataset.org/#format-data).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage

from panoptic_gs.errors import InputError
from panoptic_gs.files import image_size, read_image, read_json, write_json, write_png
from panoptic_gs.replacing import replacing_folder

MAX_SEGMENT_ID = (1 << 24) - 1
"""The largest id that an RGB pixel holds."""


@dataclass(frozen=True)
class Category:
    """A class: things are countable objects, stuff (``isthing=False``) is one segment per class and scene."""

    id: int
    name: str
    isthing: bool
    color: tuple[int, int, int] | None = None


@dataclass(frozen=True)
class Segment:
    """One object, or one stuff class, of a scene; ``queries`` of a network it was made from, the largest first."""

    id: int
    category_id: int
    score: float | None = None
    queries: tuple[int, ...] = ()
    name: str | None = None
    """What somebody called it; None where it goes by its category."""
    iscrowd: bool = False
    """Whether it is a crowd: a region of the truth with several things of its class that were not told apart."""

    @property
    def query(self) -> int | None:
        """The query that gave most of it."""
        return self.queries[0] if self.queries else None


class PanopticScene:
    """Panoptic maps of a scene with scene-wide ids.

    Args:
        categories: the classes; ids positive and unique.
        segments: the segments; ids in 1 … 2²⁴−1 and unique, each of a listed category.
        maps: image stem → ``[H, W]`` integer map, 0 = void; all of one size. May read lazily.
        source: what made the labels, free text.

    Raises:
        InputError: an id listed twice or out of range, a segment without a category.
    """

    def __init__(
        self,
        categories: Collection[Category],
        segments: Collection[Segment],
        maps: Mapping[str, np.ndarray],
        source: str = "",
    ) -> None:
        self.categories = tuple(categories)
        self.segments = tuple(segments)
        self.maps = maps
        self.source = source
        _require_unique("categories", [category.id for category in self.categories], highest=2**31 - 1)
        _require_unique("segments", [segment.id for segment in self.segments], highest=MAX_SEGMENT_ID)
        known = {category.id for category in self.categories}
        for segment in self.segments:
            if segment.category_id not in known:
                raise InputError(
                    f"segment {segment.id}",
                    f"category id {segment.category_id}",
                    "a listed category",
                    "Add the category to the list or give the segment another one.",
                )

    @property
    def stems(self) -> list[str]:
        """The images that have a map, in order."""
        return sorted(self.maps)

    @property
    def is_thing(self) -> dict[int, bool]:
        """Category id → whether it is a thing."""
        return {category.id: category.isthing for category in self.categories}

    def category_of(self) -> np.ndarray:
        """A lookup table ``[largest id + 1]`` int32: segment id → category id, 0 for void and unused ids."""
        table = np.zeros(max((segment.id for segment in self.segments), default=0) + 1, dtype=np.int32)
        for segment in self.segments:
            table[segment.id] = segment.category_id
        return table

    def category_map(self, stem: str) -> np.ndarray:
        """The category ids ``[H, W]`` int32 of one image, 0 = void."""
        return self.category_of()[self.maps[stem]]

    @classmethod
    def load(cls, folder: Path | str, stems: Collection[str] | None = None) -> PanopticScene:
        """Read a folder of COCO panoptic maps.

        Every map is read and checked once here; later each access reads its file again, so that a long scene does not
        fill the memory.

        Args:
            folder: holds ``panoptic.json`` and the PNGs.
            stems: names (without ending) of the scene's images; a map of any other image is refused.

        Raises:
            InputError: something is missing, truncated or inconsistent, or ids are per image.
        """
        folder = Path(folder)
        if not folder.is_dir():
            raise InputError(folder, "no such folder", "a folder of COCO panoptic maps", "Check the path.")
        file = folder / "panoptic.json"
        document = read_json(file)
        try:
            categories = [category_from_json(entry) for entry in document["categories"]]
            annotations = [_Annotation.parse(entry) for entry in document["annotations"]]
            info = document.get("info", {})
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InputError(
                file,
                f"a missing or malformed field ({error})",
                "the COCO panoptic format",
                "It needs categories (id, name, isthing) and annotations (file_name, segments_info with "
                "id and category_id).",
            ) from error
        segments = _scene_wide_segments(file, annotations, declared=bool(info.get("scene_wide_ids")))
        maps = _MapFiles(folder, annotations)
        if stems is not None:
            for stem in maps:
                if stem not in stems:
                    raise InputError(
                        file,
                        f"a map for '{stem}'",
                        "maps of the scene's images only",
                        "Name each map as its image, or remove the maps of images that were dropped.",
                    )
        maps.check()
        return cls(categories, segments, maps, source=str(info.get("source", "")))

    def save(self, folder: Path | str, *, overwrite: bool = False) -> None:
        """Write the maps and ``panoptic.json`` as COCO tools read them; nothing is left behind on failure.

        Raises:
            InputError: the folder has content and ``overwrite`` is false; a pixel's id is not listed.
        """
        listed = {segment.id: segment for segment in self.segments}
        images: list[dict[str, Any]] = []
        annotations: list[dict[str, Any]] = []
        with replacing_folder(Path(folder), overwrite=overwrite, known_by="panoptic.json") as temporary:
            for number, stem in enumerate(self.stems, start=1):
                ids = np.asarray(self.maps[stem])
                segments_info = []
                for segment_id, area, bbox in _areas_and_boxes(ids):
                    if segment_id not in listed:
                        raise InputError(
                            f"map '{stem}'",
                            f"id {segment_id}",
                            "ids of listed segments",
                            "Add a Segment for it or set these pixels to 0 (void).",
                        )
                    segments_info.append(_segment_to_json(listed[segment_id], area, bbox))
                write_png(temporary / f"{stem}.png", encode_ids(ids))
                images.append({"id": number, "file_name": f"{stem}.png", "width": ids.shape[1], "height": ids.shape[0]})
                annotations.append({"image_id": number, "file_name": f"{stem}.png", "segments_info": segments_info})
            write_json(temporary / "panoptic.json", {
                "info": {"source": self.source, "scene_wide_ids": True},
                "images": images,
                "annotations": annotations,
                "categories": [category_to_json(category) for category in self.categories],
            })  # fmt: skip


def encode_ids(ids: np.ndarray) -> np.ndarray:
    """Ids ``[H, W]`` → COCO panoptic pixels ``[H, W, 3]`` uint8, id = R + 256·G + 65536·B."""
    values = np.asarray(ids).astype(np.uint32)
    return np.stack([values & 255, (values >> 8) & 255, (values >> 16) & 255], axis=-1).astype(np.uint8)


def decode_ids(pixels: np.ndarray) -> np.ndarray:
    """COCO panoptic pixels ``[H, W, 3]`` uint8 → ids ``[H, W]`` int32."""
    red, green, blue = (pixels[..., channel].astype(np.int32) for channel in range(3))
    return red + (green << 8) + (blue << 16)


def resize_nearest(labels: np.ndarray, width: int, height: int) -> np.ndarray:
    """Resample a label map ``[H, W]`` by nearest neighbour (pixel centres), never interpolating ids."""
    if labels.shape == (height, width):
        return labels
    rows = ((np.arange(height) + 0.5) * labels.shape[0] / height).astype(np.int64)
    columns = ((np.arange(width) + 0.5) * labels.shape[1] / width).astype(np.int64)
    return labels[rows[:, None], columns[None, :]]


@dataclass(frozen=True)
class _Annotation:
    file_name: str
    categories: dict[int, int]  # segment id → category id
    scores: dict[int, float]
    queries: dict[int, tuple[int, ...]]
    crowds: frozenset[int]

    @classmethod
    def parse(cls, entry: Mapping[str, Any]) -> _Annotation:
        infos = entry["segments_info"]
        return cls(
            str(entry["file_name"]),
            {int(info["id"]): int(info["category_id"]) for info in infos},
            {int(info["id"]): float(info["score"]) for info in infos if info.get("score") is not None},
            {int(info["id"]): _queries_from_json(info) for info in infos if info.get("query") is not None},
            frozenset(int(info["id"]) for info in infos if _is_crowd(info)),
        )


class _MapFiles(Mapping[str, np.ndarray]):
    """Label maps on disk, read and checked at each access."""

    def __init__(self, folder: Path, annotations: Collection[_Annotation]) -> None:
        self._files: dict[str, tuple[Path, np.ndarray]] = {}
        for annotation in annotations:
            path = folder / annotation.file_name
            if path.stem in self._files:
                raise InputError(
                    folder / "panoptic.json",
                    f"two annotations for '{path.stem}'",
                    "one map an image",
                    "Remove one of them.",
                )
            if path.resolve().parent != folder.resolve():
                raise InputError(
                    folder / "panoptic.json",
                    f"file_name '{annotation.file_name}'",
                    "a file in the same folder",
                    "Put the maps beside panoptic.json.",
                )
            self._files[path.stem] = (path, np.array(sorted({0, *annotation.categories}), dtype=np.int64))

    def __getitem__(self, stem: str) -> np.ndarray:
        path, listed = self._files[stem]
        pixels = read_image(path, expected="an RGB PNG with id = R + 256·G + 65536·B")
        if pixels.ndim != 3 or pixels.shape[2] < 3 or pixels.dtype != np.uint8:
            raise InputError(
                path,
                f"{pixels.dtype} pixels of shape {list(pixels.shape)}",
                "an RGB PNG with id = R + 256·G + 65536·B",
                "Write ids as RGB; panoptic_gs.panoptic.encode_ids does it.",
            )
        ids = decode_ids(pixels)
        unknown = np.setdiff1d(np.unique(ids), listed)
        if unknown.size:
            raise InputError(
                path,
                f"{unknown.size} ids without a segment, the first {unknown[0]}",
                "ids listed in segments_info of panoptic.json, or 0 for void",
                "List them there, or write the map again without resampling or compression.",
            )
        return ids

    def __iter__(self) -> Iterator[str]:
        return iter(self._files)

    def __len__(self) -> int:
        return len(self._files)

    def check(self) -> None:
        """Read every map once; all must be of one size."""
        sizes = Counter(image_size(path) for path, _ in self._files.values())
        if len(sizes) > 1:
            usual = sizes.most_common(1)[0][0]
            path = next(path for path, _ in self._files.values() if image_size(path) != usual)
            width, height = image_size(path)
            raise InputError(
                path,
                f"{width}×{height} pixels",
                f"{usual[0]}×{usual[1]} as the other maps of the folder",
                "Write all maps of a folder in one size.",
            )
        for stem in self:
            self[stem]


def category_from_json(entry: Mapping[str, Any]) -> Category:
    """A category from an entry of a COCO category list."""
    color = entry.get("color")
    return Category(
        int(entry["id"]),
        str(entry["name"]),
        bool(entry["isthing"]),
        (int(color[0]), int(color[1]), int(color[2])) if color else None,
    )


def category_to_json(category: Category) -> dict[str, Any]:
    """The entry of a category in a COCO category list."""
    entry: dict[str, Any] = {"id": category.id, "name": category.name, "isthing": int(category.isthing)}
    return entry | ({"color": list(category.color)} if category.color else {})


def _scene_wide_segments(file: Path, annotations: Collection[_Annotation], declared: bool) -> list[Segment]:
    """The scene's segments, or an error where ids mean another object in each image."""
    mend = (
        "Associate the objects over the images first, so that one object keeps one id: track the masks, project them "
        "through the depth, or predict with a multi-view network."
    )
    categories: dict[int, int] = {}
    scores: dict[int, list[float]] = {}
    queries: dict[int, tuple[int, ...]] = {}
    crowds: dict[int, bool] = {}
    seen: Counter[int] = Counter()
    for annotation in annotations:
        for segment_id, category_id in annotation.categories.items():
            if categories.setdefault(segment_id, category_id) != category_id:
                raise InputError(
                    file,
                    f"id {segment_id} with category {categories[segment_id]} in one image and "
                    f"{category_id} in '{annotation.file_name}'",
                    "scene-wide ids, one category each",
                    mend,
                )
            is_crowd = segment_id in annotation.crowds
            if crowds.setdefault(segment_id, is_crowd) != is_crowd:
                raise InputError(
                    file,
                    f"id {segment_id} with iscrowd {int(not is_crowd)} in one image and {int(is_crowd)} in "
                    f"'{annotation.file_name}'",
                    "one iscrowd an id",
                    "Give the crowd and the object ids of their own.",
                )
            seen[segment_id] += 1
        for segment_id, score in annotation.scores.items():
            scores.setdefault(segment_id, []).append(score)
        queries.update(annotation.queries)
    labelled = sum(bool(annotation.categories) for annotation in annotations)
    if not declared and labelled > 1 and seen and max(seen.values()) == 1:
        raise InputError(
            file,
            "no id that occurs in two images: ids are per image",
            "scene-wide ids",
            mend + ' If they are scene-wide all the same, add "scene_wide_ids": true to "info".',
        )
    return [
        Segment(
            segment_id,
            category_id,
            float(np.mean(scores[segment_id])) if segment_id in scores else None,
            queries.get(segment_id, ()),
            iscrowd=crowds[segment_id],
        )
        for segment_id, category_id in sorted(categories.items())
    ]


def _segment_to_json(segment: Segment, area: int, bbox: list[int]) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "id": segment.id,
        "category_id": segment.category_id,
        "area": area,
        "bbox": bbox,
        "iscrowd": int(segment.iscrowd),
    }
    if segment.score is not None:
        entry["score"] = segment.score
    if segment.queries:
        entry["query"] = segment.query
    if len(segment.queries) > 1:
        entry["queries"] = list(segment.queries)
    return entry


def _is_crowd(info: Mapping[str, Any]) -> bool:
    value = info.get("iscrowd", 0)
    if value not in (0, 1):
        raise ValueError(f"iscrowd {value!r}, where 0 or 1 belongs")
    return bool(value)


def _queries_from_json(info: Mapping[str, Any]) -> tuple[int, ...]:
    return tuple(int(query) for query in info.get("queries", [info["query"]]))


def _areas_and_boxes(ids: np.ndarray) -> list[tuple[int, int, list[int]]]:
    """(id, area, [x, y, width, height]) of every non-void id of a map."""
    values, dense = np.unique(ids, return_inverse=True)
    dense = dense.reshape(ids.shape)
    areas = np.bincount(dense.ravel(), minlength=len(values))
    boxes = ndimage.find_objects(dense + 1)
    return [
        (int(value), int(area), [columns.start, rows.start, columns.stop - columns.start, rows.stop - rows.start])
        for value, area, (rows, columns) in zip(values, areas, boxes)
        if value != 0
    ]


def _require_unique(what: str, ids: list[int], highest: int) -> None:
    for value, count in Counter(ids).items():
        if count > 1 or not 0 < value <= highest:
            found = f"id {value} {count} times" if count > 1 else f"id {value}"
            raise InputError(what, found, f"unique ids from 1 to {highest}", "Number them anew; 0 means void.")
