# SPDX-License-Identifier: Apache-2.0
"""Sums on a CUDA device: votes in a few slots a Gaussian and an overflow list that loses nothing, features."""

from __future__ import annotations

import torch
from torch import Tensor

from panoptic_gs import kernels
from panoptic_gs.kernels import cuda as cuda_kernels
from panoptic_gs.kernels import uplift as uplift_kernels
from panoptic_gs.kernels.cuda import TileLists, VoteSlots

SLOTS = 4
"""Labels that a Gaussian holds in place."""


class DeviceVotes:
    """Votes of views on one device, until they are drained into a store.

    A Gaussian's first :data:`SLOTS` labels have sums of their own; a slot is claimed by a label for good. Votes for
    further labels are appended to a list. Where a view's votes did not fit into the list, which is looked up when the
    next view is added, so that no launch waits, the list is made longer and the view's overflow is collected again:
    since slots never change hands, these are exactly the votes that were not counted in a slot. A list that fills is
    summed up by pairs of Gaussian and label, so its length stays in proportion to these and to one view's votes.
    """

    def __init__(self, num_gaussians: int, device: torch.device, capacity: int | None = None) -> None:
        size = (num_gaussians, SLOTS)
        self.slots = VoteSlots(
            torch.full(size, -1, dtype=torch.int32, device=device),
            torch.zeros(size, dtype=torch.int64, device=device),
            *_overflow_list(max(num_gaussians, 1 << 16) if capacity is None else capacity, device),
            torch.zeros(1, dtype=torch.int32, device=device),
        )
        self._pending: tuple[TileLists, Tensor, Tensor | None] | None = None
        self._count = _ReadBack(device)
        self._settled = 0  # entries of the overflow list that are complete
        self._distinct = 0  # of them, those that were summed up

    @property
    def num_bytes(self) -> int:
        """Memory on the device, without what the last view holds until the next one comes."""
        return sum(tensor.nbytes for tensor in self.slots)

    def add(self, lists: TileLists, labels: Tensor, weights: Tensor | None) -> None:
        """Add the votes of one view; nothing here waits for its kernel."""
        self._settle()
        # Copies: the caller may write to the maps before the overflow is settled.
        self._pending = lists, labels.clone(), None if weights is None else weights.clone()
        cuda_kernels.add_label_votes(*self._pending, self.slots)
        self._count.start(self.slots.overflow_count)

    def drain(self, store: kernels.VoteStore) -> None:
        """Move all votes to a store on the CPU."""
        self._settle()
        labels, sums = self.slots.labels, self.slots.sums
        used = sums != 0
        store.add_sums(used.nonzero()[:, 0].cpu(), labels[used].cpu(), sums[used].cpu())
        sums.zero_()
        keys, extra = (values[: self._settled].cpu() for values in (self.slots.overflow_keys, self.slots.overflow_sums))
        store.add_sums(keys >> 32, (keys & 0x7FFFFFFF).int(), extra)
        self._settled = self._distinct = 0
        self.slots.overflow_count.zero_()

    def _settle(self) -> None:
        """See that the last view's overflow is in the list completely."""
        if self._pending is None:
            return
        wanted = self._count.value()
        if wanted > len(self.slots.overflow_keys):
            longer = _overflow_list(2 * wanted, self.slots.labels.device)
            for old, new in zip((self.slots.overflow_keys, self.slots.overflow_sums), longer):
                new[: self._settled] = old[: self._settled]
            self.slots = self.slots._replace(overflow_keys=longer[0], overflow_sums=longer[1])
            self.slots.overflow_count.fill_(self._settled)
            cuda_kernels.add_label_votes(*self._pending, self.slots, overflow_only=True)
        self._settled = wanted
        self._pending = None
        if wanted > max(2 * self._distinct, len(self.slots.overflow_keys) // 2):
            self._sum_up()

    def _sum_up(self) -> None:
        """Leave one entry of the overflow list for each pair."""
        _, _, keys, sums, count = self.slots
        pairs, position = torch.unique(keys[: self._settled], return_inverse=True)
        total = torch.zeros_like(pairs).index_add_(0, position, sums[: self._settled])
        self._settled = self._distinct = len(pairs)
        keys[: len(pairs)], sums[: len(pairs)] = pairs, total
        count.fill_(len(pairs))


class _ReadBack:
    """A counter on a device, copied to the host behind the work at hand."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._copy = torch.zeros(1, dtype=torch.int32, pin_memory=device.type == "cuda")
        self._copied: torch.cuda.Event | None = None

    def start(self, counter: Tensor) -> None:
        """Copy the counter behind what is launched now."""
        self._copy.copy_(counter, non_blocking=True)
        if self._device.type == "cuda":
            self._copied = torch.cuda.Event()
            self._copied.record(torch.cuda.current_stream(self._device))

    def value(self) -> int:
        """The counter, unsigned; waits for the copy, not for what was launched since."""
        if self._copied is not None:
            self._copied.synchronize()
        return int(self._copy) & 0xFFFFFFFF


def _overflow_list(capacity: int, device: torch.device) -> tuple[Tensor, Tensor]:
    return (
        torch.empty(capacity, dtype=torch.int64, device=device),
        torch.empty(capacity, dtype=torch.int64, device=device),
    )


class DeviceFeatures:
    """Sums of features on one device.

    A view's sums are taken as 64-bit integers, for some channels at a time so that they and their conversion fit into
    :data:`panoptic_gs.kernels.uplift.FEATURE_MEMORY`, and then added to float32 sums over views. The integers' unit is
    a power of two that the view's size and largest feature decide, so that no sum can leave its range.

    Args:
        num_gaussians: N.
        channels: D.
        device: where the sums are.
        sums: ``[N, D]`` float32 to add to; zeros if not given.
    """

    def __init__(self, num_gaussians: int, channels: int, device: torch.device, sums: Tensor | None = None) -> None:
        self.sums = torch.zeros(num_gaussians, channels, device=device) if sums is None else sums
        self._totals = torch.zeros(num_gaussians, dtype=torch.int64, device=device)

    @property
    def totals(self) -> Tensor:
        """Blending weights ``[N]`` summed over pixels."""
        return (self._totals.double() * 2.0**-34).float()

    def add(self, lists: TileLists, features: Tensor, weights: Tensor | None) -> None:
        """Add one view's features ``[H, W, D]``, times ``weights [H, W]``."""
        count, channels = self.sums.shape
        scale, unit = _fixed_point(features, weights)
        fitting = uplift_kernels.FEATURE_MEMORY // (12 * max(count, 1)) // 16 * 16
        at_once = min(max(fitting, 16), channels)
        for first in range(0, channels, at_once):
            some = self.sums[:, first : first + at_once]
            units = torch.zeros(some.shape, dtype=torch.int64, device=some.device)
            totals = self._totals if first == 0 else None
            cuda_kernels.add_feature_votes(lists, features, weights, first, scale, units, totals)
            some += units.float().mul_(unit)


def _fixed_point(features: Tensor, weights: Tensor | None) -> tuple[Tensor, Tensor]:
    """Units in one, and one unit, ``[1]`` float32 powers of two: all pixels of the largest value sum to below 2⁶²."""
    low, high = features.aminmax()
    largest = torch.maximum(-low, high).abs().reshape(1)
    if weights is not None:
        largest = largest * weights.amax().clamp_min(1e-30)
    exponent = (largest.view(torch.int32) >> 23) - 126  # largest < 2 ** exponent
    pixels = (features.shape[0] * features.shape[1]).bit_length()
    exponent = (62 - pixels - exponent).clamp(-126, 126).int()
    return ((127 + exponent) << 23).view(torch.float32), ((127 - exponent) << 23).view(torch.float32)
