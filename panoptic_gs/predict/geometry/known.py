# SPDX-License-Identifier: Apache-2.0
"""Cameras that are known already: those of a scene folder."""

from __future__ import annotations

from collections.abc import Sequence

from panoptic_gs.errors import InputError
from panoptic_gs.predict.geometry.found import Geometry, GeometryOptions, require_most
from panoptic_gs.predict.photos import Photo
from panoptic_gs.predict.scene_folder import known_camera
from panoptic_gs.progress import Progress
from panoptic_gs.scene import Scene


class KnownCameras:
    """The cameras, lenses and seed points of a scene folder, matched by the photos' names.

    Raises:
        InputError: no scene folder is named.
    """

    def __init__(self, options: GeometryOptions) -> None:
        if options.cameras is None:
            raise InputError("--geometry known", "no --cameras", "the scene folder that has them", "Give --cameras.")
        self.scene = Scene.load(options.cameras)

    def find(self, photos: Sequence[Photo], progress: Progress) -> Geometry:
        frames = {frame.stem: frame for frame in self.scene.frames}
        left_out = {photo.stem: "no camera of this name" for photo in photos if photo.stem not in frames}
        require_most(photos, left_out, str(self.scene.root), "Give the photos that the cameras belong to.")
        cameras = {photo.stem: known_camera(photo, frames[photo.stem]) for photo in photos if photo.stem in frames}
        lenses = {stem: frames[stem].distortion for stem in cameras if frames[stem].distortion}
        return Geometry(cameras, self.scene.points, lenses, left_out, notes=("cameras of " + str(self.scene.root),))
