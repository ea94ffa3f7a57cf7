# SPDX-License-Identifier: Apache-2.0
"""An object cut out of its scene: without floaters, and without the halo of what it touches."""

from __future__ import annotations

import numpy as np

from panoptic_gs.objects.boxes import clusters
from panoptic_gs.objects.table import ObjectTable

_MARGIN = 0.03  # of a box's diagonal, around it
_ON_SURFACE = 0.5  # share of the views' word from which a Gaussian outside the box is a part of the object after all
_SURE = 0.65  # and share of its label
_FLOATER = 0.2  # of the largest place's weight that another one has to have
_GAP = 0.1  # that places are apart, in radii of the object; and at least:
_TOUCH = 4.0  # usual Gaussians' longest standard deviations


def cut_out(table: ObjectTable, segment_id: int, up: np.ndarray) -> np.ndarray:
    """The Gaussians ``[K]`` that stand for an object where it is shown without its scene.

    Gaussians apart from where the object is are left out (floaters), and those outside its box (what it took of the
    floor under it, or of the wall behind it), but for those of which the table's views say that they lie on a surface
    and which are labelled as the object all but alone: thin parts that the box trimmed. A stuff class, which lies in
    many places, is left as it is, and so is an object of which nothing would stay.

    Args:
        table: the scene's objects.
        segment_id: the object.
        up: ``[3]``, in which its box stands.
    """
    members = table.members(segment_id)
    row, box = table.get(segment_id), table.box(segment_id, up)
    if row is None or box is None or not row.category.isthing:
        return members
    splats = table.scene.splats
    means = splats.means.numpy()[members]
    points, sure = means.astype(np.float64), table.confidence[members]
    weights = splats.opacities.numpy()[members].astype(np.float64) * sure
    radius = float(np.quantile(np.linalg.norm(points - np.median(points, axis=0), axis=1), 0.8))
    touching = _TOUCH * float(np.median(splats.scales.numpy()[members].max(axis=1)))
    place, mass = clusters(points, weights, max(_GAP * radius, touching, 1e-9))
    inside = box.contains(points, _MARGIN * float(np.linalg.norm(box.size)))
    shares = None if table.seen is None else table.seen.share(points, means)
    if shares is not None:
        inside |= (shares >= _ON_SURFACE) & (sure >= _SURE)
    kept = inside & (mass[place] >= _FLOATER * mass.max())
    return members[kept] if kept.any() else members


def strays(table: ObjectTable, segment_id: int, up: np.ndarray) -> np.ndarray:
    """The Gaussians ``[S]`` that an object has and that :func:`cut_out` leaves out.

    None where the table's views saw the object elsewhere: it was cut out when it was moved, and they say nothing of
    where it is now.
    """
    members = table.members(segment_id)
    if table.seen is not None and len(members) and not table.seen.knows(table.scene.splats.means.numpy()[members]):
        return members[:0]
    return np.setdiff1d(members, cut_out(table, segment_id, up), assume_unique=True)
