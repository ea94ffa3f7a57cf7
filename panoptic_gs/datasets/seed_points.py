# SPDX-License-Identifier: Apache-2.0
"""Seed points from depth or from a mesh, evenly thinned."""

from __future__ import annotations

import numpy as np

from panoptic_gs.camera import Camera

Points = tuple[np.ndarray, np.ndarray]
"""Positions ``[P, 3]`` float32 in the world and colours ``[P, 3]`` uint8."""


def points_from_depth(
    camera: Camera, rgb: np.ndarray, depth: np.ndarray, count: int, rng: np.random.Generator
) -> Points:
    """Back-project at most ``count`` randomly chosen pixels that have a depth.

    Args:
        camera: the photo's.
        rgb: ``[H, W, 3]`` uint8 photo.
        depth: ``[h, w]`` metres along the camera's z axis, 0 = none; of any size, it covers the whole photo.
        count: most points to give.
        rng: chooses the pixels.
    """
    height, width = depth.shape
    pixels = np.flatnonzero(np.isfinite(depth) & (depth > 0))
    pixels = rng.choice(pixels, min(count, len(pixels)), replace=False)
    row, column = np.divmod(pixels, width)
    # The photo's own intrinsics, at the place of the depth pixel's centre in it.
    x, y = (column + 0.5) * (camera.width / width), (row + 0.5) * (camera.height / height)
    K, viewmat = camera.K.double().numpy(), camera.viewmat.double().numpy()
    z = depth.reshape(-1)[pixels].astype(np.float64)
    local = np.stack([(x - K[0, 2]) / K[0, 0] * z, (y - K[1, 2]) / K[1, 1] * z, z], axis=1)
    positions = (local - viewmat[:3, 3]) @ viewmat[:3, :3]
    return positions.astype(np.float32), rgb[y.astype(np.int64), x.astype(np.int64)]


def points_from_mesh(
    vertices: np.ndarray, faces: np.ndarray, colors: np.ndarray, count: int, rng: np.random.Generator
) -> Points:
    """Points spread evenly over a mesh by area, with interpolated vertex colours.

    Args:
        vertices: ``[V, 3]``.
        faces: ``[F, 3]`` vertex indices.
        colors: ``[V, 3]`` uint8.
        count: points to give; they are thinned by :func:`thin_evenly`.
        rng: chooses the points.
    """
    corners = vertices[faces].astype(np.float64)
    area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
    if not area.sum() > 0:
        return np.zeros((0, 3), np.float32), np.zeros((0, 3), np.uint8)
    chosen = rng.choice(len(faces), 4 * count, p=area / area.sum())
    u, v = rng.random((2, 4 * count, 1))
    fold = u + v > 1
    u, v = np.where(fold, 1 - u, u), np.where(fold, 1 - v, v)
    a, b, c = corners[chosen].transpose(1, 0, 2)
    p, q, r = colors[faces[chosen]].astype(np.float64).transpose(1, 0, 2)
    xyz, rgb = a + u * (b - a) + v * (c - a), p + u * (q - p) + v * (r - p)
    return thin_evenly(xyz.astype(np.float32), np.rint(rgb).astype(np.uint8), count, rng)


def thin_evenly(xyz: np.ndarray, rgb: np.ndarray, count: int, rng: np.random.Generator) -> Points:
    """At most ``count`` of the points, so that near and far surfaces are covered alike.

    One point stays in each cell of a grid (2 cm at first) that is made coarser until the count is met.
    """
    shuffled = rng.permutation(len(xyz))
    xyz, rgb = xyz[shuffled], rgb[shuffled]
    if not len(xyz):
        return xyz, rgb
    cell = 0.02
    while True:
        kept = _one_per_cell(xyz, cell)
        if len(kept) <= 1.15 * count:
            break
        cell *= 1.12
    kept = kept[rng.permutation(len(kept))[:count]]
    return xyz[kept], rgb[kept]


def _one_per_cell(xyz: np.ndarray, cell: float) -> np.ndarray:
    index = np.floor((xyz - xyz.min(0)) / cell).astype(np.int64)
    key = (index[:, 0] << 42) | (index[:, 1] << 21) | index[:, 2]
    return np.unique(key, return_index=True)[1]
