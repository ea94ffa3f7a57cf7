# SPDX-License-Identifier: Apache-2.0
"""What the uplifted labels are compared with, from the same predictions and the same Gaussians."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from benchmarks.quality.command import require_known
from panoptic_gs.backends import RasterizeMode
from panoptic_gs.camera import Camera
from panoptic_gs.metrics.points import back_project
from panoptic_gs.rasterize import rasterization
from panoptic_gs.splats import Splats
from panoptic_gs.uplift import GaussianLabels

BASELINES = ("nearest-view", "average", "hard-labels", "dense-eq7")
DEPTH_TOLERANCE = 0.05
"""A point is seen in a view whose depth map differs from the point's depth by at most this share."""


def require_baselines(names: Sequence[str]) -> None:
    """Check the names of baselines.

    Raises:
        InputError: there is no such one.
    """
    require_known("--baselines", names, BASELINES)


@dataclass(frozen=True, eq=False)
class SourceView:
    """A training view with the predicted labels that are carried over."""

    camera: Camera
    depth: np.ndarray
    """``[H, W]`` along z, 0 = none."""
    labels: np.ndarray
    """``[H, W]`` ids, 0 = void."""


def view_distance(target: Camera, source: Camera, depth: float) -> float:
    """How far two views are apart: the angle between the optical axes in radians, plus the distance of the centres
    divided by ``depth``, the target's mean depth."""
    cosine = float((target.viewmat[2, :3].double() @ source.viewmat[2, :3].double()).clamp(-1, 1))
    return float(np.arccos(cosine)) + float((target.center - source.center).norm()) / depth


def nearest_view_labels(target: Camera, depth: np.ndarray, sources: Sequence[SourceView]) -> np.ndarray:
    """Predicted labels carried over to a new view by depth, without fusing anything in 3D.

    The surface point that a pixel's centre shows is projected into the sources. The pixel takes the label of the first
    source that labels the point: it projects into the image, and the depth map there agrees with its depth within
    :data:`DEPTH_TOLERANCE`.

    Args:
        target: the new view.
        depth: ``[H, W]`` of the new view, along z, 0 = none.
        sources: the training views, the nearest first (:func:`view_distance`).

    Returns:
        ``[H, W]`` int64 ids, 0 where no source labels the point.
    """
    labels = np.zeros(depth.shape, dtype=np.int64)
    pending = np.flatnonzero(depth > 0)
    points = back_project(target, depth).reshape(-1, 3)
    for source in sources:
        if pending.size == 0:
            break
        viewmat, K = source.camera.viewmat.double().cpu().numpy(), source.camera.K.double().cpu().numpy()
        local = points[pending] @ viewmat[:3, :3].T + viewmat[:3, 3]
        z = np.maximum(local[:, 2], 1e-9)
        columns = np.floor(local[:, 0] / z * K[0, 0] + K[0, 2])
        rows = np.floor(local[:, 1] / z * K[1, 1] + K[1, 2])
        height, width = source.labels.shape
        inside = (local[:, 2] > 0) & (columns >= 0) & (columns < width) & (rows >= 0) & (rows < height)
        seen = np.flatnonzero(inside)
        row, column = rows[seen].astype(np.int64), columns[seen].astype(np.int64)
        agrees = np.abs(source.depth[row, column] - z[seen]) <= DEPTH_TOLERANCE * z[seen]
        found = np.where(agrees, source.labels[row, column], 0)
        labels.reshape(-1)[pending[seen]] = found
        settled = np.zeros(pending.size, dtype=bool)
        settled[seen] = found > 0
        pending = pending[~settled]
    return labels


def hard_labels(labels: GaussianLabels) -> GaussianLabels:
    """The same labels with only the strongest one of each Gaussian, at full weight."""
    segment, _ = labels.best()
    labelled = segment > 0
    indptr = torch.cat([labelled.new_zeros(1).long(), labelled.long().cumsum(0)])
    ids = segment[labelled].int()
    return GaussianLabels(indptr, ids, torch.ones(len(ids), device=ids.device), labels.total, labels.void)


def dense_labels(labels: GaussianLabels) -> tuple[Tensor, Tensor]:
    """Labels as a dense matrix ``[N, L]`` float32 and the ids ``[L]`` int64 of its columns, 0 = void."""
    known, rank = labels.ranks
    dense = torch.zeros(len(labels), max(len(known), 1), device=labels.device)
    dense[labels.rows(), rank.long()] = labels.weight
    return dense, known.long() if len(known) else known.new_zeros(1).long()


@torch.no_grad()
def render_dense(
    splats: Splats,
    dense: Tensor,
    ids: Tensor,
    camera: Camera,
    rasterize_mode: RasterizeMode = "classic",
) -> Tensor:
    """The ids ``[H, W]`` int64 of the strongest channel of a dense label image; 0 where no label is rendered.

    This is the literal rendering of Eq. 7's g as N × L features, whose cost grows with the number of labels L.
    """
    image, _, _ = rasterization(
        splats.means, splats.quats, splats.scales, splats.opacities, dense, camera.viewmat[None], camera.K[None],
        camera.width, camera.height, rasterize_mode=rasterize_mode,
    )  # fmt: skip
    weight, channel = image[0].max(dim=-1)
    return torch.where(weight > 0, ids[channel], 0)
