# SPDX-License-Identifier: Apache-2.0
"""What of an object's Gaussians is its surface, and what is haze before it, stuffing behind it or a floater."""

from __future__ import annotations

import numpy as np
import torch

from panoptic_gs.camera import rotation_from_quaternion
from panoptic_gs.splats import Splats
from panoptic_gs.uplift import GaussianLabels

_HAZE = 0.1  # Gaussians below this opacity are no surface
_SURE = 0.5  # share of the label below which a Gaussian belongs to something else as well
_TOLD = 0.7  # of the object's median share of pixels with a label at all, below which a Gaussian is something unnamed
_HUGE = 6.0  # medians of the longest axis beyond which a Gaussian is background
_REACH = 1.5  # standard deviations that a flat Gaussian's surface reaches from its centre


def surface(
    splats: Splats, labels: GaussianLabels, share: np.ndarray, members: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Points ``[P, 3]`` on an object's surface, five a Gaussian, and what each counts ``[P]``.

    A Gaussian counts by its squared opacity times its squared share of the label times the root of how well it is
    seen: what it gave to the pixels of all views, over its opacity and cross-section, at most the object's median. So
    neither thin haze before a surface nor the large Gaussians that nobody sees behind it move the sides of a box. Where
    labels know no totals, all Gaussians are seen alike.

    And it counts by how many of its pixels have a label at all, against the object's median: those of a chair that
    nobody named have none in most views, and the label of the bookcase beside it in a few.

    Args:
        splats: the scene's Gaussians.
        labels: theirs.
        share: ``[N]`` of the strongest label of each.
        members: ``[M]`` the object's Gaussians; all of them count where none looks like a surface.
    """
    rows = torch.from_numpy(members)
    scales = splats.scales[rows].double()
    rotation = rotation_from_quaternion(splats.quats[rows]).double()
    order = scales.argsort(dim=1)
    lengths = scales.gather(1, order).numpy()
    axes = rotation.gather(2, order[:, None, :].expand(-1, 3, -1)).numpy()
    means = splats.means[rows].double().numpy()
    opacity, sure = splats.opacities[rows].double().numpy(), share[members].astype(np.float64)
    told = _told(labels, rows)
    kept = (told >= _TOLD) & (opacity >= _HAZE) & (sure >= _SURE) & (lengths[:, 2] <= _HUGE * np.median(lengths[:, 2]))
    if kept.sum() < 5:
        kept = np.ones(len(members), dtype=bool)
    seen = labels.total[rows].double().numpy() * sure / (opacity * lengths[:, 1] * lengths[:, 2] + 1e-15)
    usual = float(np.median(seen[kept]))
    seen = np.minimum(seen / usual, 1.0) if usual > 0 else np.ones_like(seen)
    weights = (opacity * sure) ** 2 * np.sqrt(seen) * told
    flat = np.sqrt(lengths[:, 1:] ** 2 - lengths[:, :1] ** 2)  # a round Gaussian lies in no plane
    offsets = _REACH * flat[:, None, :] * axes[:, :, 1:]  # [M, 3, 2]
    points = [means, *(means + side * offsets[:, :, axis] for axis in (0, 1) for side in (-1, 1))]
    return np.stack(points, axis=1)[kept].reshape(-1, 3), np.repeat(weights[kept], 5)


def _told(labels: GaussianLabels, rows: torch.Tensor) -> np.ndarray:
    """Each Gaussian's share of labelled pixels over their median ``[M]``, at most 1; 1 where labels know no void."""
    total, void = labels.total[rows].double().numpy(), labels.void[rows].double().numpy()
    share = 1 - void / np.maximum(total, 1e-12)
    usual = float(np.median(share))
    return np.minimum(share / usual, 1.0) if usual > 0 else np.ones_like(share)
