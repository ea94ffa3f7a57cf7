# SPDX-License-Identifier: Apache-2.0
"""Lenses: where an ideal camera's pixel lands on the real sensor, and every name that files give to such a model."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Literal

import numpy as np

Family = Literal["opencv", "polynomial", "fisheye", "thin_prism_fisheye", "fov", "division", "eucm"]


@dataclass(frozen=True)
class Distortion:
    """A lens: ideal normalised image coordinates (x, y) = (X/Z, Y/Z) → those on the sensor.

    With r² = x² + y², θ = arctan r, and coefficients that a model lacks at 0:

    - ``opencv``: radial (1 + k1 r² + k2 r⁴ + k3 r⁶) / (1 + k4 r² + k5 r⁴ + k6 r⁶), tangential p1, p2 and thin prism
      s1…s4 (OpenCV's camera calibration documentation; COLMAP's FULL_OPENCV and all that it contains);
    - ``polynomial``: radial 1 + k1 r² + k2 r⁴ + k3 r⁶ + k4 r⁸, tangential p1, p2. It is what Metashape, RealityCapture
      and nerfstudio's ``transforms.json`` mean by k4;
    - ``fisheye``: θ (1 + k1 θ² + … + k6 θ¹²) along the ray's direction (OpenCV's fisheye module has k1–k4), then
      tangential p1, p2 and thin prism s1…s4 at the place reached so far (COLMAP's RAD_TAN_THIN_PRISM_FISHEYE);
    - ``thin_prism_fisheye``: the same, but p1, p2, s1, s3 act at the place that θ alone reaches (COLMAP);
    - ``fov``: arctan(2 r tan(omega / 2)) / omega (Devernay and Faugeras 2001; omega in radians);
    - ``division``: the ideal radius is that on the sensor divided by 1 + k1 times its square (Fitzgibbon 2001);
    - ``eucm``: (x, y) / (alpha √(beta r² + 1) + 1 − alpha) (Khomutenko et al. 2016).
    """

    k1: float = 0.0
    k2: float = 0.0
    k3: float = 0.0
    k4: float = 0.0
    p1: float = 0.0
    p2: float = 0.0
    model: Family = "opencv"
    k5: float = 0.0
    k6: float = 0.0
    s1: float = 0.0
    s2: float = 0.0
    s3: float = 0.0
    s4: float = 0.0
    omega: float = 0.0
    alpha: float = 0.0
    beta: float = 1.0

    def __bool__(self) -> bool:
        if self.model in ("fisheye", "thin_prism_fisheye"):
            return True
        names = {"fov": ("omega",), "eucm": ("alpha",)}.get(self.model)
        return any(getattr(self, name) for name in names or _POLYNOMIAL)

    def distort(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Where ideal normalised image coordinates land on the real sensor, in normalised coordinates."""
        r2 = x * x + y * y
        if self.model == "thin_prism_fisheye":
            flat = _equidistant(r2)
            x, y = x * flat, y * flat
            r2 = x * x + y * y
            scale = self._polynomial(r2)
        else:
            scale = self._radial(r2)
        bent_x, bent_y = x * scale, y * scale
        if self.model == "fisheye":
            x, y = bent_x, bent_y
            r2 = x * x + y * y
        return (
            bent_x + 2 * self.p1 * x * y + self.p2 * (r2 + 2 * x * x) + r2 * (self.s1 + r2 * self.s2),
            bent_y + self.p1 * (r2 + 2 * y * y) + 2 * self.p2 * x * y + r2 * (self.s3 + r2 * self.s4),
        )

    def radius(self, r: np.ndarray) -> np.ndarray:
        """The radial part alone: the distance from the principal point on the sensor of an ideal distance ``r``."""
        if self.model == "thin_prism_fisheye":
            theta = np.arctan(r)
            return theta * self._polynomial(theta * theta)
        return r * self._radial(r * r)

    def _polynomial(self, r2: np.ndarray) -> np.ndarray:
        total = np.zeros_like(r2)
        for coefficient in (self.k6, self.k5, self.k4, self.k3, self.k2, self.k1):
            total = r2 * (coefficient + total)
        return 1 + total

    def _radial(self, r2: np.ndarray) -> np.ndarray:
        if self.model == "fisheye":
            flat = _equidistant(r2)
            return flat * self._polynomial(r2 * flat * flat)
        if self.model == "polynomial":
            return self._polynomial(r2)
        if self.model == "fov":
            if not self.omega:
                return np.ones_like(r2)
            r = np.sqrt(np.maximum(r2, _TINY))
            return np.arctan(2 * r * math.tan(0.5 * self.omega)) / (self.omega * r)
        if self.model == "division":
            # The root s of k1 r s² − s + r = 0 that is r for an ideal lens. Beyond the last one there is none, and the
            # radius stays, which counts as a fold.
            root = 1 - 4 * self.k1 * r2
            last = 1 / np.sqrt(np.maximum(abs(self.k1) * r2, _TINY))
            return np.where(root >= 0, 2 / (1 + np.sqrt(np.maximum(root, 0))), last)
        if self.model == "eucm":
            return 1 / (self.alpha * np.sqrt(np.maximum(self.beta * r2 + 1, 0)) + 1 - self.alpha)
        above = 1 + r2 * (self.k1 + r2 * (self.k2 + r2 * self.k3))
        below = 1 + r2 * (self.k4 + r2 * (self.k5 + r2 * self.k6))
        return above / np.where(np.abs(below) < _TINY, _TINY, below)


_TINY = 1e-24
_POLYNOMIAL = ("k1", "k2", "k3", "k4", "k5", "k6", "p1", "p2", "s1", "s2", "s3", "s4")
COEFFICIENTS = tuple(field.name for field in fields(Distortion) if field.name != "model")
"""Every coefficient that some lens has."""


def _equidistant(r2: np.ndarray) -> np.ndarray:
    """θ / r, which is 1 on the axis."""
    r = np.sqrt(np.maximum(r2, _TINY))
    return np.arctan(r) / r


@dataclass(frozen=True)
class CameraModel:
    """A camera model as COLMAP numbers and names it: the meaning of each parameter, in the file's order."""

    colmap_id: int | None
    parameters: str
    family: Family = "opencv"

    @property
    def coefficients(self) -> set[str]:
        """The lens coefficients among the parameters."""
        return set(self.parameters.split()) & set(COEFFICIENTS)


# https://colmap.github.io/cameras.html and COLMAP's sensor/models.h, which the unit tests hold against pycolmap.
CAMERA_MODELS: Mapping[str, CameraModel] = {
    "SIMPLE_PINHOLE": CameraModel(0, "f cx cy"),
    "PINHOLE": CameraModel(1, "fx fy cx cy"),
    "SIMPLE_RADIAL": CameraModel(2, "f cx cy k1"),
    "RADIAL": CameraModel(3, "f cx cy k1 k2"),
    "OPENCV": CameraModel(4, "fx fy cx cy k1 k2 p1 p2"),
    "OPENCV_FISHEYE": CameraModel(5, "fx fy cx cy k1 k2 k3 k4", "fisheye"),
    "FULL_OPENCV": CameraModel(6, "fx fy cx cy k1 k2 p1 p2 k3 k4 k5 k6"),
    "FOV": CameraModel(7, "fx fy cx cy omega", "fov"),
    "SIMPLE_RADIAL_FISHEYE": CameraModel(8, "f cx cy k1", "fisheye"),
    "RADIAL_FISHEYE": CameraModel(9, "f cx cy k1 k2", "fisheye"),
    "THIN_PRISM_FISHEYE": CameraModel(10, "fx fy cx cy k1 k2 p1 p2 k3 k4 s1 s3", "thin_prism_fisheye"),
    # Its tangential parameters are in the other order than OpenCV's: p0 acts along x.
    "RAD_TAN_THIN_PRISM_FISHEYE": CameraModel(11, "fx fy cx cy k1 k2 k3 k4 k5 k6 p2 p1 s1 s2 s3 s4", "fisheye"),
    "SIMPLE_DIVISION": CameraModel(12, "f cx cy k1", "division"),
    "DIVISION": CameraModel(13, "fx fy cx cy k1", "division"),
    "SIMPLE_FISHEYE": CameraModel(14, "f cx cy", "fisheye"),
    "FISHEYE": CameraModel(15, "fx fy cx cy", "fisheye"),
    "EUCM": CameraModel(16, "fx fy cx cy alpha beta", "eucm"),
}
