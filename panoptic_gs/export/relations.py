# SPDX-License-Identifier: Apache-2.0
"""Which objects touch, and which stands on which."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Literal

import numpy as np
from scipy.spatial import KDTree

from panoptic_gs.export.objects import PlacedObject
from panoptic_gs.splats import Splats

_OPAQUE = 0.1  # Gaussians below this opacity touch nothing
_NEAREST = 0.02  # the share of the smaller object's Gaussians that stands for its contact
_MOST_POINTS = 4000


RelationName = Literal["on", "hangs from", "next to"]


@dataclass(frozen=True)
class Relation:
    """Two objects that touch: the ``subject`` stands on the ``object``, hangs from it, or is merely next to it.

    ``distance`` is the gap between the two in world units.
    """

    subject: int
    relation: RelationName
    object: int
    distance: float


def relate_objects(
    splats: Splats, objects: Sequence[PlacedObject], up: np.ndarray, contact: float = 0.05
) -> list[Relation]:
    """All pairs of objects with a gap of at most ``contact``.

    The gap between two Gaussians is the distance of their centres less one standard deviation of each (the middle
    one), since a surface is paved with flat Gaussians. Between two objects it is that of the nearest 2 % of the smaller
    one's. One stands on the other if it lies above the contact and the other below it, but for a seventh of their
    heights (at most three times ``contact``) each; what is under a ceiling in this way, and stands on nothing, hangs
    from it.

    Args:
        splats: the Gaussians.
        objects: as :func:`~panoptic_gs.export.placed_objects` gives them.
        up: ``[3]`` direction away from the ground.
        contact: largest gap, in world units.
    """
    up = np.asarray(up, dtype=np.float64) / np.linalg.norm(up)
    means = splats.means.cpu().numpy().astype(np.float64)
    radius = splats.scales.median(dim=1).values.cpu().numpy()
    opaque = splats.opacities.cpu().numpy() >= _OPAQUE
    chosen = [_chosen(entry.members, opaque) for entry in objects]
    trees = [KDTree(means[rows]) for rows in chosen]
    reach = [2 * float(np.quantile(radius[rows], 0.95)) + contact for rows in chosen]
    heights = [np.quantile(means[rows] @ up, [0.02, 0.95]) for rows in chosen]
    relations = []
    for i, j in combinations(range(len(objects)), 2):
        small, large = (i, j) if len(chosen[i]) <= len(chosen[j]) else (j, i)
        if _apart(objects[small], objects[large], reach[small] + reach[large]):
            continue
        points = means[chosen[small]]
        far, nearest = (np.asarray(values) for values in trees[large].query(points))
        gap = far - radius[chosen[small]] - radius[chosen[large]][nearest]
        count = max(1, int(_NEAREST * len(gap)))
        closest = np.argpartition(gap, count - 1)[:count]
        distance = max(0.0, float(np.median(gap[closest])))
        if distance > contact:
            continue
        touching = 0.5 * (points[closest] + means[chosen[large]][nearest[closest]])
        height = float(np.median(touching @ up))
        upper, lower = (i, j) if heights[i].sum() > heights[j].sum() else (j, i)
        if not _stands(heights[upper], heights[lower], height, contact):
            first, second = sorted((objects[i].id, objects[j].id))
            relations.append(Relation(first, "next to", second, distance))
        elif objects[upper].object.category.name.casefold() == "ceiling":
            relations.append(Relation(objects[lower].id, "hangs from", objects[upper].id, distance))
        else:
            relations.append(Relation(objects[upper].id, "on", objects[lower].id, distance))
    standing = {relation.subject for relation in relations if relation.relation == "on"}
    return [
        replace(r, relation="next to") if r.relation == "hangs from" and r.subject in standing else r for r in relations
    ]


def _stands(upper: np.ndarray, lower: np.ndarray, height: float, contact: float) -> bool:
    """Whether an object from ``upper[0]`` to ``upper[1]`` stands on one from ``lower[0]`` to ``lower[1]``."""
    slack = [max(contact, min(3 * contact, (top - bottom) / 7)) for bottom, top in (upper, lower)]
    return bool(upper[0] >= height - slack[0] and lower[1] <= height + slack[1])


def _chosen(members: np.ndarray, opaque: np.ndarray) -> np.ndarray:
    """At most some thousand of an object's opaque Gaussians (of all, where none is), evenly taken."""
    solid = members[opaque[members]]
    rows = solid if len(solid) else members
    return rows[:: -(-len(rows) // _MOST_POINTS)]


def _apart(one: PlacedObject, other: PlacedObject, reach: float) -> bool:
    """Whether the axis-parallel bounds of two boxes are further apart than ``reach``."""
    first, second = one.box.corners(), other.box.corners()
    gap = np.maximum(first.min(axis=0) - second.max(axis=0), second.min(axis=0) - first.max(axis=0))
    return bool(np.linalg.norm(gap.clip(0)) > reach)
