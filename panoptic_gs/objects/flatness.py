# SPDX-License-Identifier: Apache-2.0
"""Flat objects: which way their surface faces, how blurred it is, and where it ends.

Gaussians lie before and behind the surface that they show, by some centimetres in a room. A chair is larger than that;
a door, a window or a picture is not, and would be as thick as it is blurred.
"""

from __future__ import annotations

import numpy as np
from scipy.spatial import KDTree

from panoptic_gs.objects.quantiles import quantiles

_SAMPLE = 4000  # points that planes are fitted to
_PATCHES = 400  # planes
_PATCHES_OF = (0.04, 0.1, 0.2)  # of the points in each, and at least:
_LEAST = 24
_SHEET = 0.2  # of its width, at which the middle two thirds of what larger patches find flat may be thick
_FACING = 0.85  # cosine between a plane's normal and the axis that it faces
_FLAT = 0.6  # of an object's weight that faces one way where it is flat
_REACH = 4.0  # standard deviations from its end within which a surface must lie
_LEVEL = 0.5  # of the density at the surface, at which it ends


def flat_axis(local: np.ndarray, weights: np.ndarray) -> tuple[int, float] | None:
    """The axis that three fifths of a surface face, and how blurred it is; None where it faces several ways.

    Planes are fitted to neighbours all over it. Those that face the axis say how far points lie off, by
    their median. Where the surface is blurred by as much as a patch is wide, as a black screen's, its planes face
    anywhere; so what is a sheet as a whole is asked by larger patches, too.

    Args:
        local: ``[N, 3]`` points in the axes of a box.
        weights: ``[N]``.

    Returns:
        The axis, and the standard deviation of the points along it in world units.
    """
    step = -(-len(local) // _SAMPLE)
    local, weights = local[::step], weights[::step]
    if len(local) < _LEAST:
        return None
    tree = KDTree(local)
    at = np.unique(np.linspace(0, len(local) - 1, _PATCHES).astype(np.int64))
    for share in _PATCHES_OF:
        near = np.asarray(tree.query(local[at], max(_LEAST, int(share * len(local))))[1])
        found = _facing(local[near], weights[near], weights[at])
        if found is not None:
            return found if share == _PATCHES_OF[0] or _is_sheet(local, weights, found[0]) else None
    return None


def _facing(points: np.ndarray, counts: np.ndarray, weights: np.ndarray) -> tuple[int, float] | None:
    """The axis that three fifths of patches face, and the blur of these; None where there is none.

    Args:
        points, counts: ``[Q, K, 3]``, ``[Q, K]`` of each patch.
        weights: ``[Q]`` of the patches.
    """
    share = counts / (counts.sum(axis=1, keepdims=True) + 1e-30)
    offset = points - np.einsum("qk,qki->qi", share, points)[:, None]
    variance, normals = np.linalg.eigh(np.einsum("qk,qki,qkj->qij", share, offset, offset))
    faces = np.abs(normals[:, :, 0]) >= _FACING
    facing = weights @ faces
    axis = int(facing.argmax())
    if not facing[axis] >= _FLAT * weights.sum() > 0:
        return None
    return axis, float(np.sqrt(np.median(variance[faces[:, axis], 0]).clip(0)))


def _is_sheet(local: np.ndarray, weights: np.ndarray, axis: int) -> bool:
    """Whether the middle two thirds of the points are much less wide along an axis than along both others."""
    middle = np.array([1 / 6, 5 / 6])
    width = np.array([np.ptp(quantiles(values, weights, middle)) for values in local.T])
    return bool(width[axis] <= _SHEET * np.delete(width, axis).min())


def sharp_ends(values: np.ndarray, weights: np.ndarray, ends: tuple[float, float], blur: float) -> tuple[float, float]:
    """Where a blurred surface ends along the axis that it faces.

    From each end inwards: where the density first reaches half of the largest within four standard deviations. For a
    slab much thicker than its blur that is its face, for a sheet the width of the blur at half its height.

    Args:
        values: ``[N]`` positions along the axis.
        weights: ``[N]``.
        ends: from where to where the object reaches, blur included.
        blur: standard deviation of the values about the surface.
    """
    low, high = ends
    if not blur > 1e-6 * (high - low) > 0:
        return ends
    width = max(blur / 4, (high - low) / 400)
    edges = np.arange(low - 2.5 * width, high + 3.5 * width, width)
    density = np.convolve(np.histogram(values, edges, weights=weights)[0], [0.25, 0.5, 0.25], "same")
    middles = 0.5 * (edges[1:] + edges[:-1])
    reach = int(np.ceil(_REACH * blur / width)) + 2
    first = max(low, _rise(density, middles, reach))
    last = min(high, _rise(density[::-1], middles[::-1], reach))
    return (first, last) if first < last else ends


def _rise(density: np.ndarray, at: np.ndarray, reach: int) -> float:
    """Where the density first reaches half of its maximum in the first ``reach`` bins, between their middles."""
    level = _LEVEL * density[:reach].max()
    bin_ = int((density >= level).argmax())
    if bin_ == 0 or not level > 0:
        return float(at[0])
    part = (level - density[bin_ - 1]) / (density[bin_] - density[bin_ - 1])
    return float(at[bin_ - 1] + part * (at[bin_] - at[bin_ - 1]))
