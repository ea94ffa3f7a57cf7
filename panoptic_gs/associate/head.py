# SPDX-License-Identifier: Apache-2.0
"""Classes of Gaussians, and the parameter-free panoptic head that joins them with the queries."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from panoptic_gs.associate.queries import CLASS_FEATURES
from panoptic_gs.uplift import SparseMatrix

SEMANTIC_FEATURES = 16
"""Length of a Gaussian's feature for its class."""
_HIDDEN = 64


@dataclass(frozen=True)
class Channels:
    """Which classes the channels of a semantic map stand for: stuff first, then things.

    Where no class is stuff, channel 0 stands for pixels under no mask, category id 0: the masks are of things alone
    then, and what is none of them must be something.
    """

    category_ids: tuple[int, ...]
    stuff: int
    """How many of the channels are stuff."""

    @property
    def void_is_a_class(self) -> bool:
        """Whether pixels under no mask are a class."""
        return self.category_ids[0] == 0


class SemanticDecoder(torch.nn.Module):
    """Features ``[…, 16]`` of Gaussians (label blending) or of pixels (feature blending) to class shares ``[…, C]``."""

    def __init__(self, classes: int, generator: torch.Generator) -> None:
        super().__init__()
        self.layers = _perceptron(SEMANTIC_FEATURES, classes, generator)

    def forward(self, features: Tensor) -> Tensor:
        return self.layers(features).softmax(dim=-1)


class TokenClassifier(torch.nn.Module):
    """The class of a query by its own feature, ``[Q, 32]`` to logits ``[Q, T]`` of the things' classes."""

    def __init__(self, classes: int, generator: torch.Generator) -> None:
        super().__init__()
        self.layers = _perceptron(CLASS_FEATURES, classes, generator)

    def forward(self, features: Tensor) -> Tensor:
        return self.layers(features)


def _perceptron(inputs: int, outputs: int, generator: torch.Generator) -> torch.nn.Sequential:
    layers = torch.nn.Sequential(torch.nn.Linear(inputs, _HIDDEN), torch.nn.ReLU(), torch.nn.Linear(_HIDDEN, outputs))
    for layer in layers:
        if isinstance(layer, torch.nn.Linear):
            bound = layer.in_features**-0.5
            layer.weight.data.uniform_(-bound, bound, generator=generator)
            layer.bias.data.zero_()
    return layers


def panoptic_head(semantics: Tensor, attention: Tensor, stuff: int) -> Tensor:  # [..., stuff + Q]
    """l_P = [l_stuff, (Σ l_thing) · A / Σ_q A], which sums to one (PanopticRecon++).

    P(stuff class), then P(thing) · P(instance given thing); of Gaussians, or of pixels.

    Args:
        semantics: ``[…, C]`` class shares, stuff first.
        attention: ``[…, Q]``.
        stuff: how many classes are stuff.
    """
    things = semantics[..., stuff:].sum(-1, keepdim=True)
    return torch.cat([semantics[..., :stuff], things * instance_shares(attention)], dim=-1)


def instance_shares(attention: Tensor) -> Tensor:
    """A / Σ_q A; all queries alike where none attends."""
    count = attention.shape[-1]
    tiny = 1e-12
    return (attention + tiny / max(count, 1)) / (attention.sum(-1, keepdim=True) + tiny)


def blended_semantics(matrix: SparseMatrix, features: Tensor, decoder: SemanticDecoder, *, by_label: bool) -> Tensor:
    """Class shares ``[P, C]`` of pixels: Σ w_i s(g_i) by label blending, s(Σ w_i g_i) by feature blending.

    A two-dimensional decoder of blended features explains noise away and lets a large feature drown the others of its
    ray; label blending decodes each Gaussian (PanopticSplatting).
    """
    return matrix @ decoder(features) if by_label else decoder(matrix @ features)
