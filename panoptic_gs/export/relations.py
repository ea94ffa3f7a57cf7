# SPDX-License-Identifier: Apache-2.0
"""How objects lie to each other: what stands on what, hangs from, is in, under, against or next to it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence, Set
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from panoptic_gs.export.contact import Part, contact_of, near_pairs, parts_of
from panoptic_gs.export.objects import PlacedObject
from panoptic_gs.export.plans import GroundPlan
from panoptic_gs.objects.boxes import Box
from panoptic_gs.objects.standing import is_floor
from panoptic_gs.splats import Splats

_FEW = 5  # points that say nothing about a height
_SUPPORTED = 0.4  # share of an object's ground plan that what it stands on must lie under
_CARRIED = 0.6  # and share of it with a surface right below, from which it stands there whatever else reaches higher
_INSIDE = 0.8  # share of an object's box that what it is in must enclose
_AROUND = 0.6  # share of the directions in which it is around it
_OPPOSITE = 0.4  # and share of those in which it is on both sides
_UNDER = 0.5  # share of an object's ground plan that what it is under must cover
_BOARD = 0.25  # of the smaller side of an object's ground plan: as thick as what it is under may be
_SHEET = 4.0  # times as wide and as high as it is thick is a sheet
_BEYOND = 0.1  # share of another's points about a sheet that lie on each side of it where it is inside
_LEVEL_WITH = 0.25  # share of the smaller height at which neighbours are beside each other
_ALIKE = 4.0  # largest ratio of the sizes of neighbours

RelationName = Literal["on", "hangs from", "in", "under", "against", "next to"]


@dataclass(frozen=True)
class Relation:
    """How the ``subject`` lies to the ``object``; ``distance`` is the gap between the two in world units."""

    subject: int
    relation: RelationName
    object: int
    distance: float


class _Support(NamedTuple):
    """What an object may stand on."""

    relation: Relation
    hovers: bool
    """Whether it is too far below to touch, which a lower end that nobody saw explains."""
    share: float
    """Of the object's ground plan that it carries."""
    level: float
    """Its height there."""


def relate_objects(
    splats: Splats, objects: Sequence[PlacedObject], up: np.ndarray, contact: float = 0.05
) -> list[Relation]:
    """How objects lie to each other; a pair is in one relation at most, and a stuff class takes part by its pieces.

    The gap between two Gaussians is the distance of their centres less one standard deviation of each (the middle
    one), since a surface is paved with flat Gaussians. Between two objects it is that of the nearest 2 % of the smaller
    one's; they touch where it is at most ``contact``.

    on: the subject lies above the contact and the object about its ground plan below it, but for a seventh of their
    heights (at most three times ``contact``), and the object's ground plan lies under at least 40 % of the subject's (a
    floor's is taken to go on under what stands at its edge, at the height that it has about it); or it has a surface at
    the subject's lower end under 60 % of its plan, with little of it above. The lower end of what stands on something
    is often hidden: what touches nothing below it may hover by up to 15 % of its height, but not over furniture where
    it is against a wall. Of all that it may stand on an object stands on one: what carries most of it, and of equal
    ones the highest. hangs from: the same under a ceiling, for what stands on nothing. in: the object's box encloses
    80 % of the subject's, and the object lies around it in 60 % of the directions, on both sides in 40 %; not for what
    something else carries. under: a level of it covers half of the subject's plan, close above (the subject's height
    and half of its own width away at most), with faces that look up or down, and little of it is beside the subject
    there. against: it touches a wall, or is an upright sheet at another thing's side, as a poster on a cabinet. next
    to: two things that touch side by side, neither more than four times as large as the other.

    Args:
        splats: the Gaussians.
        objects: as :func:`~panoptic_gs.export.placed_objects` gives them.
        up: ``[3]`` direction away from the ground.
        contact: largest gap, in world units.
    """
    up = np.asarray(up, dtype=np.float64) / np.linalg.norm(up)
    parts = parts_of(splats, objects, up, contact)
    found: list[Relation] = []
    supports: dict[int, list[_Support]] = defaultdict(list)
    for number, other_number in near_pairs(parts, 3 * contact):
        one, other = parts[number], parts[other_number]
        distance, height = contact_of(one, other, up)
        above = one.low + one.high > other.low + other.high
        upper, lower = (one, other) if above else (other, one)
        support = _support(upper, lower, distance, height, contact) or _lying(lower, upper, distance, contact)
        if support is not None:
            subject = upper if support.relation.subject == upper.entry.id else lower
            supports[number if subject is one else other_number].append(support)
            if not support.hovers:
                continue
        relation = _relation(upper, lower, distance, height, contact, up)
        if relation is not None:
            found.append(relation)
    held = {r.subject for r in found if r.relation in ("in", "hangs from")}
    attached = {r.subject for r in found if r.relation == "against"}
    floors = {entry.id for entry in objects if is_floor(entry.object.category)}
    on = [choice for each in supports.values() if (choice := _carrier(each, held, attached, floors)) is not None]
    relations = _one_a_pair([*on, *_one_a_subject(found, on, objects, floors)])
    order = {entry.id: number for number, entry in enumerate(objects)}
    return sorted(relations, key=lambda r: sorted((order[r.subject], order[r.object])))


