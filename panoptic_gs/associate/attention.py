# SPDX-License-Identifier: Apache-2.0
"""What queries and Gaussians have to do with each other: cross attention with a spatial prior."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from panoptic_gs.associate.queries import InstanceQueries

Masks = Literal["product", "softmax"]
"""``product``: A = S·G, each query a mask of its own (PanopticRecon++); ``softmax``: over the queries
(PanopticSplatting)."""
INSIDE = {"product": 0.8, "softmax": 0.5}
"""A Gaussian belongs to a query whose attention to it exceeds this."""


def attention(
    queries: InstanceQueries,
    features: Tensor,  # [K, F]
    points: Tensor,  # [K, 10]
    *,
    masks: Masks = "product",
    temperature: float = 0.05,
    prior: bool = True,
    least_std: float = 0.05,
) -> Tensor:  # [K, Q]
    """A(q, i) = S·G with S = σ(f_q · f_i) and the spatial prior G, or its softmax over the queries at a temperature.

    The softmax of PanopticSplatting as printed has temperature 1: A ≤ 1 then bounds it by e / (e + Q − 1).

    Args:
        queries: Q of them.
        features: of K Gaussians.
        points: their :func:`~panoptic_gs.associate.queries.quadratic_terms`.
        masks: product or softmax.
        temperature: τ of the softmax.
        prior: whether G takes part.
        least_std: the least standard deviation of a query.
    """
    similarity = features @ queries.features.T
    if prior:
        result = _SigmoidTimesExp.apply(similarity, queries.log_prior(points, least_std))
    else:
        result = similarity.sigmoid()
    assert isinstance(result, Tensor)
    return (result / temperature).softmax(dim=1) if masks == "softmax" else result


class _SigmoidTimesExp(torch.autograd.Function):
    """σ(a)·exp(b); keeps two arrays for the way back, where autograd would keep four."""

    @staticmethod
    def forward(ctx, a: Tensor, b: Tensor) -> Tensor:
        sigmoid = a.sigmoid()
        product = sigmoid * b.exp()
        ctx.save_for_backward(sigmoid, product)
        return product

    @staticmethod
    def backward(ctx, *grads: Tensor) -> tuple[Tensor, Tensor]:
        sigmoid, product = ctx.saved_tensors
        grad_b = grads[0] * product
        return grad_b * (1 - sigmoid), grad_b
