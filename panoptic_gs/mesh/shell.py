# SPDX-License-Identifier: Apache-2.0
"""The room without its objects: walls, floor and ceiling, with the places where objects stood filled."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage
from scipy.spatial import ConvexHull, KDTree, QhullError

from panoptic_gs.mesh.fusion import Fusion
from panoptic_gs.mesh.surface import LabelledMesh

_CANDIDATES = 256
_MOST_PLANES = 24
_LEAST_AREA = 0.02  # of the shell's that a plane must have
_NEAR = 2.5  # voxels from a plane
_ALIGNED = 0.8  # cosine between a face's normal and its plane's
_TAKEN = 3.0  # times as far from a plane that was found, no other is looked for
_SIGHTINGS = 2  # views that see through a place before it is an opening


@dataclass(frozen=True, eq=False)
class Plane:
    """A flat part of the room.

    Args:
        segment: most of it is of.
        normal: ``[3]`` into the room.
        offset: points x on it have ``normal · x = offset``.
        corners: ``[C, 3]`` of the convex outline of what was seen of it.
        area: that was seen, in world units².
        filled: area that was filled in.
    """

    segment: int
    normal: np.ndarray
    offset: float
    corners: np.ndarray
    area: float
    filled: float = 0.0


@dataclass(frozen=True, eq=False)
class Shell:
    """The room without its objects.

    Args:
        mesh: seen surface, then what was filled in.
        filled: ``[F]`` bool, the faces that were filled in; their vertices have confidence 0.
        planes: its flat parts, the largest first.
    """

    mesh: LabelledMesh
    filled: np.ndarray
    planes: tuple[Plane, ...]


def fill_shell(surface: LabelledMesh, objects: Collection[int], up: np.ndarray, fusion: Fusion) -> Shell:
    """Take objects out of the surface, and fill the planes of what is left where no view looked through.

    Planes are found one after another by their area (RANSAC of Fischler and Bolles 1981 with a fixed seed, refitted by
    principal axes). A cell of a plane is filled where it lies in the outline of what was seen of the plane, no surface
    is near it, and fewer than two views see through it: so a doorway stays open, and the floor goes on under a bed.

    Args:
        surface: of the whole scene.
        objects: segments that are taken out.
        up: ``[3]`` direction away from the ground.
        fusion: the volume and what is free.
    """
    shell = _without(surface, np.array(sorted(objects), dtype=np.int64))
    if not len(shell.faces):
        return Shell(shell, np.zeros(0, dtype=bool), ())
    planes = _find_planes(shell, fusion.voxel)
    tree = KDTree(shell.vertices)
    meshes, filled, found = [shell], [np.zeros(len(shell.faces), dtype=bool)], []
    for plane in planes:
        patch, area = _fill(plane, shell, tree, fusion)
        found.append(Plane(plane.segment, plane.normal, plane.offset, plane.corners, plane.area, area))
        if patch is not None:
            meshes.append(patch)
            filled.append(np.ones(len(patch.faces), dtype=bool))
    return Shell(joined(meshes), np.concatenate(filled), tuple(found))


def _without(surface: LabelledMesh, objects: np.ndarray) -> LabelledMesh:
    """The faces of other segments; vertices that they share with an object's faces are theirs."""
    segment = surface.face_segment
    kept = ~np.isin(segment, objects)
    shell = surface.only(kept)
    theirs = np.isin(shell.segment[shell.faces], objects)
    relabelled = shell.segment.copy()
    relabelled[shell.faces[theirs]] = np.repeat(segment[kept][:, None], 3, axis=1)[theirs]
    return replace(shell, segment=relabelled)


def joined(meshes: list[LabelledMesh]) -> LabelledMesh:
    """Several meshes as one."""
    starts = np.cumsum([0, *(len(mesh.vertices) for mesh in meshes)])
    faces = np.concatenate([mesh.faces + start for mesh, start in zip(meshes, starts)]).astype(np.int32)
    parts = [np.concatenate([getattr(mesh, name) for mesh in meshes]) for name in
             ("color", "segment", "confidence", "weight")]  # fmt: skip
    return LabelledMesh(np.concatenate([mesh.vertices for mesh in meshes]), faces, *parts)


