# SPDX-License-Identifier: Apache-2.0
"""Of a long capture's views, those that together show the surfaces best."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from panoptic_gs.camera import Camera
from panoptic_gs.splats import Splats

_POINTS = 20_000  # that stand for all surfaces
_OPAQUE = 0.1  # Gaussians below this opacity are no surface
_ACROSS = 64  # cells of the grid in which what lies behind is told from what lies before
_BEHIND = 1.2  # times as far as the nearest in its cell: hidden
_NEAR = 0.05  # world units before a camera in which it sees nothing


class Chosen(NamedTuple):
    """Views of a capture, and what they show of what all of its views show."""

    views: np.ndarray
    """``[K]`` positions, ascending."""
    shown: float
    """The share, 0 … 1, of the surfaces that any view shows that these show."""


def covering(splats: Splats, cameras: Sequence[Camera], most: int) -> Chosen:
    r"""At most so many views, chosen one after another, each the one that adds most to what those before it show.

    .. math:: \max_{S} \sum_p \Bigl(\sum_{v \in S} a_{vp}\Bigr)^{1/2}, \qquad
              a_{vp} = \Bigl(\frac{f_v / z_{vp}}{\max_u f_u / z_{up}}\Bigr)^2

    over 20,000 opaque Gaussians p, evenly taken, with the solid angle that a view has for them, of the best one's, and
    nothing where it does not show them. The root makes a second look worth less than a first one, so the sum is
    submodular, and going greedily is within 1 − 1/e of the best choice (Nemhauser et al. 1978). Gains only shrink, so
    most views are asked once (Minoux 1978). What is hidden is told by the nearest point in each cell of a 64-wide grid.

    Args:
        splats: the Gaussians.
        cameras: of the views.
        most: how many; 0 takes all.
    """
    count = len(cameras)
    if most < 1 or count <= most:
        return Chosen(np.arange(count), 1.0)
    angles = _angles(_surface_points(splats), cameras)
    angles /= np.maximum(angles.max(axis=0), np.finfo(np.float32).tiny)
    seen = np.zeros(angles.shape[1], dtype=np.float32)
    queue = [(-float(np.sqrt(row).sum()), number) for number, row in enumerate(angles)]
    heapq.heapify(queue)
    chosen: list[int] = []
    while len(chosen) < most:
        _, number = heapq.heappop(queue)
        gain = float((np.sqrt(seen + angles[number]) - np.sqrt(seen)).sum())
        if queue and -gain > queue[0][0]:
            heapq.heappush(queue, (-gain, number))
            continue
        chosen.append(number)
        seen += angles[number]
    shown = float((seen > 0).sum() / max(1, (angles > 0).any(axis=0).sum()))
    return Chosen(np.sort(chosen), shown)


def _surface_points(splats: Splats) -> np.ndarray:
    opaque = np.flatnonzero(splats.opacities.cpu().numpy() >= _OPAQUE)
    rows = opaque if len(opaque) else np.arange(len(splats))
    rows = (
        rows[np.unique(np.linspace(0, len(rows) - 1, min(len(rows), _POINTS)).astype(np.int64))] if len(rows) else rows
    )
    return splats.means.detach().cpu().numpy()[rows].astype(np.float64)


def _angles(points: np.ndarray, cameras: Sequence[Camera]) -> np.ndarray:
    """What solid angle ``[V, P]`` float32 each view has for each point, up to a factor, 0 where it does not show it."""
    angles = np.zeros((len(cameras), len(points)), dtype=np.float32)
    for number, camera in enumerate(cameras):
        pose, K = camera.viewmat.double().numpy(), camera.K.double().numpy()
        local = points @ (K @ pose[:3, :3]).T + K @ pose[:3, 3]
        ahead = np.flatnonzero(local[:, 2] > _NEAR)
        z = local[ahead, 2]
        at = local[ahead, :2] / z[:, None] / [camera.width, camera.height]
        inside = ((at >= 0) & (at < 1)).all(axis=1)
        ahead, z, at = ahead[inside], z[inside], at[inside]
        down = max(1, round(_ACROSS * camera.height / camera.width))
        cell = (at[:, 1] * down).astype(np.int64) * _ACROSS + (at[:, 0] * _ACROSS).astype(np.int64)
        nearest = np.full(_ACROSS * down, np.inf)
        np.minimum.at(nearest, cell, z)
        shown = z <= _BEHIND * nearest[cell]
        angles[number, ahead[shown]] = (K[0, 0] / z[shown]) ** 2
    return angles
