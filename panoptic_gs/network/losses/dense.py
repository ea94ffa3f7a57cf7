# SPDX-License-Identifier: Apache-2.0
"""Supervision of the dense features themselves, beside what the papers say: it makes short trainings learn sooner.

Two terms at sampled pixels: the class of each pixel, and that pixels of one segment have features that are more alike
than those of others, whatever view they are in (Khosla et al., Supervised Contrastive Learning, 2020, Eq. 2).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from panoptic_gs.network.vocabulary import Similarity

TEMPERATURE = 0.1
PIXELS = 512
"""At most, that are compared with each other."""


class DenseSupervision(nn.Module):
    """Reads classes from dense features; needed for training alone, so it is no part of the network."""

    def __init__(self, mask_width: int, class_width: int) -> None:
        super().__init__()
        self.to_class = nn.Linear(mask_width, class_width)
        self.similarity = Similarity()

    def forward(self, features: Tensor, classes: Tensor, segments: Tensor, embeddings: Tensor) -> dict[str, Tensor]:
        """Losses ``pixels`` and ``alike``.

        Args:
            features: ``[P, mask_width]`` at sampled pixels.
            classes: ``[P]`` int64 class of each.
            segments: ``[P]`` int64 segment of each.
            embeddings: ``[C, class_width]`` of the classes.
        """
        logits = self.similarity(self.to_class(features), embeddings)
        step = max(1, len(features) // PIXELS)
        return {
            "pixels": functional.cross_entropy(logits, classes),
            "alike": contrast(features[::step].float(), segments[::step]),
        }


def contrast(features: Tensor, segments: Tensor, temperature: float = TEMPERATURE) -> Tensor:
    """−1/|P(i)| Σ_{p ∈ P(i)} log (exp(z_i·z_p/τ) / Σ_{a ≠ i} exp(z_i·z_a/τ)), the mean over i that have positives.

    Args:
        features: ``[P, C]``, normalised here.
        segments: ``[P]``; positives of a pixel are the others of its segment.
        temperature: τ.
    """
    z = functional.normalize(features, dim=-1)
    logits = z @ z.T / temperature
    own = torch.eye(len(z), dtype=torch.bool, device=z.device)
    log_probability = logits - torch.logsumexp(logits.masked_fill(own, -torch.inf), dim=1, keepdim=True)
    positive = (segments[:, None] == segments[None]) & ~own
    counts = positive.sum(1)
    means = log_probability.masked_fill(~positive, 0).sum(1) / counts.clamp_min(1)
    return -(means * (counts > 0)).sum() / (counts > 0).sum().clamp_min(1)