def _find_planes(shell: LabelledMesh, voxel: float) -> list[Plane]:
    a, b, c = (shell.vertices[shell.faces[:, k]] for k in range(3))
    cross = np.cross(b - a, c - a)
    double = np.linalg.norm(cross, axis=1)
    normal, center, area = cross / np.maximum(double, 1e-30)[:, None], (a + b + c) / 3, 0.5 * double
    rng = np.random.default_rng(0)
    left = area > 0
    total, planes = float(area.sum()), []
    while left.any() and len(planes) < _MOST_PLANES:
        rows = np.flatnonzero(left)
        sample = rng.choice(rows, min(len(rows), 20_000), p=area[rows] / area[rows].sum())
        best, most = None, 0
        for face in sample[:_CANDIDATES]:
            near = (normal[sample] @ normal[face] > _ALIGNED) & (
                np.abs((center[sample] - center[face]) @ normal[face]) < _NEAR * voxel
            )
            if near.sum() > most:
                best, most = (normal[face], float(center[face] @ normal[face])), int(near.sum())
        if best is None:
            break
        n, offset = best
        near = np.zeros(0, dtype=np.int64)
        for _ in range(2):
            near = rows[(normal[rows] @ n > _ALIGNED) & (np.abs(center[rows] @ n - offset) < _NEAR * voxel)]
            if len(near) < 3:
                break
            weight = area[near] / area[near].sum()
            middle = weight @ center[near]
            spread = ((center[near] - middle) * weight[:, None]).T @ (center[near] - middle)
            fitted = np.linalg.eigh(spread)[1][:, 0]
            n = fitted if fitted @ n > 0 else -fitted
            offset = float(middle @ n)
        seen = float(area[near].sum())
        if len(near) < 3 or seen < _LEAST_AREA * total:
            break
        taken = rows[(normal[rows] @ n > 0.5) & (np.abs(center[rows] @ n - offset) < _TAKEN * _NEAR * voxel)]
        left[taken] = False
        votes = np.bincount(shell.face_segment[near], area[near])
        corners = _outline(center[near], n, offset)
        if corners is not None:
            planes.append(Plane(int(votes.argmax()), n, offset, corners, seen))
    return planes


def plane_axes(normal: np.ndarray) -> np.ndarray:
    """Two unit vectors ``[3, 2]`` in a plane, right-handed with its normal."""
    first = np.cross(np.eye(3)[np.abs(normal).argmin()], normal)
    first /= np.linalg.norm(first)
    return np.stack([first, np.cross(normal, first)], axis=1)


def _outline(points: np.ndarray, normal: np.ndarray, offset: float) -> np.ndarray | None:
    axes = plane_axes(normal)
    flat = points @ axes
    try:
        hull = ConvexHull(flat)
    except QhullError:
        return None
    return flat[hull.vertices] @ axes.T + offset * normal


def _fill(plane: Plane, shell: LabelledMesh, tree: KDTree, fusion: Fusion) -> tuple[LabelledMesh | None, float]:
    """Quads for the cells of a plane that nobody saw, and their area."""
    voxel = fusion.voxel
    axes = plane_axes(plane.normal)
    corners = plane.corners @ axes
    low = corners.min(axis=0)
    size = np.maximum(np.ceil((corners.max(axis=0) - low) / voxel).astype(int), 1)
    index = np.stack(np.meshgrid(np.arange(size[0]), np.arange(size[1]), indexing="ij"), axis=-1).reshape(-1, 2)
    flat = low + (index + 0.5) * voxel
    points = flat @ axes.T + plane.offset * plane.normal
    hull = ConvexHull(corners)
    inside = (flat @ hull.equations[:, :2].T + hull.equations[:, 2] <= 1e-9).all(axis=1)
    distance, _ = tree.query(points[inside], distance_upper_bound=2 * voxel)
    empty = np.zeros(len(points), dtype=bool)
    empty[np.flatnonzero(inside)[~np.isfinite(np.asarray(distance))]] = True
    if not empty.any():
        return None, 0.0
    behind = points[empty] - 3 * voxel * plane.normal  # a view that looks into the wall there sees through it
    through = fusion.free(behind, voxel) >= min(_SIGHTINGS, len(fusion.cameras))
    empty[np.flatnonzero(empty)[through]] = False
    cells = empty.reshape(size)
    cells = ndimage.binary_opening(cells, np.ones((2, 2))) if cells.sum() > 50 else cells
    filled = float(cells.sum()) * voxel * voxel
    # One cell more on each side, so that no slit is left between what was seen and what is filled in.
    cells = ndimage.binary_dilation(cells, np.ones((3, 3))) & inside.reshape(size)
    if not cells.any():
        return None, 0.0
    x, y = np.nonzero(cells)
    square = np.array([[0, 0], [1, 0], [1, 1], [0, 1]])
    nodes = (np.stack([x, y], axis=-1)[:, None] + square).reshape(-1, 2)
    used, number = np.unique(nodes, axis=0, return_inverse=True)
    quads = number.reshape(-1, 4)
    faces = np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]]).astype(np.int32)
    vertices = (low + used * voxel) @ axes.T + plane.offset * plane.normal
    _, nearest = tree.query(vertices)
    count = len(vertices)
    patch = LabelledMesh(vertices, faces, shell.color[np.asarray(nearest)],
                         np.full(count, plane.segment, dtype=np.int32), np.zeros(count, dtype=np.float32),
                         np.zeros(count, dtype=np.float32))  # fmt: skip
    return patch, filled
