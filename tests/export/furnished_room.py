# SPDX-License-Identifier: Apache-2.0
"""A cup on a table, a chair beside it, a lamp under the ceiling, as boxes."""

import numpy as np

from panoptic_gs import Category

SPACING = 0.04
CATEGORIES = (
    Category(1, "floor", False), Category(2, "table", True), Category(3, "cup", True), Category(4, "ceiling", False),
    Category(5, "lamp", True), Category(6, "chair", True),
)  # fmt: skip
COLORS = np.array([[90, 90, 90], [150, 90, 40], [220, 30, 30], [240, 240, 240], [250, 230, 60], [30, 60, 220]]) / 255
BOXES = {  # centre and size
    1: ([0, 0, -0.02], [4, 4, 0.04]),
    2: ([0, 0, 0.4], [1.2, 0.8, 0.8]),
    3: ([0.2, 0.1, 0.87], [0.1, 0.1, 0.14]),
    4: ([0, 0, 2.52], [4, 4, 0.04]),
    5: ([0.5, 0.5, 2.3], [0.3, 0.3, 0.4]),
    6: ([0.86, 0, 0.45], [0.5, 0.5, 0.9]),
}


def surface(center: list[float], size: list[float]) -> np.ndarray:
    """Points on the faces of a box, about SPACING apart."""
    points = []
    for axis in range(3):
        others = [k for k in range(3) if k != axis]
        grids = [np.linspace(-size[k] / 2, size[k] / 2, max(2, round(size[k] / SPACING))) for k in others]
        u, v = (grid.ravel() for grid in np.meshgrid(*grids))
        for side in (-0.5, 0.5):
            face = np.empty((len(u), 3))
            face[:, axis], face[:, others[0]], face[:, others[1]] = side * size[axis], u, v
            points.append(face + np.array(center))
    return np.concatenate(points)
