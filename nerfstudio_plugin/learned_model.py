# SPDX-License-Identifier: Apache-2.0
"""Splatfacto whose labels come from learned instance queries."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import tyro

from nerfstudio_plugin.model import PanopticSplatfactoModel, PanopticSplatfactoModelConfig
from panoptic_gs.associate import LearnedAssociation
from panoptic_gs.labelling import Labelling
from panoptic_gs.uplift import GaussianLabels

_SHAPES = ("means", "quats", "scales", "opacities")


@dataclass
class LearnedModelConfig(PanopticSplatfactoModelConfig):
    """The options of ``panst3r-ludvig`` without a panoptic colour loss, which needs scene-wide maps to begin with."""

    _target: type = field(default_factory=lambda: LearnedModel)
    """target class to instantiate"""
    panoptic_loss_weight: tyro.conf.Suppress[tyro.conf.Fixed[float]] = 0.0
    """There is none."""


class LearnedModel(PanopticSplatfactoModel):
    """Gaussians with colour, then frozen and labelled by what queries learned; the outputs are those of the base.

    The state dict also holds the queries, under ``queries`` of the extra state: ``step``, and ``tokens`` as in
    :class:`~panoptic_gs.associate.LearnedAssociation`.
    """

    config: LearnedModelConfig

    def populate_modules(self) -> None:
        """As the base, but scene-wide maps are masks like others: nothing is known of objects yet."""
        super().populate_modules()
        self.panoptic = self.palette = None
        self.queries: dict[str, Any] | None = None
        self.frozen = False

    def take_queries(self, learned: LearnedAssociation, step: int) -> None:
        """Remember what was learned before iteration ``step``."""
        self.queries = {"step": step, "tokens": {name: value.cpu() for name, value in learned.tokens.items()}}

    def take_labels(self, labels: GaussianLabels, meaning: Labelling) -> None:
        """Have these labels, instead of those that maps would give."""
        self.trained_labels.take(labels, meaning, self.strategy_state, self.device)

    def freeze(self) -> None:
        """Train colours alone from now on: Gaussians neither move nor come and go, and poses stay."""
        self.frozen = True
        for name in _SHAPES:
            self.gauss_params[name].requires_grad_(False).grad = None
        for parameter in self.camera_optimizer.parameters():
            parameter.requires_grad_(False).grad = None

    def step_post_backward(self, step: int) -> None:
        """Let Gaussians come and go, unless they are frozen."""
        if not self.frozen:
            super().step_post_backward(step)

    def _before_backward(self, info: dict[str, Any]) -> None:
        if not self.frozen:
            super()._before_backward(info)

    def get_extra_state(self) -> dict[str, Any]:
        """As the base, and the queries."""
        return {**super().get_extra_state(), "queries": self.queries}

    def set_extra_state(self, state: Mapping[str, Any]) -> None:
        """Take labels and queries from a checkpoint, also from one of a method without queries."""
        super().set_extra_state(state)
        self.queries = state.get("queries")
