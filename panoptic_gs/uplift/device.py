# SPDX-License-Identifier: Apache-2.0
"""CUDA tensors: tile lists from gsplat, votes in a few slots a Gaussian, and an overflow list that loses nothing."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from panoptic_gs import kernels
from panoptic_gs.camera import Camera
from panoptic_gs.errors import InputError
from panoptic_gs.splats import Splats

if TYPE_CHECKING:
    from panoptic_gs.uplift.blending import Blending

SLOTS = 4
"""Labels that a Gaussian holds in place."""

TILE_SIZE = 16
"""Of the device kernels, in pixels."""


def tile_lists(splats: Splats, camera: Camera, blending: Blending) -> kernels.TileLists:
    """The splats projected into the camera and sorted by tile and depth, by gsplat (1.4 or 1.5) on its device."""
    kernels.require_cuda()
    try:
        import gsplat
    except ImportError as error:
        raise InputError(
            "gsplat",
            "no gsplat installed",
            "gsplat 1.4 or 1.5 for CUDA tensors",
            "Install it with `pip install panoptic-gs[cuda]`, or pass CPU tensors.",
        ) from error
    device = splats.means.device
    radii, means2d, depths, conics, compensations = gsplat.fully_fused_projection(
        splats.means.detach(),
        None,
        splats.quats.detach(),
        splats.scales.detach(),
        camera.viewmat.to(device)[None],
        camera.K.to(device)[None],
        camera.width,
        camera.height,
        eps2d=blending.eps2d,
        near_plane=blending.near_plane,
        far_plane=blending.far_plane,
        radius_clip=blending.radius_clip,
        packed=False,
        calc_compensations=blending.antialiased,
    )
    opacities = splats.opacities.detach()
    if compensations is not None:
        opacities = opacities * compensations[0]
    columns, rows = math.ceil(camera.width / TILE_SIZE), math.ceil(camera.height / TILE_SIZE)
    _, keys, flatten_ids = gsplat.isect_tiles(means2d, radii, depths, TILE_SIZE, columns, rows, packed=False)
    offsets = gsplat.isect_offset_encode(keys, 1, columns, rows)[0]
    return kernels.TileLists(
        camera.width,
        camera.height,
        offsets.int().contiguous(),
        flatten_ids.int().contiguous(),
        means2d[0].contiguous(),
        conics[0].contiguous(),
        opacities.contiguous(),
    )


class DeviceVotes:
    """Votes of views on one device, until they are drained into a store.

    A Gaussian's first :data:`SLOTS` labels have sums of their own; a slot is claimed by a label for good. Votes for
    further labels are appended to a list. Where a view's votes did not fit into the list, which is looked up when the
    next view is added, so that no launch waits, the list is made longer and the view's overflow is collected again:
    since slots never change hands, these are exactly the votes that were not counted in a slot.
    """

    def __init__(self, num_gaussians: int, device: torch.device, capacity: int | None = None) -> None:
        size = (num_gaussians, SLOTS)
        self.slots = kernels.VoteSlots(
            torch.full(size, -1, dtype=torch.int32, device=device),
            torch.zeros(size, dtype=torch.int64, device=device),
            *_overflow_list(max(num_gaussians, 1 << 16) if capacity is None else capacity, device),
            torch.zeros(1, dtype=torch.int32, device=device),
        )
        self._pending: tuple[kernels.TileLists, Tensor, Tensor | None] | None = None
        self._settled = 0  # entries of the overflow list that are complete

    def add(self, lists: kernels.TileLists, labels: Tensor, weights: Tensor | None) -> None:
        """Add the votes of one view."""
        self._settle()
        self._pending = lists, labels, weights
        kernels.cuda_add_label_votes(lists, labels, weights, self.slots)

    def drain(self, store: kernels.VoteStore) -> None:
        """Move all votes to a store on the CPU."""
        self._settle()
        labels, sums = self.slots.labels, self.slots.sums
        used = sums != 0
        store.add_sums(used.nonzero()[:, 0].cpu(), labels[used].cpu(), sums[used].cpu())
        sums.zero_()
        keys, extra = (values[: self._settled].cpu() for values in (self.slots.overflow_keys, self.slots.overflow_sums))
        store.add_sums(keys >> 32, (keys & 0x7FFFFFFF).int(), extra)
        self._settled = 0
        self.slots.overflow_count.zero_()

    def _settle(self) -> None:
        """See that the last view's overflow is in the list completely."""
        if self._pending is None:
            return
        wanted = int(self.slots.overflow_count) & 0xFFFFFFFF
        if wanted > len(self.slots.overflow_keys):
            longer = _overflow_list(2 * wanted, self.slots.labels.device)
            for old, new in zip((self.slots.overflow_keys, self.slots.overflow_sums), longer):
                new[: self._settled] = old[: self._settled]
            self.slots = self.slots._replace(overflow_keys=longer[0], overflow_sums=longer[1])
            self.slots.overflow_count.fill_(self._settled)
            kernels.cuda_add_label_votes(*self._pending, self.slots, overflow_only=True)
        self._settled = wanted
        self._pending = None


def _overflow_list(capacity: int, device: torch.device) -> tuple[Tensor, Tensor]:
    return (
        torch.empty(capacity, dtype=torch.int64, device=device),
        torch.empty(capacity, dtype=torch.int64, device=device),
    )
