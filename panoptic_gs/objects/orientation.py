# SPDX-License-Identifier: Apache-2.0
"""Which way is up in a scene, and where to stand to see it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from panoptic_gs.camera import Camera
from panoptic_gs.objects.boxes import upright_axes
from panoptic_gs.objects.standing import is_floor
from panoptic_gs.objects.table import ObjectTable

_SHELL = ("wall", "ceiling")


class Standpoint(NamedTuple):
    """Where a viewer stands and what it looks at, both ``[3]`` in the world."""

    eye: np.ndarray
    target: np.ndarray


def axis_named(name: str) -> np.ndarray | None:
    """The direction ``[3]`` that an option like ``z`` or ``-y`` names, None for ``auto``."""
    return None if name == "auto" else (-1.0 if name.startswith("-") else 1.0) * np.eye(3)["xyz".index(name[-1])]


def up_direction(table: ObjectTable, means: np.ndarray, cameras: list[Camera]) -> np.ndarray:
    """The world's up ``[3]``, a unit vector.

    It is the normal of what is called floor, on the cameras' side of up, or without cameras where most of the scene
    lies. Where there is no floor, or one that leans by more than 45° from the cameras' mean up, it is that mean (which
    is off where all cameras look down from one side); without cameras +z.
    """
    mean = np.zeros(3)
    if cameras:
        mean = -np.stack([camera.viewmat[1, :3].numpy() for camera in cameras]).astype(np.float64).mean(axis=0)
    upright = np.linalg.norm(mean) > 0.2
    floors = [row.id for row in table if is_floor(row.category)]
    on_floor = np.isin(table.segment_of, floors)
    floor = means[on_floor].astype(np.float64)
    if len(floor) >= 50:
        normal = np.linalg.eigh(np.cov((floor - np.median(floor, axis=0)).T))[1][:, 0]
        if upright:
            side = normal @ mean / np.linalg.norm(mean)
        elif not on_floor.all():
            side = np.median((means[~on_floor] - np.median(floor, axis=0)) @ normal)
        else:
            side = normal[2]
        if not upright or abs(side) > np.cos(np.pi / 4):
            return _tidied(normal if side > 0 else -normal)
    return _tidied(mean / np.linalg.norm(mean)) if upright else np.array([0.0, 0.0, 1.0])


def first_standpoint(table: ObjectTable, means: np.ndarray, up: np.ndarray, cameras: list[Camera]) -> Standpoint:
    """A first view: the first camera's, else from inside a room's corner, else from outside an object."""
    low, high = np.quantile(means @ upright_axes(up), [0.02, 0.98], axis=0)
    axes, extent = upright_axes(up), high - low
    center = axes @ ((low + high) / 2)
    if cameras:
        eye, forward = cameras[0].center.numpy().astype(np.float64), cameras[0].viewmat[2, :3].numpy()
        return Standpoint(eye, eye + forward * max(0.3 * float(np.linalg.norm(extent)), 1e-3))
    if is_room(table):
        corner = axes @ (low + extent * np.array([0.12, 0.12, 0.68]))
        return Standpoint(corner, axes @ (low + extent * np.array([0.6, 0.6, 0.32])))
    return Standpoint(center + axes @ (np.array([0.8, 0.45, 0.4]) * float(np.linalg.norm(extent))), center)


def is_room(table: ObjectTable) -> bool:
    """Whether something in the scene is called wall or ceiling, so that one looks at it from inside."""
    return any(word in row.category.name.casefold() for row in table for word in _SHELL)


def _tidied(up: np.ndarray) -> np.ndarray:
    """The world axis where ``up`` is within 8° of one, else ``up``: measured ups are a little off."""
    axis = int(np.abs(up).argmax())
    if abs(up[axis]) > np.cos(np.radians(8)):
        return np.sign(up[axis]) * np.eye(3)[axis]
    return up
