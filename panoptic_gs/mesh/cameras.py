# SPDX-License-Identifier: Apache-2.0
"""Views beside the photos' that look where no photo did."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from panoptic_gs.camera import Camera

_SIDE = 256  # pixels
_FIELD = np.pi / 2


def cubes_between(cameras: Sequence[Camera], up: np.ndarray, most: int) -> list[Camera]:
    """Six square views of 90° each, along ``up`` and level, from ``most`` of the cameras' places.

    The places are those farthest from each other (farthest point sampling from the one nearest to the middle): a
    photographer stood there, so they are in free space.

    Args:
        cameras: of the photos.
        up: ``[3]`` direction away from the ground.
        most: how many places.
    """
    if not cameras or most < 1:
        return []
    centers = np.stack([camera.center.numpy() for camera in cameras]).astype(np.float64)
    chosen = [int(np.linalg.norm(centers - np.median(centers, axis=0), axis=1).argmin())]
    distance = np.linalg.norm(centers - centers[chosen[0]], axis=1)
    while len(chosen) < min(most, len(centers)) and distance.max() > 1e-6:
        chosen.append(int(distance.argmax()))
        distance = np.minimum(distance, np.linalg.norm(centers - centers[chosen[-1]], axis=1))
    up = np.asarray(up, dtype=np.float64) / np.linalg.norm(up)
    side = np.cross(np.eye(3)[np.abs(up).argmin()], up)
    side /= np.linalg.norm(side)
    level = [side, np.cross(up, side)]
    level += [-direction for direction in level]
    views = []
    for number in chosen:
        eye = torch.from_numpy(centers[number])
        for direction, top in [*((d, up) for d in level), (up, side), (-up, side)]:
            views.append(Camera.look_at(eye, eye + torch.from_numpy(direction), torch.from_numpy(top), _FIELD, _SIDE,
                                        _SIDE))  # fmt: skip
    return views
