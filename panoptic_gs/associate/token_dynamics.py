# SPDX-License-Identifier: Apache-2.0
"""Queries that come and go while they are trained: useless ones and duplicates leave, contested ones are cloned."""

from __future__ import annotations

import torch
from torch import Tensor

DUPLICATE = 0.7
"""Of two queries, the smaller one leaves where more than this part of either lies inside the other."""
CONTESTED = 10
"""A query is cloned once more masks than this lost it to another mask of their view."""
LARGEST_WEIGHT = 50.0
"""A Gaussian's weight in the size of a query is its blending weight, but at most this, in pixels."""


class TokenCensus:
    """What is counted of Q queries between two visits of :meth:`kept` and :meth:`cloned`."""

    def __init__(self, count: int) -> None:
        self.matched = torch.zeros(count, dtype=torch.int64)
        self.contested = torch.zeros(count, dtype=torch.int64)

    def add(self, matched: Tensor, contested: Tensor) -> None:
        """Count a view: queries that a mask got, and those that a mask lost to another mask."""
        self.matched.index_add_(0, matched, torch.ones_like(matched))
        self.contested.index_add_(0, contested, torch.ones_like(contested))

    def useful(self) -> Tensor:  # [R] int64
        """The queries that were matched at all."""
        return self.matched.nonzero()[:, 0]

    def cloned(self) -> Tensor:  # [C] int64
        """The queries that too many masks fought over; the count of contests begins anew."""
        result = (self.contested > CONTESTED).nonzero()[:, 0]
        self.contested.zero_()
        return result

    def select(self, rows: Tensor) -> None:
        """Follow the queries through :meth:`~panoptic_gs.associate.queries.InstanceQueries.select`."""
        self.matched, self.contested = self.matched[rows], self.contested[rows]


def without_duplicates(inside: Tensor, weight: Tensor) -> Tensor:  # [R] int64
    """Queries that are left when of two that share most of their Gaussians the smaller one leaves, ascending.

    The overlap is IoM = |a ∩ b| / min(|a|, |b|) over Gaussians, each weighted by how much of the photos it makes up.

    Args:
        inside: ``[N, Q]`` bool, which Gaussians belong to which query.
        weight: ``[N]``.
    """
    members = inside.float()
    both = members.T @ (members * weight.clamp(max=LARGEST_WEIGHT)[:, None])
    size = both.diagonal()
    order = torch.argsort(size, descending=True, stable=True)
    kept: list[int] = []
    for query in order.tolist():
        least = size[query].clamp_min(1e-9)
        if all(both[query, other] <= DUPLICATE * least for other in kept):
            kept.append(query)
    return torch.tensor(sorted(kept), dtype=torch.int64)
