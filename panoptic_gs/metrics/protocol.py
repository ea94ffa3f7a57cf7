# SPDX-License-Identifier: Apache-2.0
"""Scoring protocols: which pixels, classes and matches count."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from panoptic_gs.errors import InputError


@dataclass(frozen=True)
class Protocol:
    """The rules of a panoptic score; ``docs/scoring.md`` explains them."""

    name: str
    iou_threshold: float = 0.5
    """A predicted and a true segment of one class match above this IoU (strictly)."""
    resize: tuple[int, int] | None = None
    """Width and height that all maps are resampled to by nearest neighbour before counting; None: as they are."""
    shrink: int = 1
    """Maps are resampled to this fraction of the truth's size by nearest neighbour before counting."""
    min_share: float = 0.0
    """A class that holds some, but less than this share of the pixels in the prediction or in the truth is left out."""
    drops_void_truth: bool = False
    """Pixels of void truth are removed before anything is counted (otherwise they only leave the union)."""
    crowd_is_void: bool = False
    """Crowds of the truth are void (otherwise COCO's rules for them hold)."""
    unpredicted_is_class: bool = False
    """Pixels predicted 0 form a stuff class of their own, which enters the mean and has no truth to match."""
    forgives_void_prediction: bool = False
    """Pixels of a true segment that are predicted void leave the union, and a true segment that is void by more than
    half is not missed."""
    absent_is_zero: bool = False
    """Classes that occur on neither side enter the mean with 0."""
    mean_over_frames: bool = False
    """mIoU and mAcc are taken in each frame, averaged over the frames whose truth shows the class, then over classes
    (otherwise over all pixels of a scene at once)."""

    def size_of(self, height: int, width: int) -> tuple[int, int]:
        """Width and height that maps of a truth of this size are resampled to."""
        return self.resize or (max(1, round(width / self.shrink)), max(1, round(height / self.shrink)))

    @property
    def sampling(self) -> tuple[tuple[int, int] | None, int]:
        """What two protocols that count the same pixels have in common."""
        return self.resize, self.shrink

    @classmethod
    def parse(cls, name: str) -> Protocol:
        """``panoptic-lifting``, ``strict``, or ``panopticrecon:THRESHOLD`` as in ``panopticrecon:0.3``.

        Raises:
            InputError: there is no such protocol, or the threshold is missing or not in 0…1.
        """
        for protocol in PROTOCOLS:
            if name == protocol.name:
                return protocol
        base, _, threshold = name.partition(":")
        if base == "panopticrecon":
            try:
                value = float(threshold)
            except ValueError:
                value = -1.0
            if 0.0 <= value < 1.0:
                return cls(name, iou_threshold=value, shrink=4, absent_is_zero=True, mean_over_frames=True)
            raise InputError(
                "protocol",
                f"'{name}'",
                "an IoU threshold, as in panopticrecon:0.3",
                "Its authors use 0.1 on ScanNet and 0.3 on ScanNet++ and Replica.",
            )
        raise InputError(
            "protocol", f"'{name}'", "panoptic-lifting, strict or panopticrecon:THRESHOLD", "Choose one of them."
        )


PANOPTIC_LIFTING = Protocol(
    "panoptic-lifting",
    resize=(512, 512),
    min_share=0.005,
    drops_void_truth=True,
    crowd_is_void=True,
    unpredicted_is_class=True,
    forgives_void_prediction=True,
)
"""The rules behind the published tables of the PanLift benchmark."""

STRICT = Protocol("strict")
"""The COCO panoptic API's rules on all views of a scene taken as one image."""

PROTOCOLS = (PANOPTIC_LIFTING, STRICT)
"""What is reported unless something else is asked for: the published rules, and beside them those in which leaving
pixels unlabelled costs."""


def as_protocol(protocol: str | Protocol) -> Protocol:
    """A protocol by its name, or itself."""
    return Protocol.parse(protocol) if isinstance(protocol, str) else protocol


def resize_labels(labels: Tensor, size: tuple[int, int]) -> Tensor:
    """Resample ``[..., H, W]`` labels to ``size`` (width, height) by nearest neighbour, as PIL does."""
    width, height = size
    if labels.shape[-2:] == (height, width):
        return labels
    rows, columns = (
        (2 * torch.arange(new, device=labels.device) + 1) * old // (2 * new)
        for new, old in ((height, labels.shape[-2]), (width, labels.shape[-1]))
    )
    return labels[..., rows[:, None], columns[None, :]]
