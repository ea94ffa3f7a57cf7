# SPDX-License-Identifier: Apache-2.0
"""The mask transformer: learnable queries that look at the tokens of all keyframes together.

Cheng et al., Masked-attention Mask Transformer for Universal Image Segmentation, CVPR 2022, Sec. 3.2: layers of
cross-attention, self-attention and feed-forward, a prediction before the first and after each; here over the tokens of
several views and without a feature pyramid, as Zust et al., PanSt3R, ICCV 2025, Sec. 3.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from panoptic_gs.network.attention import Attention
from panoptic_gs.network.config import MaskConfig


@dataclass(frozen=True, eq=False)
class Queries:
    """What B scenes' queries ask for.

    Args:
        masks: ``[B, Q, mask_width]``, LIN^M(q); a mask's logits are its products with the dense features.
        classes: ``[B, Q, class_width]``, LIN^CLS(q), compared with the embeddings of classes.
        tokens: ``[B, Q, D]`` the queries themselves.
    """

    masks: Tensor
    classes: Tensor
    tokens: Tensor


class MaskTransformer(nn.Module):
    """Queries from the tokens of keyframes."""

    def __init__(self, config: MaskConfig, class_width: int) -> None:
        super().__init__()
        width = config.width
        self.masked, self.heads = config.masked_attention, config.heads
        self.content = nn.Parameter(0.5 * torch.randn(config.queries, width))
        self.place = nn.Parameter(0.5 * torch.randn(config.queries, width))
        self.keys = nn.LayerNorm(width)
        self.layers = nn.ModuleList(_Layer(config) for _ in range(config.layers))
        self.norm = nn.LayerNorm(width)
        self.to_mask = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, config.mask_width))
        self.to_class = nn.Linear(width, class_width)
        self.checkpointing = False
        """Whether activations of layers are computed anew for the gradient, to save memory."""

    def forward(self, frame_tokens: Tensor, valid: Tensor | None, token_features: Tensor | None) -> list[Queries]:
        """Predictions before the first layer and after each.

        Args:
            frame_tokens: ``[B, S, D]`` of all keyframes' patches.
            valid: ``[B, S]`` bool, which are no padding.
            token_features: ``[B, S, mask_width]`` dense features of those patches, for masked attention.
        """
        scenes = len(frame_tokens)
        keys = self.keys(frame_tokens)
        queries = self.content.expand(scenes, -1, -1)
        predictions = [self._predict(queries)]
        for layer in self.layers:
            mask = self._attended(predictions[-1], valid, token_features)
            if self.checkpointing and self.training:
                queries = checkpoint(layer, queries, self.place, keys, mask, use_reentrant=False)
            else:
                queries = layer(queries, self.place, keys, mask)
            predictions.append(self._predict(queries))
        return predictions

    def _predict(self, queries: Tensor) -> Queries:
        normed = self.norm(queries)
        return Queries(self.to_mask(normed), self.to_class(normed), queries)

    @torch.no_grad()
    def _attended(self, last: Queries, valid: Tensor | None, features: Tensor | None) -> Tensor | None:
        """Where each query may look, ``[B, 1, Q, S]``: inside its mask, or everywhere where that is empty."""
        allowed = None if valid is None else valid[:, None]
        if self.masked and features is not None:
            inside = torch.einsum("bqc,bsc->bqs", last.masks.float(), features.float()) > 0
            inside = inside if allowed is None else inside & allowed
            nowhere = ~inside.any(-1, keepdim=True)
            allowed = inside | (nowhere if allowed is None else nowhere & allowed)
        return None if allowed is None else allowed[:, None]


class _Layer(nn.Module):
    def __init__(self, config: MaskConfig) -> None:
        super().__init__()
        width = config.width
        self.norm_cross, self.norm_self, self.norm_feed_forward = (nn.LayerNorm(width) for _ in range(3))
        self.cross = Attention(width, config.heads)
        self.self_attention = Attention(width, config.heads)
        inner = config.feed_forward * width
        self.feed_forward = nn.Sequential(nn.Linear(width, inner), nn.GELU(), nn.Linear(inner, width))

    def forward(self, queries: Tensor, place: Tensor, keys: Tensor, mask: Tensor | None) -> Tensor:
        queries = queries + self.cross(self.norm_cross(queries) + place, keys, mask)
        normed = self.norm_self(queries) + place
        queries = queries + self.self_attention(normed, normed)
        return queries + self.feed_forward(self.norm_feed_forward(queries))
