# SPDX-License-Identifier: Apache-2.0
"""Gaussians as samples of a Markov chain (Kheradmand et al., NeurIPS 2024), on any device.

gsplat has the same strategy for CUDA alone, because its relocation is a kernel. Gaussians are few beside the pixels of
a step, so here it is plain torch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from panoptic_gs.backends import gsplat
from panoptic_gs.camera import rotation_from_quaternion

MOST_COPIES = 51
"""Copies at one place that Eq. 9 is evaluated for; more are taken for so many."""
_EPSILON = 1e-7


def relocated(opacities: Tensor, scales: Tensor, copies: Tensor) -> tuple[Tensor, Tensor]:
    """Opacities and scales of Gaussians that lie ``copies`` times at a place, and together look as one did (Eq. 9).

        o' = 1 − (1 − o)^(1/N)
        s' = s · o · (Σ_{i=1..N} Σ_{k=0..i−1} binom(i−1, k) · (−1)^k · o'^(k+1) / √(k+1))⁻¹

    Args:
        opacities: ``[N]`` in (0, 1), before.
        scales: ``[N, 3]``, before.
        copies: ``[N]`` whole numbers from 1: how many lie there afterwards.

    Returns:
        ``[N]`` and ``[N, 3]``.
    """
    copies = copies.clamp(1, MOST_COPIES)
    before = opacities.double().clamp(_EPSILON, 1 - _EPSILON)
    after = 1 - (1 - before) ** (1 / copies)
    # Σ_{i=k+1..N} binom(i−1, k) = binom(N, k+1), so the sum over i is done.
    table = _binomials(opacities.device)[copies]  # [N, MOST_COPIES], binom(N, k+1) (−1)^k / √(k+1)
    powers = after[:, None] ** torch.arange(1, MOST_COPIES + 1, device=opacities.device)
    spread = before / (table * powers).sum(dim=1)
    return after.to(opacities), (scales * spread[:, None]).to(scales)


def _binomials(device: torch.device) -> Tensor:
    rows = [
        [math.comb(n, k + 1) * (-1) ** k / math.sqrt(k + 1) for k in range(MOST_COPIES)] for n in range(MOST_COPIES + 1)
    ]
    return torch.tensor(rows, dtype=torch.float64, device=device)


@dataclass
class MarkovChainStrategy:
    """Gaussians that are nearly transparent move to where others are; the number grows by a twentieth each time, up to
    ``most``; positions take noise across their own covariance, the more the more transparent they are (Eq. 8).

    Called like gsplat's ``DefaultStrategy``. Running state of one row a Gaussian follows the Gaussians.

    Args:
        most: Gaussians at the end.
        noise: of positions, in units of the means' learning rate.
        refine_start: no Gaussian moves or comes up to this step.
        refine_stop: nor from this step on.
        refine_every: steps from one time to the next.
        least_opacity: below it a Gaussian moves.
        growth: by how much the number grows each time.
    """

    most: int = 1_000_000
    noise: float = 5e5
    refine_start: int = 500
    refine_stop: int = 25_000
    refine_every: int = 100
    least_opacity: float = 0.005
    growth: float = 0.05

    def initialize_state(self, scene_scale: float = 1.0) -> dict[str, Any]:
        """The running state of a training of this extent."""
        return {"scene_scale": scene_scale}

    def step_pre_backward(self, params: Any, optimizers: Any, state: Any, step: int, info: Any) -> None:
        """Nothing is gathered."""

    @torch.no_grad()
    def step_post_backward(
        self, params: Any, optimizers: Any, state: Any, step: int, info: Any, packed: bool = False
    ) -> None:
        """Move, add and shake Gaussians.

        Args:
            params: ``means``, ``quats``, ``scales`` (logarithms), ``opacities`` (logits) and others of a row each.
            optimizers: of the parameters' names, one parameter each.
            state: what :meth:`initialize_state` made.
            step: of the training.
            info: unused.
            packed: unused.
        """
        if self.refine_start < step < self.refine_stop and step % self.refine_every == 0:
            self._move(params, optimizers, state)
            self._add(params, optimizers, state)
        self._shake(params, optimizers["means"].param_groups[0]["lr"], state["scene_scale"])

    def _move(self, params: Any, optimizers: Any, state: dict[str, Any]) -> None:
        opacities = params["opacities"].flatten().sigmoid()
        dead = (opacities <= self.least_opacity).nonzero().flatten()
        alive = (opacities > self.least_opacity).nonzero().flatten()
        if not len(dead) or not len(alive):
            return
        sources = alive[_drawn(opacities[alive], len(dead))]
        rows = torch.arange(len(opacities), device=dead.device)
        rows[dead] = sources
        self._take(params, optimizers, state, rows, sources)

    def _add(self, params: Any, optimizers: Any, state: dict[str, Any]) -> None:
        count = len(params["means"])
        more = min(self.most, int((1 + self.growth) * count)) - count
        if more > 0:
            sources = _drawn(params["opacities"].flatten().sigmoid(), more)
            rows = torch.cat([torch.arange(count, device=sources.device), sources])
            self._take(params, optimizers, state, rows, sources)

    def _take(self, params: Any, optimizers: Any, state: dict[str, Any], rows: Tensor, sources: Tensor) -> None:
        """Let Gaussian ``i`` be a copy of ``rows[i]``; ``sources`` share their place with their copies."""
        count = len(params["means"])
        copies = torch.bincount(sources, minlength=count) + 1
        shared = (copies > 1).nonzero().flatten()
        opacities, scales = relocated(
            params["opacities"].flatten().sigmoid()[shared], params["scales"][shared].exp(), copies[shared]
        )
        opacities = opacities.clamp(self.least_opacity, 1 - torch.finfo(opacities.dtype).eps)
        moved = rows != torch.arange(len(rows), device=rows.device) if len(rows) == count else None

        def parameter(name: str, value: Tensor) -> Tensor:
            value = value.detach().clone()
            if name == "opacities":
                value[shared] = opacities.logit().reshape(-1, *value.shape[1:])
            elif name == "scales":
                value[shared] = scales.log()
            return torch.nn.Parameter(value[rows], requires_grad=True)

        def moment(_: str, value: Tensor) -> Tensor:
            value = value.clone()
            value[shared] = 0  # what was one Gaussian is several now
            value = value[rows]
            if moved is not None:
                value[moved] = 0
            else:
                value[count:] = 0
            return value

        update = gsplat.load().part("strategy.ops")._update_param_with_optimizer
        update(parameter, moment, params, optimizers)
        for name, value in state.items():
            if isinstance(value, Tensor) and value.shape[:1] == (count,):
                state[name] = value[rows]

    def _shake(self, params: Any, lr: float, extent: float) -> None:
        opacities = params["opacities"].flatten().sigmoid()
        say = torch.sigmoid(100 * (self.least_opacity - opacities))
        few = (say > 1e-3).nonzero().flatten()  # what is opaque stays where it is
        if not len(few):
            return
        axes = rotation_from_quaternion(params["quats"][few]) * params["scales"][few].exp()[:, None, :]
        noise = torch.randn_like(params["means"][few]) * (say[few] * self.noise * lr / extent**2)[:, None]
        noise = axes @ (axes.transpose(1, 2) @ noise[:, :, None])
        params["means"].data[few] += noise.squeeze(-1)


def _drawn(weights: Tensor, count: int) -> Tensor:
    """``count`` rows, each by its weight, with replacement; of any number of rows."""
    ends = weights.double().cumsum(0)
    return torch.searchsorted(ends, torch.rand(count, dtype=ends.dtype, device=ends.device) * ends[-1]).clamp_max(
        len(ends) - 1
    )