_RANK = {"on": 0, "in": 1, "under": 2, "hangs from": 3, "against": 4, "next to": 5}


def _carrier(supports: Sequence[_Support], held: Set[int], attached: Set[int], floors: Set[int]) -> Relation | None:
    """What an object stands on, of all that it may stand on; ``held`` are those that something else holds.

    What hovers and is ``attached`` to a wall, as a window over a chair, stands on one of the ``floors`` or on nothing.
    """
    touched = [support for support in supports if not support.hovers]
    if touched:
        return max(touched, key=lambda s: (round(s.share, 1), s.level)).relation
    subject = supports[0].relation.subject
    if subject in held:
        return None
    hovering = [s.relation for s in supports if subject not in attached or s.relation.object in floors]
    return min(hovering, key=lambda r: r.distance, default=None)


def _one_a_subject(
    found: Sequence[Relation], on: Sequence[Relation], objects: Sequence[PlacedObject], floors: Set[int]
) -> Iterator[Relation]:
    """The relations but for ``on``, as far as they agree with it, and the closest one where there can be one alone."""
    size = {entry.id: float(np.prod(entry.box.size)) for entry in objects}
    carried = {r.subject: r.object for r in on}
    rivals: dict[tuple[int, str], list[Relation]] = defaultdict(list)
    for relation in found:
        rivals[relation.subject, relation.relation].append(relation)
    for relation in found:
        base = carried.get(relation.subject)
        if relation.relation == "hangs from" and base is not None:
            continue
        if relation.relation == "in" and base is not None and base not in floors:
            continue
        if relation.relation in ("in", "under"):
            each = rivals[relation.subject, relation.relation]
            best = min(each, key=lambda r: (size[r.object] if r.relation == "in" else r.distance, r.object))
            if relation.object != best.object:
                continue
        yield relation


def _one_a_pair(relations: Iterable[Relation]) -> list[Relation]:
    found: dict[tuple[int, int], Relation] = {}
    for relation in relations:
        pair = (min(relation.subject, relation.object), max(relation.subject, relation.object))
        known = found.get(pair)
        if known is None or (_RANK[relation.relation], relation.distance) < (_RANK[known.relation], known.distance):
            found[pair] = relation
    return list(found.values())


def _support(upper: Part, lower: Part, distance: float, height: float, contact: float) -> _Support | None:
    """What there is to say for one part standing on another; None where it cannot."""
    slack, hover = _slack(upper, contact), min(3 * contact, 0.15 * (upper.high - upper.low))
    if not _can_stand(upper) or not _can_stand(lower) or distance > contact + hover:
        return None
    relation = Relation(upper.entry.id, "on", lower.entry.id, distance)
    level = _level_about(upper, lower, contact) if lower.kind == "floor" else None
    if level is not None:
        above = abs(upper.low - level)
        if above > slack + hover:
            return None
        return _Support(relation, distance > contact or above > slack, 1.0, level)
    share = 1.0 if lower.kind == "floor" else _plan(upper, contact).carried(lower.points, slack)
    if distance <= contact and (share >= _CARRIED or _stands(upper, lower, height, contact)):
        return _Support(relation, False, share, upper.low)
    return _Support(relation, True, share, upper.low) if _stands(upper, lower, height, contact + hover) else None


def _lying(flat: Part, other: Part, distance: float, contact: float) -> _Support | None:
    """A flat thing that lies on a surface no lower than itself, such as a plate on a table; else None."""
    if not (_is_thing(flat) and _can_stand(other)) or distance > contact or flat.high - flat.low > 2 * contact:
        return None
    share = _plan(flat, contact).carried(other.points, contact)
    if share < _CARRIED:
        return None
    return _Support(Relation(flat.entry.id, "on", other.entry.id, distance), False, share, flat.low)


def _relation(
    upper: Part, lower: Part, distance: float, height: float, contact: float, up: np.ndarray
) -> Relation | None:
    """How two parts lie to each other where neither stands on the other, or None where they do not."""
    if _is_thing(upper) and _is_thing(lower):
        for inner, outer in ((upper, lower), (lower, upper)):
            plan = _plan(inner, contact)
            if inner is lower:
                width = 0.5 * float(outer.box.size[:2].min())
                thick = float(np.clip(_BOARD * inner.box.size[:2].min(), contact, 2 * contact))
                if plan.covered(outer.points, outer.level, inner.high - inner.low + width, thick) >= _UNDER:
                    return Relation(inner.entry.id, "under", outer.entry.id, distance)
            if distance <= contact and _at_a_side(inner, outer, contact):
                return Relation(inner.entry.id, "against", outer.entry.id, distance)
            around, opposite = plan.surrounded(outer.points) if _encloses(outer, inner) else (0.0, 0.0)
            if around >= _AROUND and opposite >= _OPPOSITE:
                return Relation(inner.entry.id, "in", outer.entry.id, distance)
    if distance > contact:
        return None
    if lower.kind == "wall" or upper.kind == "wall":
        wall, other = (lower, upper) if lower.kind == "wall" else (upper, lower)
        return Relation(other.entry.id, "against", wall.entry.id, distance) if not other.kind else None
    if upper.kind == "ceiling":
        if _above(upper, lower, height, contact):
            return Relation(lower.entry.id, "hangs from", upper.entry.id, distance)
        return None
    if not (_is_thing(upper) and _is_thing(lower)):
        return None
    sizes = sorted(float(np.linalg.norm(part.box.size)) for part in (upper, lower))
    if sizes[1] > _ALIKE * sizes[0] or not _beside(upper, lower):
        return None
    first, second = sorted((upper.entry.id, lower.entry.id))
    return Relation(first, "next to", second, distance)


