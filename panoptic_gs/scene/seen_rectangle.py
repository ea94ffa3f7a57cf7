# SPDX-License-Identifier: Apache-2.0
"""The largest rectangle of an ideal camera's image plane that a lens shows whole.

Everything is in normalised coordinates: (x, y) = (X/Z, Y/Z) on the ideal side, (pixel − principal point) / focal length
on the sensor. The photo is a rectangle there; what it shows is a region of the ideal plane, with sides that bulge in
(barrel lenses) or out (pincushion lenses), and without end for a lens of 180° and more. So the region is cut to a field
of view, and searched for the axis-aligned rectangle of the largest area around the ray of the photo's centre.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from panoptic_gs.errors import InputError
from panoptic_gs.scene.lens import Distortion

_DIRECTIONS = 128
_STEPS = 160  # samples from the axis to the edge of the field
_SLICES = 97
_FINER = 24  # new slices around an edge of the best rectangle, in each of _ROUNDS
_ROUNDS = 2
_HALVINGS = 14
_DELTA = 1e-5  # for the derivatives that tell whether the lens folds


class Rectangle(NamedTuple):
    """x from ``left`` to ``right``, y (down) from ``top`` to ``bottom``."""

    left: float
    top: float
    right: float
    bottom: float


def largest_rectangle(lens: Distortion, photo: Rectangle, max_fov: float) -> Rectangle:
    """The largest rectangle of the ideal image plane whose every point lies in the photo.

    Args:
        lens: from the ideal plane to the sensor.
        photo: the photo's borders on the sensor.
        max_fov: no side is wider than this angle; degrees, below 180.

    Raises:
        InputError: the lens folds inside the photo (two directions share a pixel), or the photo shows nothing of the
            field.
    """
    field = _Field.around(lens, photo, math.tan(math.radians(max_fov) / 2))
    heights = np.linspace(field.bounds.top, field.bounds.bottom, _SLICES)
    heights = np.union1d(heights, field.center[1])
    left, right = field.slices(heights)
    best = _best(heights, left, right)
    for _ in range(_ROUNDS):
        extra = [_between(heights, index) for index in best]
        fresh = np.setdiff1d(np.concatenate(extra), heights)
        more_left, more_right = field.slices(fresh)
        order = np.argsort(np.concatenate([heights, fresh]))
        heights = np.concatenate([heights, fresh])[order]
        left = np.concatenate([left, more_left])[order]
        right = np.concatenate([right, more_right])[order]
        best = _best(heights, left, right)
    first, last = best
    kept = slice(first, last + 1)
    return Rectangle(float(left[kept].max()), float(heights[first]), float(right[kept].min()), float(heights[last]))


def _between(heights: np.ndarray, index: int) -> np.ndarray:
    around = heights[max(index - 1, 0) : index + 2]
    return np.linspace(around[0], around[-1], _FINER)


def _best(heights: np.ndarray, left: np.ndarray, right: np.ndarray) -> tuple[int, int]:
    """The first and last slice of the rectangle of the largest area; closed slices have left = inf."""
    best, area = (0, 0), -1.0
    for first in range(len(heights)):
        widths = np.minimum.accumulate(right[first:]) - np.maximum.accumulate(left[first:])
        areas = np.maximum(widths, 0) * (heights[first:] - heights[first])
        last = int(areas.argmax())
        if areas[last] > area:
            best, area = (first, first + last), float(areas[last])
    return best


@dataclass(frozen=True, eq=False)
class _Field:
    """The part of the ideal plane that the photo shows."""

    lens: Distortion
    photo: Rectangle
    rising: float
    """Radius up to which the lens's radial part rises."""
    center: tuple[float, float]
    """A shown point near the photo's centre."""
    bounds: Rectangle
    """Around what is shown."""

    @classmethod
    def around(cls, lens: Distortion, photo: Rectangle, reach: float) -> _Field:
        """Walk outwards from the axis in all directions.

        Raises:
            InputError: as :func:`largest_rectangle`.
        """
        angle = np.arange(_DIRECTIONS) * (2 * math.pi / _DIRECTIONS)
        cos, sin = np.cos(angle), np.sin(angle)
        far = reach / np.maximum(np.abs(cos), np.abs(sin))
        # Even steps of the angle off the axis: of the plane they would leave too few near it in a wide field.
        share = np.linspace(0, 1, _STEPS + 1)[1:]
        radius = np.tan(np.arctan(far)[:, None] * share)
        rising = rising_up_to(lens, float(far.max()))
        field = cls(lens, photo, rising, (0.0, 0.0), Rectangle(0, 0, 0, 0))
        field._require_no_fold(cos, sin, radius)
        x, y = cos[:, None] * radius, sin[:, None] * radius
        x, y = np.append(x, 0.0), np.append(y, 0.0)
        inside, _, u, v = field._state(x, y)
        if not inside.any():
            raise InputError(
                "lens",
                "a photo that shows nothing of the field of view around the lens's axis",
                f"directions less than {math.degrees(2 * math.atan(reach)) / 2:.0f}° off the axis",
                "Check the principal point and the focal lengths.",
            )
        middle = (0.5 * (photo.left + photo.right), 0.5 * (photo.top + photo.bottom))
        width, height = photo.right - photo.left, photo.bottom - photo.top
        off = ((u - middle[0]) / width) ** 2 + ((v - middle[1]) / height) ** 2
        nearest = int(np.where(inside, off, np.inf).argmin())
        margin = 1.5 * float(radius[:, -1].max() / _STEPS) if inside.sum() > 1 else reach
        bounds = Rectangle(
            max(float(x[inside].min()) - margin, -reach), max(float(y[inside].min()) - margin, -reach),
            min(float(x[inside].max()) + margin, reach), min(float(y[inside].max()) + margin, reach),
        )  # fmt: skip
        return cls(lens, photo, rising, (float(x[nearest]), float(y[nearest])), bounds)

    def _state(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Whether points are shown, whether the lens is one-to-one around them, and where they land."""
        u, v = self.lens.distort(x, y)
        right_u, right_v = self.lens.distort(x + _DELTA, y)
        below_u, below_v = self.lens.distort(x, y + _DELTA)
        area = (right_u - u) * (below_v - v) - (right_v - v) * (below_u - u)
        regular = (area > 0) & (x * x + y * y <= self.rising**2)
        photo = self.photo
        seen = (u >= photo.left) & (u <= photo.right) & (v >= photo.top) & (v <= photo.bottom)
        return seen & regular, regular, u, v

    def _require_no_fold(self, cos: np.ndarray, sin: np.ndarray, radius: np.ndarray) -> None:
        """Where the lens stops being one-to-one along a ray, the ray has to have left the photo before."""
        for _ in range(2):
            inside, regular, _, _ = self._state(cos[:, None] * radius, sin[:, None] * radius)
            folded = ~regular
            first = np.where(folded.any(axis=1), folded.argmax(axis=1), -1)
            before = np.maximum(first - 1, 0)
            rays = np.flatnonzero((first > 0) & inside[np.arange(len(inside)), before] | (first == 0))
            if not rays.size:
                return
            # Look closer at the step in which it happened: the ray may have left the photo within it.
            start = np.where(first[rays] > 0, radius[rays, before[rays]], 0.0)
            end = radius[rays, first[rays]]
            cos, sin = cos[rays], sin[rays]
            radius = start[:, None] + (end - start)[:, None] * np.linspace(0, 1, _STEPS + 1)[1:]
        at = math.degrees(math.atan(float(radius[:, 0].min())))
        raise InputError(
            "lens",
            f"distortion that folds inside the photo, {at:.0f}° off the axis ({_said(self.lens)})",
            "coefficients with which every pixel of the photo has one direction",
            "Calibrate again with fewer coefficients, crop the photos, or correct the focal length.",
        )

    def slices(self, heights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The shown x around the centre's, from ``left [N]`` to ``right [N]``, at each height; inf where none is."""
        middle = self.center[0]
        open_ = self._state(np.full(len(heights), middle), heights)[0]
        ends = []
        for border in (self.bounds.left, self.bounds.right):
            places = np.linspace(middle, border, _SLICES)
            grid = np.broadcast_to(places, (len(heights), _SLICES))
            inside = self._state(grid, np.broadcast_to(heights[:, None], grid.shape))[0]
            first = np.where(inside.all(axis=1), _SLICES, (~inside).argmax(axis=1))
            inner = places[np.clip(first - 1, 0, _SLICES - 1)]
            outer = places[np.clip(first, 0, _SLICES - 1)]
            for _ in range(_HALVINGS):
                half = 0.5 * (inner + outer)
                shown = self._state(half, heights)[0]
                inner, outer = np.where(shown, half, inner), np.where(shown, outer, half)
            ends.append(inner)
        left, right = ends
        return np.where(open_, left, np.inf), np.where(open_, right, -np.inf)


def rising_up_to(lens: Distortion, reach: float) -> float:
    """The radius up to which the radial part rises, as far as it is looked at."""
    r = np.tan(np.linspace(0, math.atan(reach), 4001))
    with np.errstate(over="ignore", invalid="ignore"):
        falls = ~(np.diff(lens.radius(r)) > 0)
    return float(r[falls.argmax()]) if falls.any() else math.inf


def _said(lens: Distortion) -> str:
    given = {name: getattr(lens, name) for name in ("k1", "k2", "k3", "k4", "k5", "k6", "p1", "p2", "alpha")}
    return f"{lens.model}: " + ", ".join(f"{name} = {value:g}" for name, value in given.items() if value)
