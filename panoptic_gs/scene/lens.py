# SPDX-License-Identifier: Apache-2.0
"""Lenses: where an ideal camera's pixel lands on the real sensor."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Distortion:
    """OpenCV's lens distortion: ``opencv`` (radial k1, k2, k3, k4 in the denominator; tangential p1, p2) or ``fisheye``
    (k1–k4).

    Coefficients that a model lacks are 0. Source: OpenCV's camera calibration documentation; the six numbers are the
    ones that nerfstudio's ``transforms.json`` names.
    """

    k1: float = 0.0
    k2: float = 0.0
    k3: float = 0.0
    k4: float = 0.0
    p1: float = 0.0
    p2: float = 0.0
    model: str = "opencv"

    def __bool__(self) -> bool:
        return self.model == "fisheye" or any((self.k1, self.k2, self.k3, self.k4, self.p1, self.p2))

    def distort(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Where ideal normalised image coordinates land on the real sensor, in normalised coordinates."""
        r2 = x * x + y * y
        if self.model == "fisheye":
            r = np.sqrt(np.maximum(r2, 1e-24))
            theta = np.arctan(r)
            t2 = theta * theta
            scale = theta * (1 + t2 * (self.k1 + t2 * (self.k2 + t2 * (self.k3 + t2 * self.k4)))) / r
            return x * scale, y * scale
        radial = (1 + r2 * (self.k1 + r2 * (self.k2 + r2 * self.k3))) / (1 + r2 * self.k4)
        return (
            x * radial + 2 * self.p1 * x * y + self.p2 * (r2 + 2 * x * x),
            y * radial + self.p1 * (r2 + 2 * y * y) + 2 * self.p2 * x * y,
        )
