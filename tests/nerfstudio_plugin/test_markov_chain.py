# SPDX-License-Identifier: Apache-2.0
"""The Markov chain as a training asks for it."""

from __future__ import annotations

import torch
from torch.nn import Parameter

from nerfstudio_plugin.model import PanopticSplatfactoModel, PanopticSplatfactoModelConfig


def test_a_short_training_reaches_the_most():
    config = PanopticSplatfactoModelConfig(densification="markov-chain", most_gaussians=5000, warmup_length=20,
                                           stop_split_at=420, refine_every=50)  # fmt: skip
    model = object.__new__(PanopticSplatfactoModel)
    torch.nn.Module.__init__(model)
    model.config = config
    strategy = model._strategy(400)
    params = {
        "means": Parameter(torch.rand(400, 3)),
        "quats": Parameter(torch.randn(400, 4)),
        "scales": Parameter(torch.full((400, 3), -3.0)),
        "opacities": Parameter(torch.full((400, 1), 2.0)),
    }
    optimizers = {name: torch.optim.Adam([value], lr=1e-3) for name, value in params.items()}
    state = strategy.initialize_state(1.0)
    for step in range(0, 420, 10):
        strategy.step_post_backward(params, optimizers, state, step, {})
    assert 4900 <= len(params["means"]) <= 5000
