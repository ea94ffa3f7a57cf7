# SPDX-License-Identifier: Apache-2.0
"""Where bodies rest: out of walls and of each other, on flat places of what they stand on, or part of the room."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from typing import NamedTuple

import numpy as np
from scipy.spatial import ConvexHull, QhullError

from panoptic_gs.mesh.bodies import Body, RoomBox
from panoptic_gs.mesh.convex import Piece, cut_apart

_GAP = 5e-4  # metres that bodies are apart at first
_FOOT = 0.03  # metres, of the plate under what could not stand
_CONTACT = 0.006  # metres above its lowest point that a body touches the ground
_UNEVEN = 0.05  # metres that a top may be lower than where something stands on it
_BUMP = 0.1  # metres that it may be higher, to be cut off
_DROP = 0.15  # metres that a body may be put lower or higher than it was seen
_MARGIN = 0.15  # of the root of the area of contact that a centre of mass must lie inside it
_LEAN = 0.1  # of its height over the contact that it must, so that a body can lean by 6° before it tips
_LEAST_PAD = 0.01  # metres, of a flat place's thickness


class Rest(NamedTuple):
    """What a body stands on: the segment, and the height in metres at which its top was seen."""

    segment: int
    height: float


def settled(bodies: Mapping[str, Body], rests: Mapping[str, Rest | None], boxes: Sequence[RoomBox]) -> list[Body]:
    """Bodies out of the walls, on what they stand on, and out of each other.

    Surfaces that were reconstructed are bumpy, and what is put on the highest bump of a table tips. So a top is made
    flat under what stands on it, at its median height there: bumps are cut off, dips are filled, as far as the top
    really lies under the body. What still does not hold a body's centre of mass makes it part of the room.

    Args:
        bodies: by name, where they were seen; what moves is to be settled, the rest stays.
        rests: what each of them stands on.
        boxes: walls, floors and ceilings.
    """
    placed = {name: _out_of_walls(body, boxes) for name, body in bodies.items()}
    by_segment: dict[int, list[str]] = {}
    for name, body in placed.items():
        by_segment.setdefault(body.id, []).append(name)

    def supports(name: str) -> list[str]:
        rest = rests.get(name)
        return [] if rest is None else [other for other in by_segment.get(rest.segment, []) if other != name]

    order: list[str] = []
    left = [name for name, body in placed.items() if body.moves]
    while left:
        # A support comes before what stands on it; a circle is broken at its first body.
        ready = [name for name in left if not set(supports(name)) & set(left)] or left[:1]
        order += ready
        left = [name for name in left if name not in ready]
    for name in order:
        under = {other: placed[other] for other in supports(name)}
        placed[name], changed = _standing(placed[name], rests[name], under, boxes)
        placed |= changed
    for one, other in combinations(placed, 2):
        if placed[one].moves or placed[other].moves:
            share = 1.0 if other in supports(one) else 0.0 if one in supports(other) else 0.5
            placed[one], placed[other] = _apart(placed[one], placed[other], share)
    carried = {name: _carried(name, supports, placed) for name in reversed(order)}
    for name in order:
        under = [piece for other in supports(name) for piece in placed[other].pieces]
        on_floor = not supports(name) or placed[name].on_floor
        load = [placed[other] for other in carried[name]]
        placed[name] = fixed_unless_it_stands(placed[name], None if on_floor else under, load)
    return list(placed.values())


def fixed_unless_it_stands(body: Body, under: Sequence[Piece] | None = None, load: Sequence[Body] = ()) -> Body:
    """The body as part of the room where what is left of its pieces would tip over or hover.

    Args:
        body: settled.
        under: the pieces of what it stands on; None for a floor, which is flat and everywhere.
        load: what stands on it; with and without it the centre of mass must be over what touches.
    """
    if not body.moves:
        return body
    corners = np.concatenate([piece.vertices for piece in body.pieces])
    low = corners[corners[:, 2] <= body.rests_at + _GAP + _CONTACT, :2]
    if len(low) >= 3 and under is not None:
        low = np.concatenate([low, _spread(low)])
        low = low[_tops(low, under) >= body.rests_at - _CONTACT]
    mass = np.array([body.mass, *(other.mass for other in load)])
    centers = np.array([body.center, *(other.center for other in load)])
    both = mass @ centers / mass.sum()
    if len(low) >= 3 and all(_stands(low, center, body.rests_at) for center in (body.center, both)):
        return body
    return replace(body, moves=False, mass=0.0, why=f"{body.why}, but could not stand among what is around it")


def _carried(name: str, supports, placed: Mapping[str, Body]) -> list[str]:
    """The bodies that stand on one, and on these, and so on."""
    found: list[str] = []
    ahead = [name]
    while ahead:
        one = ahead.pop()
        for other, body in placed.items():
            if body.moves and other != name and other not in found and one in supports(other):
                found.append(other)
                ahead.append(other)
    return found


def _out_of_walls(body: Body, boxes: Sequence[RoomBox]) -> Body:
    """Pieces cut off at the walls that they reach into, where most of the body is before the wall."""
    pieces: list[Piece] = list(body.pieces)
    for box in boxes:
        normal, top = box.axes[:, 2], float(box.axes[:, 2] @ box.center + box.half[2])
        local = np.abs((body.center - box.center) @ box.axes[:, :2])
        if abs(normal[2]) > 0.9 or float(body.center @ normal) <= top or (local > box.half[:2]).any():
            continue
        clipped = [piece.clipped(-normal, -top - _GAP) for piece in pieces]
        pieces = [piece for piece in clipped if piece is not None]
    if not pieces or (len(pieces) == len(body.pieces) and all(a is b for a, b in zip(pieces, body.pieces))):
        return body
    # What is behind the wall weighs nothing: the centre moves by as much as that of the pieces.
    (before, there), (after, here) = _weighed(body.pieces), _weighed(pieces)
    left = after / before
    return replace(body, pieces=tuple(pieces), mass=body.mass * left, inertia=body.inertia * left,
                   center=body.center + here - there)  # fmt: skip


def _weighed(pieces: Sequence[Piece]) -> tuple[float, np.ndarray]:
    """The volume of pieces and their centre ``[3]``."""
    volumes = np.array([piece.volume for piece in pieces])
    return float(volumes.sum()), volumes @ np.array([piece.center for piece in pieces]) / volumes.sum()


def _standing(
    body: Body, rest: Rest | None, under: Mapping[str, Body], boxes: Sequence[RoomBox]
) -> tuple[Body, dict[str, Body]]:
    """The body on top of what it stands on, with a plate under it where it could not stand; and what was made flat."""
    body = _flat_below(body)
    corners = np.concatenate([piece.vertices for piece in body.pieces])
    bottom = float(corners[:, 2].min())
    low = corners[corners[:, 2] <= bottom + 1e-6, :2]
    outline = corners[:, :2] + (body.center[:2] - corners[:, :2]) * 0.1
    seen_at = bottom if rest is None else rest.height
    for ground, plate in ((low, False), (outline, True)):
        points = np.concatenate([ground, _spread(ground)])
        top = _level(points, under, seen_at) if under else None
        floor = None
        if top is None:
            floor = top = _floor(boxes, body.center, seen_at)
            if top is None or abs(top - seen_at) > _DROP:
                break
        held = points if floor is not None else points[_near(points, under, top)]
        if not _stands(held, body.center, bottom):
            continue
        on_it = _moved(body, np.array([0.0, 0.0, top + _GAP - bottom]), top, floor is not None)
        if plate:
            both = [np.c_[outline, np.full(len(outline), top + _GAP + height)] for height in (0.0, _FOOT)]
            if (foot := Piece.around(np.concatenate(both))) is None:
                continue
            on_it = replace(on_it, pieces=(*on_it.pieces, foot), foot=True)
        return on_it, {} if floor is not None else _flattened(under, points, held, top)
    return replace(body, moves=False, mass=0.0, why=f"{body.why}, which does not hold it"), {}


def _flat_below(body: Body) -> Body:
    """The body without the lowest millimetres of its pieces, which then end in one plane."""
    bottom = min(float(piece.vertices[:, 2].min()) for piece in body.pieces)
    clipped = [piece.clipped(np.array([0.0, 0.0, -1.0]), -bottom - _CONTACT) for piece in body.pieces]
    return replace(body, pieces=tuple(piece for piece in clipped if piece is not None) or body.pieces)


def _moved(body: Body, step: np.ndarray, top: float, on_floor: bool) -> Body:
    return replace(
        body, pieces=tuple(piece.moved(step) for piece in body.pieces),
        visual=body.visual.moved(body.visual.vertices + step), center=body.center + step, lifted=float(step[2]),
        rests_at=top, on_floor=on_floor,
    )  # fmt: skip


def _floor(boxes: Sequence[RoomBox], center: np.ndarray, height: float) -> float | None:
    """The top of the floor that is nearest to a height; under a body where there are several."""
    floors = [box for box in boxes if box.axes[2, 2] > 0.9]
    around = [box for box in floors if (np.abs((center - box.center) @ box.axes[:, :2]) <= box.half[:2]).all()]
    tops = [float(box.center[2] + box.half[2]) for box in around or floors]
    return min(tops, key=lambda top: abs(top - height), default=None)


def _level(points: np.ndarray, under: Mapping[str, Body], seen_at: float) -> float | None:
    """The height at which a top was seen, where there is something about it under ground points; else the median height
    of the highest that is there."""
    tops = _tops(points, [piece for other in under.values() for piece in other.pieces])
    tops = tops[np.isfinite(tops)]
    if not len(tops):
        return None
    about = (tops >= seen_at - _UNEVEN) & (tops <= seen_at + _BUMP)
    return seen_at if about.mean() >= 0.25 else float(np.median(tops[tops >= tops.max() - _UNEVEN]))


def _near(points: np.ndarray, under: Mapping[str, Body], top: float) -> np.ndarray:
    """Under which ground points ``[P]`` there is something about a height."""
    tops = _tops(points, [piece for other in under.values() for piece in other.pieces])
    return tops >= top - _UNEVEN


def _flattened(under: Mapping[str, Body], points: np.ndarray, held: np.ndarray, top: float) -> dict[str, Body]:
    """What lies under a body, flat at a height where it holds the body.

    Bumps of up to 10 cm are cut off; those of more are no top, and are cut away from the body later. A flat piece under
    the hull of the points that are held fills the dips.
    """
    changed, best = {}, ("", -1)
    for name, body in under.items():
        pieces = []
        for piece in body.pieces:
            over = piece.top_over(points)
            bumpy = (over > top).any() and float(piece.vertices[:, 2].max()) <= top + _BUMP
            cut = piece.clipped(np.array([0.0, 0.0, 1.0]), top) if bumpy else piece
            if cut is not None:
                pieces.append(cut)
        changed[name] = replace(body, pieces=tuple(pieces) or body.pieces)
        holds = int((_tops(held, body.pieces) >= top - _UNEVEN).sum())
        best = max(best, (name, holds), key=lambda pair: pair[1])
    owner = changed[best[0]]
    tops = _tops(held, [piece for body in changed.values() for piece in body.pieces])
    depth = max(_LEAST_PAD, top - float(tops[np.isfinite(tops)].min(initial=top)))
    pad = Piece.around(np.concatenate([np.c_[held, np.full(len(held), height)] for height in (top - depth, top)]))
    if pad is not None:
        changed[best[0]] = replace(owner, pieces=(*owner.pieces, pad), flat_places=owner.flat_places + 1)
    return changed


def _tops(points: np.ndarray, pieces: Sequence[Piece]) -> np.ndarray:
    """The height ``[P]`` of the highest piece over ground points ``[P, 2]``; −∞ beside all."""
    tops = np.full(len(points), -np.inf)
    for piece in pieces:
        np.maximum(tops, piece.top_over(points), out=tops)
    return tops


def _spread(points: np.ndarray) -> np.ndarray:
    """Points inside the hull of ground points, on rings about their middle: what lies under the inside of a foot."""
    try:
        rim = points[ConvexHull(points).vertices]
    except (QhullError, ValueError):
        rim = points
    rim = np.concatenate([rim, 0.5 * (rim + np.roll(rim, 1, axis=0))])
    middle = rim.mean(axis=0)
    return np.concatenate([middle[None], *(middle + share * (rim - middle) for share in (0.25, 0.5, 0.75, 1.0))])


def _stands(contacts: np.ndarray, center: np.ndarray, ground: float) -> bool:
    """Whether a centre of mass lies well over the hull of what touches the ground at a height."""
    try:
        hull = ConvexHull(contacts)
    except (QhullError, ValueError):
        return False
    depth = -(hull.equations[:, :2] @ center[:2] + hull.equations[:, 2]).max()
    return bool(depth > max(_MARGIN * np.sqrt(hull.volume), _LEAN * (center[2] - ground)))


def _apart(one: Body, other: Body, share: float) -> tuple[Body, Body]:
    """The two bodies without overlap of their pieces, of which the other one loses a share."""
    corners = [np.concatenate([piece.vertices for piece in body.pieces]) for body in (one, other)]
    if (corners[0].min(0) > corners[1].max(0)).any() or (corners[1].min(0) > corners[0].max(0)).any():
        return one, other
    mine: list[Piece | None] = list(one.pieces)
    theirs: list[Piece | None] = list(other.pieces)
    for i in range(len(mine)):
        for k in range(len(theirs)):
            a, b = mine[i], theirs[k]
            if a is None or b is None:
                continue
            if (a.vertices.min(0) > b.vertices.max(0)).any() or (b.vertices.min(0) > a.vertices.max(0)).any():
                continue
            if (cut := cut_apart(a, b, _GAP, share)) is not None:
                mine[i], theirs[k] = cut
    kept = [tuple(piece for piece in pieces if piece is not None) for pieces in (mine, theirs)]
    return (replace(one, pieces=kept[0]) if kept[0] else one, replace(other, pieces=kept[1]) if kept[1] else other)