def _beside(one: Part, other: Part) -> bool:
    """Whether two parts are at the same height, at least for a quarter of the lower one."""
    shared = min(one.high, other.high) - max(one.low, other.low)
    return shared >= _LEVEL_WITH * min(one.high - one.low, other.high - other.low)


def _plan(part: Part, contact: float) -> GroundPlan:
    return GroundPlan(part.points, part.box, part.low, part.high, contact)


def _slack(part: Part, contact: float) -> float:
    """How far a part's ends may be from where they seem to be."""
    return max(contact, min(3 * contact, (part.high - part.low) / 7))


def _level_about(upper: Part, floor: Part, contact: float) -> float | None:
    """The height of a floor about what may stand on it; None where it was not seen there.

    It is where most of it lies, there or in all: what a floor took of the legs and sides of furniture is a good part
    of it about some.
    """
    local = (floor.points - upper.box.center) @ upper.box.axes[:, :2]
    reach = 0.5 * upper.box.size[:2] + float(np.linalg.norm(upper.box.size))
    every = floor.points @ upper.box.axes[:, 2]
    about = every[(np.abs(local) <= reach).all(axis=1)]
    if len(about) < _FEW:
        return None
    steps = np.arange(every.min(), every.max() + contact, 0.5 * contact)
    here, in_all = (_within(np.sort(heights), steps, contact) for heights in (about, every))
    most = int(in_all.argmax())
    return float(steps[most if here[most] >= 0.25 * here.max() else here.argmax()])


def _within(heights: np.ndarray, steps: np.ndarray, margin: float) -> np.ndarray:
    """How many of the sorted heights lie about each step."""
    return np.searchsorted(heights, steps + margin) - np.searchsorted(heights, steps - margin)


def _is_thing(part: Part) -> bool:
    return part.entry.object.category.isthing


def _can_stand(part: Part) -> bool:
    """Walls and ceilings are what others touch."""
    return part.kind in ("", "floor")


def _stands(upper: Part, lower: Part, height: float, contact: float) -> bool:
    """Whether one part stands on another that it touches at a height; a floor goes on under what stands there."""
    hidden = float(upper.box.size[:2].min()) if lower.kind == "floor" else 0.0
    return _above(upper, lower, height, contact) and _covered(upper.box, lower.box, hidden) >= _SUPPORTED


def _above(upper: Part, lower: Part, height: float, contact: float) -> bool:
    high = min(lower.high, _high_under(upper, lower, contact))
    return upper.low >= height - _slack(upper, contact) and high <= height + _slack(lower, contact)


def _high_under(upper: Part, lower: Part, margin: float) -> float:
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
    local = (_spots(box, [0, 1], 12) - under.center) @ under.axes[:, :2]
    return float((np.abs(local) <= 0.5 * under.size[:2] + margin).all(axis=1).mean())


def _at_a_side(sheet: Part, other: Part, contact: float) -> bool:
    """Whether a part is an upright sheet before a face of another one, or in it: one side of it is free."""
    box = sheet.box
    thin = int(box.size[:2].argmin())
    wide = [1 - thin, 2]
    if _SHEET * box.size[thin] > box.size[wide].min():
        return False
    if other.box.contains(_spots(box, wide, 8), contact).mean() < _INSIDE:
        return False
    local = (other.points - box.center) @ box.axes
    off = local[(np.abs(local[:, wide]) <= box.size[wide]).all(axis=1), thin]
    least = 0.5 * box.size[thin] + contact
    return min((off > least).sum(), (off < -least).sum()) < _BEYOND * len(off)


def _encloses(outer: Part, inner: Part) -> bool:
    if not outer.box.contains(inner.box.center[None])[0]:  # then at least half of it lies outside
        return False
    return bool(outer.box.contains(_spots(inner.box, [0, 1, 2], 8)).mean() >= _INSIDE)


def _spots(box: Box, axes: Sequence[int], count: int) -> np.ndarray:
    """Points ``[P, 3]`` all over a box, so many along each of some of its axes, in the middle of the others."""
    steps = (np.arange(count) + 0.5) / count - 0.5
    grid = np.stack(np.meshgrid(*[steps] * len(axes)), axis=-1).reshape(-1, len(axes)) * box.size[axes]
    return box.center + grid @ box.axes[:, axes].T
