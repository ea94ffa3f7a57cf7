# SPDX-License-Identifier: Apache-2.0
"""The mesh as bodies for a simulator: which objects may move, what they weigh, and where they rest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations

import numpy as np
import trimesh
from scipy.spatial import ConvexHull, KDTree, QhullError

from panoptic_gs.export import PlacedObject
from panoptic_gs.mesh.convex import Piece, convex_pieces, cut_apart
from panoptic_gs.mesh.materials import MATERIALS, Material, material_of
from panoptic_gs.mesh.reconstruction import PanopticMesh
from panoptic_gs.mesh.shell import Plane, plane_axes
from panoptic_gs.mesh.solids import Solid, Support, close_object, support_height
from panoptic_gs.mesh.surface import LabelledMesh
from panoptic_gs.objects.orientation import FLOORS
from panoptic_gs.progress import Progress, silent

_THICKNESS = 0.1  # metres, of walls and floors
_GAP = 5e-4  # metres that bodies are apart at first
_FOOT = 0.03  # metres, of the plate under what could not stand
_CONTACT = 0.006  # metres above its lowest point that a body touches the ground
_MOST_PIECES = 16
_FLAT = ("wall", "ceiling", *FLOORS)


@dataclass(frozen=True, eq=False)
class Body:
    """One object, z up, metres.

    Args:
        id: the segment.
        name: unique among bodies.
        category: its class.
        pieces: convex, in the world.
        visual: the closed mesh, in the world.
        mass: kilograms; 0 where it is part of the room.
        center: ``[3]`` of mass.
        inertia: ``[3, 3]`` about the centre, kg m².
        friction: coefficient of sliding.
        moves: whether it is free.
        why: what makes it free or fixed.
        lifted: metres that it was moved up or down to rest on what it stands on.
        foot: whether a plate was put under it, since what was seen of it could not stand.
        known_density: whether its category is in the table.
        rests_at: the height of what it stands on.
    """

    id: int
    name: str
    category: str
    pieces: tuple[Piece, ...]
    visual: LabelledMesh
    mass: float
    center: np.ndarray
    inertia: np.ndarray
    friction: float
    moves: bool
    why: str
    lifted: float = 0.0
    foot: bool = False
    known_density: bool = True
    rests_at: float = 0.0


@dataclass(frozen=True, eq=False)
class RoomBox:
    """A wall, floor or ceiling as a box behind its plane; axes are columns, the third into the room, half its sizes."""

    name: str
    center: np.ndarray  # [3]
    axes: np.ndarray  # [3, 3]
    half: np.ndarray  # [3]


@dataclass(eq=False)
class Physics:
    """A room that stands still, and the bodies in it."""

    boxes: list[RoomBox]
    bodies: list[Body]
    to_z_up: np.ndarray  # [3, 3]
    left_out: dict[int, str] = field(default_factory=dict)


def make_physics(
    mesh: PanopticMesh,
    scale: float,
    materials: Mapping[str, Material] = MATERIALS,
    most_pieces: int = _MOST_PIECES,
    progress: Progress = silent,
) -> Physics:
    """Bodies of the objects, and the room around them.

    What stands on something that is there is free; what hangs, is in something, or stands on what has no body is
    fixed, and so is stuff that is no wall, floor or ceiling (a merged table, a cabinet). Masses are volumes of the
    closed meshes times densities of their categories. Bodies rest on what they stand on exactly, pieces of two
    bodies that overlap are cut apart, and what could not stand on what was seen of it gets a plate under its outline.

    Args:
        mesh: in world units.
        scale: metres of a unit.
        materials: densities and friction by category.
        most_pieces: convex pieces a body.
        progress: told after each body.

    Raises:
        InputError: coacd is not installed.
    """
    rotation = rotation_to_z(mesh.up)
    physics = Physics(_room_boxes(mesh, rotation, scale), [], rotation)
    entries = {entry.id: entry for entry in mesh.objects}
    solids = [(solid, entries[solid.id], entries[solid.id].label) for solid in mesh.solids]
    solids += _fixed_furniture(mesh)
    things = {solid.id for solid in mesh.solids}
    has_body = {solid.id for solid, _, _ in solids} | {
        entry.id for entry in mesh.objects if _is_flat(entry) and entry.id in {p.segment for p in mesh.shell.planes}
    }
    bodies: dict[str, Body] = {}
    for number, (solid, entry, name) in enumerate(solids):
        body = _body(solid, entry, name, rotation, scale, materials, most_pieces)
        if body is None:
            physics.left_out[solid.id] = "too thin for a convex piece"
        else:
            moves, why = _freedom(solid, entry, things, has_body, entries)
            bodies[name] = replace(body, moves=moves, why=why, mass=body.mass if moves else 0.0)
        progress("Taking objects apart", number + 1, len(solids))
    physics.bodies = _settled(bodies, {name: solid for solid, _, name in solids}, physics.boxes)
    return physics


def rotation_to_z(up: np.ndarray) -> np.ndarray:
    """The shortest rotation ``[3, 3]`` that takes ``up`` to z."""
    up = np.asarray(up, dtype=np.float64) / np.linalg.norm(up)
    cosine = up[2]
    if cosine < -1 + 1e-9:
        return np.diag([1.0, -1.0, -1.0])
    v = np.cross(up, [0.0, 0.0, 1.0])
    K = np.array([[0, -v[2], v[1]], [v[2], 0, -v[0]], [-v[1], v[0], 0]])
    return np.eye(3) + K + K @ K / (1 + cosine)


def _is_flat(entry: PlacedObject) -> bool:
    name = entry.object.category.name.casefold()
    return any(word in name for word in _FLAT)


def _fixed_furniture(mesh: PanopticMesh) -> list[tuple[Solid, PlacedObject, str]]:
    """Closed meshes of stuff that is no wall, floor or ceiling, piece by piece."""
    tree = KDTree(mesh.surface.vertices)
    floor = next((e.id for e in mesh.objects if any(w in e.object.category.name.casefold() for w in FLOORS)), None)
    found = []
    for entry in mesh.objects:
        if entry.object.category.isthing or _is_flat(entry):
            continue
        for number, (_, box) in enumerate(entry.parts):
            support = None
            if floor is not None and floor != entry.id:
                height = support_height(mesh.surface, floor, box, mesh.up, mesh.fusion.voxel)
                support = None if height is None else Support(floor, height)
            solid = close_object(entry.id, mesh.surface, tree, box, mesh.up, support, mesh.fusion)
            if solid is not None:
                found.append((solid, entry, f"{entry.label}.{number}"))
    return found


def _freedom(
    solid: Solid,
    entry: PlacedObject,
    things: set[int],
    has_body: set[int],
    entries: Mapping[int, PlacedObject],
) -> tuple[bool, str]:
    if solid.id not in things:
        return False, "stuff"
    if solid.support is None:
        return False, "stands on nothing that was seen"
    on = entries[solid.support.id].label if solid.support.id in entries else str(solid.support.id)
    if solid.support.id not in has_body:
        return False, f"stands on {on}, which has no body"
    return True, f"stands on {on}"


def _body(
    solid: Solid,
    entry: PlacedObject,
    name: str,
    rotation: np.ndarray,
    scale: float,
    materials: Mapping[str, Material],
    most_pieces: int,
) -> Body | None:
    visual = solid.mesh.moved(scale * solid.mesh.vertices @ rotation.T)
    pieces = convex_pieces(visual, most_pieces)
    if not pieces:
        return None
    category = entry.object.category.name
    material, known = material_of(category, materials)
    shape = trimesh.Trimesh(visual.vertices, visual.faces, process=False)
    shape.density = material.density
    properties = shape.mass_properties
    mass, center, inertia = float(properties.mass), properties.center_mass, properties.inertia
    if not (mass > 1e-4 and np.linalg.eigvalsh(inertia).min() > 0):
        hull = trimesh.Trimesh(visual.vertices, visual.faces).convex_hull
        hull.density = material.density
        mass, center, inertia = float(hull.mass), hull.center_mass, hull.moment_inertia
    return Body(solid.id, name, category, tuple(pieces), visual, mass, np.asarray(center), np.asarray(inertia),
                material.friction, False, "", known_density=known)  # fmt: skip


def _room_boxes(mesh: PanopticMesh, rotation: np.ndarray, scale: float) -> list[RoomBox]:
    flat = {entry.id for entry in mesh.objects if _is_flat(entry)}
    kinds = {entry.id: entry.object.name for entry in mesh.objects}
    boxes = []
    for plane in mesh.shell.planes:
        if plane.segment in flat:
            boxes.append(_box_behind(plane, f"{kinds[plane.segment]} {len(boxes)}", rotation, scale))
    return boxes


def _box_behind(plane: Plane, name: str, rotation: np.ndarray, scale: float) -> RoomBox:
    normal = rotation @ plane.normal
    if abs(normal[2]) > np.cos(np.radians(3)):  # a floor that leans by noise lets things slide
        normal = np.array([0.0, 0.0, np.sign(normal[2])])
    corners = scale * plane.corners @ rotation.T
    axes = np.concatenate([plane_axes(normal), normal[:, None]], axis=1)
    to_box, extents = trimesh.bounds.oriented_bounds_2D(corners @ axes[:, :2])
    turn = np.linalg.inv(np.asarray(to_box))
    axes = np.stack([axes[:, :2] @ turn[:2, 0], axes[:, :2] @ turn[:2, 1], normal], axis=1)
    if np.linalg.det(axes) < 0:
        axes[:, 1] *= -1
    middle = plane_axes(normal) @ turn[:2, 2]
    offset = float(np.median(corners @ normal))
    center = middle + normal * (offset - 0.5 * _THICKNESS)
    return RoomBox(name, center, axes, np.array([0.5 * extents[0] + _THICKNESS, 0.5 * extents[1] + _THICKNESS,
                                                 0.5 * _THICKNESS]))  # fmt: skip


def _settled(bodies: dict[str, Body], solids: Mapping[str, Solid], boxes: Sequence[RoomBox]) -> list[Body]:
    """Bodies out of the walls, on what they stand on, and out of each other."""
    bodies = {name: _out_of_walls(body, boxes) for name, body in bodies.items()}
    by_id: dict[int, list[str]] = {}
    for name, body in bodies.items():
        by_id.setdefault(body.id, []).append(name)
    done: set[str] = {name for name, body in bodies.items() if not body.moves}
    left = [name for name in bodies if name not in done]
    while left:
        # A support comes before what stands on it; a circle is broken at its first body.
        ready = [n for n in left if not set(by_id.get(_support_of(solids[n]), [])) & set(left) - {n}] or left[:1]
        for name in ready:
            under = [bodies[other] for other in by_id.get(_support_of(solids[name]), []) if other != name]
            bodies[name] = _standing(bodies[name], under, boxes)
            done.add(name)
        left = [name for name in left if name not in done]
    names = list(bodies)
    for one, other in combinations(names, 2):
        if bodies[one].moves or bodies[other].moves:
            bodies[one], bodies[other] = _apart(bodies[one], bodies[other])
    return [fixed_unless_it_stands(body) for body in bodies.values()]


def fixed_unless_it_stands(body: Body) -> Body:
    """The body as part of the room where what is left of its pieces would tip over or hover."""
    if not body.moves:
        return body
    corners = np.concatenate([piece.vertices for piece in body.pieces])
    low = corners[corners[:, 2] <= body.rests_at + _GAP + _CONTACT]
    if len(low) >= 3 and _stands(low[:, :2], body.center[:2]):
        return body
    return replace(body, moves=False, mass=0.0, why=f"{body.why}, but could not stand among what is around it")


def _support_of(solid: Solid) -> int:
    return -1 if solid.support is None else solid.support.id


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
    return replace(body, pieces=tuple(pieces) or body.pieces)


def _standing(body: Body, under: Sequence[Body], boxes: Sequence[RoomBox]) -> Body:
    """The body on top of what it stands on, with a plate under it where it could not stand."""
    corners = np.concatenate([piece.vertices for piece in body.pieces])
    bottom = float(corners[:, 2].min())
    low = corners[corners[:, 2] <= bottom + _CONTACT]
    ground = np.concatenate([low[:, :2], _spread(low[:, :2])])
    ground = np.concatenate([ground, _spread(corners[:, :2])]) if len(low) < 3 else ground
    pieces = [piece for other in under for piece in other.pieces]
    floors = [box for box in boxes if box.axes[2, 2] > 0.9]
    top = float(_tops(ground, pieces).max())
    if not np.isfinite(top):
        pieces = []
        top = max((float(box.center[2] + box.half[2]) for box in floors), default=-np.inf)
    if not np.isfinite(top):
        return replace(body, moves=False, mass=0.0, why="nothing under it has a body")
    step = np.array([0.0, 0.0, top + _GAP - bottom])
    body = replace(
        body, pieces=tuple(piece.moved(step) for piece in body.pieces),
        visual=body.visual.moved(body.visual.vertices + step), center=body.center + step, lifted=float(step[2]),
        rests_at=top,
    )  # fmt: skip
    if _stands(_held(low[:, :2], pieces, top), body.center[:2]):
        return body
    outline = corners[:, :2] + (body.center[:2] - corners[:, :2]) * 0.1
    plate = Piece.around(np.concatenate([np.c_[outline, np.full(len(outline), top + _GAP + h)] for h in (0.0, _FOOT)]))
    held = _held(np.concatenate([outline, _spread(outline)]), pieces, top)
    if plate is None or not _stands(held, body.center[:2]):
        return replace(body, moves=False, mass=0.0, why=f"{body.why}, which does not hold it")
    return replace(body, pieces=(*body.pieces, plate), foot=True)


def _tops(points: np.ndarray, pieces: Sequence[Piece]) -> np.ndarray:
    """The height ``[P]`` of the highest piece over ground points ``[P, 2]``; −∞ beside all."""
    tops = np.full(len(points), -np.inf)
    for piece in pieces:
        np.maximum(tops, piece.top_over(points), out=tops)
    return tops


def _held(points: np.ndarray, pieces: Sequence[Piece], top: float) -> np.ndarray:
    """The ground points ``[P, 2]`` under which pieces reach up to ``top``; all on a floor, which has none."""
    return points[_tops(points, pieces) >= top - _CONTACT] if pieces else points


def _spread(points: np.ndarray) -> np.ndarray:
    """Points on the way from the middle to each point: what lies under the inside of a foot."""
    middle = points.mean(axis=0)
    return np.concatenate([middle + share * (points - middle) for share in (0.0, 0.33, 0.67)])


def _stands(contacts: np.ndarray, center: np.ndarray) -> bool:
    """Whether a centre of mass lies well over the hull of what touches the ground."""
    try:
        hull = ConvexHull(contacts)
    except (QhullError, ValueError):
        return False
    depth = -(hull.equations[:, :2] @ center + hull.equations[:, 2]).max()
    return bool(depth > 0.15 * np.sqrt(hull.volume))


def _apart(one: Body, other: Body) -> tuple[Body, Body]:
    """The two bodies without overlap of their pieces."""
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
            if (cut := cut_apart(a, b, _GAP)) is not None:
                mine[i], theirs[k] = cut
    kept = [tuple(piece for piece in pieces if piece is not None) for pieces in (mine, theirs)]
    return (replace(one, pieces=kept[0]) if kept[0] else one, replace(other, pieces=kept[1]) if kept[1] else other)
