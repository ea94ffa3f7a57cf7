# SPDX-License-Identifier: Apache-2.0
"""What a network for masks of single photos offers, how it is named, and what of it is written."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from panoptic_gs.errors import InputError
from panoptic_gs.files import write_json, write_png
from panoptic_gs.label_maps import encode_ids
from panoptic_gs.labelling import Category, Segment
from panoptic_gs.predict.photos import Photo
from panoptic_gs.predict.registry import MASKS, require_installed
from panoptic_gs.raw_predictions import DESCRIPTION, RawPredictions
from panoptic_gs.replacing import replacing_folder

DEFAULT = "eomt"


@dataclass(frozen=True)
class MaskOptions:
    """What the command line hands to a network for masks."""

    checkpoint: str | None = None
    """Its name on the Hugging Face hub, or a folder; by default the family's own."""
    classes: tuple[Category, ...] | None = None
    """The classes that are wanted, or what is prompted for; by default all that the network knows."""
    device: str = "cpu"
    say: Callable[[str], None] = lambda text: None
    """Called with the licence and with what is about to be downloaded, before it is."""


class MaskPredictor(Protocol):
    """A network that finds the masks of one photo; its class is called with `MaskOptions`."""

    def predict(self, photo: Photo) -> RawPredictions:
        """The query masks of a photo, as predictions of one view.

        Raises:
            InputError: the photo cannot be read.
        """
        ...


@runtime_checkable
class MaskGenerator(Protocol):
    """A network whose masks of a photo have no classes and may overlap; called with `MaskOptions`, too."""

    def masks(self, photo: Photo) -> list[dict[str, Any]]:
        """The masks of a photo in the layout of SAM's automatic masks: ``segmentation`` (RLE), ``predicted_iou``, ….

        Raises:
            InputError: the photo cannot be read.
        """
        ...


@dataclass(frozen=True, eq=False)
class TrackedMap:
    """The map of a photo whose ids mean the same object in all photos.

    Args:
        stem: the photo's.
        ids: ``[H, W]`` int32, 0 where nothing is.
        segments: what they mean.
    """

    stem: str
    ids: np.ndarray
    segments: tuple[Segment, ...]


@runtime_checkable
class MaskTracker(Protocol):
    """A network that follows objects from photo to photo; called with `MaskOptions`, too."""

    checkpoint: str
    categories: tuple[Category, ...]

    def track(self, photos: Sequence[Photo]) -> Iterator[TrackedMap]:
        """The maps of photos in the order of a video.

        Raises:
            InputError: a photo cannot be read.
        """
        ...


def load_mask_predictor(name: str, options: MaskOptions) -> MaskPredictor | MaskGenerator | MaskTracker:
    """The network of a family's name, or of a checkpoint's name on the hub or folder, whose family it states.

    ``FAMILY:CHECKPOINT`` says both.

    Raises:
        InputError: none of this name, not installed, not to be had, or no network for masks.
    """
    family, _, checkpoint = name.partition(":")
    if family in MASKS and checkpoint:
        name, options = family, replace(options, checkpoint=checkpoint)
    if name not in MASKS:
        from panoptic_gs.predict.masks.hub import family_of

        if "/" not in name and not Path(name).is_dir():
            raise InputError(
                "--masks", f"'{name}'", f"one of {', '.join(MASKS)}, a checkpoint's name on the hub, or its folder",
                "Choose one of these.",
            )  # fmt: skip
        require_installed(DEFAULT, MASKS)
        name, options = family_of(name), replace(options, checkpoint=name)
    require_installed(name, MASKS)
    module, _, found = MASKS[name].home.partition(":")
    return getattr(importlib.import_module(module), found)(name, options)


