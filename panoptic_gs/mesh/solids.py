# SPDX-License-Identifier: Apache-2.0
"""Objects as closed meshes: what was seen of each, and around what was not the hull that nobody saw into."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial import ConvexHull, KDTree, QhullError

from panoptic_gs.mesh.fusion import Fusion
from panoptic_gs.mesh.smoothing import smooth
from panoptic_gs.mesh.surface import LabelledMesh, face_areas, marching_cubes, pieces
from panoptic_gs.objects.boxes import Box

_PIECE = 0.05  # of the largest piece's area that a piece of an object must have
_MOST_CELLS = 4_000_000  # of an object's grid
_SIGHTINGS = 2  # views that must see through a point before it is free


@dataclass(frozen=True)
class Support:
    """What an object stands on.

    Args:
        id: the segment.
        height: of its top under the object, along up.
    """

    id: int
    height: float


@dataclass(frozen=True, eq=False)
class Solid:
    """An object as a closed mesh.

    Args:
        id: the segment.
        mesh: without holes; every vertex carries the object's segment.
        seen: ``[V]`` bool, vertices on surface that views saw.
        support: what it stands on.
        closed_by: how much of the surface, 0 … 1, is ``seen``, the ``plane`` of what it stands on, and ``hull``.
        volume: in world units³.
    """

    id: int
    mesh: LabelledMesh
    seen: np.ndarray
    support: Support | None
    closed_by: dict[str, float]
    volume: float


def close_object(
    segment: int,
    surface: LabelledMesh,
    tree: KDTree,
    box: Box,
    up: np.ndarray,
    support: Support | None,
    fusion: Fusion,
) -> Solid | None:
    """Close what was seen of an object.

    Inside is what lies in the convex hull of its surface, above what it stands on, behind no view's free space, and
    nearest to its own surface rather than another's. So a table keeps the space under it where a view looked there, is
    flat where it touches the floor, and the back of a wardrobe that nobody saw is a flat wall of its hull.

    Args:
        segment: the object.
        surface: of the whole scene.
        tree: of its vertices.
        box: the object's upright box; surface far outside of it is not the object's.
        up: ``[3]``.
        support: what it stands on, where it stands.
        fusion: the volume and what is free.

    Returns:
        The solid, or None where too little of the object has a surface.
    """
    voxel = fusion.voxel
    points = _own_points(segment, surface, box, voxel)
    if points is None:
        return None
    standing = points if support is None else np.concatenate([points, _dropped(points, up, support, 4 * voxel)])
    try:
        planes = np.unique(np.round(ConvexHull(standing).equations, 9), axis=0)
    except QhullError:  # flat: a picture on a wall
        planes = _slab(points, voxel)
    cell = max(voxel, float(np.prod(np.ptp(standing, axis=0) + 6 * voxel) / _MOST_CELLS) ** (1 / 3))
    low = np.floor(standing.min(axis=0) / cell).astype(int) - 2
    size = np.ceil(standing.max(axis=0) / cell).astype(int) + 3 - low
    grid = np.stack(np.meshgrid(*(np.arange(s) for s in size), indexing="ij"), axis=-1).reshape(-1, 3) + low
    field = _hull_distance(grid * cell, planes)
    if support is not None:
        field = np.maximum(field, support.height - (grid * cell) @ up)
    near = np.flatnonzero(field < cell)
    field[near] = np.maximum(field[near], _carved(segment, grid[near] * cell, surface, tree, fusion, cell))
    vertices, faces = marching_cubes(field.reshape(size))
    if not len(faces):
        return None
    piece = pieces(len(vertices), faces)
    area = np.bincount(piece, face_areas(vertices, faces))
    faces = faces[area[piece] >= _PIECE * area.max()]
    used, number = np.unique(faces, return_inverse=True)
    faces = number.reshape(-1, 3).astype(np.int32)
    vertices = (vertices[used] + low) * cell
    return _finished(segment, vertices, faces, surface, points, up, support, cell)


def support_height(surface: LabelledMesh, support: int, box: Box, up: np.ndarray, voxel: float) -> float | None:
    """The height of what an object stands on: the median of its upward surface under the object or within a hand of it.

    None where there is no such surface.
    """
    vertices = surface.vertices[surface.vertices_of(support)]
    height = vertices @ up
    local = (vertices - box.center) @ box.axes[:, :2]
    bottom = float(box.center @ up) - 0.5 * float(box.size[2])
    for margin in (3 * voxel, 10 * voxel, 30 * voxel):
        under = (np.abs(local) <= 0.5 * box.size[:2] + margin).all(axis=1)
        under &= np.abs(height - bottom) <= max(5 * voxel, 0.25 * float(box.size[2]))
        if under.sum() >= 20:
            return float(np.median(height[under]))
    return None


def _own_points(segment: int, surface: LabelledMesh, box: Box, voxel: float) -> np.ndarray | None:
    """The vertices of an object's pieces that are worth it, about its box."""
    faces = surface.faces[surface.faces_of(segment)]
    if len(faces) < 8:
        return None
    grown = Box(box.center, box.axes, box.size + 4 * voxel)
    faces = faces[grown.contains(surface.vertices[faces].mean(axis=1))]
    if len(faces) < 8:
        return None
    used, number = np.unique(faces, return_inverse=True)
    piece = pieces(len(used), number.reshape(-1, 3))
    area = np.bincount(piece, face_areas(surface.vertices, faces))
    return surface.vertices[np.unique(faces[area[piece] >= _PIECE * area.max()])]


