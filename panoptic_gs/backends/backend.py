# SPDX-License-Identifier: Apache-2.0
"""What a device can do: draw Gaussians, add votes and features of pixels to them, draw their labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, Protocol

import torch
from torch import Tensor

from panoptic_gs import kernels
from panoptic_gs.backends.blending import Blending
from panoptic_gs.backends.cuda_sums import DeviceFeatures, DeviceVotes
from panoptic_gs.camera import Camera
from panoptic_gs.splats import Splats

RenderMode = Literal["RGB", "D", "ED", "RGB+D", "RGB+ED"]


@dataclass(frozen=True, eq=False)
class RasterJob:
    """What :func:`~panoptic_gs.rasterization` was asked for; see there."""

    means: Tensor  # [N, 3]
    quats: Tensor  # [N, 4] wxyz
    scales: Tensor  # [N, 3]
    opacities: Tensor  # [N]
    colors: Tensor  # [(C,) N, D] or [(C,) N, K, 3]
    viewmats: Tensor  # [C, 4, 4]
    Ks: Tensor  # [C, 3, 3]
    width: int
    height: int
    blending: Blending
    sh_degree: int | None
    packed: bool
    backgrounds: Tensor | None  # [C, D] or [C, D + E]
    render_mode: RenderMode
    absgrad: bool
    extra_signals: Tensor | None  # [(C,) N, E]
    others: Mapping[str, Any]
    """gsplat's other arguments, by name."""


class LabelRows(Protocol):
    """Sparse rows of labels, as :class:`~panoptic_gs.GaussianLabels` has them."""

    @property
    def indptr(self) -> Tensor: ...  # [N + 1] int64
    @property
    def label(self) -> Tensor: ...  # [nnz] int32, ascending in a row
    @property
    def weight(self) -> Tensor: ...  # [nnz]
    @property
    def ranks(self) -> tuple[Tensor, Tensor]: ...  # labels that occur [L], and each entry's position in it [nnz]


class RenderedLabels(NamedTuple):
    """The label with the largest blended weight in each pixel."""

    ids: Tensor  # [H, W] int64
    confidence: Tensor  # [H, W], its share of all weight
    accumulation: Tensor  # [H, W], all weight


@dataclass
class LabelSums:
    """Exact sums of blending weights for pairs (Gaussian, label): a store on the host, and what devices have not handed
    over to it yet.
    """

    store: kernels.VoteStore
    on_devices: dict[torch.device, DeviceVotes] = field(default_factory=dict)

    @property
    def num_bytes(self) -> int:
        """Memory that the sums take, on all devices."""
        return self.store.num_bytes + sum(votes.num_bytes for votes in self.on_devices.values())

    def drained(self) -> kernels.VoteStore:
        """The store, with everything in it."""
        for votes in self.on_devices.values():
            votes.drain(self.store)
        return self.store


@dataclass
class FeatureSums:
    """Sums of blending weight × feature, and of blending weights, for each Gaussian, on one device."""

    sums: Tensor  # [N, D]
    totals: Tensor  # [N]
    on_device: DeviceFeatures | None = None

    def drained(self) -> tuple[Tensor, Tensor]:
        """``sums`` and ``totals`` with everything in them."""
        if self.on_device is not None:
            self.totals += self.on_device.totals
            self.on_device = None
        return self.sums, self.totals


class Backend(Protocol):
    """Draws and sums on one kind of device."""

    @property
    def alpha_max(self) -> float:
        """The most that one Gaussian covers of a pixel where nothing else is asked for."""
        ...

    def rasterize(self, job: RasterJob) -> tuple[Tensor, Tensor, dict[str, Any]]:
        """Colours ``[C, H, W, X]``, alphas ``[C, H, W, 1]`` and gsplat's ``meta``, differentiable."""
        ...

    def add_votes(
        self,
        sums: LabelSums,
        splats: Splats,
        camera: Camera,
        blending: Blending,
        labels: Tensor,  # [H, W] int32
        weights: Tensor | None,  # [H, W]
    ) -> None:
        """Add a view's blending weights to the pairs of Gaussians and their pixels' labels."""
        ...

    def add_features(
        self,
        sums: FeatureSums,
        splats: Splats,
        camera: Camera,
        blending: Blending,
        features: Tensor,  # [H, W, D]
        weights: Tensor | None,  # [H, W]
    ) -> None:
        """Add a view's blending weights × features."""
        ...

    def render_labels(self, splats: Splats, camera: Camera, blending: Blending, labels: LabelRows) -> RenderedLabels:
        """Render the label of every pixel."""
        ...
