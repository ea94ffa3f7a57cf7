# SPDX-License-Identifier: Apache-2.0
"""A sheet of what the network makes of some views: photo, found and true segments, found and true depth."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch.nn import functional

from panoptic_gs.labelling import Labelling
from panoptic_gs.network.data.views import SceneViews
from panoptic_gs.network.inference import predict_views
from panoptic_gs.network.model import PanopticNetwork
from panoptic_gs.palette import colorized, colors_of
from panoptic_gs.panoptic import Category, Segment
from panoptic_gs.predict.keyframes import Keyframes


def sheet(network: PanopticNetwork, views: SceneViews, classes: Sequence[str] | None = None) -> np.ndarray:
    """Rows of views ``[H, W, 3]`` uint8; a pixel's segment is the query of the largest class × mask probability."""
    names = views.classes if classes is None else tuple(classes)
    output = predict_views(network, list(views.images), names, Keyframes(max(2, len(views))))
    score, _ = output.class_logits.sigmoid().max(1)
    colors = _colors(max(len(score), int(views.segments.max())) + 1)
    assert output.points_local is not None
    near, far = np.quantile(views.depth[views.depth > 0], (0.02, 0.98)) if (views.depth > 0).any() else (0.0, 1.0)
    local = torch.stack(list(output.points_local))[..., 2].numpy()
    known = views.depth > 0
    scale = np.median(views.depth[known] / local[known].clip(1e-6)) if known.any() else 1.0
    rows = []
    for index in range(len(views)):
        height, width = views.depth.shape[1:]
        masks = functional.interpolate(
            output.mask_logits[index][None].float(), (height, width), mode="bilinear", align_corners=False
        )[0]
        weighted = score[:, None, None] * masks.sigmoid()
        best, query = weighted.max(0)
        ids = np.where(best.numpy() > 0.05, query.numpy() + 1, 0)
        rows.append(np.concatenate([
            views.images[index], colorized(ids, colors), colorized(views.segments[index].astype(np.int64), colors),
            _grey(scale * local[index], near, far), _grey(views.depth[index], near, far),
        ], axis=1))  # fmt: skip
    return np.concatenate(rows)


def _grey(depth: np.ndarray, near: float, far: float) -> np.ndarray:
    value = np.clip(1 - (depth - near) / max(far - near, 1e-6), 0, 1)
    return np.repeat(np.round(255 * value).astype(np.uint8)[..., None], 3, axis=2)


def _colors(count: int) -> dict[int, tuple[int, int, int]]:
    segments = tuple(Segment(index, 1) for index in range(1, count + 1))
    return dict(colors_of(Labelling((Category(1, "any", True),), segments)))
