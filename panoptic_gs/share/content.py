# SPDX-License-Identifier: Apache-2.0
"""What a shared page holds: compressed Gaussians sorted by object, and what is to be said of each object.

Gaussians that belong to one object follow each other, so that the page needs no label for each of them, only how many
each object has. Within an object they follow a Morton curve, which packs better.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from panoptic_gs.backends import RasterizeMode
from panoptic_gs.camera import Camera
from panoptic_gs.export.spz_objects import encode_spz
from panoptic_gs.objects.orientation import first_standpoint
from panoptic_gs.objects.survey import Survey, counted, sides
from panoptic_gs.palette import colors_of
from panoptic_gs.splats import Splats
from panoptic_gs.uplift import LabelledScene

_TO_SPZ = np.array([1.0, -1.0, -1.0])
"""From the axes of the usual PLY to SPZ's, in which the page works."""
_BITS = 16  # a side of the Morton curve's grid


@dataclass(frozen=True, eq=False)
class SharedScene:
    """What goes into the page.

    Args:
        title: of the page.
        spz: all Gaussians, packed.
        document: objects, first view and up for the page's script, ready for JSON.
        num_gaussians: how many ``spz`` holds.
        sh_degree: of the spherical harmonics that are kept.
        counted: how many objects there are, in words.
    """

    title: str
    spz: bytes
    document: dict[str, Any]
    num_gaussians: int
    sh_degree: int
    counted: str


def shared_scene(
    scene: LabelledScene,
    title: str,
    *,
    cameras: Sequence[Camera] = (),
    up: np.ndarray | None = None,
    meters_per_unit: float = 1.0,
    rasterize_mode: RasterizeMode = "classic",
    most_bytes: int | None = None,
    sh_degree: int | None = None,
    most_gaussians: int | None = None,
) -> SharedScene:
    """Pack a labelled scene for a page.

    Args:
        scene: Gaussians and labels.
        title: of the page.
        cameras: of the photos, for the first view and for up; optional.
        up: the world's up ``[3]``; found out by default.
        meters_per_unit: size of the scene's unit, for sizes.
        rasterize_mode: how the Gaussians were trained.
        most_bytes: harmonics of higher degrees are left out until the packed Gaussians fit.
        sh_degree: keep harmonics up to this degree, whatever they take.
        most_gaussians: leave out those that are seen least, by opacity and size.

    Raises:
        InputError: positions beyond what SPZ holds.
    """
    survey = Survey(scene, list(cameras), rasterize_mode, up)
    table, up, means = survey.table, survey.up, scene.splats.means.numpy()
    eye, target = first_standpoint(table, means, up, list(cameras))
    rows = [row for row in table if row.count]
    place = np.full(int(table.segment_of.max(initial=0)) + 1, len(rows))  # unlabelled ones come last
    place[[row.id for row in rows]] = np.arange(len(rows))
    kept = _most_seen(scene.splats, most_gaussians)
    # Near the origin SPZ's fixed-point numbers and the page's floats are finest.
    origin = np.median(means, axis=0).astype(np.float64)
    order = kept[np.lexsort((_morton(means[kept]), place[table.segment_of[kept]]))]
    splats = scene.splats.subset(torch.from_numpy(order))
    moved = Splats(splats.means - torch.from_numpy(origin).float(), splats.quats, splats.scales, splats.opacities,
                   splats.sh)  # fmt: skip
    packed, degree = _packed(moved, rasterize_mode, most_bytes, sh_degree)
    counts = np.bincount(place[table.segment_of[kept]], minlength=len(rows) + 1).tolist()
    colors = colors_of(scene.labelling)

    def here(point: np.ndarray) -> list[float]:
        return [round(float(value), 5) for value in (point - origin) * _TO_SPZ]

    objects = []
    for row, count in zip(rows, counts):
        box = table.box(row.id, up)
        objects.append({
            "id": row.id, "name": row.name, "category": row.category.name, "color": list(colors[row.id]),
            "group": "uncertain" if row.uncertain else "thing" if row.category.isthing else "stuff",
            "gaussians": row.count, "splats": count, "confidence": round(row.confidence, 4),
            "size": None if box is None else [round(side, 4) for side in sides(box, meters_per_unit)],
            "corners": None if box is None else [here(corner) for corner in box.corners()],
        })  # fmt: skip
    document = {
        "title": title, "counted": counted(table),
        "objects": objects, "splats": len(order), "gaussians": len(means), "unlabelled": counts[-1],
        "up": [float(value) for value in up * _TO_SPZ], "eye": here(eye), "target": here(target),
        "antialiased": rasterize_mode == "antialiased", "metersPerUnit": meters_per_unit,
        "large": _large(splats),
    }  # fmt: skip
    return SharedScene(title, packed, document, len(order), degree, counted(table))


def _packed(splats: Splats, mode: RasterizeMode, most: int | None, wanted: int | None) -> tuple[bytes, int]:
    """SPZ of the Gaussians with as many harmonics as fit, and their degree."""
    degree = min(splats.sh_degree, 3 if wanted is None else wanted)
    while True:
        sh = splats.sh[:, : (degree + 1) ** 2]
        content = encode_spz(Splats(splats.means, splats.quats, splats.scales, splats.opacities, sh), mode)
        if wanted is not None or most is None or len(content) <= most or degree == 0:
            return content, degree
        degree -= 1


def _large(splats: Splats) -> float:
    """The longest axis that nine in ten Gaussians do not reach."""
    return float(np.quantile(splats.scales.max(dim=1).values.numpy(), 0.9)) if len(splats) else 0.0


def _most_seen(splats: Splats, most: int | None) -> np.ndarray:
    """Numbers of the Gaussians with the largest opacity times area, ascending."""
    if most is None or len(splats) <= most:
        return np.arange(len(splats))
    sides = splats.scales.sort(dim=1).values[:, 1:]
    seen = (splats.opacities * sides.prod(dim=1)).numpy()
    return np.sort(np.argpartition(-seen, most - 1)[:most])


def _morton(points: np.ndarray) -> np.ndarray:
    """Keys ``[N]`` uint64 of points ``[N, 3]`` along a Morton curve; outliers share its ends."""
    low, high = np.quantile(points, [0.005, 0.995], axis=0)
    cells = (points - low) / np.maximum(high - low, 1e-9) * (2**_BITS - 1)
    spread = np.zeros(len(points), dtype=np.uint64)
    whole = cells.clip(0, 2**_BITS - 1).astype(np.uint64)
    for bit in range(_BITS):
        for axis in range(3):
            spread |= ((whole[:, axis] >> np.uint64(bit)) & np.uint64(1)) << np.uint64(3 * bit + axis)
    return spread
