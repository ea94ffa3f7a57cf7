# SPDX-License-Identifier: Apache-2.0
"""The zero crossing of a fused volume as a mesh with colour, segment and confidence a vertex."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from types import ModuleType

import numpy as np
import torch
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from panoptic_gs import kernels
from panoptic_gs.errors import InputError
from panoptic_gs.label_maps import Grouped

_BRICK = 192  # voxels a side that are made dense at a time


@dataclass(frozen=True, eq=False)
class LabelledMesh:
    """Triangles with labels.

    Args:
        vertices: ``[V, 3]`` in the world.
        faces: ``[F, 3]`` int32, counter-clockwise seen from the free side.
        color: ``[V, 3]`` uint8.
        segment: ``[V]`` int32, 0 = none.
        confidence: ``[V]`` the segment's share of all votes.
        weight: ``[V]`` how well it was seen.
    """

    vertices: np.ndarray  # [V, 3] float64
    faces: np.ndarray  # [F, 3] int32
    color: np.ndarray  # [V, 3] uint8
    segment: np.ndarray  # [V] int32
    confidence: np.ndarray  # [V] float32
    weight: np.ndarray  # [V] float32

    def only(self, faces: np.ndarray) -> LabelledMesh:
        """The mesh of some faces ``[F]`` (a mask or numbers), without the other vertices."""
        chosen = self.faces[faces]
        used, number = np.unique(chosen, return_inverse=True)
        return LabelledMesh(self.vertices[used], number.reshape(-1, 3).astype(np.int32), self.color[used],
                            self.segment[used], self.confidence[used], self.weight[used])  # fmt: skip

    def moved(self, vertices: np.ndarray) -> LabelledMesh:
        """The same mesh with its vertices in other places."""
        return replace(self, vertices=vertices)

    @cached_property
    def face_segment(self) -> np.ndarray:
        """The segment ``[F]`` that two of a face's vertices agree on; the first one's where all differ."""
        a, b, c = self.segment[self.faces].T
        return np.where(b == c, b, a)

    def faces_of(self, segment: int) -> np.ndarray:
        """The faces ``[K]`` of a segment, ascending."""
        return self._grouped_faces.of(segment)

    def vertices_of(self, segment: int) -> np.ndarray:
        """The vertices ``[K]`` of a segment, ascending."""
        return self._grouped_vertices.of(segment)

    @cached_property
    def _grouped_faces(self) -> Grouped:
        return Grouped(self.face_segment)

    @cached_property
    def _grouped_vertices(self) -> Grouped:
        return Grouped(self.segment)


def extract_surface(volume: kernels.VoxelVolume, least_weight: float, least_area: float) -> LabelledMesh:
    """Marching cubes (Lewiner et al. 2003, in scikit-image) of the voxels that were seen well enough.

    Args:
        volume: the fused volume.
        least_weight: of every corner of a cube; what was seen less is no surface.
        least_area: of a connected piece, in world units²; smaller ones are floaters.

    Raises:
        InputError: no surface; scikit-image is not installed.
    """
    vertices, faces = _marching_cubes(volume, least_weight)
    if len(faces):
        faces = faces[_large_pieces(vertices, faces, least_area)]
        used, number = np.unique(faces, return_inverse=True)
        vertices, faces = vertices[used], number.reshape(-1, 3).astype(np.int32)
    if not len(faces):
        raise InputError("scene", "no surface that enough views agree on", "Gaussians that views show",
                         "Pass more views, or lower --least-views.")  # fmt: skip
    color, label, share, weight = (v.numpy() for v in volume.sample(torch.from_numpy(vertices).float()))
    color = np.round(255 * color).clip(0, 255).astype(np.uint8)
    return LabelledMesh(vertices, faces, color, label, share, weight)


def marching_cubes(distance: np.ndarray, valid: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Vertices ``[V, 3]`` in voxels and faces ``[F, 3]`` of the zero crossing of ``distance [X, Y, Z]``.

    Faces are counter-clockwise seen from the positive side; cubes count whose eight corners are all ``valid``.
    """
    nothing = np.zeros((0, 3)), np.zeros((0, 3), dtype=np.int32)
    if min(distance.shape) < 2 or not (distance < 0).any() or not (distance > 0).any():
        return nothing
    mask = None
    if valid is not None:
        mask = np.zeros(distance.shape, dtype=bool)
        inner = np.ones(tuple(size - 1 for size in distance.shape), dtype=bool)
        for corner in range(8):
            x, y, z = ((corner >> axis) & 1 for axis in range(3))
            inner &= valid[x : x + inner.shape[0], y : y + inner.shape[1], z : z + inner.shape[2]]
        mask[1:, 1:, 1:] = inner  # scikit-image looks a cube up at its last corner
        if not mask.any():
            return nothing
    try:
        vertices, faces, _, _ = _measure().marching_cubes(distance, 0.0, mask=mask, allow_degenerate=False)
    except RuntimeError:  # no cube with a crossing
        return nothing
    return vertices.astype(np.float64), faces.astype(np.int32)


def _measure() -> ModuleType:
    try:
        from skimage import measure
    except ModuleNotFoundError as error:
        raise InputError("scikit-image", "not installed", "marching cubes from it",
                         "Install it with: pip install 'panoptic-gs[mesh]'") from error  # fmt: skip
    return measure


def _marching_cubes(volume: kernels.VoxelVolume, least_weight: float) -> tuple[np.ndarray, np.ndarray]:
    """The whole volume brick by brick; bricks share their outermost voxels, so their borders have the same vertices."""
    low, high = (bound.numpy() for bound in volume.bounds())
    parts, count = [], 0
    for x in range(int(low[0]) - 1, int(high[0]), _BRICK):
        for y in range(int(low[1]) - 1, int(high[1]), _BRICK):
            for z in range(int(low[2]) - 1, int(high[2]), _BRICK):
                size = [min(_BRICK + 1, int(high[axis]) + 1 - start) for axis, start in enumerate((x, y, z))]
                distance, weight = (v.numpy() for v in volume.copy((x, y, z), size))
                vertices, faces = marching_cubes(distance, weight >= least_weight)
                parts.append((vertices + np.array([x, y, z]), faces + count))
                count += len(vertices)
    vertices, faces = np.concatenate([p[0] for p in parts]), np.concatenate([p[1] for p in parts])
    # float32 coordinates within a brick are exact to 2⁻¹⁵ of a voxel; cubes without crossing corners differ by more.
    _, first, number = np.unique(np.round(vertices * 2**12).astype(np.int64), axis=0, return_index=True,
                                 return_inverse=True)  # fmt: skip
    faces = number.ravel()[faces]
    distinct = (faces[:, 0] != faces[:, 1]) & (faces[:, 1] != faces[:, 2]) & (faces[:, 2] != faces[:, 0])
    return vertices[first] * volume.voxel, faces[distinct].astype(np.int32)


def pieces(count: int, faces: np.ndarray) -> np.ndarray:
    """The connected piece ``[F]`` of each face, by shared vertices."""
    a, b = np.concatenate([faces[:, :2], faces[:, 1:]]).T
    joined = coo_matrix((np.ones(len(a), dtype=np.int8), (a, b)), shape=(count, count))
    return connected_components(joined, directed=False)[1][faces[:, 0]]


def face_areas(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Areas ``[F]``."""
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    return 0.5 * np.linalg.norm(np.cross(b - a, c - a), axis=1)


def _large_pieces(vertices: np.ndarray, faces: np.ndarray, least_area: float) -> np.ndarray:
    piece = pieces(len(vertices), faces)
    return np.bincount(piece, face_areas(vertices, faces))[piece] >= least_area
