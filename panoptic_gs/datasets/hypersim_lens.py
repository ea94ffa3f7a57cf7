# SPDX-License-Identifier: Apache-2.0
"""Hypersim's projection matrices as pinhole cameras.

Many Hypersim scenes were rendered with offset or tilted lenses. ``metadata_camera_parameters.csv`` gives each scene's
modified OpenGL projection ``M_proj`` (apple/ml-hypersim, contrib/mikeroberts3000).
"""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from scipy.linalg import rq
from scipy.optimize import least_squares
from scipy.spatial.transform import Rotation

from panoptic_gs.errors import InputError
from panoptic_gs.records import MAX_SIDE

TOLERANCE = 0.05
"""Pixels that a pinhole may miss the true projection by and still count as exact."""

MOST_CONDITION = 1e6
"""Condition number of a projection above which it is taken for singular; that of a lens of 0.1° is 1e3."""

_OPENGL_AXES = np.diag([1.0, -1.0, -1.0])


@dataclass(frozen=True, eq=False)
class HypersimLens:
    """A scene's lens for images of one size.

    Args:
        projection: ``[3, 3]`` camera coordinates in OpenCV axes → homogeneous pixels. With a tilted lens it is no
            intrinsic matrix: its last row is not (0, 0, 1).
        width: image width in pixels.
        height: image height in pixels.
    """

    projection: np.ndarray
    width: int
    height: int

    @classmethod
    def from_opengl(cls, m_proj: np.ndarray, width: int, height: int) -> HypersimLens:
        """From ``M_proj`` ``[4, 4]``, which takes column vectors in OpenGL camera axes to clip space.

        Raises:
            InputError: it is no perspective projection.
        """
        to_clip = np.asarray(m_proj, dtype=np.float64)[[0, 1, 3]]
        to_pixels = np.array([[width / 2, 0, width / 2], [0, -height / 2, height / 2], [0, 0, 1]])
        projection = to_pixels @ to_clip[:, :3] @ _OPENGL_AXES
        perspective = np.isfinite(to_clip).all() and np.abs(to_clip[:, 3]).max() <= 1e-9 and projection[2, 2] > 0
        # Singular, or a field of view so narrow or so wide that no pixel has a ray of its own.
        if not perspective or not np.linalg.cond(to_clip[:, :3]) < MOST_CONDITION:
            raise InputError(
                "M_proj", f"{np.array2string(to_clip, precision=3)} in rows 0, 1 and 3", "a perspective projection",
                "Download metadata_camera_parameters.csv again.",
            )  # fmt: skip
        return cls(projection / projection[2, 2], width, height)

    @cached_property
    def rays(self) -> np.ndarray:
        """Directions ``[3, H, W]`` of length 1 through the pixels' centres, in the camera's OpenCV axes."""
        columns, rows = np.meshgrid(np.arange(self.width) + 0.5, np.arange(self.height) + 0.5)
        pixels = np.stack([columns, rows, np.ones_like(rows)]).reshape(3, -1)
        rays = np.linalg.solve(self.projection, pixels)
        return (rays / np.linalg.norm(rays, axis=0)).reshape(3, self.height, self.width)

    @property
    def tilt(self) -> float:
        """Angle in degrees between the image plane's normal and the camera's axis."""
        return math.degrees(math.atan2(np.hypot(*self.projection[2, :2]), self.projection[2, 2]))

    def pinhole(self) -> Pinhole:
        """The pinhole camera nearest to the lens.

        An offset lens is one as it is. So is a tilted one, seen from a camera that is turned until its axis meets the
        image plane at a right angle (RQ decomposition of the projection); only skew remains, which is fitted away.
        """
        straight = self.projection / self.projection[2, 2]
        straight = np.array([[straight[0, 0], 0, straight[0, 2]], [0, straight[1, 1], straight[1, 2]], [0, 0, 1.0]])
        as_it_is = Pinhole(straight, np.eye(3), self._error(straight, np.eye(3)))
        if as_it_is.error < TOLERANCE:
            return as_it_is
        K, rotation = (np.asarray(factor, dtype=np.float64) for factor in rq(self.projection))
        signs = np.diag(np.sign(np.diag(K)))
        K, rotation = K @ signs, signs @ rotation
        if np.linalg.det(rotation) < 0:
            K, rotation = -K, -rotation
        K = K / K[2, 2]

        def camera(parameters: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            fx, fy, cx, cy = parameters[3:]
            turned = Rotation.from_rotvec(parameters[:3]).as_matrix() @ rotation
            return np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1.0]]), turned

        start = np.array([0, 0, 0, K[0, 0], K[1, 1], K[0, 2], K[1, 2]])
        if abs(K[0, 1]) * self.height / K[1, 1] > 1e-3:
            scale = np.array([1, 1, 1, *(np.full(4, self.width))])
            start = least_squares(lambda p: self._errors(*camera(p)).ravel(), start, x_scale=scale).x
        K, rotation = camera(start)
        return Pinhole(K, rotation, self._error(K, rotation))

    def _errors(self, K: np.ndarray, rotation: np.ndarray) -> np.ndarray:
        x, y = np.meshgrid(np.linspace(0, self.width, 17), np.linspace(0, self.height, 13))
        pixels = np.stack([x.ravel(), y.ravel(), np.ones(x.size)])
        seen = K @ rotation @ np.linalg.solve(self.projection, pixels)
        return seen[:2] / seen[2] - pixels[:2]

    def _error(self, K: np.ndarray, rotation: np.ndarray) -> float:
        return float(np.hypot(*self._errors(K, rotation)).max())


