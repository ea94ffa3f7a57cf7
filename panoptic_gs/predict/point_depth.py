# SPDX-License-Identifier: Apache-2.0
"""Depth of each photo from the point maps of a multi-view network."""

from __future__ import annotations

import numpy as np

from panoptic_gs.predict.cameras import valid_points
from panoptic_gs.raw_predictions import RawPredictions


def has_depth(raw: RawPredictions) -> bool:
    """Whether the predictions have what depth is made of: point maps, their confidence, and cameras."""
    return all(part is not None for part in (raw.points, raw.confidence, raw.viewmats, raw.to_original))


def depth_of_view(raw: RawPredictions, index: int) -> tuple[np.ndarray, np.ndarray]:
    """Distance along z, and confidence, of a photo of which a network saw a crop.

    Args:
        raw: predictions that :func:`has_depth`.
        index: of the view.

    Returns:
        Depth in the unit of the points, and confidence, both ``[h, w]`` float32 in the photo's shape, about as fine as
        the network's input (nearest); 0 outside the crop, and where there is no point before the camera.
    """
    assert raw.points is not None
    assert raw.confidence is not None
    assert raw.viewmats is not None
    assert raw.to_original is not None
    points, confidence = raw.points[index].numpy(), raw.confidence[index].numpy()
    viewmat = raw.viewmats[index].double().numpy()
    depth = points @ viewmat[2, :3] + viewmat[2, 3]
    known = valid_points(points, confidence).reshape(depth.shape) & (depth > 0)
    depth, confidence = (np.where(known, values, 0).astype(np.float32) for values in (depth, confidence))

    crop, image = raw.to_original[index].double().numpy(), raw.images[index]
    height, width = (
        max(1, round(side / np.linalg.norm(crop[axis, :2]))) for side, axis in ((image.height, 1), (image.width, 0))
    )
    rows, columns = np.meshgrid((np.arange(height) + 0.5) * image.height / height,
                                (np.arange(width) + 0.5) * image.width / width, indexing="ij")  # fmt: skip
    inside = np.linalg.inv(crop) @ np.stack([columns.ravel(), rows.ravel(), np.ones(rows.size)])
    column, row = np.floor(inside[:2] / inside[2]).astype(np.int64)
    seen = (column >= 0) & (column < depth.shape[1]) & (row >= 0) & (row < depth.shape[0])
    found = np.zeros((2, height * width), np.float32)
    found[:, seen] = depth[row[seen], column[seen]], confidence[row[seen], column[seen]]
    return found[0].reshape(height, width), found[1].reshape(height, width)
