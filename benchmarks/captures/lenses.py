# SPDX-License-Identifier: Apache-2.0
"""Lens models written from COLMAP's and OpenCV's documentation, inverted by Newton's method.

Independent of the toolkit's own lenses, which they judge. A lens maps ideal coordinates to the sensor's normalised
ones: of the plane (x/z, y/z), or of the angles θ·(cos φ, sin φ) from the optical axis. Parameters and their order are
COLMAP's (https://colmap.github.io/cameras.html); pixel centres are at + 0.5.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

# name → COLMAP's number, its parameters in order, whether the ideal coordinates are angles
MODELS: dict[str, tuple[int, str, bool]] = {
    "SIMPLE_PINHOLE": (0, "f cx cy", False),
    "PINHOLE": (1, "fx fy cx cy", False),
    "SIMPLE_RADIAL": (2, "f cx cy k1", False),
    "RADIAL": (3, "f cx cy k1 k2", False),
    "OPENCV": (4, "fx fy cx cy k1 k2 p1 p2", False),
    "OPENCV_FISHEYE": (5, "fx fy cx cy k1 k2 k3 k4", True),
    "FULL_OPENCV": (6, "fx fy cx cy k1 k2 p1 p2 k3 k4 k5 k6", False),
    "FOV": (7, "fx fy cx cy omega", False),
    "SIMPLE_RADIAL_FISHEYE": (8, "f cx cy k1", True),
    "RADIAL_FISHEYE": (9, "f cx cy k1 k2", True),
    "THIN_PRISM_FISHEYE": (10, "fx fy cx cy k1 k2 p1 p2 k3 k4 sx1 sy1", True),
}


@dataclass(frozen=True)
class Lens:
    """A camera model with its parameters.

    Args:
        model: one of :data:`MODELS`, or EQUIRECTANGULAR (no parameters).
        width, height: of the image in pixels.
        focal: in pixels, of both axes.
        center: of the lens in pixels, from the image's centre.
        more: the other parameters by name; those left out are 0. ``k3``, ``s1`` … ``s4`` of OpenCV are understood
            besides COLMAP's.
    """

    model: str
    width: int
    height: int
    focal: float
    center: tuple[float, float] = (0.0, 0.0)
    more: tuple[tuple[str, float], ...] = ()

    def __getitem__(self, name: str) -> float:
        return dict(self.more).get(name, 0.0)

    @property
    def principal_point(self) -> tuple[float, float]:
        """cx, cy in pixels."""
        return self.width / 2 + self.center[0], self.height / 2 + self.center[1]

    def parameters(self) -> list[float]:
        """In COLMAP's order."""
        cx, cy = self.principal_point
        known = {"f": self.focal, "fx": self.focal, "fy": self.focal, "cx": cx, "cy": cy, **dict(self.more)}
        return [known.get(name, 0.0) for name in MODELS[self.model][1].split()]

    @property
    def of_angles(self) -> bool:
        """Whether ideal coordinates are angles."""
        return MODELS[self.model][2]

    def distort(self, u: np.ndarray, v: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Ideal coordinates to the sensor's normalised ones."""
        r2 = u * u + v * v
        if self.model == "FOV":
            omega = self["omega"]
            r = np.sqrt(np.maximum(r2, 1e-24))
            factor = np.arctan(2 * r * math.tan(omega / 2)) / (omega * r)
            return u * factor, v * factor
        radial = 1 + r2 * (self["k1"] + r2 * (self["k2"] + r2 * self["k3"]))
        if self.of_angles or self.model == "OPENCV":
            radial = radial + self["k4"] * r2**4
        else:
            radial = radial / (1 + r2 * (self["k4"] + r2 * (self["k5"] + r2 * self["k6"])))
        p1, p2 = self["p1"], self["p2"]
        return (
            u * radial + 2 * p1 * u * v + p2 * (r2 + 2 * u * u) + r2 * (self["sx1"] + self["s1"] + self["s2"] * r2),
            v * radial + 2 * p2 * u * v + p1 * (r2 + 2 * v * v) + r2 * (self["sy1"] + self["s3"] + self["s4"] * r2),
        )

    def rays(self) -> np.ndarray:
        """Directions ``[H, W, 3]`` of the pixels' centres in OpenCV axes."""
        x, y = np.meshgrid(np.arange(self.width) + 0.5, np.arange(self.height) + 0.5)
        if self.model == "EQUIRECTANGULAR":
            longitude, latitude = (x / self.width - 0.5) * 2 * math.pi, (y / self.height - 0.5) * math.pi
            flat = np.cos(latitude)
            return np.stack([np.sin(longitude) * flat, np.sin(latitude), np.cos(longitude) * flat], axis=-1)
        cx, cy = self.principal_point
        u, v = self._undistort((x - cx) / self.focal, (y - cy) / self.focal)
        if not self.of_angles:
            return np.stack([u, v, np.ones_like(u)], axis=-1)
        theta = np.hypot(u, v)
        scale = np.sinc(theta / math.pi)  # sin θ / θ
        return np.stack([u * scale, v * scale, np.cos(theta)], axis=-1)

    def _undistort(self, u: np.ndarray, v: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Newton's method with a numeric Jacobian, to 1e-9.

        Raises:
            ValueError: the lens folds somewhere in the image.
        """
        x, y, step = u.copy(), v.copy(), 1e-6
        for _ in range(80):
            fx, fy = self.distort(x, y)
            (ax, ay), (bx, by) = self.distort(x + step, y), self.distort(x, y + step)
            xx, yx, xy, yy = (ax - fx) / step, (ay - fy) / step, (bx - fx) / step, (by - fy) / step
            determinant = xx * yy - xy * yx
            determinant = np.where(np.abs(determinant) < 1e-9, 1e-9, determinant)
            move_x = (yy * (u - fx) - xy * (v - fy)) / determinant
            move_y = (xx * (v - fy) - yx * (u - fx)) / determinant
            damping = np.minimum(1, 0.3 / np.maximum(np.hypot(move_x, move_y), 1e-12))
            x, y = x + damping * move_x, y + damping * move_y
        fx, fy = self.distort(x, y)
        if not (np.hypot(fx - u, fy - v) < 1e-9).all():
            raise ValueError(f"{self.model} {dict(self.more)} folds within {self.width}×{self.height} pixels")
        return x, y


def pinhole_rays(width: int, height: int, K: np.ndarray) -> np.ndarray:
    """Directions ``[H, W, 3]`` of the pixels' centres of an ideal camera with intrinsics ``K [3, 3]``."""
    x, y = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    return np.stack([(x - K[0, 2]) / K[0, 0], (y - K[1, 2]) / K[1, 1], np.ones_like(x)], axis=-1)
