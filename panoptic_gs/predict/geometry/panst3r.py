# SPDX-License-Identifier: Apache-2.0
"""Cameras and seed points of PanSt3R alone, where the user has installed it (non-commercial licence)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from panoptic_gs.labelling import Category
from panoptic_gs.predict.geometry.found import Geometry, GeometryOptions
from panoptic_gs.predict.keyframes import Keyframes
from panoptic_gs.predict.network import NetworkOptions, load_network
from panoptic_gs.predict.photos import Photo
from panoptic_gs.predict.scene_folder import photo_cameras, seed_points_of
from panoptic_gs.progress import Progress


class PanSt3RCameras:
    """The point maps of PanSt3R; its masks are not used."""

    def __init__(self, options: GeometryOptions) -> None:
        self.options = options
        checkpoint = None if options.checkpoint is None else Path(options.checkpoint)
        self.network = load_network(
            "panst3r",
            NetworkOptions(checkpoint, options.trust_checkpoint, options.device, seed=options.seed),
        )

    def find(self, photos: Sequence[Photo], progress: Progress) -> Geometry:
        progress("Placing photos", 0, 0)
        raw = self.network.predict(photos, [Category(1, "object", True)], Keyframes())
        progress("Placing photos", 1, 1)
        kept = {image.stem for image in raw.images}
        placed = [photo for photo in photos if photo.stem in kept]
        return Geometry(
            {photo.stem: camera for photo, camera in zip(placed, photo_cameras(raw), strict=True)},
            seed_points_of(raw, placed, self.options.seed_points),
            left_out={photo.stem: "not placed" for photo in photos if photo.stem not in kept},
            notes=(*getattr(self.network, "notes", ()), "the unit is PanSt3R's, about a metre"),
        )
