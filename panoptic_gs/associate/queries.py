# SPDX-License-Identifier: Apache-2.0
"""Learned instance queries of PanopticSplatting and PanopticRecon++: a place, a Gaussian-shaped extent, a feature."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from panoptic_gs.camera import rotation_from_quaternion

FEATURES = 32
"""Length of the features that queries and Gaussians are compared by."""
CLASS_FEATURES = 32
"""Length of a query's feature for its class."""
QUERY_TENSORS = ("centers", "quats", "log_scales", "features", "classes")
"""The parameters of queries by name, a row for each query."""


class InstanceQueries(torch.nn.Module):
    """Q queries ("tokens"): centre, quaternion and log-scales of a Gaussian, a feature, and one for the class.

    Lengths are in units of the scene, see :class:`~panoptic_gs.associate.LearnedOptions`.

    Args:
        centers: ``[Q, 3]``.
        std: ``[Q]`` or one number, the extent at the start, the same along all axes.
        generator: draws the features from N(0, 0.1²).
    """

    def __init__(self, centers: Tensor, std: Tensor | float, generator: torch.Generator) -> None:
        super().__init__()
        count = len(centers)
        extent = torch.as_tensor(std, dtype=torch.float32).expand(count)
        self.centers = torch.nn.Parameter(centers.float().clone())
        self.quats = torch.nn.Parameter(torch.tensor([1.0, 0.0, 0.0, 0.0]).repeat(count, 1))
        self.log_scales = torch.nn.Parameter(extent.log()[:, None].repeat(1, 3))
        self.features = torch.nn.Parameter(0.1 * torch.randn(count, FEATURES, generator=generator))
        self.classes = torch.nn.Parameter(0.1 * torch.randn(count, CLASS_FEATURES, generator=generator))

    def __len__(self) -> int:
        return len(self.centers)

    def precisions(self, least_std: float) -> Tensor:  # [Q, 3, 3]
        """Σ_q⁻¹ = R Λ⁻¹ Rᵀ, with no standard deviation below ``least_std``."""
        rotation = rotation_from_quaternion(self.quats)
        inverse = self.log_scales.exp().clamp_min(least_std).square().reciprocal()
        return (rotation * inverse[:, None, :]) @ rotation.transpose(1, 2)

    def log_prior(self, points: Tensor, least_std: float) -> Tensor:  # [K, Q]
        """log G(q, x) = −½ (x − p_q)ᵀ Σ_q⁻¹ (x − p_q), by one matrix product with :func:`quadratic_terms`.

        Args:
            points: ``[K, 10]``, the terms of the points.
            least_std: the least standard deviation of a query.
        """
        P = self.precisions(least_std)
        linear = (P @ self.centers[..., None]).squeeze(-1)
        constant = (linear * self.centers).sum(-1)
        theta = torch.stack([
            P[:, 0, 0], P[:, 1, 1], P[:, 2, 2], 2 * P[:, 0, 1], 2 * P[:, 0, 2], 2 * P[:, 1, 2],
            -2 * linear[:, 0], -2 * linear[:, 1], -2 * linear[:, 2], constant,
        ])  # fmt: skip
        return -0.5 * (points @ theta).clamp_min(0)

    def select(self, rows: Tensor, optimizer: torch.optim.Optimizer) -> None:
        """Keep these queries ``[R]``, in this order, with the optimizer's moments; one named twice is cloned."""
        for name in QUERY_TENSORS:
            old = getattr(self, name)
            new = torch.nn.Parameter(old.detach()[rows].clone())
            state = optimizer.state.pop(old, None)
            if state:
                optimizer.state[new] = {
                    key: value[rows].clone() if torch.is_tensor(value) and value.shape == old.shape else value
                    for key, value in state.items()
                }
            for group in optimizer.param_groups:
                group["params"] = [new if parameter is old else parameter for parameter in group["params"]]
            setattr(self, name, new)

    def tensors(self) -> dict[str, Tensor]:
        """The parameters by name, without gradients: what a checkpoint keeps."""
        return {name: getattr(self, name).detach().clone() for name in QUERY_TENSORS}

    @classmethod
    def from_tensors(cls, tensors: dict[str, Any]) -> InstanceQueries:
        """The queries of :meth:`tensors`."""
        queries = cls(tensors["centers"], 1.0, torch.Generator())
        for name in QUERY_TENSORS:
            getattr(queries, name).data = tensors[name].clone()
        return queries


def quadratic_terms(points: Tensor) -> Tensor:  # [N, 10]
    """φ(x) = (x², y², z², xy, xz, yz, x, y, z, 1) of points ``[N, 3]`` that are centred on the origin."""
    x, y, z = points.float().unbind(-1)
    return torch.stack([x * x, y * y, z * z, x * y, x * z, y * z, x, y, z, torch.ones_like(x)], dim=-1)
