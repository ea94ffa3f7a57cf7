# SPDX-License-Identifier: Apache-2.0
"""The compiled module's device kernels: typed functions over contiguous CUDA tensors, checked here.

Tensors cross as DLPack, without copies. Everything is launched on torch's current stream of the tensors' device; no
launch waits for the device or allocates on it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.dlpack import to_dlpack

from panoptic_gs import _kernels
from panoptic_gs.errors import InputError
from panoptic_gs.kernels.core import require_cuda
from panoptic_gs.kernels.view import ALPHA_MAX

TILE_SIZE = 16
"""Of the device kernels, in pixels."""


class TileLists(NamedTuple):
    """One view's Gaussians, sorted by tile and depth as gsplat's ``isect_tiles`` does."""

    width: int
    height: int
    offsets: Tensor  # [tile_height, tile_width] int32, from isect_offset_encode; tiles of 16 × 16 pixels
    flatten_ids: Tensor  # [n_isects] int32, of one camera, not packed
    means2d: Tensor  # [N, 2]
    conics: Tensor  # [N, 3]
    opacities: Tensor  # [N]
    alpha_max: float = ALPHA_MAX
    """What alpha is clamped to, as in the forward pass."""

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """The fields that are tensors, in order."""
        return self.offsets, self.flatten_ids, self.means2d, self.conics, self.opacities

    def to(self, device: torch.device | str) -> TileLists:
        """The lists on a device."""
        names = "offsets", "flatten_ids", "means2d", "conics", "opacities"
        return self._replace(**{name: getattr(self, name).to(device) for name in names})


class VoteSlots(NamedTuple):
    """Where label votes go; see :class:`panoptic_gs.backends.cuda_sums.DeviceVotes`."""

    labels: Tensor  # [N, S] int32, -1 = free
    sums: Tensor  # [N, S] int64, units of 2⁻³⁴
    overflow_keys: Tensor  # [capacity] int64, Gaussian · 2³² + label
    overflow_sums: Tensor  # [capacity] int64
    overflow_count: Tensor  # [1] int32, counts on beyond the capacity


def add_label_votes(
    lists: TileLists,
    labels: Tensor,  # [H, W] int32, 0 or more
    weights: Tensor | None,  # [H, W], 0 … 1024
    slots: VoteSlots,
    overflow_only: bool = False,
) -> None:
    """Add a view's votes, or, ``overflow_only``, those alone that no slot takes."""
    size, count = (lists.height, lists.width), len(lists.opacities)
    capacity = len(slots.overflow_keys)
    arguments = [
        _on(lists, "labels", labels, size, torch.int32),
        None if weights is None else _on(lists, "weights", weights, size),
        _on(lists, "slots.labels", slots.labels, (count, None), torch.int32),
        _on(lists, "slots.sums", slots.sums, slots.labels.shape, torch.int64),
        _on(lists, "slots.overflow_keys", slots.overflow_keys, (capacity,), torch.int64),
        _on(lists, "slots.overflow_sums", slots.overflow_sums, (capacity,), torch.int64),
        _on(lists, "slots.overflow_count", slots.overflow_count, (1,), torch.int32),
    ]
    _launch("cuda_add_label_votes", lists.opacities.device, _checked(lists), *arguments, overflow_only)


def count_label_votes(lists: TileLists, labels: Tensor) -> Tensor:
    """How many sums :func:`add_label_votes` adds to a Gaussian's labels in memory: ``[1]`` int32 on the device."""
    device, count = lists.opacities.device, len(lists.opacities)
    nowhere = VoteSlots(
        torch.empty(count, 0, dtype=torch.int32, device=device),
        torch.empty(count, 0, dtype=torch.int64, device=device),
        torch.empty(0, dtype=torch.int64, device=device),
        torch.empty(0, dtype=torch.int64, device=device),
        torch.zeros(1, dtype=torch.int32, device=device),
    )
    add_label_votes(lists, labels, None, nowhere)
    return nowhere.overflow_count


def add_feature_votes(
    lists: TileLists,
    features: Tensor,  # [H, W, D]
    weights: Tensor | None,  # [H, W], 0 … 1024
    first: int,
    scale: Tensor,  # [1], a power of two
    sums: Tensor,  # [N, K] int64, units of 1 / scale, added to
    totals: Tensor | None,  # [N] int64, units of 2⁻³⁴, added to
) -> None:
    """Add blending weight × feature, channels from ``first`` on, to ``sums``, and the weights to ``totals``."""
    size, count = (lists.height, lists.width), len(lists.opacities)
    if not 0 <= first <= features.shape[-1] - sums.shape[-1]:
        raise InputError(
            "first", f"channels {first} to {first + sums.shape[-1]}", f"some of the {features.shape[-1]} channels",
            "Ask for channels that the map has.",
        )  # fmt: skip
    arguments = [
        _on(lists, "features", features, (*size, None)),
        None if weights is None else _on(lists, "weights", weights, size),
        first,
        _on(lists, "scale", scale, (1,)),
        _on(lists, "sums", sums, (count, None), torch.int64),
        None if totals is None else _on(lists, "totals", totals, (count,), torch.int64),
    ]
    _launch("cuda_add_feature_votes", lists.opacities.device, _checked(lists), *arguments)


