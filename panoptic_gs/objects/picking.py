# SPDX-License-Identifier: Apache-2.0
"""From a click to the object under the cursor."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch

from panoptic_gs.backends import RasterizeMode
from panoptic_gs.camera import Camera
from panoptic_gs.rasterize import rasterization
from panoptic_gs.splats import Splats
from panoptic_gs.uplift import GaussianLabels, render_panoptic

WINDOW = 9
"""Pixels on a side that are rendered around the click; beside a thin object the nearest labelled pixel counts."""

_LEAST_ACCUMULATION = 0.3  # of a pixel that shows something rather than haze


def pick(
    splats: Splats,
    labels: GaussianLabels,
    origin: Sequence[float] | np.ndarray,
    direction: Sequence[float] | np.ndarray,
    fov_y: float,
    height: int = 800,
    rasterize_mode: RasterizeMode = "classic",
) -> int:
    """The segment that a ray meets first, by the panoptic map that is rendered along it: 0 where it meets none.

    A small view around the ray is rendered with the very weights of :func:`~panoptic_gs.uplift.render_panoptic`, so
    what hides an object on the screen hides it here.

    Args:
        splats: the Gaussians that are drawn.
        labels: their labels.
        origin: ``[3]`` where the ray starts, in the world.
        direction: ``[3]`` where it points, of any length.
        fov_y: vertical field of view of the screen's camera in radians.
        height: of the screen in pixels.
        rasterize_mode: how the splats were trained.
    """
    if len(splats) == 0:
        return 0
    camera = _camera_along(origin, direction, fov_y, height).to(splats.means.device)
    ids, _, accumulation = render_panoptic(splats, labels, camera, rasterize_mode=rasterize_mode)
    shown = torch.where(accumulation >= _LEAST_ACCUMULATION, ids, 0).cpu().numpy()
    rows, columns = np.nonzero(shown)
    if len(rows) == 0:
        return 0
    middle = WINDOW // 2
    nearest = int(((rows - middle) ** 2 + (columns - middle) ** 2).argmin())
    return int(shown[rows[nearest], columns[nearest]])


def pick_point(
    splats: Splats,
    origin: Sequence[float] | np.ndarray,
    direction: Sequence[float] | np.ndarray,
    fov_y: float,
    height: int = 800,
    rasterize_mode: RasterizeMode = "classic",
) -> np.ndarray | None:
    """The point ``[3]`` of the world that a ray meets first, by the depth that is rendered along it; None for none.

    Args: as :func:`pick`.
    """
    if len(splats) == 0:
        return None
    camera = _camera_along(origin, direction, fov_y, height).to(splats.means.device)
    depth, alphas, _ = rasterization(
        splats.means, splats.quats, splats.scales, splats.opacities, splats.sh[:, :1], camera.viewmat[None],
        camera.K[None], camera.width, camera.height, sh_degree=0, render_mode="ED", rasterize_mode=rasterize_mode,
    )  # fmt: skip
    middle = WINDOW // 2
    if float(alphas[0, middle, middle, 0]) < _LEAST_ACCUMULATION:
        return None
    forward = np.asarray(direction, dtype=np.float64)
    along = forward / np.linalg.norm(forward)
    return np.asarray(origin, dtype=np.float64) + along * float(depth[0, middle, middle, 0])


def _camera_along(
    origin: Sequence[float] | np.ndarray, direction: Sequence[float] | np.ndarray, fov_y: float, height: int
) -> Camera:
    """A camera of :data:`WINDOW` pixels whose central pixel looks along the ray, with the screen's focal length."""
    forward = np.asarray(direction, dtype=np.float64)
    forward = forward / np.linalg.norm(forward)
    right = np.cross(forward, np.eye(3)[np.abs(forward).argmin()])
    right /= np.linalg.norm(right)
    viewmat = np.eye(4)
    viewmat[:3, :3] = np.stack([right, np.cross(forward, right), forward])
    viewmat[:3, 3] = -viewmat[:3, :3] @ np.asarray(origin, dtype=np.float64)
    focal, middle = 0.5 * height / math.tan(0.5 * fov_y), 0.5 * WINDOW
    K = [[focal, 0.0, middle], [0.0, focal, middle], [0.0, 0.0, 1.0]]
    return Camera(torch.from_numpy(viewmat), torch.tensor(K), WINDOW, WINDOW)
