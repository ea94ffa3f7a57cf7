# SPDX-License-Identifier: Apache-2.0
"""Attention, the block that transformers repeat, and where tokens are in their image."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional


class Attention(nn.Module):
    """Multi-head attention (Vaswani et al., Attention Is All You Need, 2017, Sec. 3.2)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, width)

    def forward(self, tokens: Tensor, context: Tensor, mask: Tensor | None = None) -> Tensor:
        """Tokens ``[B, T, D]`` that looked at a context ``[B, S, D]``.

        Args:
            tokens: what looks.
            context: what is looked at.
            mask: bool, broadcast to ``[B, heads, T, S]``: where looking is allowed; everywhere without one.
        """
        q = self._split(self.query(tokens))
        k, v = (self._split(part) for part in self.key_value(context).chunk(2, dim=-1))
        seen = functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return self.out(seen.transpose(1, 2).flatten(2))

    def _split(self, tokens: Tensor) -> Tensor:
        return tokens.unflatten(-1, (self.heads, -1)).transpose(1, 2)


class Block(nn.Module):
    """Attention and a feed-forward network, each added to what was there, normalised before (pre-norm)."""

    def __init__(self, width: int, heads: int, feed_forward: int = 4) -> None:
        super().__init__()
        self.norm_attention = nn.LayerNorm(width)
        self.attention = Attention(width, heads)
        self.norm_feed_forward = nn.LayerNorm(width)
        self.feed_forward = nn.Sequential(
            nn.Linear(width, feed_forward * width), nn.GELU(), nn.Linear(feed_forward * width, width)
        )

    def forward(self, tokens: Tensor, memory: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        """Tokens ``[B, T, D]`` that looked at themselves and at a memory ``[B, M, D]`` of `remembered` tokens.

        Args:
            tokens: what looks.
            memory: comes before the tokens in ``mask``.
            mask: bool, broadcast to ``[B, heads, T, M + T]``: where looking is allowed.
        """
        seen = self.remembered(tokens)
        context = seen if memory is None else torch.cat([memory, seen], dim=1)
        tokens = tokens + self.attention(seen, context, mask)
        return tokens + self.feed_forward(self.norm_feed_forward(tokens))

    def remembered(self, tokens: Tensor) -> Tensor:
        """What other tokens see of these in this block."""
        return self.norm_attention(tokens)


def grid_positions(sizes: Tensor, rows: int, columns: int, patch: int) -> Tensor:
    """Where patches lie in their images, ``[N, rows, columns, 2]``: x and y from the centre, over half the longer side.

    Args:
        sizes: ``[N, 2]`` height and width of each image in pixels, without what was padded on the right and below.
        rows, columns: of the patches of the padded images.
        patch: pixels on a patch's side.
    """
    sizes = sizes.float()
    half = sizes.max(dim=1).values / 2
    x = (torch.arange(columns, device=sizes.device) + 0.5) * patch
    y = (torch.arange(rows, device=sizes.device) + 0.5) * patch
    x = (x - sizes[:, 1:] / 2) / half[:, None]
    y = (y - sizes[:, :1] / 2) / half[:, None]
    return torch.stack([x[:, None, :].expand(-1, rows, -1), y[:, :, None].expand(-1, -1, columns)], dim=-1)


def embed_positions(positions: Tensor, width: int, octaves: float = 6.0) -> Tensor:
    """Sines and cosines ``[..., width]`` of ``[..., 2]``: half a period across the image up to 2^octaves times that."""
    count = -(-width // 4)
    frequencies = math.pi / 2 * 2 ** torch.linspace(0, octaves, count, device=positions.device)
    angles = (positions[..., None] * frequencies).flatten(-2)
    return torch.cat([angles.sin(), angles.cos()], dim=-1)[..., :width]
