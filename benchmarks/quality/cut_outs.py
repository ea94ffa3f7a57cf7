# SPDX-License-Identifier: Apache-2.0
"""How clean objects are that were cut out of a room: their halo, and what they lack of their true silhouette."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch

from panoptic_gs.camera import Camera
from panoptic_gs.objects.cut_out import cut_out
from panoptic_gs.objects.rendered_views import pixel_rays
from panoptic_gs.objects.table import ObjectTable
from panoptic_gs.synthetic.parts import RoomObject
from panoptic_gs.uplift import render_panoptic

_LEAST = 200  # pixels of a silhouette that is measured


class CutOut(NamedTuple):
    """An object alone in a view; each pair is of all its Gaussians and of those that cleaning keeps."""

    object: str
    halo: tuple[float, float]
    """Share of its rendered opacity outside its true silhouette."""
    lacking: tuple[float, float]
    """Share of its true silhouette that is not covered."""


def measure_cut_outs(
    table: ObjectTable, objects: Mapping[int, RoomObject], cameras: Sequence[Camera], up: np.ndarray
) -> list[CutOut]:
    """Hold objects that are rendered alone against the silhouettes of their furniture, whatever hides it in the room.

    Args:
        table: the room's objects.
        objects: the true one of each found segment.
        cameras: views, held out.
        up: ``[3]``.
    """
    found = []
    scene = table.scene
    for segment_id, item in objects.items():
        kinds = [torch.from_numpy(rows) for rows in (table.members(segment_id), cut_out(table, segment_id, up))]
        alone = [(scene.splats.subset(rows), scene.labels.subset(rows)) for rows in kinds]
        for camera in cameras:
            inside = silhouette(item, camera)
            if inside.sum() < _LEAST:
                continue
            opacity = [render_panoptic(*part, camera).accumulation.numpy() for part in alone]
            halo = [float(alpha[~inside].sum() / max(float(alpha.sum()), 1e-9)) for alpha in opacity]
            lacking = [float(1 - alpha[inside].mean()) for alpha in opacity]
            found.append(CutOut(item.name, (halo[0], halo[1]), (lacking[0], lacking[1])))
    return found


def silhouette(item: RoomObject, camera: Camera) -> np.ndarray:
    """Where ``[H, W]`` bool the rays of the pixels' centres meet a piece of furniture that stands alone."""
    rays = (pixel_rays(camera) @ camera.viewmat[:3, :3]).double().numpy()
    directions = np.ascontiguousarray(rays.reshape(-1, 3).T)
    origins = np.repeat(camera.center.double().numpy()[:, None], directions.shape[1], axis=1)
    inside = np.zeros(directions.shape[1], dtype=bool)
    for primitive in item.primitives:
        enters, leaves = primitive.interval(origins, directions)
        inside |= (leaves > enters) & (leaves > 0)
    return inside.reshape(rays.shape[:2])
