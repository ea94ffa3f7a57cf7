# SPDX-License-Identifier: Apache-2.0
"""One query for each mask of a view: the Hungarian assignment of least dice + cross entropy (Carion et al., DETR)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

EPS = 1.0
"""ε of the dice, in pixels."""
_CLAMP = 1e-6


class Matching(NamedTuple):
    """Which query each matched mask has, and what it costs."""

    masks: Tensor  # [K] int64
    queries: Tensor  # [K] int64
    dice: Tensor  # [K], of each pair
    contested: Tensor  # [C] int64: queries that a mask which is matched to another would rather have, once for each


def pairwise_dice(rendered: Tensor, masks: Tensor) -> Tensor:  # [Q, M]
    """1 − (2 Σ M_q m + ε) / (Σ M_q + Σ m + ε) of rendered masks ``[P, Q]`` and masks ``[P, M]``."""
    both = rendered.T @ masks
    return 1 - (2 * both + EPS) / (rendered.sum(0)[:, None] + masks.sum(0)[None] + EPS)


def pairwise_cross_entropy(rendered: Tensor, masks: Tensor) -> Tensor:  # [Q, M]
    """The mean over pixels of −m log M_q − (1 − m) log(1 − M_q), for all pairs."""
    clamped = rendered.clamp(_CLAMP, 1 - _CLAMP)
    log_in, log_out = clamped.log(), (-clamped).log1p()
    return -((log_in - log_out).T @ masks + log_out.sum(0)[:, None]) / len(rendered)


def match(
    rendered: Tensor, masks: Tensor, class_cost: Tensor | None = None, most_dice: float | None = None
) -> Matching:
    """Assign a query to each mask of a view, one to one, by least dice + cross entropy.

    Args:
        rendered: ``[P, Q]``, what the queries show at P pixels.
        masks: ``[P, M]`` of zeros and ones.
        class_cost: ``[Q, M]``, added to the cost.
        most_dice: pairs of more than this are left out.
    """
    if not rendered.shape[1] or not masks.shape[1]:
        none = torch.zeros(0, dtype=torch.int64)
        return Matching(none, none, torch.zeros(0), none)
    dice = pairwise_dice(rendered, masks)
    cost = dice + pairwise_cross_entropy(rendered, masks)
    if class_cost is not None:
        cost = cost + class_cost
    query, mask = (torch.from_numpy(part) for part in linear_sum_assignment(cost.double().numpy()))
    of_mask = torch.full((masks.shape[1],), -1)
    of_mask[mask] = query
    best = cost.argmin(dim=0)
    lost = (of_mask != best) & torch.isin(best, of_mask) & (dice.gather(0, best[None])[0] < 0.9)
    contested = best[lost]
    dice = dice[query, mask]
    if most_dice is not None:
        kept = dice <= most_dice
        query, mask, dice = query[kept], mask[kept], dice[kept]
    return Matching(mask, query, dice, contested)


def dice_loss(rendered: Tensor, masks: Tensor) -> Tensor:
    """The mean dice of matched pairs, ``[P, K]`` both."""
    both = (rendered * masks).sum(0)
    return (1 - (2 * both + EPS) / (rendered.sum(0) + masks.sum(0) + EPS)).mean()


def cross_entropy_loss(rendered: Tensor, masks: Tensor) -> Tensor:
    """The mean binary cross entropy of matched pairs, ``[P, K]`` both."""
    return torch.nn.functional.binary_cross_entropy(rendered.clamp(_CLAMP, 1 - _CLAMP), masks)
