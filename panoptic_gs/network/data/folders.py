# SPDX-License-Identifier: Apache-2.0
"""Scene folders with truth as training data: whatever ``panoptic-gs prepare`` or ``synth`` wrote."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np

from panoptic_gs.errors import InputError
from panoptic_gs.network.data.views import SceneViews
from panoptic_gs.panoptic import PanopticScene
from panoptic_gs.predict.crop import crop, crop_to_original
from panoptic_gs.scene import Frame, Scene


class FolderSource:
    """The posed views of a scene folder that have a true panoptic map; ``depth/STEM.png`` in millimetres where it is.

    Args:
        root: the scene folder.
        width, height: of the views in pixels; photos are cropped around their centre to this shape.
        truth: folder of the true maps in it.

    Raises:
        InputError: no scene, or no view with truth.
    """

    def __init__(self, root: Path | str, width: int, height: int, truth: str = "panoptic_gt") -> None:
        self.root, self.width, self.height = Path(root), width, height
        self.scene = Scene.load(self.root)
        self.truth: PanopticScene = self.scene.load_panoptic(truth)
        self.frames: list[Frame] = [frame for frame in self.scene.frames if frame.stem in self.truth.maps]
        if not self.frames:
            raise InputError(self.root / truth, "no map of any photo", "true maps of the photos", "Give another scene.")
        self.classes = tuple(category.name for category in self.truth.categories)

    def __len__(self) -> int:
        return len(self.frames)

    @cached_property
    def _tables(self) -> tuple[np.ndarray, np.ndarray]:
        """Segment id → its number from 1, and → the index of its class."""
        position = {category.id: index for index, category in enumerate(self.truth.categories)}
        size = max((segment.id for segment in self.truth.segments), default=0) + 1
        numbers, classes = np.zeros(size, np.int64), np.zeros(size, np.int64)
        for number, segment in enumerate(self.truth.segments, 1):
            numbers[segment.id] = 0 if segment.iscrowd else number
            classes[segment.id] = position[segment.category_id]
        return numbers, classes

    def views(self, chosen: Sequence[int]) -> SceneViews:
        """Some of the views, in the order of their indices."""
        numbers, classes = self._tables
        known = self.scene.load_depth()
        images, depths, segments, categories, viewmats, Ks = [], [], [], [], [], []
        for frame in (self.frames[index] for index in chosen):
            camera = frame.camera
            images.append(crop(frame.read_image(), (self.width, self.height)))
            ids = np.asarray(frame.fit_labels(np.asarray(self.truth.maps[frame.stem])), np.int64)
            ids = self._cropped(ids)
            segments.append(numbers[ids])
            categories.append(classes[ids])
            if frame.stem in known:
                depths.append(self._cropped(known.read(frame)))
            else:
                depths.append(np.zeros((self.height, self.width), np.float32))
            to_original = crop_to_original(camera.width, camera.height, (self.width, self.height))
            viewmats.append(camera.viewmat.double().numpy())
            Ks.append(np.linalg.inv(to_original) @ camera.K.double().numpy())
        return SceneViews(
            np.stack(images), np.stack(depths), np.stack(segments), np.stack(categories), np.stack(viewmats),
            np.stack(Ks), self.classes,
        )  # fmt: skip

    def _cropped(self, values: np.ndarray) -> np.ndarray:
        """A map at the pixels of the crop, by nearest neighbour."""
        height, width = values.shape
        transform = crop_to_original(width, height, (self.width, self.height))
        x = np.clip(transform[0, 0] * (np.arange(self.width) + 0.5) + transform[0, 2], 0, width - 1).astype(np.int64)
        y = np.clip(transform[1, 1] * (np.arange(self.height) + 0.5) + transform[1, 2], 0, height - 1).astype(np.int64)
        return values[y[:, None], x[None]]
