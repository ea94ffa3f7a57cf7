# SPDX-License-Identifier: Apache-2.0
"""From what is clicked or drawn on the screen to rays, and to the Gaussians inside an outline."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from panoptic_gs import kernels
from panoptic_gs.backends import Blending
from panoptic_gs.backends.host import view_of
from panoptic_gs.camera import Camera, rotation_from_quaternion
from panoptic_gs.splats import Splats

HEIGHT = 800
"""Pixels of the screen's height in which outlines are filled."""
_SEEN_THROUGH = 0.8  # coverage of a pixel behind which nothing is seen
_REACH = 2.0  # standard deviations about a centre that a Gaussian is taken to fill


def screen_camera(wxyz: np.ndarray, position: np.ndarray, fov_y: float, size: tuple[int, int]) -> Camera:
    """The camera of a screen.

    Args:
        wxyz: orientation ``[4]``, camera to world, OpenCV axes.
        position: ``[3]``.
        fov_y: vertical field of view in radians.
        size: width and height in pixels.
    """
    width, height = size
    pose = np.eye(4)
    pose[:3, :3] = rotation_from_quaternion(torch.from_numpy(wxyz)[None].double())[0].numpy()
    pose[:3, 3] = position
    focal = 0.5 * height / np.tan(0.5 * fov_y)
    K = np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]])
    return Camera(torch.from_numpy(np.linalg.inv(pose)), torch.from_numpy(K), width, height)


def screen_ray(client_camera: Any, at: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """From where and in which direction ``[3]`` each a page looks through a place of its screen.

    Args:
        client_camera: viser's, of that page.
        at: two shares of the screen's width and height, from its upper left.
    """
    wxyz, position = (np.asarray(values, dtype=np.float64) for values in (client_camera.wxyz, client_camera.position))
    height = math.tan(0.5 * float(client_camera.fov))
    local = np.array([(2 * at[0] - 1) * height * float(client_camera.aspect), (2 * at[1] - 1) * height, 1.0])
    direction = rotation_from_quaternion(torch.from_numpy(wxyz)[None])[0].numpy() @ local
    return position, direction / np.linalg.norm(direction)


@torch.no_grad()
def outlined(splats: Splats, camera: Camera, outline: np.ndarray, through: bool) -> Tensor:
    """Which Gaussians ``[N]`` bool have their centres inside an outline.

    Args:
        splats: what is drawn, on the CPU.
        camera: the screen's.
        outline: ``[P, 2]`` corners in the camera's pixels; it closes itself, and what it crosses twice is outside.
        through: whether those behind others count, too: else those alone whose centres do not lie behind the Gaussian
            with which a pixel is covered by 80 %, by more than what the two fill.
    """
    chosen = torch.zeros(len(splats), dtype=torch.bool)
    if len(splats) == 0 or len(outline) < 3:
        return chosen
    filled = Image.new("1", (camera.width, camera.height))
    ImageDraw.Draw(filled).polygon([(float(x), float(y)) for x, y in outline], fill=1)
    mask = torch.from_numpy(np.array(filled))
    viewmat, K = camera.viewmat.float(), camera.K.float()
    local = splats.means @ viewmat[:3, :3].T + viewmat[:3, 3]
    depth = local[:, 2]
    pixel = (local @ K.T)[:, :2] / depth.clamp_min(1e-6)[:, None]
    size = torch.tensor([camera.width, camera.height])
    inside = (depth > 1e-6) & ((pixel >= 0) & (pixel < size)).all(dim=1)
    rows = inside.nonzero()[:, 0]
    column, line = pixel[rows].long().unbind(1)
    hit = mask[line, column]
    rows, column, line = rows[hit], column[hit], line[hit]
    if not through and len(rows):
        crossing = kernels.find_crossings(view_of(splats, camera, Blending()), _SEEN_THROUGH)[line, column].long()
        fills = _REACH * splats.scales.median(dim=1).values
        covers = crossing.clamp_min(0)
        near = depth[rows] <= depth[covers] + fills[covers] + fills[rows]
        rows = rows[near | (crossing < 0)]
    chosen[rows] = True
    return chosen
