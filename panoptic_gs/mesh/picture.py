# SPDX-License-Identifier: Apache-2.0
"""What cameras see of a mesh, drawn on the CPU with a depth buffer."""

from __future__ import annotations

import numpy as np

from panoptic_gs.camera import Camera
from panoptic_gs.mesh.surface import LabelledMesh

_NEAREST = 0.01  # in units of the scene; triangles that reach nearer than this are left out
_AT_ONCE = 2_000_000  # pixels of bounding boxes that are looked at in one go
_AMBIENT = 0.4


def visible_triangles(mesh: LabelledMesh, camera: Camera) -> tuple[np.ndarray, np.ndarray]:
    """The triangle that each pixel's centre sees, ``[H, W]`` int64, −1 for none, and its depth (z), ``[H, W]``.

    Edge functions (Pineda, A parallel algorithm for polygon rasterization, 1988) over the bounding box of every
    triangle, both of its sides; 1 / z is linear on the screen.

    Args:
        mesh: any triangles.
        camera: in the same frame.
    """
    viewmat, K = camera.viewmat.double().cpu().numpy(), camera.K.double().cpu().numpy()
    local = mesh.vertices @ viewmat[:3, :3].T + viewmat[:3, 3]
    z = local[:, 2]
    safe = np.where(z > _NEAREST, z, 1.0)
    screen = local[:, :2] / safe[:, None] * [K[0, 0], K[1, 1]] + [K[0, 2], K[1, 2]]
    rows = np.flatnonzero((z[mesh.faces] > _NEAREST).all(axis=1))
    corners = screen[mesh.faces[rows]]  # [F, 3, 2]
    # Pixel (i, j) has its centre at (i + 0.5, j + 0.5).
    low = np.ceil(corners.min(axis=1) - 0.5).astype(np.int64).clip(0)
    high = np.floor(corners.max(axis=1) - 0.5).astype(np.int64) + 1
    high = np.minimum(high, [camera.width, camera.height])
    size = (high - low).clip(0)
    count = size.prod(axis=1)
    kept = count > 0
    rows, corners, low, size, count = rows[kept], corners[kept], low[kept], size[kept], count[kept]
    inverse = 1 / z[mesh.faces[rows]]  # [F, 3]
    # A pixel keeps the largest 1 / z, then the highest number: both in one integer, of which the maximum is taken.
    best = np.full(camera.width * camera.height, -1, dtype=np.int64)
    ends = np.cumsum(count)
    start = 0
    while start < len(rows):
        stop = max(start + 1, int(np.searchsorted(ends, (ends[start - 1] if start else 0) + _AT_ONCE, side="right")))
        part = slice(start, stop)
        of = np.repeat(np.arange(start, stop), count[part])
        within = np.arange(len(of)) - np.repeat(ends[part] - count[part] - (ends[start] - count[start]), count[part])
        pixel = low[of] + np.stack([within % size[of, 0], within // size[of, 0]], axis=1)
        weights, area = _barycentric(corners[of], pixel + 0.5)
        inside = (weights >= 0).all(axis=1) & (np.abs(area) > 1e-12)
        of, pixel, weights = of[inside], pixel[inside], weights[inside]
        nearness = (weights * inverse[of]).sum(axis=1).astype(np.float32)
        key = nearness.view(np.int32).astype(np.int64) << 32 | of
        np.maximum.at(best, pixel[:, 1] * camera.width + pixel[:, 0], key)
        start = stop
    seen = best >= 0
    nearness = (best >> 32).astype(np.int32).view(np.float32)
    triangle = np.where(seen, rows[(best & 0xFFFFFFFF)[seen]][np.cumsum(seen) - 1] if seen.any() else -1, -1)
    depth = np.where(seen, 1 / np.where(seen, nearness, 1.0), np.inf)
    return triangle.reshape(camera.height, camera.width), depth.reshape(camera.height, camera.width)


def soft_normals(mesh: LabelledMesh) -> np.ndarray:
    """A unit normal ``[F, 3]`` a face: the mean of those around its corners, since single faces are bumpy."""
    a, b, c = (mesh.vertices[mesh.faces[:, k]] for k in range(3))
    cross = np.cross(b - a, c - a)
    around = np.zeros_like(mesh.vertices)
    for axis in range(3):
        for corner in range(3):
            around[:, axis] += np.bincount(mesh.faces[:, corner], cross[:, axis], len(mesh.vertices))
    normal = around[mesh.faces].sum(axis=1)
    return normal / np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-30)


def lit_triangles(mesh: LabelledMesh, camera: Camera, normals: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The triangle that each pixel sees, ``[H, W]``, −1 for none, and how light it is, ``[H, W]`` in 0 … 1.

    The light is where the camera is; both sides of a triangle are seen.

    Args:
        mesh: the triangles.
        camera: in the same frame.
        normals: ``[F, 3]`` of them, as :func:`soft_normals` gives them.
    """
    triangle, _ = visible_triangles(mesh, camera)
    light = np.zeros(triangle.shape)
    face = triangle[triangle >= 0]
    to_eye = camera.center.double().cpu().numpy() - mesh.vertices[mesh.faces[face]].mean(axis=1)
    cosine = np.abs((normals[face] * to_eye).sum(axis=1)) / np.maximum(np.linalg.norm(to_eye, axis=1), 1e-30)
    light[triangle >= 0] = _AMBIENT + (1 - _AMBIENT) * cosine
    return triangle, light


def _barycentric(corners: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The weights ``[P, 3]`` of a triangle's corners ``[P, 3, 2]`` at points ``[P, 2]``, and twice its signed area."""
    a, b, c = corners[:, 0], corners[:, 1], corners[:, 2]

    def cross(one: np.ndarray, other: np.ndarray) -> np.ndarray:
        return one[:, 0] * other[:, 1] - one[:, 1] * other[:, 0]

    area = cross(b - a, c - a)
    safe = np.where(np.abs(area) > 1e-12, area, 1.0)
    second, third = cross(points - a, c - a) / safe, cross(b - a, points - a) / safe
    return np.stack([1 - second - third, second, third], axis=1), area
