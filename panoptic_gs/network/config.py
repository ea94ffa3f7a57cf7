# SPDX-License-Identifier: Apache-2.0
"""How large a network is and what it is made of: the presets ``tiny``, ``small`` and ``base``."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

from panoptic_gs.errors import InputError
from panoptic_gs.records import Length, Name, Range

Fused = Literal["appearance", "encoder", "decoder"]
Positive = Annotated[int, Range(1, 1 << 16)]


@dataclass(frozen=True)
class AppearanceConfig:
    """The backbone that sees one image at a time.

    Args:
        kind: ``convolutional``, trained with the rest; ``dinov2`` through transformers.
        width: of its tokens.
        checkpoint: of DINOv2, its name on the hub or its folder.
        frozen: whether DINOv2 keeps its weights.
    """

    kind: Literal["convolutional", "dinov2"] = "convolutional"
    width: Positive = 192
    checkpoint: str = "facebook/dinov2-large"
    frozen: bool = True


@dataclass(frozen=True)
class GeometryConfig:
    """The multi-view transformer.

    Args:
        width: of its tokens.
        heads: of its attention.
        encoder_blocks: that see one image.
        decoder_blocks: that see, in turn, one image and all of them.
        points: ``camera`` makes the point maps of a depth for each pixel, and a pose and a focal length for each view;
            ``dense`` says both maps point by point.
        point_stride: pixels between the points that are predicted; those between are interpolated.
        fine: whether depth of a ``camera`` head is corrected by the dense features, which see edges.
    """

    width: Positive = 192
    heads: Positive = 6
    encoder_blocks: Positive = 2
    decoder_blocks: Positive = 6
    points: Literal["camera", "dense"] = "camera"
    point_stride: Positive = 4
    fine: bool = True


@dataclass(frozen=True)
class MaskConfig:
    """Dense features and the mask transformer.

    Args:
        width: of frame tokens and queries.
        heads: of its attention.
        layers: of cross-attention, self-attention and feed-forward.
        feed_forward: inner width over `width`.
        queries: how many.
        mask_width: of the dense features and the queries' masks.
        stride: pixels between the dense features.
        match_width: of the descriptors by which pixels are found again in other views; 0 for none.
        masked_attention: whether a query looks only where its mask was a layer before (Cheng et al., Masked-attention
            Mask Transformer for Universal Image Segmentation, CVPR 2022, Sec. 3.2.1).
    """

    width: Positive = 192
    heads: Positive = 6
    layers: Positive = 3
    feed_forward: Positive = 2
    queries: Positive = 64
    mask_width: Positive = 96
    stride: Positive = 4
    match_width: Annotated[int, Range(0, 1 << 12)] = 32
    masked_attention: bool = True


@dataclass(frozen=True)
class NetworkConfig:
    """All of a network.

    Args:
        patch: pixels on a token's side.
        size: width and height in pixels of the views it is trained on.
        appearance, geometry, masks: its parts.
        fused: which features make the frame tokens.
        located: whether frame tokens are told where the points of their patch are, in both frames: two objects that
            look alike differ in where they are.
        memory: ``all``: each view sees all keyframes; ``online``: those before it and itself.
        class_width: of class embeddings.
        text: SigLIP's name on the hub or its folder, for classes by their names; none for a table that is learned.
        classes: the names that a learned table knows.

    Raises:
        InputError: strides that do not divide the patch by powers of two, heads that do not divide the width.
    """

    patch: Positive = 16
    size: tuple[Positive, Positive] = (160, 120)
    appearance: AppearanceConfig = field(default_factory=AppearanceConfig)
    geometry: GeometryConfig = field(default_factory=GeometryConfig)
    masks: MaskConfig = field(default_factory=MaskConfig)
    fused: Annotated[tuple[Fused, ...], Length(1, 3)] = ("appearance", "encoder", "decoder")
    located: bool = True
    memory: Literal["all", "online"] = "all"
    class_width: Positive = 64
    text: str | None = None
    classes: tuple[Name, ...] = ()

    def __post_init__(self) -> None:
        for name, stride in (
            ("masks.stride", self.masks.stride),
            ("geometry.point_stride", self.geometry.point_stride),
        ):
            steps = self.patch // stride
            if steps * stride != self.patch or steps & (steps - 1):
                raise InputError(f"network, {name}", str(stride), f"the patch {self.patch} over a power of two",
                                 "Choose such a stride.")  # fmt: skip
        for name, part in (("geometry", self.geometry), ("masks", self.masks)):
            if part.width % part.heads:
                raise InputError(f"network, {name}.heads", f"{part.heads} for a width of {part.width}",
                                 "a divisor of it", "Choose another number.")  # fmt: skip
        if self.patch % 8:
            raise InputError("network, patch", str(self.patch), "a multiple of 8", "Choose another patch.")


PRESETS: dict[str, NetworkConfig] = {
    "tiny": NetworkConfig(),
    "small": NetworkConfig(
        size=(320, 240),
        appearance=AppearanceConfig("dinov2", 384, "facebook/dinov2-small"),
        geometry=GeometryConfig(384, 6, 6, 8, "dense", 2),
        masks=MaskConfig(384, 6, 4, 4, 100, 128, 2),
        class_width=768,
        text="google/siglip-base-patch16-224",
    ),
    "base": NetworkConfig(
        size=(512, 384),
        appearance=AppearanceConfig("dinov2", 1024, "facebook/dinov2-large"),
        geometry=GeometryConfig(768, 12, 12, 12, "dense", 1),
        masks=MaskConfig(768, 12, 6, 4, 200, 256, 2, masked_attention=False),
        class_width=768,
        text="google/siglip-base-patch16-224",
    ),
}
"""``tiny`` learns on two CPU cores; ``base`` has the widths of PanSt3R (Zust et al., ICCV 2025)."""
