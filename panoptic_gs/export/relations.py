# SPDX-License-Identifier: Apache-2.0
"""How objects lie to each other: what stands on what, hangs from, is in, under, against or next to it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from scipy.spatial import KDTree

from panoptic_gs.export.objects import PlacedObject
from panoptic_gs.objects.boxes import Box
from panoptic_gs.objects.standing import is_floor
from panoptic_gs.splats import Splats

_OPAQUE = 0.1  # Gaussians below this opacity touch nothing
_NEAREST = 0.02  # the share of the smaller object's Gaussians that stands for its contact
_MOST_POINTS = 4000
_FEW = 5  # points that say nothing about a height
_SUPPORTED = 0.4  # share of an object's ground plan that what it stands on must lie under
_INSIDE = 0.8  # share of an object's box that what it is in must enclose
_ALIKE = 4.0  # largest ratio of the sizes of neighbours

RelationName = Literal["on", "hangs from", "in", "under", "against", "next to"]


@dataclass(frozen=True)
class Relation:
    """How the ``subject`` lies to the ``object``; ``distance`` is the gap between the two in world units."""

    subject: int
    relation: RelationName
    object: int
    distance: float


class _Part(NamedTuple):
    """An object or a connected piece of a stuff class; ``low`` and ``high`` are heights."""

    entry: PlacedObject
    box: Box
    points: np.ndarray  # [M, 3]
    radius: np.ndarray  # [M]
    tree: KDTree
    reach: float
    low: float
    high: float

    @property
    def kind(self) -> str:
        name = self.entry.object.category.name.casefold()
        if is_floor(self.entry.object.category):
            return "floor"
        return next((kind for kind in ("wall", "ceiling") if kind in name.replace("-", " ").split()), "")


def relate_objects(
    splats: Splats, objects: Sequence[PlacedObject], up: np.ndarray, contact: float = 0.05
) -> list[Relation]:
    """How objects lie to each other; a pair is in one relation at most, and a stuff class takes part by its pieces.

    The gap between two Gaussians is the distance of their centres less one standard deviation of each (the middle
    one), since a surface is paved with flat Gaussians. Between two objects it is that of the nearest 2 % of the smaller
    one's; they touch where it is at most ``contact``.

    on: the subject lies above the contact and the object about its ground plan below it, but for a seventh of their
    heights (at most three times ``contact``), and the object's ground plan lies under at least 40 % of the subject's (a
    floor's is taken to go on under what stands at its edge). The lower end of what stands on something is often hidden:
    what touches nothing below it may hover by up to 15 % of its height.
    hangs from: the same under a ceiling, for what stands on nothing. in: the object's box encloses 80 % of the
    subject's. under: it covers the subject's plan, and all of it over the plan is above the subject. against: it
    touches a wall. next to: two things that touch, neither more than four times as large as the other.

    Args:
        splats: the Gaussians.
        objects: as :func:`~panoptic_gs.export.placed_objects` gives them.
        up: ``[3]`` direction away from the ground.
        contact: largest gap, in world units.
    """
    up = np.asarray(up, dtype=np.float64) / np.linalg.norm(up)
    parts = _parts(splats, objects, up, contact)
    found: dict[tuple[int, int], Relation] = {}
    hovering: list[Relation] = []
    for one, other in _near_pairs(parts, 3 * contact):
        distance, height = _contact(one, other, up)
        upper, lower = (one, other) if one.low + one.high > other.low + other.high else (other, one)
        relation = _relation(upper, lower, distance, height, contact, up)
        if relation is None:
            hover = min(3 * contact, 0.15 * (upper.high - upper.low))
            if _can_stand(upper) and distance <= contact + hover and _stands(upper, lower, height, contact + hover):
                hovering.append(Relation(upper.entry.id, "on", lower.entry.id, distance))
            continue
        pair = (min(relation.subject, relation.object), max(relation.subject, relation.object))
        known = found.get(pair)
        if known is None or (_RANK[relation.relation], relation.distance) < (_RANK[known.relation], known.distance):
            found[pair] = relation
    held = {r.subject for r in found.values() if r.relation in ("on", "in", "hangs from")}
    for relation in sorted(hovering, key=lambda r: r.distance):
        if relation.subject not in held:
            held.add(relation.subject)
            found[min(relation.subject, relation.object), max(relation.subject, relation.object)] = relation
    standing = {r.subject for r in found.values() if r.relation == "on"}
    relations = [r for r in found.values() if not (r.relation == "hangs from" and r.subject in standing)]
    order = {entry.id: number for number, entry in enumerate(objects)}
    return sorted(relations, key=lambda r: sorted((order[r.subject], order[r.object])))


_RANK = {"on": 0, "in": 1, "under": 2, "hangs from": 3, "against": 4, "next to": 5}


def _relation(
    upper: _Part, lower: _Part, distance: float, height: float, contact: float, up: np.ndarray
) -> Relation | None:
    """How two parts lie to each other, or None where they do not."""
    for inner, outer in ((upper, lower), (lower, upper)):
        if _is_thing(inner) and _is_thing(outer) and _encloses(outer, inner):
            over = _over(outer, inner, up)
            standing = inner is upper and distance <= contact and _stands(upper, lower, height, contact)
            if not standing and over is not None:
                return Relation(inner.entry.id, "under" if over else "in", outer.entry.id, distance)
    if distance > contact:
        return None
    if lower.kind == "wall" or upper.kind == "wall":
        wall, other = (lower, upper) if lower.kind == "wall" else (upper, lower)
        return Relation(other.entry.id, "against", wall.entry.id, distance) if _can_stand(other) else None
    if _can_stand(upper) and _stands(upper, lower, height, contact):
        return Relation(upper.entry.id, "on", lower.entry.id, distance)
    if upper.kind == "ceiling":
        if _above(upper, lower, height, contact):
            return Relation(lower.entry.id, "hangs from", upper.entry.id, distance)
        return None
    if not (_is_thing(upper) and _is_thing(lower)):
        return None
    sizes = sorted(float(np.linalg.norm(part.box.size)) for part in (upper, lower))
    if sizes[1] > _ALIKE * sizes[0]:
        return None
    first, second = sorted((upper.entry.id, lower.entry.id))
    return Relation(first, "next to", second, distance)


def _is_thing(part: _Part) -> bool:
    return part.entry.object.category.isthing


def _can_stand(part: _Part) -> bool:
    """Walls and ceilings are what others touch."""
    return part.kind in ("", "floor")


def _stands(upper: _Part, lower: _Part, height: float, contact: float) -> bool:
    """Whether one part stands on another that it touches at a height; a floor goes on under what stands there."""
    hidden = float(upper.box.size[:2].min()) if lower.kind == "floor" else 0.0
    return _above(upper, lower, height, contact) and _covered(upper.box, lower.box, hidden) >= _SUPPORTED


def _above(upper: _Part, lower: _Part, height: float, contact: float) -> bool:
    slack = [max(contact, min(3 * contact, (part.high - part.low) / 7)) for part in (upper, lower)]
    return upper.low >= height - slack[0] and min(lower.high, _high_under(upper, lower, contact)) <= height + slack[1]


def _high_under(upper: _Part, lower: _Part, margin: float) -> float:
    """How high the lower part reaches about the ground plan of the upper one.

    What was merged with a floor elsewhere, such as the feet of a chair, does not keep things from standing on it.
    """
    local = (lower.points - upper.box.center) @ upper.box.axes
    near = (np.abs(local[:, :2]) <= 0.5 * upper.box.size[:2] + margin).all(axis=1)
    if near.sum() < _FEW:
        return np.inf
    return float(np.quantile(local[near, 2], 0.95) + upper.box.center @ upper.box.axes[:, 2])


def _covered(box: Box, under: Box, margin: float = 0.0) -> float:
    """The share of a box's ground plan over that of another, which is wider by a margin."""
    steps = (np.arange(12) + 0.5) / 12 - 0.5
    plan = np.stack(np.meshgrid(steps, steps), axis=-1).reshape(-1, 2) * box.size[:2]
    local = (box.center + plan @ box.axes[:, :2].T - under.center) @ under.axes[:, :2]
    return float((np.abs(local) <= 0.5 * under.size[:2] + margin).all(axis=1).mean())


def _encloses(outer: _Part, inner: _Part) -> bool:
    steps = (np.arange(8) + 0.5) / 8 - 0.5
    grid = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(-1, 3) * inner.box.size
    inside = outer.box.contains(inner.box.center + grid @ inner.box.axes.T)
    return bool(inside.mean() >= _INSIDE)


def _over(outer: _Part, inner: _Part, up: np.ndarray) -> bool | None:
    """Whether what encloses another lies over it alone; None where nothing of it lies over the other's plan."""
    local = (outer.points - inner.box.center) @ inner.box.axes[:, :2]
    near = (np.abs(local) <= 0.5 * inner.box.size[:2]).all(axis=1)
    if not near.any():
        return None
    heights = outer.points[near] @ up
    return bool(np.quantile(heights, 0.1) >= 0.5 * (inner.low + inner.high) + 0.25 * (inner.high - inner.low))


def _contact(one: _Part, other: _Part, up: np.ndarray) -> tuple[float, float]:
    """The gap between two parts, and the height at which they come closest."""
    small, large = (one, other) if len(one.points) <= len(other.points) else (other, one)
    far, nearest = (np.asarray(values) for values in large.tree.query(small.points))
    gap = far - small.radius - large.radius[nearest]
    count = max(1, int(_NEAREST * len(gap)))
    closest = np.argpartition(gap, count - 1)[:count]
    touching = 0.5 * (small.points[closest] + large.points[nearest[closest]])
    return max(0.0, float(np.median(gap[closest]))), float(np.median(touching @ up))


def _parts(splats: Splats, objects: Sequence[PlacedObject], up: np.ndarray, contact: float) -> list[_Part]:
    means = splats.means.cpu().numpy().astype(np.float64)
    radius = splats.scales.median(dim=1).values.cpu().numpy()
    opaque = splats.opacities.cpu().numpy() >= _OPAQUE
    parts = []
    for entry in objects:
        for members, box in entry.parts:
            rows = _chosen(members, opaque)
            near = rows[_within(means[rows], box, 0.5 * contact)]
            rows = near if len(near) else rows
            low, high = np.quantile(means[rows] @ up, [0.02, 0.95])
            reach = 2 * float(np.quantile(radius[rows], 0.95)) + contact
            tree = KDTree(means[rows])
            parts.append(_Part(entry, box, means[rows], radius[rows], tree, reach, float(low), float(high)))
    return parts


def _within(points: np.ndarray, box: Box, margin: float) -> np.ndarray:
    return (np.abs((points - box.center) @ box.axes) <= 0.5 * box.size + margin).all(axis=1)


def _chosen(members: np.ndarray, opaque: np.ndarray) -> np.ndarray:
    """At most some thousand of an object's opaque Gaussians (of all, where none is), evenly taken."""
    solid = members[opaque[members]]
    rows = solid if len(solid) else members
    return rows[:: -(-len(rows) // _MOST_POINTS)]


def _near_pairs(parts: Sequence[_Part], margin: float) -> Iterator[tuple[_Part, _Part]]:
    """Parts of two objects whose boxes' axis-parallel bounds are no further apart than both reach and ``margin``.

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
        yield parts[int(pairs[number, 0])], parts[int(pairs[number, 1])]