def render_panoptic(
    lists: TileLists,
    indptr: Tensor,  # [N + 1] int64
    rank: Tensor,  # [nnz] int32, ascending in a row
    weight: Tensor,  # [nnz]
    num_ranks: int,
) -> tuple[Tensor, Tensor, Tensor]:
    """The rank with the largest blended weight ``[H, W]`` int32 (-1: none), its share ``[H, W]``, alpha ``[H, W]``."""
    device, size = lists.opacities.device, (lists.height, lists.width)
    winners = torch.empty(size, dtype=torch.int32, device=device)
    confidence, accumulation = torch.empty(size, device=device), torch.empty(size, device=device)
    arguments = [
        _on(lists, "indptr", indptr, (len(lists.opacities) + 1,), torch.int64),
        _on(lists, "rank", rank, (None,), torch.int32),
        _on(lists, "weight", weight, rank.shape),
    ]
    _launch("cuda_render_panoptic", device, _checked(lists), *arguments, num_ranks, winners, confidence, accumulation)
    return winners, confidence, accumulation


def atomic_adds(counters: Tensor, threads: int, rounds: int) -> None:
    """Add 1 to scattered ``counters [n]`` int64, n a power of two, ``rounds`` times in each thread; for benchmarks."""
    if counters.ndim != 1 or counters.dtype != torch.int64 or len(counters).bit_count() != 1:
        raise InputError("counters", f"{counters.dtype} of shape {list(counters.shape)}",
                         "int64 counters, a power of two of them", "Round their number.")  # fmt: skip
    _launch("cuda_atomic_adds", counters.device, None, counters, threads, rounds)


def _checked(lists: TileLists) -> TileLists:
    rows, columns = -(-lists.height // TILE_SIZE), -(-lists.width // TILE_SIZE)
    count = len(lists.opacities)
    _on(lists, "offsets", lists.offsets, (rows, columns), torch.int32)
    _on(lists, "flatten_ids", lists.flatten_ids, (None,), torch.int32)
    _on(lists, "means2d", lists.means2d, (count, 2))
    _on(lists, "conics", lists.conics, (count, 3))
    _on(lists, "opacities", lists.opacities, (count,))
    return lists


def _on(
    lists: TileLists, name: str, tensor: Tensor, shape: Sequence[int | None], dtype: torch.dtype = torch.float32
) -> Tensor:
    """``tensor``, if it is contiguous, of this dtype and shape (``None``: any size), on the lists' device."""
    device = lists.opacities.device
    if tensor.device != device:
        raise InputError(
            name, f"a tensor on {tensor.device}", f"a tensor on {device}", f"Move it with .to('{device}')."
        )
    if tensor.dtype != dtype:
        raise InputError(name, str(tensor.dtype), str(dtype), f"Convert it with .to({dtype}).")
    if tensor.ndim != len(shape) or any(want is not None and have != want for have, want in zip(tensor.shape, shape)):
        wanted = ", ".join("*" if size is None else str(size) for size in shape)
        raise InputError(name, f"shape {list(tensor.shape)}", f"[{wanted}]", "Check the other arguments' sizes too.")
    if not tensor.is_contiguous():
        raise InputError(name, f"strides {tensor.stride()}", "a contiguous tensor", "Call .contiguous() on it.")
    return tensor


def _launch(name: str, device: torch.device, lists: TileLists | None, *arguments: Any) -> None:
    """Call a function of the compiled module on the device's current stream.

    Raises:
        InputError: the module was built without CUDA, or the tensors are not on a CUDA device.
        RuntimeError: the launch failed, with CUDA's message.
    """
    require_cuda()
    if device.type != "cuda":
        raise InputError("tensors", f"tensors on {device}", "CUDA tensors", "Use panoptic_gs.kernels on the CPU.")
    with torch.cuda.device(device):
        # to_dlpack hands over the memory as it is; the tensors' own __dlpack__ would make torch's default stream wait
        # for the current one.
        given = [to_dlpack(value) if isinstance(value, Tensor) else value for value in arguments]
        if lists is not None:
            tensors = (to_dlpack(value) for value in lists.tensors)
            given.insert(0, _kernels.CudaTileLists(lists.width, lists.height, *tensors, lists.alpha_max))
        getattr(_kernels, name)(*given, torch.cuda.current_stream(device).cuda_stream)