class ImageMaps:
    """Label maps written photo by photo as one COCO panoptic folder, with ids of each image or of the scene."""

    def __init__(
        self, folder: Path, categories: Sequence[Category], source: str, *, scene_wide_ids: bool = False
    ) -> None:
        self._folder, self._categories, self._source = folder, categories, source
        self._scene_wide_ids = scene_wide_ids
        self._images: list[dict[str, Any]] = []
        self._annotations: list[dict[str, Any]] = []

    def add(self, stem: str, ids: np.ndarray, segments: Sequence[Segment]) -> None:
        """Write the map ``[H, W]`` of a photo with the segments that it shows."""
        number = len(self._images) + 1
        values, areas = np.unique(ids, return_counts=True)
        area = dict(zip(values.tolist(), areas.tolist(), strict=True))
        write_png(self._folder / f"{stem}.png", encode_ids(ids))
        self._images.append({"id": number, "file_name": f"{stem}.png", "width": ids.shape[1], "height": ids.shape[0]})
        self._annotations.append({
            "image_id": number,
            "file_name": f"{stem}.png",
            "segments_info": [
                {"id": s.id, "category_id": s.category_id, "area": area[s.id], "iscrowd": 0}
                | ({} if s.score is None else {"score": s.score})
                for s in segments
                if s.id in area
            ],
        })  # fmt: skip

    def finish(self) -> None:
        """Write ``panoptic.json``."""
        write_json(self._folder / "panoptic.json", {
            "info": {"source": self._source, "scene_wide_ids": self._scene_wide_ids},
            "images": self._images,
            "annotations": self._annotations,
            "categories": [
                {"id": c.id, "name": c.name, "isthing": int(c.isthing)} | ({"color": list(c.color)} if c.color else {})
                for c in self._categories
            ],
        })  # fmt: skip


def image_predictions(folder: Path) -> Mapping[str, Path]:
    """Photo's stem → the folder of its predictions, of a folder of one such a photo."""
    found = sorted(path.parent for path in folder.rglob(DESCRIPTION))
    return {path.relative_to(folder).as_posix(): path for path in found}


def merge_image_predictions(
    folder: Path,
    out: Path,
    merge: Callable[[RawPredictions], Any],
    *,
    overwrite: bool = False,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[int, list[str]]:
    """Merge the predictions of each photo by itself, and write the maps as one COCO panoptic folder.

    Args:
        folder: one folder of raw predictions a photo.
        out: for the maps; ids are numbered image by image.
        merge: predictions of a photo → :class:`panoptic_gs.merge.Merge`.
        overwrite: whether an earlier output may be replaced.
        progress: called with the photos done and their number.

    Returns:
        The number of segments, and the photos in which there was none; these have empty maps.

    Raises:
        InputError: no predictions, predictions with other classes than the first photo's, none with a segment.
    """
    folders = image_predictions(folder)
    if not folders:
        raise InputError(folder, "no predictions of photos", f"PHOTO/{DESCRIPTION}", "Predict first.")
    count, empty, refused = 0, [], None
    with replacing_folder(out, overwrite=overwrite, known_by="panoptic.json") as temporary:
        maps = None
        for number, (stem, path) in enumerate(folders.items(), 1):
            raw = RawPredictions.load(path)
            if maps is None:
                categories = raw.classes
                maps = ImageMaps(temporary, categories, f"{raw.network}, merged photo by photo")
            elif raw.classes != categories:
                raise InputError(path, "other classes than the first photo's", "one list of classes",
                                 "Predict all photos with one network.")  # fmt: skip
            try:
                merged = merge(raw)
                ids, segments = merged.label_map(0)[0].numpy(), merged.segments
            except InputError as error:
                if "no segment" not in error.found and "no class probability" not in error.found:
                    raise
                refused = error
                empty.append(stem)
                ids, segments = np.zeros((raw.images[0].height, raw.images[0].width), np.int32), ()
            maps.add(stem, ids, segments)
            count += len(segments)
            progress(number, len(folders))
        if refused is not None and len(empty) == len(folders):
            raise refused
        assert maps is not None
        maps.finish()
    return count, empty
