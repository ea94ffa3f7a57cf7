# SPDX-License-Identifier: Apache-2.0
"""Masks of a scene folder that are numbered image by image, where ns-train expects scene-wide maps."""

from __future__ import annotations

from typing import NamedTuple

from panoptic_gs.associate import ImageMasks, ViewMasks, read_masks
from panoptic_gs.camera import Camera
from panoptic_gs.panoptic_images import FILE, read_panoptic_images
from panoptic_gs.scene import Scene


class MaskedView(NamedTuple):
    """A training view and its masks."""

    stem: str
    camera: Camera
    masks: ViewMasks


def masks_of_images(scene: Scene, folder: str) -> ImageMasks | None:
    """The masks of a subfolder where they are numbered image by image; None where it holds scene-wide maps."""
    path = scene.root / folder
    if (path / FILE).is_file() and read_panoptic_images(path).per_image is None:
        return None
    return read_masks(path, {frame.stem: (frame.sensor.width, frame.sensor.height) for frame in scene.frames})
