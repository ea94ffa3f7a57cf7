# SPDX-License-Identifier: Apache-2.0
"""Losses of classes and masks of queries that are matched to a scene's segments over all its views at once.

Cheng et al., Mask2Former, CVPR 2022, Sec. 3.3, with a focal loss for classes as in Zust et al., PanSt3R, ICCV 2025.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torch.nn import functional

ALPHA, GAMMA = 0.25, 2.0
"""Of the focal loss (Lin et al., Focal Loss for Dense Object Detection, ICCV 2017, Eq. 5)."""


@dataclass(frozen=True)
class MaskWeights:
    """How much each loss counts, in the sum and in the cost of a match."""

    classes: float = 2.0
    dice: float = 5.0
    cross_entropy: float = 5.0


@dataclass(frozen=True, eq=False)
class SampledMasks:
    """The true segments of one scene at P sampled pixels of all its views.

    Args:
        inside: ``[S, P]`` float, 1 where the pixel is of the segment.
        classes: ``[S]`` int64 index of each segment's class.
    """

    inside: Tensor
    classes: Tensor


def focal_terms(logits: Tensor) -> tuple[Tensor, Tensor]:
    """The focal loss of each logit if the truth is 1, and if it is 0: −α (1−p)^γ log p and −(1−α) p^γ log(1−p)."""
    p = logits.sigmoid()
    yes = ALPHA * (1 - p) ** GAMMA * functional.softplus(-logits)
    no = (1 - ALPHA) * p**GAMMA * functional.softplus(logits)
    return yes, no


def dice_loss(logits: Tensor, inside: Tensor) -> Tensor:
    """1 − (2 Σ p m + 1) / (Σ p + Σ m + 1) for each pair ``[..., P]``."""
    p = logits.sigmoid()
    return 1 - (2 * (p * inside).sum(-1) + 1) / (p.sum(-1) + inside.sum(-1) + 1)


def matching_cost(class_logits: Tensor, mask_logits: Tensor, truth: SampledMasks, weights: MaskWeights) -> Tensor:
    """``[Q, S]``: what it costs that a query is a segment.

    Args:
        class_logits: ``[Q, C]``.
        mask_logits: ``[Q, P]`` at the sampled pixels.
        truth: of S segments.
        weights: of the parts.
    """
    yes, no = focal_terms(class_logits)
    classes = (yes - no)[:, truth.classes]
    inside = truth.inside
    p = mask_logits.sigmoid()
    dice = 1 - (2 * p @ inside.T + 1) / (p.sum(-1, keepdim=True) + inside.sum(-1) + 1)
    positive, negative = functional.softplus(-mask_logits), functional.softplus(mask_logits)
    entropy = (positive @ inside.T + negative @ (1 - inside).T) / inside.shape[1]
    return weights.classes * classes + weights.dice * dice + weights.cross_entropy * entropy


def match(cost: Tensor) -> tuple[Tensor, Tensor]:
    """Queries and segments of the cheapest matching (Kuhn, The Hungarian method, 1955), ``[min(Q, S)]`` int64 each."""
    rows, columns = linear_sum_assignment(np.nan_to_num(cost.detach().cpu().double().numpy(), nan=1e6))
    return torch.from_numpy(rows).to(cost.device), torch.from_numpy(columns).to(cost.device)


def mask_losses(
    class_logits: Tensor, mask_logits: Tensor, truth: SampledMasks, weights: MaskWeights
) -> dict[str, Tensor]:
    """The weighted losses of one prediction of one scene, matched anew: ``classes``, ``dice`` and ``cross_entropy``.

    Queries without a segment are of no class; their masks are not trained.

    Args:
        class_logits: ``[Q, C]``, of the classes that the data tells apart.
        mask_logits: ``[Q, P]``.
        truth: at the same pixels.
        weights: of the parts.
    """
    class_logits, mask_logits = class_logits.float(), mask_logits.float()
    with torch.no_grad():
        queries, segments = match(matching_cost(class_logits, mask_logits, truth, weights))
    matched = max(1, len(queries))
    wanted = torch.zeros_like(class_logits)
    wanted[queries, truth.classes[segments]] = 1
    yes, no = focal_terms(class_logits)
    logits, inside = mask_logits[queries], truth.inside[segments]
    entropy = functional.binary_cross_entropy_with_logits(logits, inside, reduction="none").mean(-1)
    return {
        "classes": weights.classes * (wanted * yes + (1 - wanted) * no).sum() / matched,
        "dice": weights.dice * dice_loss(logits, inside).sum() / matched,
        "cross_entropy": weights.cross_entropy * entropy.sum() / matched,
    }
