# SPDX-License-Identifier: Apache-2.0
"""Where the depth that training heeds comes from: depth cameras, or the point maps of a network."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

import numpy as np
from nerfstudio.utils.rich_utils import CONSOLE

from panoptic_gs.errors import InputError
from panoptic_gs.predict.point_depth import depth_of_view, has_depth
from panoptic_gs.raw_predictions import DESCRIPTION, RawPredictions
from panoptic_gs.scene import Frame, Scene

DepthSource = Literal["auto", "none", "photos", "predictions"]
ReadDepth = Callable[[Frame], Mapping[str, np.ndarray]]
"""``depth``, and where a network found it ``depth_confidence``, of a photo, ``[h, w]`` in its shape; nothing where it
has none."""

_OPTION = "--pipeline.datamanager.dataparser.depth"


def depth_of_photos(scene: Scene, source: DepthSource, predictions_folder: str) -> ReadDepth | None:
    """How to read the depth of a scene's photos; None where there is none, or none is wanted.

    Args:
        scene: the scene.
        source: ``auto`` takes the depth maps that ``transforms.json`` names, else the point maps of predictions. What
            merely lies in ``depth/`` may be a dataset's truth, which takes part only where it is asked for.
        predictions_folder: subfolder with the raw predictions.

    Raises:
        InputError: there is no depth of the kind that is asked for by name, or ``auto`` found a file that is none.
    """
    if source == "photos" or (source == "auto" and any(frame.depth_path is not None for frame in scene.frames)):
        maps = scene.load_depth()
        if len(maps):
            for frame in scene.frames:
                if frame.stem in maps:
                    _looked_into(scene, frame)
                    break
            _say(scene, "depth maps", [frame.stem in maps for frame in scene.frames])
            return lambda frame: {"depth": maps.read_of_photo(frame.stem)} if frame.stem in maps else {}
        if source == "photos":
            raise InputError(scene.root / "depth", "no depth map of a photo", "depth/<photo>.png, 16 bit, millimetres",
                             f"Leave out {_OPTION} photos.")  # fmt: skip
    if source in ("auto", "predictions"):
        folder = scene.root / predictions_folder
        if source == "predictions" or (predictions_folder and (folder / DESCRIPTION).is_file()):
            raw = RawPredictions.load(folder)
            position = {image.stem: index for index, image in enumerate(raw.images)}
            seen = [frame.stem in position for frame in scene.frames]
            if has_depth(raw) and any(seen):
                _say(scene, f"point maps of {predictions_folder}/", seen)
                return lambda frame: _of_points(raw, position.get(frame.stem))
            if source == "predictions":
                raise InputError(folder, "no point maps with cameras, or none of a photo of this scene",
                                 "points, confidence and viewmats", f"Leave out {_OPTION} predictions.")  # fmt: skip
    return None


def _looked_into(scene: Scene, frame: Frame) -> None:
    """Read one map before training begins, and say how to go on without any where it is none."""
    try:
        scene.load_depth().read(frame)
    except InputError as error:
        raise InputError(error.source, error.found, error.expected,
                         f"{error.mend} {_OPTION} none trains without.") from error  # fmt: skip


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
