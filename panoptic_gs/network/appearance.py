# SPDX-License-Identifier: Apache-2.0
"""Backbones that see one image at a time: what things look like."""

from __future__ import annotations

import importlib
import importlib.util
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from panoptic_gs.errors import InputError
from panoptic_gs.network.config import AppearanceConfig


@dataclass(frozen=True, eq=False)
class Appearance:
    """What an appearance backbone gives for N images.

    Args:
        tokens: ``[N, rows, columns, D]`` on the grid of patches.
        fine: stride in pixels → ``[N, C, H / stride, W / stride]``, where the backbone has finer features.
    """

    tokens: Tensor
    fine: dict[int, Tensor] = field(default_factory=dict)


class AppearanceBackbone(Protocol):
    """Anything that gives tokens on a grid of patches."""

    width: int
    """D of the tokens."""
    fine_widths: dict[int, int]
    """Stride → C of the finer features."""

    def __call__(self, images: Tensor, valid: Tensor | None) -> Appearance:
        """Images ``[N, 3, H, W]`` in 0…1, sides multiples of the patch, and bool ``[N, H, W]`` what is not padding."""
        ...


def appearance_backbone(config: AppearanceConfig, patch: int) -> AppearanceBackbone:
    """The backbone that a configuration asks for.

    Raises:
        InputError: DINOv2 without transformers, or it can be neither found nor downloaded.
    """
    if config.kind == "dinov2":
        return Dinov2Appearance(config, patch)
    return ConvolutionalAppearance(config.width, patch)


class ConvolutionalAppearance(nn.Module):
    """Convolutions at strides 2, 4, 8, … down to the patch, with residual blocks at 4 and 8; trained with the rest.

    Every layer normalises over the channels of a pixel alone and padding is zero after each, so that an image gives the
    same features with padding around it.
    """

    def __init__(self, width: int, patch: int) -> None:
        super().__init__()
        self.width = width
        widths = {2: max(16, width // 8), 4: width // 4, 8: width // 2}
        self.stem = _Step(3, widths[2], kernel=5)
        self.down4 = _Step(widths[2], widths[4])
        self.blocks4 = _Residual(widths[4])
        self.down8 = _Step(widths[4], widths[8])
        self.blocks8 = _Residual(widths[8])
        stride, steps, last = 8, [], widths[8]
        while stride < patch:
            steps.append(_Step(last, width))
            stride, last = 2 * stride, width
        if stride != patch or not steps:
            raise InputError("network, patch", str(patch), "16, 32, … for convolutions", "Choose another patch.")
        self.last = nn.ModuleList(steps)
        self.fine_widths = {stride: widths[stride] for stride in (4, 8) if stride < patch}

    def forward(self, images: Tensor, valid: Tensor | None) -> Appearance:
        mask = None if valid is None else valid[:, None].to(images.dtype)
        x = (images - 0.5) / 0.25
        x = x if mask is None else x * mask
        x, mask = self.stem(x, mask)
        x, mask = self.down4(x, mask)
        fine = {4: (x := self.blocks4(x, mask))}
        x, mask = self.down8(x, mask)
        fine[8] = x = self.blocks8(x, mask)
        for step in self.last:
            x, mask = step(x, mask)
        chosen = {stride: fine[stride] for stride in self.fine_widths}
        return Appearance(x.permute(0, 2, 3, 1), chosen)


class Dinov2Appearance(nn.Module):
    """DINOv2 (Oquab et al., 2023) through transformers; its tokens are resampled to the patches of the network."""

    def __init__(self, config: AppearanceConfig, patch: int) -> None:
        super().__init__()
        if importlib.util.find_spec("transformers") is None:
            raise InputError("appearance backbone 'dinov2'", "no package 'transformers'", "an installation of it",
                             "Run: pip install 'panoptic-gs[networks]'.")  # fmt: skip
        transformers: Any = importlib.import_module("transformers")
        try:
            self.model = transformers.Dinov2Model.from_pretrained(config.checkpoint)
        except (OSError, ValueError) as error:
            raise InputError(f"DINOv2 '{config.checkpoint}'", str(error).splitlines()[0], "weights on disk or the hub",
                             "Download it where there is a network, or give its folder.") from error  # fmt: skip
        self.patch, self.frozen = patch, config.frozen
        self.width = int(self.model.config.hidden_size)
        self.fine_widths: dict[int, int] = {}
        if self.width != config.width:
            raise InputError(f"DINOv2 '{config.checkpoint}'", f"tokens of width {self.width}", str(config.width),
                             "Correct appearance.width.")  # fmt: skip
        if self.frozen:
            self.model.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> Dinov2Appearance:
        """Frozen weights are never in training: neither dropout nor dropped layers."""
        super().train(mode)
        if self.frozen:
            self.model.eval()
        return self

    def forward(self, images: Tensor, valid: Tensor | None) -> Appearance:
        rows, columns = (side // self.patch for side in images.shape[-2:])
        own = int(self.model.config.patch_size)
        mean = images.new_tensor([0.485, 0.456, 0.406])[:, None, None]
        std = images.new_tensor([0.229, 0.224, 0.225])[:, None, None]
        pixels = (
            functional.interpolate(images, (rows * own, columns * own), mode="bilinear", antialias=True) - mean
        ) / std
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            tokens = self.model(pixel_values=pixels).last_hidden_state
        return Appearance(tokens[:, -rows * columns :].unflatten(1, (rows, columns)))


class _ChannelNorm(nn.Module):
    """Layer normalisation over the channels of each pixel of ``[N, C, H, W]``."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class _Step(nn.Module):
    """Half the resolution."""

    def __init__(self, channels: int, out: int, kernel: int = 3) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(channels, out, kernel, stride=2, padding=kernel // 2)
        self.norm = _ChannelNorm(out)

    def forward(self, x: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
        x = functional.gelu(self.norm(self.convolution(x)))
        if mask is None:
            return x, None
        mask = functional.max_pool2d(mask, 2)
        return x * mask, mask


class _Residual(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.norm = _ChannelNorm(channels)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        change = functional.gelu(self.norm(self.first(x)))
        change = self.second(change if mask is None else change * mask)
        return x + (change if mask is None else change * mask)
