# SPDX-License-Identifier: Apache-2.0
"""Triangle meshes of scanned rooms and their exact rasterisation into pinhole cameras.

Visibility is decided at pixel centres with homogeneous edge functions (Olano and Greer 1997, "Triangle scan conversion
using 2D homogeneous coordinates"): triangles that reach behind the camera need no clipping, depth is that of the
triangle's plane, and two triangles that share an edge leave neither gap nor overlap.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from plyfile import PlyData, PlyElementParseError, PlyParseError

from panoptic_gs.camera import Camera
from panoptic_gs.errors import InputError
from panoptic_gs.ply import read_header

NEAR = 0.01
"""Surfaces nearer to the camera than this are not seen, metres."""

_FRAGMENTS_AT_ONCE = 500_000


@dataclass(frozen=True, eq=False)
class TriangleMesh:
    """Vertices ``[V, 3]`` float32 in the world, faces ``[F, 3]`` int64, colours ``[V, 3]`` uint8 or None."""

    vertices: np.ndarray
    faces: np.ndarray
    colors: np.ndarray | None = None


def read_mesh(path: Path | str) -> TriangleMesh:
    """Read a triangle mesh from a binary or text PLY.

    Raises:
        InputError: no such file, no PLY, truncated, no faces, faces that are no triangles or that name vertices which
            are not there, positions that are not finite.
    """
    path = Path(path)
    expected = "a PLY of a triangle mesh"
    mend = "Download the mesh again; it may be truncated or of another kind."
    known = {"face": {"vertex_indices": 3, "vertex_index": 3}}
    try:
        read_header(path, expected)
    except InputError as error:
        if path.is_file():
            found = f"a file that cannot be read as a triangle mesh: {error.found}"
            raise InputError(path, found, expected, mend) from error
        raise
    try:
        data = PlyData.read(str(path), known_list_len=known)  # pyright: ignore[reportArgumentType] (annotated as str)
        vertices, faces = data["vertex"].data, data["face"].data
        names = vertices.dtype.names or ()
        positions = np.stack([np.asarray(vertices[name], np.float32) for name in "xyz"], axis=-1)
        lists = next(faces[name] for name in ("vertex_indices", "vertex_index") if name in faces.dtype.names)
        corners = np.array(lists.tolist() if lists.dtype == object else lists, dtype=np.int64)
    except FileNotFoundError as error:
        raise InputError(path, "no such file", expected, "Check the path.") from error
    except (PlyParseError, PlyElementParseError, KeyError, ValueError, OSError, StopIteration) as error:
        raise InputError(path, f"a file that cannot be read as a triangle mesh ({error})", expected, mend) from error
    if corners.ndim != 2 or corners.shape[1] != 3 or not len(corners):
        raise InputError(path, f"{len(corners)} faces that are no triangles", expected, mend)
    if corners.min() < 0 or corners.max() >= len(positions):
        raise InputError(path, f"a face with vertex {corners.max()} of {len(positions)}", expected, mend)
    if not np.isfinite(positions).all():
        raise InputError(path, "NaN or infinite vertices", "finite positions", mend)
    colors = None
    if {"red", "green", "blue"} <= set(names):
        colors = np.stack([np.asarray(vertices[name], np.uint8) for name in ("red", "green", "blue")], axis=-1)
    return TriangleMesh(positions, corners, colors)


def rasterize_mesh(mesh: TriangleMesh, camera: Camera, near: float = NEAR) -> tuple[np.ndarray, np.ndarray]:
    """Which triangle each pixel's centre sees, from both sides.

    Args:
        mesh: the surfaces.
        camera: the pinhole camera.
        near: nothing nearer than this is seen, world units.

    Returns:
        Face index ``[H, W]`` int64, −1 where no surface is seen, and depth ``[H, W]`` float32 along the camera's z
        axis, 0 where no surface is seen.
    """
    width, height = camera.width, camera.height
    viewmat, K = camera.viewmat.double().numpy(), camera.K.double().numpy()
    # Homogeneous pixel coordinates: (column · z, row · z, z).
    projected = (mesh.vertices @ viewmat[:3, :3].T + viewmat[:3, 3]) @ K.T
    triangles = _Triangles.setup(projected, mesh.faces, width, height, near)

    # The largest key wins: the bits of a positive float32 sort as the number does, here 1/z; the low half is the face.
    keys = np.zeros(width * height, dtype=np.int64)
    ends = np.cumsum(triangles.count)
    start, done = 0, 0
    while start < len(ends):
        stop = max(start + 1, int(np.searchsorted(ends, done + _FRAGMENTS_AT_ONCE // 8, side="right")))
        _draw(keys, triangles, start + np.flatnonzero(triangles.count[start:stop]), width, near)
        start, done = stop, int(ends[stop - 1])
    hit = keys > 0
    inverse = (keys >> 32).astype(np.int32).view(np.float32)
    depth = np.zeros(keys.shape, np.float32)
    np.divide(1.0, inverse, out=depth, where=hit)
    face = np.where(hit, keys & 0xFFFFFFFF, -1)
    return face.reshape(height, width), depth.reshape(height, width)


@dataclass(frozen=True, eq=False)
class _Triangles:
    """Triangles that may be seen, with what decides which pixels they hold and how far away they are there."""

    face: np.ndarray  # [T] index in the mesh
    edges: np.ndarray  # [T, 3 edges, 3] · (column, row, 1) is positive inside
    inverse_depth: np.ndarray  # [T, 3] · (column, row, 1) is 1/z
    crossing: np.ndarray  # [T] bool, whether the near plane cuts it
    first: np.ndarray  # [T] the first row
    count: np.ndarray  # [T] and the number of rows

    @classmethod
    def setup(cls, projected: np.ndarray, faces: np.ndarray, width: int, height: int, near: float) -> _Triangles:
        """Of vertices ``[V, 3]`` in homogeneous pixel coordinates and faces ``[F, 3]``."""
        face = np.flatnonzero(_may_be_seen(projected, faces, width, height, near))
        a, b, c = (projected[faces[face, corner]] for corner in range(3))
        edges = np.stack([_cross(b, c), _cross(c, a), _cross(a, b)], axis=1)
        volume = np.einsum("ti,ti->t", a, edges[:, 0])
        edges *= np.sign(volume)[:, None, None]
        with np.errstate(divide="ignore", invalid="ignore"):
            inverse_depth = (edges[:, 0] + edges[:, 1] + edges[:, 2]) / np.abs(volume)[:, None]
        z = np.stack([a[:, 2], b[:, 2], c[:, 2]], axis=1)
        crossing = z.min(1) < near
        rows = np.stack([a[:, 1], b[:, 1], c[:, 1]], axis=1) / np.where(crossing[:, None], 1.0, z)
        first = np.where(crossing, 0, np.clip(np.ceil(rows.min(1) - 0.5), 0, height)).astype(np.int64)
        last = np.where(crossing, height, np.clip(np.floor(rows.max(1) - 0.5) + 1, 0, height)).astype(np.int64)
        count = np.where(np.abs(volume) > 0, np.maximum(last - first, 0), 0)
        return cls(face, edges, inverse_depth, crossing, first, count)


def _draw(keys: np.ndarray, triangles: _Triangles, part: np.ndarray, width: int, near: float) -> None:
    """Draw the triangles ``part``: each row's span from the edge functions, then each span's pixels."""
    triangle, step = _expand(part, triangles.count[part])
    row = triangles.first[triangle] + step
    y = row + 0.5
    low, high = np.zeros(len(row)), np.full(len(row), float(width))
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        for edge in range(3):
            slope, downwards, constant = triangles.edges[triangle, edge].T
            offset = downwards * y + constant
            # A horizontal edge through the pixel's centre: only the triangle below it holds the pixel.
            offset[(slope == 0) & (offset == 0) & (downwards < 0)] = -1
            _bound(low, high, slope, offset)
        slope, downwards, constant = triangles.inverse_depth[triangle].T
        offset = downwards * y + constant
        clipped = np.flatnonzero(triangles.crossing[triangle])
        if len(clipped):
            low_, high_ = low[clipped], high[clipped]
            _bound(low_, high_, -slope[clipped], 1 / near - offset[clipped])
            low[clipped], high[clipped] = low_, high_
    left = np.ceil(low - 0.5).astype(np.int64)
    pixels = np.maximum(np.ceil(high - 0.5).astype(np.int64) - left, 0)
    ends = np.cumsum(pixels)
    start, done = 0, 0
    while start < len(pixels):
        stop = max(start + 1, int(np.searchsorted(ends, done + _FRAGMENTS_AT_ONCE, side="right")))
        span, step = _expand(np.arange(start, stop), pixels[start:stop])
        column = left[span] + step
        inverse = offset[span] + slope[span] * (column + 0.5)
        key = inverse.astype(np.float32).view(np.int32).astype(np.int64) << 32 | triangles.face[triangle[span]]
        np.maximum.at(keys, row[span] * width + column, key)
        start, done = stop, int(ends[stop - 1])


def _bound(low: np.ndarray, high: np.ndarray, slope: np.ndarray, offset: np.ndarray) -> None:
    """Narrow ``low ≤ x < high`` to where ``slope · x + offset ≥ 0``."""
    crossing = np.nan_to_num(-offset / slope)
    np.maximum(low, crossing, out=low, where=slope > 0)
    np.minimum(high, crossing, out=high, where=slope < 0)
    np.copyto(high, low, where=(slope == 0) & (offset < 0))
    np.maximum(high, low, out=high)


def _expand(items: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each item ``counts`` times, and the number 0, 1, … within its item."""
    repeated = np.repeat(items, counts)
    step = np.arange(len(repeated)) - np.repeat(np.cumsum(counts) - counts, counts)
    return repeated, step


def _cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Cross products whose sign flips exactly with the order, so that neighbours agree on their common edge."""
    ax, ay, az, bx, by, bz = *a.T, *b.T
    return np.stack([ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx], axis=-1)


def _may_be_seen(projected: np.ndarray, faces: np.ndarray, width: int, height: int, near: float) -> np.ndarray:
    """Faces ``[F]`` that do not lie wholly outside one plane of the view frustum."""
    x, y, z = projected.T
    outside = np.stack([x < 0, x > width * z, y < 0, y > height * z, z < near])
    codes = np.packbits(outside, axis=0)[0]
    return (codes[faces[:, 0]] & codes[faces[:, 1]] & codes[faces[:, 2]]) == 0
