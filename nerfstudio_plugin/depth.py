# SPDX-License-Identifier: Apache-2.0
"""Where the depth that training heeds comes from: depth cameras, or the point maps of a network."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal, NamedTuple

import numpy as np
from nerfstudio.utils.rich_utils import CONSOLE
from rich.markup import escape

from panoptic_gs.errors import InputError
from panoptic_gs.predict.point_depth import depth_of_view, has_depth
from panoptic_gs.raw_predictions import DESCRIPTION, RawPredictions
from panoptic_gs.scene import Frame, Scene

DepthSource = Literal["auto", "none", "photos", "predictions"]
ReadDepth = Callable[[Frame], Mapping[str, np.ndarray]]
"""``depth``, and where a network found it ``depth_confidence``, of a photo, ``[h, w]`` in its shape; nothing where it
has none."""


class PhotoDepth(NamedTuple):
    """The depth of a scene's photos."""

    read: ReadDepth
    """Of one photo."""
    unit: float
    """Units of the scene for one of depth, where nothing else says."""


_OPTION = "--pipeline.datamanager.dataparser.depth"


def depth_of_photos(scene: Scene, source: DepthSource, predictions_folder: str) -> PhotoDepth | None:
    """Depth of a scene's photos; None where there is none, or none is wanted.

    Args:
        scene: the scene.
        source: ``auto`` takes the depth maps that ``transforms.json`` names, else the point maps of predictions. What
            merely lies in ``depth/`` may be a dataset's truth, which takes part only where it is asked for. Files that
            are missing or damaged are left aside by ``auto``, which says so.
        predictions_folder: subfolder with the raw predictions.

    Raises:
        InputError: there is no depth of the kind that is asked for by name, or it cannot be read.
    """
    if source == "photos":
        return _of_maps(scene)
    if source == "predictions":
        return _of_predictions(scene, predictions_folder)
    if source == "none":
        return None
    try:
        if any(frame.depth_path is not None for frame in scene.frames):
            return _of_maps(scene)
        if predictions_folder and (scene.root / predictions_folder / DESCRIPTION).is_file():
            return _of_predictions(scene, predictions_folder, required=False)
    except InputError as error:
        CONSOLE.print(f"[yellow]Depth takes no part in training: {escape(str(error))}", soft_wrap=True)
    return None


def _of_maps(scene: Scene) -> PhotoDepth:
    maps = scene.load_depth()
    first = next((frame for frame in scene.frames if frame.stem in maps), None)
    if first is None:
        raise InputError(scene.root / "depth", "no depth map of a photo", "depth/<photo>.png, 16 bit, millimetres",
                         f"Leave out {_OPTION} photos.")  # fmt: skip
    maps.read(first)  # what is no depth is refused before training begins
    _say(scene, "depth maps", [frame.stem in maps for frame in scene.frames])
    unit = 1.0 if scene.meters_per_unit is None else 1 / scene.meters_per_unit
    return PhotoDepth(lambda frame: {"depth": maps.read_of_photo(frame.stem)} if frame.stem in maps else {}, unit)


def _of_predictions(scene: Scene, name: str, *, required: bool = True) -> PhotoDepth | None:
    raw = RawPredictions.load(scene.root / name)
    position = {image.stem: index for index, image in enumerate(raw.images)}
    seen = [frame.stem in position for frame in scene.frames]
    if not has_depth(raw) or not any(seen):
        if required:
            raise InputError(scene.root / name, "no point maps with cameras, or none of a photo of this scene",
                             "points, confidence and viewmats", f"Leave out {_OPTION} predictions.")  # fmt: skip
        return None
    _say(scene, f"point maps of {name}/", seen)
    return PhotoDepth(lambda frame: _of_points(raw, position.get(frame.stem)), 1.0)  # points lie in the scene's frame


def _of_points(raw: RawPredictions, index: int | None) -> Mapping[str, np.ndarray]:
    if index is None:
        return {}
    depth, confidence = depth_of_view(raw, index)
    known = confidence > 0
    if not known.any():
        return {}
    # Networks give confidence without a unit; what counts is which pixels of a view are surer than others.
    return {"depth": depth, "depth_confidence": confidence / confidence[known].mean()}


def _say(scene: Scene, what: str, known: list[bool]) -> None:
    CONSOLE.print(f"Depth of {sum(known)} of {len(scene.frames)} photos ({what}) takes part in training.",
                  soft_wrap=True)  # fmt: skip
