# SPDX-License-Identifier: Apache-2.0
"""A photo of a scene: its camera, its lens, and its pixels and labels without that lens."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from panoptic_gs.camera import Camera
from panoptic_gs.errors import InputError
from panoptic_gs.label_maps import resize_nearest
from panoptic_gs.scene.lens import Distortion
from panoptic_gs.scene.masks import read_mask
from panoptic_gs.scene.orientation import exif_orientation, shows_whole, turned, unturned
from panoptic_gs.scene.photo import composited, has_alpha, opaque, read_photo, resampled
from panoptic_gs.scene.rectification import MAX_FOV, Rectification, rectification, rectified_intrinsics

_TURNED = 5  # EXIF orientations from here on exchange width and height


@dataclass(frozen=True, eq=False)
class Frame:
    """One photo: its name without ending, its file, and the camera that took it, with its lens.

    Args:
        stem: what maps, masks and splits call it.
        image_path: the photo's file.
        sensor: the camera of the photo's own pixels, lens and all; photos of another size are shrunk to it when read.
        distortion: the lens.
        mask_path: file that says which pixels count; all where there is none.
        orientation: EXIF's, where the stored pixels have to be turned to be those of ``sensor``; else 1.
        max_fov: most degrees of the rectified photo, see :func:`~panoptic_gs.scene.rectification.rectification`.
        depth_path: file with the photo's depth, where ``transforms.json`` names one.
    """

    stem: str
    image_path: Path
    sensor: Camera
    distortion: Distortion
    mask_path: Path | None = None
    orientation: int = 1
    max_fov: float = MAX_FOV
    depth_path: Path | None = None

    @cached_property
    def camera(self) -> Camera:
        """The ideal pinhole camera of :meth:`read_image` and :meth:`fit_labels`."""
        if not self.distortion:
            return self.sensor
        try:
            K, width, height = rectified_intrinsics(*self._lens())
        except InputError as error:
            raise error.inside(self.image_path) from error
        return Camera(self.sensor.viewmat, torch.from_numpy(np.array(K)), width, height)

    @property
    def has_alpha(self) -> bool:
        """Whether the photo may have transparent pixels."""
        return has_alpha(self.image_path)

    def read_photo(self) -> np.ndarray:
        """The photo's own pixels, ``[H, W, 3]`` uint8, or ``[H, W, 4]`` where some are transparent."""
        width, height = self.sensor.width, self.sensor.height
        stored = (height, width) if self.orientation >= _TURNED else (width, height)
        return turned(read_photo(self.image_path, stored), self.orientation)

    def read_pixels(self) -> np.ndarray:
        """The photo ``[H, W, 3]`` or ``[H, W, 4]`` as the ideal camera sees it (bilinear)."""
        ideal = self._rectification()
        pixels = self.read_photo()
        return pixels if ideal is None else resampled(pixels, ideal.image)

    def read_image(self, background: tuple[int, int, int] = (0, 0, 0)) -> np.ndarray:
        """The photo ``[H, W, 3]`` uint8 as the ideal camera sees it, before a background where it is transparent."""
        return composited(self.read_pixels(), background)

    def fit_labels(self, labels: np.ndarray, source: str | Path = "") -> np.ndarray:
        """A map of the photo, of any size, on the ideal camera's pixels, always by nearest neighbour.

        Args:
            labels: ``[H, W]`` labels, confidence or depth.
            source: what an error calls it.

        Raises:
            InputError: it is of another shape than the photo.
        """
        labels = self.upright(labels, source or f"map of '{self.stem}'")
        ideal = self._rectification()
        if ideal is not None:
            labels = ideal.labels(resize_nearest(labels, self.sensor.width, self.sensor.height))
        return resize_nearest(labels, self.camera.width, self.camera.height)

    def counting(self) -> np.ndarray | None:
        """Which of the ideal camera's pixels count, ``[H, W]`` bool; None where all do."""
        counting = self.counting_of_photo()
        return None if counting is None else self.fit_labels(counting)

    def counting_of_photo(self) -> np.ndarray | None:
        """Which of the photo's own pixels count, ``[H, W]`` bool: those of its mask that are not cut out."""
        shown = opaque(self.read_photo()) if self.has_alpha else None
        kept = self.mask_of_photo()
        return kept if shown is None else shown if kept is None else kept & shown

    def mask_of_photo(self) -> np.ndarray | None:
        """Which of the photo's own pixels its mask keeps, ``[H, W]`` bool; None without one.

        Raises:
            InputError: the mask is missing, unreadable or of another shape than the photo.
        """
        if self.mask_path is None:
            return None
        kept = self.upright(read_mask(self.mask_path), self.mask_path)
        return resize_nearest(kept, self.sensor.width, self.sensor.height)

    def upright(self, pixels: np.ndarray, source: str | Path) -> np.ndarray:
        """A map ``[H, W, …]`` the way round in which ``sensor`` sees the photo; see :meth:`turn_of`."""
        turn = self.turn_of((pixels.shape[1], pixels.shape[0]), source)
        if turn == 1:
            return pixels
        return turned(pixels, turn) if self.orientation >= _TURNED else unturned(pixels, turn)

    def turn_of(self, size: tuple[int, int], source: str | Path) -> int:
        """The EXIF orientation that lies between the photo and a map of this size (width, height); 1 for none.

        A map whose sides are exchanged is turned where the photo's EXIF orientation says how.

        Raises:
            InputError: it is of another shape than the photo.
        """
        sensor = (self.sensor.width, self.sensor.height)
        if shows_whole(size, sensor):
            return 1
        stated = exif_orientation(self.image_path)
        if stated >= _TURNED and shows_whole(size, (sensor[1], sensor[0])):
            return stated
        exif = f"EXIF orientation {stated}" if stated > 1 else "no EXIF orientation"
        raise InputError(
            source,
            f"{size[0]}×{size[1]} pixels",
            f"the shape of its photo, {sensor[0]}×{sensor[1]} ({exif})",
            "Make it of the photo's pixels as they are stored, neither turned nor cropped; networks that follow EXIF "
            "turn theirs.",
        )

    def _lens(self) -> tuple[np.ndarray, Distortion, int, int, float]:
        sensor = self.sensor
        return sensor.K.double().cpu().numpy(), self.distortion, sensor.width, sensor.height, self.max_fov

    def _rectification(self) -> Rectification | None:
        try:
            return rectification(*self._lens())
        except InputError as error:
            raise error.inside(self.image_path) from error