@dataclass(frozen=True, eq=False)
class Pinhole:
    """A pinhole that stands for a lens."""

    K: np.ndarray
    """``[3, 3]`` intrinsics in pixels."""
    rotation: np.ndarray
    """``[3, 3]`` from the camera's OpenCV axes to the pinhole's."""
    error: float
    """Most pixels that it misses the lens by, anywhere in the image."""

    @property
    def is_turned(self) -> bool:
        """Whether the pinhole looks elsewhere than the camera."""
        return bool(np.abs(self.rotation - np.eye(3)).max() > 1e-9)


@dataclass(frozen=True)
class CameraParameters:
    """A scene's row of ``metadata_camera_parameters.csv``."""

    file: Path
    scene: str
    row: dict[str, str] = field(repr=False)

    @classmethod
    def read(cls, file: Path, scene: str) -> CameraParameters:
        """Find the row of a scene such as ``ai_001_003``.

        Raises:
            InputError: the file cannot be read or does not list the scene.
        """
        try:
            with file.open(newline="", encoding="utf-8") as lines:
                for row in csv.DictReader(lines):
                    if row.get("scene_name") == scene:
                        return cls(file, scene, row)
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise InputError(
                file, f"an unreadable file ({error})", "metadata_camera_parameters.csv",
                "Download it from contrib/mikeroberts3000 of apple/ml-hypersim.",
            ) from error  # fmt: skip
        raise InputError(
            file, f"no row for scene '{scene}'", "metadata_camera_parameters.csv, one row a scene",
            "Keep the scene's folder name as in the dataset (ai_VVV_NNN).",
        )  # fmt: skip

    @property
    def m_proj(self) -> np.ndarray:
        """``[4, 4]``."""
        return np.array([[self.number(f"M_proj_{i}{j}") for j in range(4)] for i in range(4)])

    def number(self, column: str) -> float:
        """A number of the row.

        Raises:
            InputError: it is missing or no number.
        """
        try:
            value = float(self.row[column])
            if not math.isfinite(value):
                raise ValueError(f"{value} is not finite")
            return value
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(
                self.file, f"no number in column {column} for scene '{self.scene}'",
                "metadata_camera_parameters.csv with M_proj_00 … M_proj_33",
                "Download it from contrib/mikeroberts3000 of apple/ml-hypersim.",
            ) from error  # fmt: skip

    def pixels(self, column: str) -> int:
        """A number of pixels on an image's side.

        Raises:
            InputError: it is missing or no such number.
        """
        value = self.number(column)
        if not 1 <= round(value) <= MAX_SIDE:
            raise InputError(self.file, f"{column} = {value:g} for scene '{self.scene}'", f"1 to {MAX_SIDE} pixels",
                             "Download it from contrib/mikeroberts3000 of apple/ml-hypersim.")  # fmt: skip
        return round(value)
