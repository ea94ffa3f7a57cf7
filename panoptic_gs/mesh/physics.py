# SPDX-License-Identifier: Apache-2.0
"""The mesh as bodies for a simulator: which objects may move, what they weigh, and where they rest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import trimesh
from scipy.spatial import KDTree

from panoptic_gs.export import PlacedObject
from panoptic_gs.mesh.bodies import Body, RoomBox
from panoptic_gs.mesh.convex import convex_pieces
from panoptic_gs.mesh.materials import MATERIALS, Material, material_of
from panoptic_gs.mesh.reconstruction import PanopticMesh
from panoptic_gs.mesh.resting import Rest, settled
from panoptic_gs.mesh.shell import Plane, plane_axes
from panoptic_gs.mesh.solids import Solid, Support, close_object, support_height
from panoptic_gs.objects.standing import is_floor
from panoptic_gs.progress import Progress, silent

_THICKNESS = 0.1  # metres, of walls and floors
_MOST_PIECES = 16
_UPRIGHT = ("wall", "ceiling")


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
    closed meshes times densities of their categories. Bodies rest on what they stand on exactly, whose top is
    made flat under them, pieces of two bodies that overlap are cut apart, and what could not stand on what was seen of
    it gets a plate under its outline (:func:`~panoptic_gs.mesh.resting.settled`).

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
    physics.bodies = settled(bodies, {name: _rest(solid, scale) for solid, _, name in solids}, physics.boxes)
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


def _rest(solid: Solid, scale: float) -> Rest | None:
    return None if solid.support is None else Rest(solid.support.id, scale * solid.support.height)


def _is_flat(entry: PlacedObject) -> bool:
    name = entry.object.category.name.casefold()
    return is_floor(entry.object.category) or any(word in name for word in _UPRIGHT)


def _fixed_furniture(mesh: PanopticMesh) -> list[tuple[Solid, PlacedObject, str]]:
    """Closed meshes of stuff that is no wall, floor or ceiling, piece by piece."""
    tree = KDTree(mesh.surface.vertices)
    floor = next((e.id for e in mesh.objects if is_floor(e.object.category)), None)
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
