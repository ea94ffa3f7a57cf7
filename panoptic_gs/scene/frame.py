# SPDX-License-Identifier: Apache-2.0
"""A photo of a scene: its camera, its lens, and its pixels and labels without that lens."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from panoptic_gs.camera import Camera
from panoptic_gs.files import read_rgb
from panoptic_gs.panoptic import resize_nearest
from panoptic_gs.scene.lens import Distortion
from panoptic_gs.scene.rectification import undistort_nearest, undistort_photo


@dataclass(frozen=True, eq=False)
class Frame:
    """One photo: its name without ending, its file, the ideal pinhole camera and the lens."""

    stem: str
    image_path: Path
    camera: Camera
    distortion: Distortion

    def read_image(self) -> np.ndarray:
        """The photo ``[H, W, 3]`` uint8 with the lens distortion taken out (bilinear)."""
        pixels = read_rgb(self.image_path)
        return (
            undistort_photo(pixels, self.camera.K.double().numpy(), self.distortion)[0] if self.distortion else pixels
        )

    def undistort(self, pixels: np.ndarray) -> np.ndarray:
        """Take the lens distortion out of colours or labels ``[H, W, …]`` of the photo's size."""
        if not self.distortion:
            return pixels
        return undistort_nearest(pixels, self.camera.K.numpy(), self.distortion)

    def fit_labels(self, labels: np.ndarray) -> np.ndarray:
        """A label or confidence map of the photo on the ideal camera: resampled by nearest neighbour, undistorted."""
        return self.undistort(resize_nearest(labels, self.camera.width, self.camera.height))
