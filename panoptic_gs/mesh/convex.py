# SPDX-License-Identifier: Apache-2.0
"""Convex pieces: solids taken apart, pieces of two objects cut apart, and what lies under a piece."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import linprog
from scipy.spatial import ConvexHull, HalfspaceIntersection, QhullError

from panoptic_gs.errors import InputError
from panoptic_gs.mesh.surface import LabelledMesh

_LEAST_EXTENT = 1e-3  # metres; a piece must have more inside


@dataclass(frozen=True, eq=False)
class Piece:
    """A convex body.

    Args:
        vertices: ``[V, 3]`` its corners.
        faces: ``[F, 3]`` counter-clockwise seen from outside.
        planes: ``[H, 4]`` unit normals and offsets, n · x + d ≤ 0 inside.
        volume: of it.
    """

    vertices: np.ndarray
    faces: np.ndarray
    planes: np.ndarray
    volume: float

    @classmethod
    def around(cls, points: np.ndarray) -> Piece | None:
        """The convex hull of points ``[P, 3]``, or None where they lie in a plane."""
        if len(points) < 4:
            return None
        try:
            hull = ConvexHull(points)
        except QhullError:
            return None
        used, number = np.unique(hull.simplices, return_inverse=True)
        faces = number.reshape(-1, 3).astype(np.int32)
        vertices = points[used]
        a, b, c = (vertices[faces[:, k]] for k in range(3))
        inward = (np.cross(b - a, c - a) * hull.equations[:, :3]).sum(axis=1) < 0
        faces[inward] = faces[inward][:, ::-1]
        planes = np.unique(np.round(hull.equations, 9), axis=0)
        return cls(vertices, faces, planes, float(hull.volume))

    @property
    def center(self) -> np.ndarray:
        """The centroid ``[3]``: that of the tetrahedra between its faces and a point inside."""
        inside = self.vertices.mean(axis=0)
        a, b, c = (self.vertices[self.faces[:, k]] - inside for k in range(3))
        volumes = (a * np.cross(b, c)).sum(axis=1)
        return inside + volumes @ (a + b + c) / (4 * volumes.sum())

    def clipped(self, normal: np.ndarray, offset: float) -> Piece | None:
        """The part with ``normal · x ≤ offset``, or None where there is hardly any."""
        side = self.vertices @ normal - offset
        if side.max() <= 1e-9:
            return self
        planes = np.concatenate([self.planes, [[*normal, -offset]]])
        return _intersection(planes)

    def moved(self, step: np.ndarray) -> Piece:
        """The piece somewhere else."""
        planes = self.planes.copy()
        planes[:, 3] -= planes[:, :3] @ step
        return Piece(self.vertices + step, self.faces, planes, self.volume)

    def top_over(self, points: np.ndarray) -> np.ndarray:
        """The height (z) ``[P]`` of its upper side over ground points ``[P, 2]``; −∞ beside it."""
        n, d = self.planes[:, :3], self.planes[:, 3]
        at = points @ n[:, :2].T + d
        upper, lower = n[:, 2] > 1e-9, n[:, 2] < -1e-9
        top = (-at[:, upper] / n[upper, 2]).min(axis=1) if upper.any() else np.full(len(points), np.inf)
        bottom = (-at[:, lower] / n[lower, 2]).max(axis=1) if lower.any() else np.full(len(points), -np.inf)
        beside = (at[:, ~(upper | lower)] > 1e-9).any(axis=1)
        return np.where((top >= bottom) & ~beside, top, -np.inf)


def convex_pieces(mesh: LabelledMesh, most: int, threshold: float = 0.08) -> list[Piece]:
    """Convex pieces of a closed mesh by CoACD, with a fixed seed.

    Wei et al., Approximate convex decomposition for 3D meshes with collision-aware concavity and tree search, 2022.

    Args:
        mesh: closed.
        most: pieces.
        threshold: concavity that is left.

    Raises:
        InputError: coacd is not installed.
    """
    try:
        import coacd
    except ModuleNotFoundError as error:
        raise InputError("coacd", "not installed", "convex pieces from it",
                         "Install it with: pip install 'panoptic-gs[mesh]'") from error  # fmt: skip
    coacd.set_log_level("error")
    parts = coacd.run_coacd(
        coacd.Mesh(mesh.vertices, mesh.faces), threshold=threshold, max_convex_hull=most, preprocess_mode="auto",
        preprocess_resolution=20, resolution=300, mcts_nodes=8, mcts_iterations=20, mcts_max_depth=1, seed=0,
        max_ch_vertex=64, decimate=True,
    )  # fmt: skip
    found = [Piece.around(np.asarray(vertices, dtype=np.float64)) for vertices, _ in parts]
    return [piece for piece in found if piece is not None]


def cut_apart(one: Piece, other: Piece, gap: float, share: float = 0.5) -> tuple[Piece | None, Piece | None] | None:
    """Two pieces that overlap, cut at the plane of least overlap, ``gap`` apart; None where they do not overlap.

    The plane is parallel to one of their faces (the face cases of the separating axis theorem), in the middle of the
    overlap, or where the other piece loses ``share`` of it; a piece that loses nothing stays as it is.
    """
    normals = np.concatenate([one.planes[:, :3], -other.planes[:, :3]])
    overlap = (one.vertices @ normals.T).max(axis=0) - (other.vertices @ normals.T).min(axis=0)
    best = int(overlap.argmin())
    if overlap[best] <= gap or not _meet(one, other):
        return None
    normal = normals[best]
    middle = float((one.vertices @ normal).max() - (1 - share) * overlap[best])
    return one.clipped(normal, middle - (1 - share) * gap), other.clipped(-normal, -middle - share * gap)


def _meet(one: Piece, other: Piece) -> bool:
    found = _inner_point(np.concatenate([one.planes, other.planes]))
    return found is not None and found[1] > 0.5 * _LEAST_EXTENT


def _inner_point(planes: np.ndarray) -> tuple[np.ndarray, float] | None:
    """The centre and radius of the largest ball in half-spaces of unit normals."""
    planes = planes / np.linalg.norm(planes[:, :3], axis=1, keepdims=True)
    A = np.concatenate([planes[:, :3], np.ones((len(planes), 1))], axis=1)
    result = linprog([0, 0, 0, -1.0], A_ub=A, b_ub=-planes[:, 3], bounds=[(None, None)] * 3 + [(0, None)])
    if result.status != 0:
        return None
    return result.x[:3], float(result.x[3])


def _intersection(planes: np.ndarray) -> Piece | None:
    found = _inner_point(planes)
    if found is None or found[1] < 0.5 * _LEAST_EXTENT:
        return None
    try:
        return Piece.around(HalfspaceIntersection(planes, found[0]).intersections)
    except QhullError:
        return None
