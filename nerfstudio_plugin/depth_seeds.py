# SPDX-License-Identifier: Apache-2.0
"""Dense seed points from depth maps, each view's depth brought to the scene's scale by its sparse points."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nerfstudio_plugin.depth import ReadDepth
from panoptic_gs.camera import Camera
from panoptic_gs.datasets.seed_points import points_from_depth
from panoptic_gs.predict.seed_points import thinned
from panoptic_gs.scene import Frame, Points

MOST_VIEWS = 100
"""Depth of at most so many views, evenly chosen, becomes seed points."""

_BIN = 0.02  # of the logarithm of a ratio
_NEAR = 0.1
_LEAST = 30


def seeds_from_depth(
    frames: Sequence[Frame], read: ReadDepth, sparse: Points | None, count: int, scale: float
) -> tuple[Points, np.ndarray]:
    """Evenly spread points of the surfaces that depth maps show, with the photos' colours.

    Args:
        frames: the training photos.
        read: their depth.
        sparse: the scene's own points; with few, or without any, all depth has one scale.
        count: most points to give.
        scale: units of the scene for a unit of depth where sparse points do not say.

    Returns:
        The points, and the scale of each view whose sparse points did say.
    """
    step = max(1, len(frames) // MOST_VIEWS)
    found = [(frame, given["depth"]) for frame in frames[::step] if "depth" in (given := read(frame))]
    depths = [frame.fit_labels(depth) for frame, depth in found]
    scales = np.array([np.nan if sparse is None else view_scale(frame.camera, depth, sparse[0])
                       for (frame, _), depth in zip(found, depths, strict=True)])  # fmt: skip
    known = scales[np.isfinite(scales)]
    scales = np.where(np.isfinite(scales), scales, np.median(known) if len(known) else scale)
    rng = np.random.default_rng(0)
    a_view = -(-4 * count // max(1, len(found)))
    parts = [points_from_depth(frame.camera, frame.read_image(), own * depth, a_view, rng)
             for (frame, _), depth, own in zip(found, depths, scales, strict=True)]  # fmt: skip
    if not parts:
        return (np.zeros((0, 3), np.float32), np.zeros((0, 3), np.uint8)), known
    xyz, rgb = (np.concatenate([part[which] for part in parts]) for which in (0, 1))
    shuffled = rng.permutation(len(xyz))  # so that no view is preferred
    kept = shuffled[thinned(xyz[shuffled], count)]
    return (xyz[kept], rgb[kept]), known


def view_scale(camera: Camera, depth: np.ndarray, points: np.ndarray) -> float:
    """What takes a view's depth ``[H, W]`` to the scene's: the ratio that most sparse points in view agree on.

    Points that something hides from the view lie behind its depth, each by a ratio of its own, so the mode is taken
    where a median would follow them. NaN where fewer than 30 points agree.
    """
    viewmat, K = camera.viewmat.double().numpy(), camera.K.double().numpy()
    seen = points.astype(np.float64) @ viewmat[:3, :3].T + viewmat[:3, 3]
    seen = seen[seen[:, 2] > 0]
    column, row = np.floor(seen[:, :2] / seen[:, 2:] * [K[0, 0], K[1, 1]] + K[:2, 2]).T
    inside = (column >= 0) & (column < depth.shape[1]) & (row >= 0) & (row < depth.shape[0])
    there = depth[row[inside].astype(np.int64), column[inside].astype(np.int64)]
    ratio = np.log(seen[inside, 2][there > 0]) - np.log(there[there > 0])
    if len(ratio) < _LEAST:
        return float("nan")
    counts = np.bincount(np.floor((ratio - ratio.min()) / _BIN).astype(np.int64))
    peak = ratio.min() + _BIN * (np.convolve(counts, np.ones(5), "same").argmax() + 0.5)
    agreeing = ratio[np.abs(ratio - peak) < _NEAR]
    return float(np.exp(np.median(agreeing))) if len(agreeing) >= _LEAST else float("nan")