def _dropped(points: np.ndarray, up: np.ndarray, support: Support, reach: float) -> np.ndarray:
    """The lowest points of an object on the plane that it stands on."""
    above = points @ up - support.height
    low = points[above <= max(reach, float(above.min()) + reach)]
    return low - np.outer(low @ up - support.height, up)


def _slab(points: np.ndarray, voxel: float) -> np.ndarray:
    """Half-spaces ``[6, 4]`` of a box around points that lie in a plane, two voxels thick."""
    middle = points.mean(axis=0)
    axes = np.linalg.svd(points - middle, full_matrices=False)[2]
    if len(axes) < 3:
        axes = np.eye(3)
    planes = []
    for axis in axes:
        along = (points - middle) @ axis
        low, high = min(along.min(), -voxel), max(along.max(), voxel)
        planes += [[*axis, -axis @ middle - high], [*-axis, axis @ middle + low]]
    return np.array(planes)


def _hull_distance(points: np.ndarray, planes: np.ndarray) -> np.ndarray:
    """Signed distance ``[P]`` to a convex hull, negative inside (a bound on it outside)."""
    field = np.full(len(points), -np.inf)
    for plane in planes:
        np.maximum(field, points @ plane[:3] + plane[3], out=field)
    return field


def _carved(
    segment: int, points: np.ndarray, surface: LabelledMesh, tree: KDTree, fusion: Fusion, cell: float
) -> np.ndarray:
    """Signed distance ``[P]`` to what the views left of space, negative inside."""
    import torch

    voxel = fusion.voxel
    index = np.round(points / voxel).astype(np.int64)
    low = index.min(axis=0)
    distance, weight = fusion.volume.copy(low.tolist(), (index.max(axis=0) - low + 1).tolist())
    at = torch.from_numpy(index - low)
    distance, weight = (v[at[:, 0], at[:, 1], at[:, 2]].numpy().astype(np.float64) for v in (distance, weight))
    known = weight > 0
    free = fusion.free(points, cell) >= min(_SIGHTINGS, len(fusion.cameras))
    field = np.where(known, distance, np.where(free, cell, -cell))
    field = np.where(~known | (distance > -0.5 * fusion.volume.truncation), field, np.where(free, cell, field))
    inside = np.flatnonzero(field < cell)
    if len(inside):
        _, nearest = tree.query(points[inside])
        other = surface.segment[np.asarray(nearest)] != segment
        field[inside[other]] = np.maximum(field[inside[other]], 0.5 * cell)
    return field


def _finished(
    segment: int,
    vertices: np.ndarray,
    faces: np.ndarray,
    surface: LabelledMesh,
    points: np.ndarray,
    up: np.ndarray,
    support: Support | None,
    cell: float,
) -> Solid:
    moved = smooth(vertices, faces, cell, rounds=3, updates=5)
    on_plane = np.zeros(len(vertices), dtype=bool)
    if support is not None:
        on_plane = vertices @ up <= support.height + 0.6 * cell
        moved[on_plane] -= np.outer(moved[on_plane] @ up - support.height, up)
    own = surface.vertices_of(segment)
    distance, nearest = KDTree(surface.vertices[own]).query(moved)
    nearest = own[np.asarray(nearest)]
    seen = (np.asarray(distance) <= 1.5 * cell) & ~on_plane
    mesh = LabelledMesh(
        moved, faces, surface.color[nearest], np.full(len(moved), segment, dtype=np.int32),
        np.where(seen, surface.confidence[nearest], 0).astype(np.float32),
        np.where(seen, surface.weight[nearest], 0).astype(np.float32),
    )  # fmt: skip
    area = face_areas(moved, faces)
    flat, shown = on_plane[faces].all(axis=1), seen[faces].sum(axis=1) >= 2
    total = max(float(area.sum()), 1e-12)
    shares = {
        "seen": float(area[shown & ~flat].sum() / total),
        "plane": float(area[flat].sum() / total),
        "hull": float(area[~shown & ~flat].sum() / total),
    }
    a, b, c = (moved[faces[:, k]] for k in range(3))
    volume = abs(float((a * np.cross(b, c)).sum() / 6))
    return Solid(segment, mesh, seen, support, shares, volume)
