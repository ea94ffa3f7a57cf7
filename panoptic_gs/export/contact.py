# SPDX-License-Identifier: Apache-2.0
"""Where objects touch: their surfaces as points, and the gap between two of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from scipy.spatial import KDTree

from panoptic_gs.camera import rotation_from_quaternion
from panoptic_gs.export.objects import PlacedObject
from panoptic_gs.objects.boxes import Box
from panoptic_gs.objects.standing import is_floor
from panoptic_gs.splats import Splats

_FLAT = 0.5  # of its middle axis, from which a Gaussian's shortest one on it is too round to face anywhere
_OPAQUE = 0.1  # Gaussians below this opacity touch nothing
_NEAREST = 0.02  # the share of the smaller object's Gaussians that stands for its contact
_MOST_POINTS = 4000  # of an object that are looked at one by one
_MOST_IN_ALL = 200_000  # and that it is made of for others


class Part(NamedTuple):
    """An object or a connected piece of a stuff class; ``low`` and ``high`` are heights.

    A wide floor has many more Gaussians than are looked at one by one. What others touch is all of them, else it would
    have holes as large as what stands on it.
    """

    entry: PlacedObject
    box: Box
    points: np.ndarray  # [M, 3] a sample
    radius: np.ndarray  # [M] of it
    level: np.ndarray  # [M] of it: cosine between up and the normal of flat Gaussians, NaN for round ones
    tree: KDTree  # of all N
    radii: np.ndarray  # [N]
    reach: float
    low: float
    high: float

    @property
    def kind(self) -> str:
        name = self.entry.object.category.name.casefold()
        if is_floor(self.entry.object.category):
            return "floor"
        return next((kind for kind in ("wall", "ceiling") if kind in name.replace("-", " ").split()), "")


def contact_of(one: Part, other: Part, up: np.ndarray) -> tuple[float, float]:
    """The gap between two parts, and the height at which they come closest."""
    small, large = (one, other) if len(one.radii) <= len(other.radii) else (other, one)
    far, nearest = (np.asarray(values) for values in large.tree.query(small.points))
    gap = far - small.radius - large.radii[nearest]
    count = max(1, int(_NEAREST * len(gap)))
    closest = np.argpartition(gap, count - 1)[:count]
    touching = 0.5 * (small.points[closest] + large.tree.data[nearest[closest]])
    return max(0.0, float(np.median(gap[closest]))), float(np.median(touching @ up))


def parts_of(splats: Splats, objects: Sequence[PlacedObject], up: np.ndarray, contact: float) -> list[Part]:
    """The objects, and the pieces of stuff classes, as far as they are opaque and in their boxes."""
    means = splats.means.cpu().numpy().astype(np.float64)
    radius = splats.scales.median(dim=1).values.cpu().numpy()
    opaque = splats.opacities.cpu().numpy() >= _OPAQUE
    parts = []
    for entry in objects:
        for members, box in entry.parts:
            solid = members[opaque[members]]
            rows = _evenly(solid if len(solid) else members, _MOST_IN_ALL)
            near = rows[box.contains(means[rows], 0.5 * contact)]
            rows = near if len(near) else rows
            some = _evenly(rows, _MOST_POINTS)
            low, high = np.quantile(means[rows] @ up, [0.02, 0.95])
            reach = 2 * float(np.quantile(radius[rows], 0.95)) + contact
            parts.append(
                Part(entry, box, means[some], radius[some], _levels(splats, some, up), KDTree(means[rows]),
                     radius[rows], reach, float(low), float(high))
            )  # fmt: skip
    return parts


def _levels(splats: Splats, rows: np.ndarray, up: np.ndarray) -> np.ndarray:
    """How level Gaussians lie ``[M]``, 0 … 1: the cosine between ``up`` and their normals; NaN for round ones."""
    chosen = torch.from_numpy(rows)
    scales, order = splats.scales.cpu()[chosen].sort(dim=1)
    axes = rotation_from_quaternion(splats.quats.cpu()[chosen])
    normal = axes.gather(2, order[:, None, :1].expand(-1, 3, 1))[..., 0]
    cosine = (normal @ torch.from_numpy(up).to(normal)).abs()
    return torch.where(scales[:, 0] < _FLAT * scales[:, 1], cosine, torch.nan).numpy()


def _evenly(rows: np.ndarray, most: int) -> np.ndarray:
    return rows[:: -(-len(rows) // most)]


def near_pairs(parts: Sequence[Part], margin: float) -> Iterator[tuple[int, int]]:
    """Numbers of parts of two objects whose boxes' axis-parallel bounds are no further apart than both reach and
    ``margin``.

    The first of each two comes first in ``parts``, and pairs come as in a loop over all of them. Bounds are swept along
    the axis on which they overlap least, so that among ten thousand a part meets those around it alone.
    """
    corners = [part.box.corners() for part in parts]
    low, high = (np.array([side(corner, axis=0) for corner in corners]).reshape(-1, 3) for side in (np.min, np.max))
    reach = np.array([part.reach for part in parts])
    ids = np.array([part.entry.id for part in parts])
    grown_low, grown_high = (ends + side * (reach[:, None] + 0.5 * margin) for ends, side in ((low, -1), (high, 1)))
    axis = (
        int(((grown_high - grown_low).sum(axis=0) / np.maximum(np.ptp(low, axis=0), 1e-12)).argmin()) if ids.size else 0
    )
    order = np.argsort(grown_low[:, axis], kind="stable")
    ends = np.searchsorted(grown_low[order, axis], grown_high[order, axis], side="right")
    found = [np.zeros((0, 2), dtype=np.int64)]
    for place, (one, end) in enumerate(zip(order, ends)):
        others = order[place + 1 : end]
        others = others[ids[others] != ids[one]]
        gap = np.maximum(low[one] - high[others], low[others] - high[one]).clip(0)
        others = others[np.linalg.norm(gap, axis=1) <= reach[one] + reach[others] + margin]
        found.append(np.stack([np.minimum(one, others), np.maximum(one, others)], axis=1))
    pairs = np.concatenate(found)
    for number in np.lexsort(pairs.T[::-1]):
        yield int(pairs[number, 0]), int(pairs[number, 1])
