# SPDX-License-Identifier: Apache-2.0
"""A scene folder from two networks: one for cameras, one for masks of single photos.

Each step leaves what it found in the folder, so that a later one that fails can be repeated without it:
``images/``, ``transforms.json`` and ``points3D.ply``; ``image_predictions/PHOTO/`` with the query masks of each photo;
``masks_per_image/`` with its merged map, whose ids mean nothing in the next photo unless a tracker gave them.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from panoptic_gs.errors import InputError
from panoptic_gs.files import read_json, write_json
from panoptic_gs.predict.geometry.found import Geometry
from panoptic_gs.predict.masks.found import (
    ImageMaps,
    MaskGenerator,
    MaskPredictor,
    MaskTracker,
    merge_image_predictions,
)
from panoptic_gs.predict.photos import Photo
from panoptic_gs.predict.scene_folder import write_estimated_scene, write_known_scene
from panoptic_gs.progress import Progress, silent
from panoptic_gs.raw_predictions import DESCRIPTION, RawPredictions
from panoptic_gs.replacing import replacing_folder
from panoptic_gs.scene import Scene

RECORD = "assembled.json"
"""What made the folder; one without it is never replaced."""
PREDICTIONS = "image_predictions"
MASKS = "masks_per_image"


def write_geometry(
    out: Path,
    photos: Sequence[Photo],
    geometry: Geometry,
    record: Mapping[str, Any],
    *,
    known: Scene | None = None,
    overwrite: bool = False,
    progress: Progress = silent,
) -> tuple[Photo, ...]:
    """Write the scene folder with photos, cameras and seed points, and give the photos that have a camera.

    Args:
        out: the scene folder.
        photos: of which cameras were looked for.
        geometry: what was found.
        record: what made it, for the folder's record.
        known: the scene whose cameras they are: its splits, masks and truth are copied, too.
        overwrite: whether an earlier output may be replaced.
        progress: called after each photo.
    """
    placed = tuple(photo for photo in photos if photo.stem in geometry.cameras)
    with replacing_folder(out, overwrite=overwrite, known_by=RECORD) as folder:
        if known is not None:
            write_known_scene(folder, known, None, progress)
        else:
            cameras = [geometry.cameras[photo.stem] for photo in placed]
            write_estimated_scene(folder, placed, cameras, geometry.points, progress, geometry.lenses)
        write_json(folder / RECORD, {
            **record, "metric": geometry.metric, "notes": list(geometry.notes), "left_out": dict(geometry.left_out),
        })  # fmt: skip
    return placed


def predict_masks(out: Path, photos: Sequence[Photo], predictor: MaskPredictor, progress: Progress = silent) -> None:
    """Find the masks of each photo that has none yet in ``image_predictions/``; one photo in memory at a time."""
    for number, photo in enumerate(photos, 1):
        folder = out / PREDICTIONS / photo.stem
        if not (folder / DESCRIPTION).is_file():
            predictor.predict(photo).save(folder)
        progress("Finding masks", number, len(photos))


def generate_masks(
    out: Path, photos: Sequence[Photo], generator: MaskGenerator, progress: Progress = silent
) -> tuple[int, list[str]]:
    """Find the masks of each photo that has none yet, and write them as one JSON a photo, as SAM's automatic masks.

    Returns:
        The number of masks, and the photos that have none.

    Raises:
        InputError: no photo has a mask.
    """
    found: dict[str, int] = {}
    for number, photo in enumerate(photos, 1):
        file = out / PREDICTIONS / f"{photo.stem}.json"
        if not file.is_file():
            file.parent.mkdir(parents=True, exist_ok=True)
            write_json(file, generator.masks(photo))
        found[photo.stem] = len(read_json(file))
        progress("Finding masks", number, len(photos))
    counted = _counted(found, out / PREDICTIONS, "masks of objects",
                       "the photos show nothing. Remove the folder and try another one.")  # fmt: skip
    with replacing_folder(out / MASKS, overwrite=True, known_by=f"{photos[0].stem}.json") as folder:
        for photo in photos:
            copy = folder / f"{photo.stem}.json"
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(out / PREDICTIONS / f"{photo.stem}.json", copy)
    return counted


def track_masks(
    out: Path, photos: Sequence[Photo], tracker: MaskTracker, progress: Progress = silent
) -> tuple[int, list[str]]:
    """Follow objects from photo to photo, and write their maps with ids of the scene into ``masks_per_image/``.

    Returns:
        The number of masks, and the photos that have none.

    Raises:
        InputError: no photo has a mask.
    """
    found: dict[str, int] = {}
    with replacing_folder(out / MASKS, overwrite=True, known_by="panoptic.json") as folder:
        maps = ImageMaps(folder, tracker.categories, f"{tracker.checkpoint}, tracked", scene_wide_ids=True)
        for number, tracked in enumerate(tracker.track(photos), 1):
            maps.add(tracked.stem, tracked.ids, tracked.segments)
            found[tracked.stem] = len(tracked.segments)
            progress("Following objects", number, len(photos))
        counted = _counted(found, out, "masks of the classes that are asked for",
                           "the photos show none of them; try other words.")  # fmt: skip
        maps.finish()
    return counted


def _counted(found: Mapping[str, int], source: Path, expected: str, mend: str) -> tuple[int, list[str]]:
    """The number of all photos' masks, and the photos that have none.

    Raises:
        InputError: no photo has a mask.
    """
    count = sum(found.values())
    if count == 0:
        raise InputError(source, "no mask in any photo", expected, f"The checkpoint may not be trained, or {mend}")
    return count, [stem for stem, number in found.items() if number == 0]


def merge_masks(
    out: Path, merge: Callable[[RawPredictions], Any], *, overwrite: bool = False, progress: Progress = silent
) -> tuple[int, list[str]]:
    """Merge ``image_predictions/`` photo by photo into ``masks_per_image/``.

    Returns:
        The number of masks, and the photos that have none.
    """
    return merge_image_predictions(
        out / PREDICTIONS, out / MASKS, merge, overwrite=overwrite,
        progress=lambda done, total: progress("Merging masks", done, total),
    )  # fmt: skip


def resume(out: Path, record: Mapping[str, Any]) -> None:
    """Stop where a folder was made from something else than what is asked for now.

    As long as there are no masks, other masks or classes may be asked for: the record follows.

    Raises:
        InputError: the first setting that differs.
    """
    found = read_json(out / RECORD)
    if not (out / PREDICTIONS).exists() and not (out / MASKS).exists():
        asked = {key: record[key] for key in ("masks", "classes")}
        if any(found.get(key) != value for key, value in asked.items()):
            found |= asked
            write_json(out / RECORD, found)
    for key, value in record.items():
        if key in found and found[key] != value:
            raise InputError(
                out, f"a scene that was made with {key} {found[key]}", f"{key} {value}, or a new folder",
                "Give the same options to go on with it, another --out, or --overwrite to begin anew.",
            )  # fmt: skip
