# SPDX-License-Identifier: Apache-2.0
"""Votes weighed view by view: a view is one witness, however many pixels it has of a Gaussian."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from typing_extensions import Unpack

from panoptic_gs import kernels
from panoptic_gs.backends import BlendingKeywords
from panoptic_gs.camera import Camera
from panoptic_gs.refine.leave_one_out import VotePairs, labels_of_pairs
from panoptic_gs.splats import Splats
from panoptic_gs.uplift import GaussianLabels, LabelVotes
from panoptic_gs.uplift.maps import Map, Weights, weighted_views

SHARPNESS = 2.0
"""Power of the shares that a Gaussian's labels have in one view, and of those that they have in all of them."""
GROWTH = 0.75
"""A view says as much of a Gaussian as this power of the blending weight that it has there."""
_UNITS = 1 << 34


def weigh(view: VotePairs, count: int, void: float = 0.0) -> VotePairs:
    r"""What one view says of each Gaussian.

    .. math:: v_i[l] = \Bigl(\sum_k w_i[k]\Bigr)^{γ} \frac{w_i[l]^p}{\sum_k w_i[k]^p}

    with :math:`w_i[l]` the view's votes, p = :data:`SHARPNESS` and γ = :data:`GROWTH`. The errors of one mask are one
    error, not as many as it has pixels, so what a view says grows slower than its pixels; and where an outline runs
    through a Gaussian, its lesser side says nothing of other views.

    Args:
        view: votes of one view.
        count: N, the number of Gaussians.
        void: what a word for void counts, 0 … 1; 0 leaves void pixels out from the start.

    Returns:
        Rounded to whole units again, so that sums over views do not depend on their order.
    """
    voting = view.label >= (0 if void else 1)
    key, gaussian = view.key[voting], view.gaussian[voting]
    weight = view.units[voting] / _UNITS
    total = np.bincount(gaussian, weight, count)[gaussian]
    share = (weight / total) ** SHARPNESS
    share /= np.bincount(gaussian, share, count)[gaussian]
    counts = np.where(key & 0xFFFFFFFF == 0, void, 1.0)
    units = np.rint(counts * share * total**GROWTH * _UNITS).astype(np.int64)
    return VotePairs(key[units > 0], units[units > 0])


def uplift_weighed(
    splats: Splats,
    views: Iterable[tuple[Camera, Map]],
    weights: Weights = None,
    void: float = 0.0,
    **blending: Unpack[BlendingKeywords],
) -> GaussianLabels:
    """Uplift label maps with the votes of each view weighed (:func:`weigh`), and their shares squared.

    Args:
        splats, views, weights, blending: as for :func:`~panoptic_gs.uplift_labels`. One view at a time is in memory.
        void: what void counts as a label of its own; 0: it takes no part.

    Returns:
        The label distribution of each Gaussian, on the splats' device; ``total`` and ``void`` are plain blending
        weights. On the CPU neither threads nor the order of views change a bit.

    Raises:
        InputError: as :func:`~panoptic_gs.uplift_labels`.
    """
    count = len(splats)
    said = kernels.VoteStore(count)
    total, unlabelled = np.zeros(count, dtype=np.int64), np.zeros(count, dtype=np.int64)
    for camera, label_map, factors in weighted_views(views, weights):
        votes = LabelVotes(count, **blending)
        votes.add(splats, camera, label_map, factors)
        pairs = VotePairs.of(votes)
        np.add.at(total, pairs.gaussian, pairs.units)
        unnamed = pairs.label == 0
        np.add.at(unlabelled, pairs.gaussian[unnamed], pairs.units[unnamed])
        said.add_sums(*weigh(pairs, count, void).tensors())
    labels = labels_of_pairs(VotePairs.of_rows(*said.sums()), count, SHARPNESS, void_too=void > 0)
    seen = (torch.from_numpy((units / _UNITS).astype(np.float32)) for units in (total, unlabelled))
    return GaussianLabels.from_kernel(labels.indptr, labels.label, labels.weight, *seen).to(splats.means.device)
