# SPDX-License-Identifier: Apache-2.0
"""A camera path without cameras: once around the room."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy.interpolate import make_smoothing_spline

from panoptic_gs.camera import Camera
from panoptic_gs.objects.boxes import fit_box, upright_axes
from panoptic_gs.objects.orientation import is_room
from panoptic_gs.objects.table import ObjectTable

SIZE = (640, 480)
"""Width and height of its views in pixels."""
_FOV = math.radians(75)  # across
_INSIDE = 0.32  # of the room's sides, how far from its middle the path goes
_HEIGHT = 0.66  # of the room's
_TARGET = 0.3
_AROUND = 0.85  # diagonals of the things, around them
_ENOUGH = 3  # cameras that say where photos were taken
_INWARD = 0.6  # of them that look at their common middle, where they stand around something
_GAP = math.radians(75)  # without a camera, beyond which a scene was not seen from all around
_AHEAD = math.radians(100)  # over which directions of photos spread that were all taken to one side
_FURNISHED = 0.5  # of its diagonal that the things of a room reach over; in a wider scene walls are background


def around_the_room(
    table: ObjectTable, means: np.ndarray, up: np.ndarray, count: int, cameras: Sequence[Camera] = ()
) -> dict[str, Camera]:
    """Cameras by number, once around.

    With the photos' cameras they go where those were: on a circle through them, or on the spot if they look outwards;
    to and fro where they saw from one side alone; and past them, to and fro, where all look to one side. Without, in a
    room (something is called wall or ceiling, and its things reach over half of it), they go along an ellipse inside,
    looking across the middle at the other side. Else around the things, or all there is, looking down.

    Args:
        table: the scene's objects.
        means: positions ``[N, 3]``.
        up: ``[3]``.
        count: of cameras; the one after the last would be the first.
        cameras: of the photos, where they are known.
    """
    if len(cameras) >= _ENOUGH:
        stands = _among(cameras, up, count)
    else:
        stands = _within(table, means, up, count)
    upward = np.asarray(up, dtype=np.float64).tolist()
    return {
        f"{number:05d}": Camera.look_at(eye.tolist(), target.tolist(), upward, _FOV, *SIZE)
        for number, (eye, target) in enumerate(stands)
    }


def _within(table: ObjectTable, means: np.ndarray, up: np.ndarray, count: int) -> list[tuple[np.ndarray, np.ndarray]]:
    axes, low, extent = frame_of(means, up)
    things = means[np.isin(table.segment_of, [row.id for row in table.certain if row.category.isthing])]
    room = is_room(table)
    if len(things):
        frame = frame_of(things, up)
        if np.linalg.norm(frame[2]) < _FURNISHED * np.linalg.norm(extent):
            room = False
        if not room:
            axes, low, extent = frame
    stands = []
    for angle in 2 * math.pi * np.arange(count) / count:
        way = np.array([math.cos(angle), math.sin(angle)])
        if room:
            eye = low + extent * np.array([*(0.5 + _INSIDE * way), _HEIGHT])
            target = low + extent * np.array([*(0.5 - 0.2 * way), _TARGET])
        else:
            target = low + 0.5 * extent
            eye = target + _AROUND * float(np.linalg.norm(extent)) * np.array([*(0.88 * way), 0.47])
        stands.append((axes @ eye, axes @ target))
    return stands


def _among(cameras: Sequence[Camera], up: np.ndarray, count: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Where to stand and where to look, as the photos' cameras did."""
    axes = upright_axes(up)
    poses = np.stack([camera.viewmat.double().numpy() for camera in cameras])
    eyes = np.stack([camera.center.double().numpy() for camera in cameras]) @ axes
    ways = poses[:, 2, :3] @ axes
    if len(cameras) > 1 and _arc(np.arctan2(ways[:, 1], ways[:, 0]))[1] < _AHEAD:
        return [(axes @ eye, axes @ target) for eye, target in _along(eyes, ways, count)]
    # The point nearest to all lines of sight: Σ (1 − d dᵀ) p = Σ (1 − d dᵀ) c.
    across = np.eye(3) - ways[:, :, None] * ways[:, None, :]
    middle = np.linalg.lstsq(across.sum(0), (across @ eyes[:, :, None]).sum(0)[:, 0], rcond=None)[0]
    inward = np.einsum("ni,ni->n", ways, middle - eyes) > 0
    offset = eyes - middle if inward.mean() > _INWARD else ways
    azimuth = np.arctan2(offset[:, 1], offset[:, 0])
    first, reach = _arc(azimuth)
    turn = np.arange(count) / count
    if reach < 2 * math.pi - _GAP:  # to and fro over what was seen
        turn = 0.5 - 0.5 * np.cos(2 * math.pi * turn)
    angles = first + reach * turn
    stands = []
    radius = float(np.median(np.linalg.norm((eyes - middle)[:, :2], axis=1)))
    height = float(np.median(eyes[:, 2]))
    tilt = float(np.median(ways[:, 2]))
    for angle in angles:
        way = np.array([math.cos(angle), math.sin(angle), 0.0])
        if inward.mean() > _INWARD:
            eye = np.array([*(middle + radius * way)[:2], height])
            target = middle
        else:
            eye = np.median(eyes, axis=0)
            target = eye + math.sqrt(max(1 - tilt**2, 0.01)) * way + np.array([0, 0, tilt])
        stands.append((axes @ eye, axes @ target))
    return stands


def _along(eyes: np.ndarray, ways: np.ndarray, count: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """To and fro past where the photos were taken, in their order, smoothly."""
    share = 0.5 - 0.5 * np.cos(2 * math.pi * np.arange(count) / count)
    smooth = make_smoothing_spline if len(eyes) >= 5 else None
    at = np.arange(len(eyes), dtype=np.float64)
    wanted = share * (len(eyes) - 1)
    parts = []
    for values in (eyes, ways):
        columns = [smooth(at, v)(wanted) if smooth else np.interp(wanted, at, v) for v in values.T]
        parts.append(np.stack(columns, axis=1))
    distance = max(float(np.linalg.norm(np.ptp(eyes, axis=0))), 1e-6)
    return [(eye, eye + distance * way) for eye, way in zip(*parts)]


def _arc(azimuth: np.ndarray) -> tuple[float, float]:
    """Where the arc of these angles begins, and how far it reaches: all but their largest gap, or the whole turn."""
    order = np.sort(azimuth % (2 * math.pi))
    gaps = np.diff(np.append(order, order[0] + 2 * math.pi))
    widest = int(gaps.argmax())
    if gaps[widest] < _GAP:
        return float(order[0]), 2 * math.pi
    return float(order[(widest + 1) % len(order)]), float(2 * math.pi - gaps[widest])


def frame_of(means: np.ndarray, up: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Upright axes ``[3, 3]`` (columns) along the sides of what there is, its lowest corner and extent ``[3]`` in them.

    A fiftieth of the Gaussians at either end is left out.
    """
    sample = means[:: -(-len(means) // 20_000)].astype(np.float64)
    box = fit_box(sample, up)
    axes = upright_axes(up) if box is None else box.axes
    low, high = np.quantile(sample @ axes, [0.02, 0.98], axis=0)
    return axes, low, np.maximum(high - low, 1e-6)
