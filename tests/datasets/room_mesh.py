# SPDX-License-Identifier: Apache-2.0
"""A procedural room as an annotated triangle mesh, as a scanner would give it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from plyfile import PlyData, PlyElement

from panoptic_gs.datasets.mesh import TriangleMesh
from panoptic_gs.synthetic.primitives import BOX_FACES, Primitive
from panoptic_gs.synthetic.room import Room

AROUND = 32
"""Segments of a circle."""


def room_mesh(room: Room) -> tuple[TriangleMesh, np.ndarray]:
    """The room's surfaces, and the surface number ``[V]`` of each vertex (0 wall, 1 floor, 2 ceiling, then primitives).

    No two surfaces share a vertex.
    """
    parts: list[tuple[np.ndarray, np.ndarray, int]] = []
    for axis, sign in BOX_FACES:
        points, faces = _box_face(axis, sign)
        surface = 0 if axis < 2 else (1 if sign < 0 else 2)
        parts.append((_to_world(room.shell, points), faces, surface))
    for number, primitive in enumerate(room.primitives, 3):
        for points, faces in _unit_shape(primitive):
            parts.append((_to_world(primitive, points), faces, number))
    offsets = np.cumsum([0, *(len(points) for points, _, _ in parts)])
    vertices = np.concatenate([points for points, _, _ in parts]).astype(np.float32)
    faces = np.concatenate([faces + offset for (_, faces, _), offset in zip(parts, offsets)])
    surfaces = np.concatenate([np.full(len(points), surface) for points, _, surface in parts])
    colors = np.stack([(37 * surfaces) % 256, (91 * surfaces) % 256, (151 * surfaces) % 256], axis=-1).astype(np.uint8)
    return TriangleMesh(vertices, faces, colors), surfaces


def _to_world(primitive: Primitive, unit: np.ndarray) -> np.ndarray:
    return (unit * primitive.size) @ primitive.rotation.T + primitive.center


def _unit_shape(primitive: Primitive) -> list[tuple[np.ndarray, np.ndarray]]:
    if primitive.shape == "box":
        return [_box_face(axis, sign) for axis, sign in BOX_FACES]
    angle = np.linspace(0, 2 * np.pi, AROUND + 1)
    # Circles of as much area inside as outside the polygon, so that silhouettes lie half within, half without.
    widen = np.sqrt((np.pi / AROUND) / (np.sin(np.pi / AROUND) * np.cos(np.pi / AROUND)))
    circle = np.stack([np.cos(angle), np.sin(angle)], axis=-1) * widen
    if primitive.shape == "ball":
        latitude = np.linspace(-np.pi / 2, np.pi / 2, AROUND // 2 + 1)
        points = np.concatenate(
            [np.cos(latitude)[:, None, None] * circle, np.broadcast_to(np.sin(latitude)[:, None, None],
             (len(latitude), len(angle), 1))], axis=-1
        )  # fmt: skip
        return [(points.reshape(-1, 3), _grid_faces(len(latitude), len(angle)))]
    rings = np.stack([np.c_[circle * radius, np.full(len(angle), z)] for radius, z in ((1, -1), (primitive.taper, 1))])
    caps = [(np.concatenate([ring, [[0, 0, ring[0, 2]]]]), _fan_faces(len(ring))) for ring in rings]
    return [(rings.reshape(-1, 3), _grid_faces(2, len(angle))), *caps]


def _box_face(axis: int, sign: float) -> tuple[np.ndarray, np.ndarray]:
    points = np.empty((4, 3))
    points[:, axis] = sign
    points[:, (axis + 1) % 3], points[:, (axis + 2) % 3] = [-1, 1, -1, 1], [-1, -1, 1, 1]
    return points, _grid_faces(2, 2)


def _grid_faces(rows: int, columns: int) -> np.ndarray:
    corner = (np.arange(rows - 1)[:, None] * columns + np.arange(columns - 1)).reshape(-1)
    first = np.stack([corner, corner + 1, corner + columns], axis=-1)
    return np.concatenate([first, np.stack([corner + 1, corner + columns + 1, corner + columns], axis=-1)])


def _fan_faces(count: int) -> np.ndarray:
    rim = np.arange(count - 1)
    return np.stack([rim, rim + 1, np.full(count - 1, count)], axis=-1)


def write_mesh(path: Path, mesh: TriangleMesh) -> None:
    """Write a coloured mesh as the datasets' binary PLY."""
    assert mesh.colors is not None
    vertices = np.empty(len(mesh.vertices), [(n, "f4") for n in "xyz"] + [(n, "u1") for n in ("red", "green", "blue")])
    for axis, name in enumerate("xyz"):
        vertices[name] = mesh.vertices[:, axis]
    for channel, name in enumerate(("red", "green", "blue")):
        vertices[name] = mesh.colors[:, channel]
    faces = np.empty(len(mesh.faces), [("vertex_indices", "i4", (3,))])
    faces["vertex_indices"] = mesh.faces
    PlyData([PlyElement.describe(vertices, "vertex"), PlyElement.describe(faces, "face")]).write(str(path))
