# SPDX-License-Identifier: Apache-2.0
"""Maps that are uplifted, checked at the border, and the views that they belong to."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import count, repeat
from typing import Generic, TypeVar, cast

import numpy as np
import torch
from torch import Tensor

from panoptic_gs.camera import Camera
from panoptic_gs.errors import InputError

LARGEST_LABEL = 2**31 - 1
"""Labels are any integers from 0 (void) to this; they need not be consecutive."""

LARGEST_WEIGHT = 1024.0
"""Factors of a pixel's votes are numbers from 0 to this."""


def label_map_of(camera: Camera, labels: np.ndarray | Tensor, device: torch.device) -> Tensor:
    """A label map ``[H, W]`` of any integer type as contiguous int32 on ``device``.

    Raises:
        InputError: not of the camera's size, not integer, labels below 0 or above :data:`LARGEST_LABEL`.
    """
    source = "label map"
    _require_size(source, labels, (camera.height, camera.width), camera)
    if isinstance(labels, np.ndarray) and labels.dtype.kind in "iu":
        lowest, highest = (int(labels.min()), int(labels.max())) if labels.size else (0, 0)
        to_int32 = lambda: torch.from_numpy(np.ascontiguousarray(labels, dtype=np.int32))
    elif isinstance(labels, Tensor) and not labels.dtype.is_floating_point and labels.dtype != torch.bool:
        lowest, highest = torch.stack(labels.aminmax()).tolist() if labels.numel() else (0, 0)
        to_int32 = lambda: labels.to(torch.int32)
    else:
        raise InputError(source, f"values of type {labels.dtype}", "integers", "Pass ids, 0 for void.")
    if lowest < 0 or highest > LARGEST_LABEL:
        raise InputError(
            source,
            f"labels from {lowest} to {highest}",
            f"0 (void) to {LARGEST_LABEL}",
            "Give unlabelled pixels 0 and number the segments anew.",
        )
    return to_int32().to(device).contiguous()


def pixel_weights_of(camera: Camera, weights: np.ndarray | Tensor, device: torch.device) -> Tensor:
    """A weight map ``[H, W]`` as contiguous float32 on ``device``.

    Raises:
        InputError: not of the camera's size, negative, NaN or above :data:`LARGEST_WEIGHT`.
    """
    _require_size("weights", weights, (camera.height, camera.width), camera)
    values = torch.as_tensor(weights).detach().to(device, torch.float32).contiguous()
    if not ((values >= 0) & (values <= LARGEST_WEIGHT)).all():
        raise InputError(
            "weights",
            "negative, NaN or very large values",
            f"weights from 0 to {LARGEST_WEIGHT:g}",
            "Scale and clamp them; a pixel of weight 0 takes no part.",
        )
    return values


def _require_size(source: str, values: np.ndarray | Tensor, shape: tuple[int, ...], camera: Camera) -> None:
    if tuple(values.shape[:2]) != shape or values.ndim != 2:
        raise InputError(
            source,
            f"shape {list(values.shape)}",
            f"{list(shape)} (height, width) as its camera says",
            "Resample the map by nearest neighbour (panoptic_gs.panoptic.resize_nearest), or resize the "
            f"camera ({camera.width}×{camera.height}).",
        )


Map = np.ndarray | Tensor
Weights = Iterable[Map | None] | Mapping[int, Map] | None
"""Factors ``[H, W]`` of each view's pixels: one map (or None) for each view, in order, or by the view's position."""


T = TypeVar("T")


class Repeated(Generic[T]):
    """Items that are made anew each time that somebody goes through them: what is read from files, one at a time.

    Args:
        make: starts from the first item.
    """

    def __init__(self, make: Callable[[], Iterator[T]]) -> None:
        self._make = make

    def __iter__(self) -> Iterator[T]:
        return self._make()


def weighted_views(views: Iterable[tuple[Camera, Map]], weights: Weights) -> Iterator[tuple[Camera, Map, Map | None]]:
    """The views one by one, each with its factors.

    Raises:
        InputError: fewer or more weights than views; a mapping with a position that no view has.
    """
    positions: Iterator[Map | None]
    by_position = cast("Mapping[int, Map]", weights) if isinstance(weights, Mapping) else None
    if weights is None:
        positions = repeat(None)
    elif by_position is not None:
        positions = (by_position.get(position) for position in count())
    else:
        positions = iter(cast("Iterable[Map | None]", weights))
    seen = 0
    for camera, values in views:
        try:
            factors = next(positions)
        except StopIteration:
            raise InputError(
                "weights", f"{seen} maps", "one for each view", "Pass None for views without weights."
            ) from None
        yield camera, values, factors
        seen += 1
    if by_position is not None:
        unused = sorted(position for position in by_position if not 0 <= position < seen)
        if unused:
            expected = f"positions of the {seen} views, counted from 0"
            raise InputError("weights", f"a map for view {unused[0]}", expected,
                             "Count the views from 0.")  # fmt: skip
    elif weights is not None and next(positions, positions) is not positions:
        raise InputError("weights", "more maps than views", "one for each view", "Check which views are passed.")
