# SPDX-License-Identifier: Apache-2.0
"""The multi-view transformer: an encoder for each image, a decoder that looks within a view and across all of them.

Any number of views, in any order but for the first, whose camera is the frame of all points.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from panoptic_gs.network.attention import Block, embed_positions, grid_positions
from panoptic_gs.network.config import GeometryConfig


@dataclass(frozen=True, eq=False)
class Decoded:
    """What the decoder says of B scenes with V views each.

    Args:
        cameras: ``[B, V, D]`` a token for each view.
        tokens: ``[B, V, T, D]`` one for each patch.
        memory: for each block that looks across views what it was shown, ``[B, V, 1 + T, D]``.
    """

    cameras: Tensor
    tokens: Tensor
    memory: tuple[Tensor, ...]


class GeometryBackbone(Protocol):
    """Anything that gives tokens of single images, and tokens of views that saw each other."""

    width: int

    def encode(self, images: Tensor, sizes: Tensor) -> Tensor:
        """``[N, T, D]`` of images ``[N, 3, H, W]`` in 0…1 whose heights and widths without padding are ``[N, 2]``."""
        ...

    def decode(
        self, tokens: Tensor, valid: Tensor | None, reach: Tensor, first: bool, memory: Memory | None = None
    ) -> Decoded:
        """See `MultiViewTransformer.decode`."""
        ...


@dataclass(frozen=True, eq=False)
class Memory:
    """What was seen of earlier views: for each block that looks across views ``[B, M, D]``; ``[B, M]`` bool, or all."""

    seen: tuple[Tensor, ...]
    valid: Tensor | None = None

    @classmethod
    def of(cls, decoded: Decoded, valid: Tensor | None) -> Memory:
        """The memory of views that were decoded; ``valid [B, V, T]`` are patches that are not padding."""
        seen = tuple(tokens.flatten(1, 2) for tokens in decoded.memory)
        return cls(seen, None if valid is None else with_camera(valid).flatten(1))

    def and_then(self, later: Memory) -> Memory:
        """Both."""
        if (self.valid is None) != (later.valid is None):
            return self._marked().and_then(later._marked())
        valid = None if self.valid is None else torch.cat([self.valid, later.valid], 1)  # pyright: ignore[reportArgumentType, reportCallIssue]
        return Memory(tuple(torch.cat(pair, 1) for pair in zip(self.seen, later.seen, strict=True)), valid)

    def _marked(self) -> Memory:
        everywhere = torch.ones(self.seen[0].shape[:2], dtype=torch.bool, device=self.seen[0].device)
        return self if self.valid is not None else Memory(self.seen, everywhere)


class MultiViewTransformer(nn.Module):
    """The built-in geometry backbone.

    The stem is the convolutional one of Touvron et al., Three things everyone should know about Vision Transformers,
    2022, Sec. 5, whose convolutions do not overlap. Each view has a camera token beside its patches, as in Wang et al.,
    VGGT: Visual Geometry Grounded Transformer, CVPR 2025, Sec. 3; the first view's is a learned one of its own.
    """

    def __init__(self, config: GeometryConfig, patch: int) -> None:
        super().__init__()
        width = config.width
        self.width, self.patch = width, patch
        steps: list[nn.Module] = []
        channels = 3
        for factor, out in ((4, width // 4), (2, width // 2), *((2, width),) * ((patch // 8).bit_length() - 1)):
            steps += [_Patches(channels, out, factor), nn.GELU()]
            channels = out
        self.stem = nn.Sequential(*steps)
        self.enter = nn.Linear(channels, width)
        self.encoder = nn.ModuleList(Block(width, config.heads) for _ in range(config.encoder_blocks))
        self.encoded = nn.LayerNorm(width)
        self.first_camera = nn.Parameter(0.02 * torch.randn(width))
        self.other_camera = nn.Parameter(0.02 * torch.randn(width))
        self.first_view = nn.Parameter(0.02 * torch.randn(width))
        self.into_decoder = nn.Linear(width, width)
        self.decoder = nn.ModuleList(Block(width, config.heads) for _ in range(config.decoder_blocks))
        self.decoded = nn.LayerNorm(width)

    def encode(self, images: Tensor, sizes: Tensor) -> Tensor:
        """``[N, T, D]`` of images ``[N, 3, H, W]`` in 0…1 whose heights and widths without padding are ``[N, 2]``."""
        grid = self.enter(self.stem((images - 0.5) / 0.25).permute(0, 2, 3, 1))
        positions = grid_positions(sizes, grid.shape[1], grid.shape[2], self.patch)
        tokens = (grid + embed_positions(positions, self.width)).flatten(1, 2)
        mask = None
        if (sizes.new_tensor(images.shape[-2:]) - sizes >= self.patch).any():
            mask = patches_of(sizes, grid.shape[1], grid.shape[2], self.patch)[:, None, None]
        for block in self.encoder:
            tokens = block(tokens, mask=mask)
        return self.encoded(tokens)

    def decode(
        self, tokens: Tensor, valid: Tensor | None, reach: Tensor, first: bool, memory: Memory | None = None
    ) -> Decoded:
        """Let views look at each other.

        Args:
            tokens: ``[B, V, T, D]`` encoded.
            valid: ``[B, V, T]`` bool, patches that are not padding; all without it.
            reach: ``[V, V]`` bool, which view (row) sees which (column); each sees itself.
            first: whether the first of these views is the one whose camera is the frame.
            memory: of views decoded before, which all of these see.
        """
        scenes, views, patches, _ = tokens.shape
        cameras = self.other_camera.expand(scenes, views, 1, -1)
        tokens = self.into_decoder(tokens)
        if first:
            cameras = torch.cat([self.first_camera.expand(scenes, 1, 1, -1), cameras[:, 1:]], dim=1)
            tokens = torch.cat([tokens[:, :1] + self.first_view, tokens[:, 1:]], dim=1)
        x = torch.cat([cameras, tokens], dim=2)
        within, across = _masks(valid, reach, patches, memory)
        seen: list[Tensor] = []
        for index, block in enumerate(self.decoder):
            if index % 2 == 0:
                x = block(x.flatten(0, 1), mask=within).unflatten(0, (scenes, views))
                continue
            remembered = None if memory is None else memory.seen[len(seen)]
            seen.append(block.remembered(x))  # pyright: ignore[reportCallIssue]
            x = block(x.flatten(1, 2), remembered, across).unflatten(1, (views, -1))
        x = self.decoded(x)
        return Decoded(x[:, :, 0], x[:, :, 1:], tuple(seen))


class _Patches(nn.Module):
    """A convolution over patches that do not overlap, normalised over channels."""

    def __init__(self, channels: int, out: int, factor: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(channels, out, factor, stride=factor)
        self.norm = nn.LayerNorm(out)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.convolution(x).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def patches_of(sizes: Tensor, rows: int, columns: int, patch: int) -> Tensor:
    """Which patches show a part of their image, ``[N, rows · columns]`` bool, of heights and widths ``[N, 2]``."""
    y = torch.arange(rows, device=sizes.device) * patch < sizes[:, :1]
    x = torch.arange(columns, device=sizes.device) * patch < sizes[:, 1:]
    return (y[:, :, None] & x[:, None, :]).flatten(1)


def with_camera(valid: Tensor) -> Tensor:
    """``[B, V, 1 + T]`` of patches ``[B, V, T]``: the camera token is always valid."""
    return torch.cat([valid.new_ones(*valid.shape[:2], 1), valid], dim=-1)


def everyone(views: int, keyframes: Sequence[int] | None = None, device: torch.device | None = None) -> Tensor:
    """Who sees whom, ``[V, V]`` bool: every view sees all keyframes (by default all views) and itself."""
    shown = torch.ones(views, dtype=torch.bool, device=device)
    if keyframes is not None:
        shown[:] = False
        shown[list(keyframes)] = True
    return shown[None, :] | torch.eye(views, dtype=torch.bool, device=device)


def those_before(views: int, device: torch.device | None = None) -> Tensor:
    """Who sees whom, ``[V, V]`` bool, online: every view sees those before it and itself."""
    return torch.ones(views, views, dtype=torch.bool, device=device).tril()


def _masks(
    valid: Tensor | None, reach: Tensor, patches: int, memory: Memory | None
) -> tuple[Tensor | None, Tensor | None]:
    """Masks of the blocks that look within and across views; None where everything may be seen."""
    scenes = 1 if valid is None else len(valid)
    own = None if valid is None else with_camera(valid)
    within = None if own is None else own.flatten(0, 1)[:, None, None]
    if own is None and bool(reach.all()) and (memory is None or memory.valid is None):
        return within, None
    across = reach.repeat_interleave(patches + 1, 0).repeat_interleave(patches + 1, 1)[None]
    across = across.expand(scenes, -1, -1)
    if own is not None:
        across = across & own.flatten(1)[:, None]
    if memory is not None:
        count = memory.seen[0].shape[1]
        past = across.new_ones(1, count) if memory.valid is None else memory.valid
        scenes = max(len(past), len(across))
        past = past[:, None].expand(scenes, across.shape[1], count)
        across = torch.cat([past, across.expand(scenes, -1, -1)], dim=2)
    return within, across[:, None]
