# SPDX-License-Identifier: Apache-2.0
"""How much of the scene each query mask covers, and each pair of masks together: what the QUBO is made of."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from panoptic_gs import kernels
from panoptic_gs.errors import InputError
from panoptic_gs.sums import ViewSum, sum_over_processes

UNIT = 2.0**-34
"""What the sums are integer multiples of."""

MAX_PIXELS = 1 << 29
"""Pixels of full masks that fit into 64-bit sums."""

_BLOCK_BYTES = 128 << 20


class Overlaps(ViewSum):
    r"""Sums over pixels of :math:`\min(M_i, M_j)` for all pairs of queries, M = sigmoid(logits).

    Sums of a stretch of pixels are taken in a fixed order, rounded once to a multiple of 2⁻³⁴ and added as 64-bit
    integers. So the result is the same, bit for bit, for any order of views, any number of threads, and however the
    views are split over objects that are merged later. Against float64, means are off by less than 10⁻⁶ of their value
    plus 10⁻¹⁴.

    Args:
        num_queries: Q.
        device: where the sums are kept; masks may lie elsewhere.

    Example:
        >>> import torch
        >>> table = Overlaps(2)
        >>> table.add(torch.tensor([[[9.0, 9.0]], [[-9.0, 9.0]]]))
        >>> areas, overlaps = table.means()
        >>> [round(float(area), 3) for area in areas], round(float(overlaps[0, 1]), 3)
        ([1.0, 0.5], 0.5)
    """

    def __init__(self, num_queries: int, device: torch.device | str = "cpu") -> None:
        self.sums = torch.zeros(num_queries, num_queries, dtype=torch.int64, device=device)
        self.num_pixels = 0

    @property
    def num_queries(self) -> int:
        """Q, the number of queries."""
        return len(self.sums)

    def add(self, mask_logits: Tensor) -> None:
        """Add one view.

        Args:
            mask_logits: ``[Q, h, w]`` before the sigmoid; float16 is read as it is, other types as float32.

        Raises:
            InputError: another number of queries, NaN, no floating point, more than 2²⁹ pixels in all.
        """
        shape = list(mask_logits.shape)
        if len(shape) != 3 or shape[0] != self.num_queries or 0 in shape:
            raise InputError("mask_logits", f"a view of shape {shape}", f"[{self.num_queries}, h, w]",
                             "Give every view the masks of the same queries.")  # fmt: skip
        if not mask_logits.is_floating_point():
            raise InputError("mask_logits", str(mask_logits.dtype), "floating point logits before the sigmoid",
                             "Pass what the network gave.")  # fmt: skip
        if torch.isnan(mask_logits).any():
            raise InputError("mask_logits", "NaN", "logits before the sigmoid", "Export the predictions again.")
        pixels = shape[1] * shape[2]
        self._count(pixels)
        logits = mask_logits.detach().reshape(shape[0], pixels)
        self.sums += _sums_of(logits).to(self.sums.device)

    def merge(self, other: Overlaps) -> Overlaps:
        """Add the sums of other views.

        Returns:
            These sums.

        Raises:
            InputError: the numbers of queries differ, more than 2²⁹ pixels in all.
        """
        if other.num_queries != self.num_queries:
            raise InputError("overlaps", f"sums for {other.num_queries} queries", f"{self.num_queries}",
                             "Merge sums for the same queries.")  # fmt: skip
        self._count(other.num_pixels)
        self.sums += other.sums.to(self.sums.device)
        return self

    def all_reduce(self, group: Any = None) -> Overlaps:
        """Give every process of a ``torch.distributed`` group the sums of all of them; every process calls this.

        Returns:
            These sums.
        """
        pixels = sum_over_processes(torch.tensor([self.num_pixels]), group)
        self._count(int(pixels) - self.num_pixels)
        self.sums = sum_over_processes(self.sums, group)
        return self

    def empty(self) -> Overlaps:
        """Sums of no views for as many queries, on the same device."""
        return Overlaps(self.num_queries, self.sums.device)

    def means(self) -> tuple[Tensor, Tensor]:
        """Areas ``[Q]`` and overlaps ``[Q, Q]``, float64 means over all pixels; the overlaps' diagonal is the areas.

        Raises:
            InputError: no view was added.
        """
        if self.num_pixels == 0:
            raise InputError("overlaps", "no views", "at least one", "Add the masks of a view first.")
        overlaps = self.sums.to(torch.float64) * (UNIT / self.num_pixels)
        return overlaps.diagonal().clone(), overlaps

    def _count(self, pixels: int) -> None:
        if self.num_pixels + pixels > MAX_PIXELS:
            raise InputError("mask_logits", f"{self.num_pixels + pixels} pixels over all views",
                             f"at most {MAX_PIXELS}", "Leave out views or take smaller masks.")  # fmt: skip
        self.num_pixels += pixels

    def __repr__(self) -> str:
        return f"Overlaps({self.num_queries} queries, {self.num_pixels} pixels)"


def overlaps(
    mask_logits: Tensor,  # [N, Q, h, w]
) -> tuple[Tensor, Tensor]:  # [Q], [Q, Q]
    r"""How much of all views each query's mask covers, and each pair together (PanSt3R, Sec. 3.2).

    .. math:: Q_i = \frac{1}{K} \sum_k M_{i,k}, \qquad Q_{ij} = \frac{1}{K} \sum_k \min(M_{i,k}, M_{j,k})

    over the K pixels of all views, M = sigmoid(logits). For views that do not fit into memory together see
    :class:`Overlaps`.

    Args:
        mask_logits: ``[N, Q, h, w]`` before the sigmoid, a tensor or anything that gives view n as ``[n]``.

    Returns:
        Areas ``[Q]`` and overlaps ``[Q, Q]``, float64, on the masks' device. The overlaps are symmetric and their
        diagonal is the areas.

    Raises:
        InputError: not of this shape, no views or queries, NaN.
    """
    shape = list(mask_logits.shape)
    if len(shape) != 4 or 0 in shape:
        raise InputError("mask_logits", f"shape {shape}", "[N, Q, h, w] with at least one view and query",
                         "Pass the logits of all views.")  # fmt: skip
    table = Overlaps(shape[1], mask_logits.device if isinstance(mask_logits, Tensor) else "cpu")
    for index in range(shape[0]):
        table.add(mask_logits[index])
    return table.means()


def _sums_of(
    logits: Tensor,  # [Q, P]
) -> Tensor:  # [Q, Q] int64
    """Sums of minima in units of 2⁻³⁴."""
    if logits.device.type != "cpu":
        return _blockwise(logits)
    sums = torch.zeros(len(logits), len(logits), dtype=torch.int64)
    kernels.add_overlaps(sums, logits if logits.dtype == torch.float16 else _probabilities(logits))
    return sums


def _blockwise(
    logits: Tensor,  # [Q, P]
) -> Tensor:  # [Q, Q] int64
    """The same through torch, in bounded memory."""
    queries, pixels = logits.shape
    sums = torch.zeros(queries, queries, dtype=torch.float64, device=logits.device)
    width = max(1, min(pixels, 4096))
    rows = max(1, _BLOCK_BYTES // (4 * queries * width))
    for start in range(0, pixels, width):
        masks = _probabilities(logits[:, start : start + width])
        for row in range(0, queries, rows):
            minima = torch.minimum(masks[row : row + rows, None], masks[None, row:])
            sums[row : row + rows, row:] += minima.sum(-1, dtype=torch.float64)
    upper = (sums / UNIT).round().to(torch.int64).triu()
    return upper + upper.triu(1).T


def _probabilities(logits: Tensor) -> Tensor:
    return (logits if logits.dtype == torch.float64 else logits.float()).sigmoid().float()
