# SPDX-License-Identifier: Apache-2.0
"""A truncated signed distance field in sparse blocks of voxels, with a histogram of labels a voxel."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from panoptic_gs import _kernels
from panoptic_gs.errors import InputError
from panoptic_gs.kernels.core import checked, num_threads

BLOCK_SIDE = 8
"""Voxels a side of a block."""


class VolumeFull(InputError):
    """The surfaces fill more voxels than the memory holds."""


class VoxelVolume:
    """Views fused into signed distances, colours and votes for labels; voxel ``i`` is the point ``i · voxel``.

    Curless and Levoy, A volumetric method for building complex models from range images, 1996, in blocks as in Niessner
    et al., Real-time 3D reconstruction at scale using voxel hashing, 2013. Neither the number of threads nor the
    processor changes a bit; the order of views may change the last ones.

    Args:
        voxel: edge of a voxel in world units.
        truncation: largest distance that is kept, in world units.
        most_bytes: memory, votes for labels included, beyond which :meth:`add` refuses a view. A block of voxels keeps
            the votes of up to 48 labels; of more, those with least are counted together.
    """

    def __init__(self, voxel: float, truncation: float, most_bytes: float = 2.5 * 2**30) -> None:
        self.voxel, self.truncation, self._most_bytes = voxel, truncation, most_bytes
        self._volume = _kernels.VoxelVolume(voxel, truncation, max(1, int(most_bytes)))

    @property
    def num_blocks(self) -> int:
        """Blocks of 8³ voxels that are there."""
        return self._volume.num_blocks

    @property
    def num_bytes(self) -> int:
        """Memory that the blocks take."""
        return self._volume.num_bytes

    @property
    def wanted_bytes(self) -> int:
        """Memory that the blocks would take with those that the last view asked for, refused or not."""
        return self._volume.wanted_bytes

    def add(
        self,
        viewmat: Tensor,  # [4, 4]
        K: Tensor,  # [3, 3]
        depth: Tensor,  # [H, W], along z, 0 = none
        weight: Tensor,  # [H, W], what the pixel counts
        label: Tensor,  # [H, W] int32, 0 = none
        confidence: Tensor,  # [H, W], what its label counts
        color: Tensor,  # [H, W, 3]
    ) -> None:
        """Fuse a view.

        Raises:
            InputError: shapes or dtypes that do not fit.
            VolumeFull: more voxels than ``most_bytes`` hold; the view is not in the sums then.
        """
        size = (depth.shape[0], depth.shape[1])
        try:
            self._volume.add(
                checked("viewmat", viewmat, (4, 4)), checked("K", K, (3, 3)), checked("depth", depth, size),
                checked("weight", weight, size), checked("label", label, size, torch.int32),
                checked("confidence", confidence, size), checked("color", color, (*size, 3)), num_threads(),
            )  # fmt: skip
        except (ValueError, RuntimeError) as error:
            if "more blocks" not in str(error):
                raise
            raise VolumeFull(
                "voxel", f"{self.voxel:g}, of which the surfaces fill more than {self._most_bytes / 2**30:.1f} GiB",
                "voxels that fit into memory", "Choose larger voxels, or cut the scene.",
            ) from error  # fmt: skip

    def bounds(self) -> tuple[Tensor, Tensor]:
        """The lowest voxel ``[3]`` and one past the highest ``[3]``, int64; equal where there is none."""
        low, high = torch.empty(3, dtype=torch.int32), torch.empty(3, dtype=torch.int32)
        self._volume.bounds(low, high)
        return low.long() * BLOCK_SIDE, high.long() * BLOCK_SIDE

    def copy(self, low: Sequence[int], size: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Voxels ``low … low + size`` along x, y, z, dense: signed distance in world units, positive before surfaces,
        and weight, both ``[size x, size y, size z]``; where nothing was seen, the truncation and 0.
        """
        distance, weight = torch.empty(*size), torch.empty(*size)
        self._volume.copy(torch.tensor(list(low), dtype=torch.int64), distance, weight, num_threads())
        return distance, weight

    def sample(self, points: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """At points ``[P, 3]``: colour ``[P, 3]``, label ``[P]`` int32, its share of all votes ``[P]``, and weight."""
        points = checked("points", points, (None, 3))
        count = len(points)
        color, label = torch.empty(count, 3), torch.empty(count, dtype=torch.int32)
        share, weight = torch.empty(count), torch.empty(count)
        self._volume.sample(points, color, label, share, weight, num_threads())
        return color, label, share, weight


def count_free(
    points: Tensor,  # [P, 3]
    viewmats: Sequence[Tensor],  # each [4, 4]
    Ks: Sequence[Tensor],  # each [3, 3]
    depths: Sequence[Tensor],  # each [H, W], along z, 0 = none
    margin: float,
) -> Tensor:  # [P] uint8
    """In how many views, at most 255, each point lies before the surface by more than ``margin``."""
    points = checked("points", points, (None, 3))
    free = torch.empty(len(points), dtype=torch.uint8)
    _kernels.count_free(
        points, [checked("viewmats", m, (4, 4)) for m in viewmats], [checked("Ks", K, (3, 3)) for K in Ks],
        [checked("depths", depth, (None, None)) for depth in depths], margin, free, num_threads(),
    )  # fmt: skip
    return free
