# SPDX-License-Identifier: Apache-2.0
"""The whole network: backbones, frame tokens, dense features, queries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional

from panoptic_gs.errors import InputError
from panoptic_gs.network.appearance import Appearance, appearance_backbone
from panoptic_gs.network.config import NetworkConfig
from panoptic_gs.network.dense import DenseFeatures
from panoptic_gs.network.geometry import (
    Decoded,
    Memory,
    MultiViewTransformer,
    everyone,
    patches_of,
    those_before,
)
from panoptic_gs.network.mask_transformer import MaskTransformer, Queries
from panoptic_gs.network.points import CameraPoints, DensePoints, PointMaps
from panoptic_gs.network.vocabulary import Similarity, vocabulary


@dataclass(frozen=True, eq=False)
class Views:
    """B scenes with V views each, padded on the right and below to one size that is a multiple of the patch.

    Args:
        images: ``[B, V, 3, H, W]`` in 0…1.
        sizes: ``[B, V, 2]`` heights and widths in pixels without padding.
    """

    images: Tensor
    sizes: Tensor

    @classmethod
    def padded(cls, images: Tensor, patch: int, sizes: Tensor | None = None) -> Views:
        """From ``[B, V, 3, H, W]``, whose own padding is told by `sizes`."""
        height, width = images.shape[-2:]
        if sizes is None:
            sizes = torch.tensor([height, width], device=images.device).expand(*images.shape[:2], 2)
        # Half grey is what the backbones take for nothing.
        return cls(functional.pad(images, (0, -width % patch, 0, -height % patch), value=0.5), sizes)

    def whole(self, patch: int) -> bool:
        """Whether no patch is padding alone."""
        padded = self.sizes.new_tensor(self.images.shape[-2:])
        return bool((padded - self.sizes < patch).all())


@dataclass(frozen=True, eq=False)
class Encoded:
    """What is known of each image by itself: ``[B, V, T, D]`` and the appearance of B · V images."""

    tokens: Tensor
    appearance: Appearance
    valid: Tensor | None


@dataclass(frozen=True, eq=False)
class Seen:
    """What is known of views that saw each other.

    Args:
        frame_tokens: ``[B, V, T, D]``.
        features: ``[B, V, mask_width, h, w]`` dense features F_n.
        descriptors: ``[B, V, match_width, h, w]`` of length 1, alike where views show the same place.
        points: their point maps.
        valid: ``[B, V, T]`` bool, patches that are no padding; all without it.
        memory: for views that come later.
    """

    frame_tokens: Tensor
    features: Tensor
    descriptors: Tensor | None
    points: PointMaps
    valid: Tensor | None
    memory: Memory = field(repr=False)

    @classmethod
    def joined(cls, parts: Sequence[Seen], memory: Memory) -> Seen:
        """Views of the same scenes that were seen in turn, with the memory of all."""
        valid = [part.valid for part in parts]
        if any(part is None for part in valid):
            valid = [None] * len(parts)
        return cls(
            torch.cat([part.frame_tokens for part in parts], 1),
            torch.cat([part.features for part in parts], 1),
            torch.cat([part.descriptors for part in parts if part.descriptors is not None], 1)
            if parts[0].descriptors is not None
            else None,
            PointMaps.joined([part.points for part in parts]),
            None if valid[0] is None else torch.cat([part for part in valid if part is not None], 1),
            memory,
        )


class PanopticNetwork(nn.Module):
    """A multi-view panoptic network after Zust et al., PanSt3R: Multi-view Consistent Panoptic Segmentation, ICCV 2025.

    Geometry and panoptics may be trained together, from the encoder's tokens and the decoder's last ones.

    Raises:
        InputError: a backbone that is not installed.
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config, self.patch = config, config.patch
        self.appearance = appearance_backbone(config.appearance, config.patch)
        self.geometry = MultiViewTransformer(config.geometry, config.patch)
        head = CameraPoints if config.geometry.points == "camera" else DensePoints
        self.points = head(config.geometry, config.patch, config.masks.mask_width)
        widths = {"appearance": self.appearance.width, "encoder": self.geometry.width, "decoder": self.geometry.width}
        width = config.masks.width
        self.fuse_norms = nn.ModuleDict({name: nn.LayerNorm(widths[name]) for name in config.fused})
        self.fuse = nn.Sequential(
            nn.Linear(sum(widths[name] for name in config.fused), width), nn.GELU(), nn.Linear(width, width)
        )
        self.located = nn.Linear(6 * _OCTAVES * 2, width) if config.located else None
        if self.located is not None:  # says nothing at first
            nn.init.zeros_(self.located.weight)
            nn.init.zeros_(self.located.bias)
        fine = self.appearance.fine_widths if "appearance" in config.fused else {}
        self.dense = DenseFeatures(
            width, config.patch, config.masks.stride, config.masks.mask_width, fine, config.masks.match_width
        )
        self.queries = MaskTransformer(config.masks, config.class_width)
        self.vocabulary = vocabulary(config.classes, config.text, config.class_width)
        self.similarity = Similarity()
        self.mask_bias = nn.Parameter(torch.tensor(-2.0))

    def encode(self, views: Views) -> Encoded:
        """Each image by itself."""
        scenes, count = views.images.shape[:2]
        images, sizes = views.images.flatten(0, 1), views.sizes.flatten(0, 1)
        rows, columns = (side // self.patch for side in images.shape[-2:])
        pixels = valid = None
        if bool((sizes != sizes.new_tensor(images.shape[-2:])).any()):
            y = torch.arange(images.shape[-2], device=images.device) < sizes[:, :1]
            x = torch.arange(images.shape[-1], device=images.device) < sizes[:, 1:]
            pixels = y[:, :, None] & x[:, None, :]
        if not views.whole(self.patch):
            valid = patches_of(sizes, rows, columns, self.patch).unflatten(0, (scenes, count))
        appearance = self.appearance(images, pixels)
        tokens = self.geometry.encode(images, sizes)
        return Encoded(tokens.unflatten(0, (scenes, count)), appearance, valid)

    def look(self, views: Views, reach: Tensor | None = None, first: bool = True, memory: Memory | None = None) -> Seen:
        """Views that see each other, or a memory of others.

        Args:
            views: B scenes.
            reach: ``[V, V]`` bool, who sees whom; by default as the configuration says.
            first: whether the first view's camera is the frame of the points; else the memory's first is.
            memory: of views seen before.
        """
        count = views.images.shape[1]
        if reach is None:
            online = self.config.memory == "online"
            reach = (those_before if online else everyone)(count, device=views.images.device)
        encoded = self.encode(views)
        decoded = self.geometry.decode(encoded.tokens, encoded.valid, reach, first, memory)
        rows, columns = (side // self.patch for side in views.images.shape[-2:])
        frame_tokens = self._fused(encoded, decoded)
        if self.located is not None:
            coarse = self.points(decoded, None, rows, columns, views.sizes, first)
            frame_tokens = frame_tokens + self.located(_where(coarse, rows, columns).to(frame_tokens.dtype))
        grid = frame_tokens.flatten(0, 1).unflatten(1, (rows, columns))
        features, descriptors = self.dense(grid, encoded.appearance.fine)
        scenes = frame_tokens.shape[:2]
        descriptors = None if descriptors is None else descriptors.unflatten(0, scenes)
        features = features.unflatten(0, scenes)
        points = self.points(decoded, features, rows, columns, views.sizes, first)
        return Seen(frame_tokens, features, descriptors, points, encoded.valid, Memory.of(decoded, encoded.valid))

    def ask(self, seen: Seen, keyframes: Sequence[int] | None = None) -> list[Queries]:
        """Queries from the tokens of keyframes (by default all views), before the first layer and after each."""
        chosen = slice(None) if keyframes is None else list(keyframes)
        tokens, features = seen.frame_tokens[:, chosen], seen.features[:, chosen]
        valid = None if seen.valid is None else seen.valid[:, chosen].flatten(1)
        steps = self.patch // self.config.masks.stride
        pooled = functional.avg_pool2d(features.flatten(0, 1), steps).flatten(2).transpose(1, 2)  # [B·K, T, C]
        pooled = pooled.unflatten(0, tokens.shape[:2]).flatten(1, 2)
        return self.queries(tokens.flatten(1, 2), valid, pooled)

    def mask_logits(self, queries: Queries, features: Tensor) -> Tensor:
        """``[B, Q, ...]`` of features ``[B, ..., mask_width]``: the products with LIN^M(q) and a bias."""
        flat = features.flatten(1, -2)
        logits = torch.einsum("bqc,bpc->bqp", queries.masks.float(), flat.float()) + self.mask_bias
        return logits.unflatten(2, features.shape[1:-1])

    def class_logits(self, queries: Queries, names: Sequence[str]) -> Tensor:
        """``[B, Q, C]`` for classes by their names.

        Raises:
            InputError: a name that a learned table does not have.
        """
        return self.similarity(queries.classes, self.vocabulary(names))

    def _fused(self, encoded: Encoded, decoded: Decoded) -> Tensor:
        parts = {
            "appearance": lambda: encoded.appearance.tokens.flatten(1, 2).unflatten(0, decoded.tokens.shape[:2]),
            "encoder": lambda: encoded.tokens,
            "decoder": lambda: decoded.tokens,
        }
        return self.fuse(torch.cat([self.fuse_norms[name](parts[name]()) for name in self.config.fused], dim=-1))


_OCTAVES = 6


@torch.no_grad()
def _where(points: PointMaps, rows: int, columns: int) -> Tensor:
    """Sines and cosines ``[B, V, rows · columns, 12 · octaves]`` of the mean points of patches, in both frames."""
    both = torch.cat([points.world, points.local], -1).flatten(0, 1).permute(0, 3, 1, 2)
    mean = functional.adaptive_avg_pool2d(both, (rows, columns)).flatten(2).transpose(1, 2)
    frequencies = 0.4 * 2 ** torch.arange(_OCTAVES, device=mean.device, dtype=mean.dtype)
    angles = (mean.clamp(-50, 50)[..., None] * frequencies).flatten(-2)
    return torch.cat([angles.sin(), angles.cos()], -1).unflatten(0, points.world.shape[:2])


def parameters_of(network: nn.Module) -> int:
    """How many numbers a network learns."""
    return sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad)


def require_device(device: str) -> torch.device:
    """The device of a name.

    Raises:
        InputError: torch does not have it.
    """
    try:
        found = torch.device(device)
        torch.empty(0, device=found)
    except (RuntimeError, AssertionError) as error:
        raise InputError("device", f"'{device}'", "cpu, or cuda where there is a GPU", "Choose another.") from error
    return found
