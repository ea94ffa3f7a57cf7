# SPDX-License-Identifier: Apache-2.0
"""How well cameras see each object: from which photo to look at it, or from which direction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch

from panoptic_gs.backends import RasterizeMode
from panoptic_gs.camera import Camera
from panoptic_gs.objects.boxes import Box, upright_axes
from panoptic_gs.uplift import LabelledScene, render_panoptic

WIDTH = 120
"""Pixels across of the small maps that objects are counted in."""
_AZIMUTHS = 12
_LIFTS = (0.4, 0.12, 0.85)  # radians above the horizon
_FOV = np.radians(60)
_ENOUGH = 0.7  # of an object that is seen from a side that is good enough
_SAMPLE = 500  # Gaussians of an object by which it is told how much of it a camera has in its frame


class Sight(NamedTuple):
    """How a camera sees an object."""

    view: int
    """The camera's position in the list."""
    pixels: float
    """Of the camera's own pixels, those that show the object."""
    inside: float
    """Share of the object's Gaussians that lie in the frame, hidden or not."""


@torch.no_grad()
def pixels_of_objects(
    scene: LabelledScene, cameras: Sequence[Camera], rasterize_mode: RasterizeMode = "classic"
) -> np.ndarray:
    """Share ``[V, largest id + 1]`` of each camera's picture that each segment fills, counted in small maps."""
    shares = np.zeros((len(cameras), max(scene.labelling.segment_ids, default=0) + 1))
    for number, camera in enumerate(cameras):
        small = camera.resized(WIDTH, max(1, round(WIDTH * camera.height / camera.width)))
        ids = render_panoptic(scene.splats, scene.labels, small, rasterize_mode=rasterize_mode).ids.cpu().numpy()
        shares[number] = np.bincount(ids.ravel(), minlength=shares.shape[1])[: shares.shape[1]] / ids.size
    return shares


def sights(
    scene: LabelledScene, cameras: Sequence[Camera], shares: np.ndarray, members: np.ndarray, segment_id: int
) -> list[Sight]:
    """The cameras that see an object, the best one first: the most of its pixels, and the whole of it.

    Args:
        scene: Gaussians and labels.
        cameras: the views.
        shares: what :func:`pixels_of_objects` gives for them.
        members: the object's Gaussians ``[M]``.
        segment_id: its id.
    """
    points = scene.splats.means[torch.from_numpy(members[:: -(-len(members) // _SAMPLE)])].double().numpy()
    found = []
    for view, camera in enumerate(cameras):
        share = float(shares[view, segment_id])
        if share > 0:
            found.append(Sight(view, share * camera.width * camera.height, _inside(camera, points)))
    return sorted(found, key=lambda sight: -sight.pixels * sight.inside**2)


def _inside(camera: Camera, points: np.ndarray) -> float:
    pose, K = camera.viewmat.double().numpy(), camera.K.double().numpy()
    local = (points @ pose[:3, :3].T + pose[:3, 3]) @ K.T
    ahead = local[:, 2] > 1e-6
    at = local[:, :2] / np.where(ahead, local[:, 2], 1.0)[:, None]
    return float((ahead & (at >= 0).all(axis=1) & (at < [camera.width, camera.height]).all(axis=1)).mean())


@torch.no_grad()
def open_side(
    scene: LabelledScene, segment_id: int, box: Box, up: np.ndarray, eye: np.ndarray, *, distance: float | None = None
) -> np.ndarray:
    """A place ``[3]`` from which an object is hidden least: the side of ``eye`` where that is nearly as good.

    What hides it is judged by small maps towards it: the share of its pixels, were it alone, that it keeps.

    Args:
        scene: Gaussians and labels; what is not drawn has been left out.
        segment_id: the object.
        box: around it.
        up: ``[3]``.
        eye: where the visitor stands ``[3]``.
        distance: from its middle; by default one from which it fills a good part of the picture.
    """
    diameter = float(np.linalg.norm(box.size))
    distance = max(1.6 * diameter if distance is None else distance, 1e-3)
    offset = np.asarray(eye, dtype=np.float64) - box.center
    here = offset / max(float(np.linalg.norm(offset)), 1e-9)
    axes = upright_axes(up)
    local = here @ axes
    azimuth = np.arctan2(local[1], local[0])
    own, _ = scene.labels.best()
    mine = own == segment_id
    alone = scene._replace(splats=scene.splats.subset(mine), labels=scene.labels.subset(mine))

    def kept(way: np.ndarray) -> float:
        camera = _towards(box.center, way, distance, up)
        solid = render_panoptic(alone.splats, alone.labels, camera).accumulation > 0.5
        seen = solid & (render_panoptic(scene.splats, scene.labels, camera).ids == segment_id)
        return float(seen.sum() / solid.sum()) if solid.any() else 0.0

    best, most = here, kept(here)
    for lift in _LIFTS:
        for turn in range(_AZIMUTHS):
            if most > _ENOUGH:
                return box.center + best * distance
            angle = azimuth + (-1) ** turn * ((turn + 1) // 2) * 2 * np.pi / _AZIMUTHS
            way = axes @ [np.cos(angle) * np.cos(lift), np.sin(angle) * np.cos(lift), np.sin(lift)]
            share = kept(way)
            if share > most + 0.1:
                best, most = way, share
    return box.center + best * distance


def _towards(target: np.ndarray, way: np.ndarray, distance: float, up: np.ndarray) -> Camera:
    eye = target + way * distance
    upright = up if abs(float(way @ up)) < 0.99 else upright_axes(up)[:, 0]
    side = 48
    return Camera.look_at(eye.tolist(), target.tolist(), upright.tolist(), float(_FOV), side, side)
