# SPDX-License-Identifier: Apache-2.0
"""The one table that every score is computed from: pixel counts of (predicted segment, true segment) pairs."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from panoptic_gs.errors import InputError
from panoptic_gs.sums import ViewSum, rows_of_others

LabelMap = Tensor | np.ndarray
"""An integer map of categories or segment ids, ``[H, W]`` or ``[N, H, W]``."""

_COLUMNS = ("pred_category", "pred_segment", "gt_category", "gt_segment")


class ContingencyTable(ViewSum):
    r"""How many pixels carry each pair of labels, for the pairs that occur.

    A label is a (category, segment) pair on each side. The table is a sum over pixels, so it is filled view by view
    (:meth:`add`), joined (:meth:`merge`, ``+``) and reduced over processes (:meth:`all_reduce`), with the same result
    whatever the order.

    Args:
        rows: ``[R, 5]`` int64: predicted category, predicted segment, true category, true segment, pixels. Rows may
            repeat. Categories lie in :math:`0 \dots 2^{31}-1`, segments in :math:`0 \dots 2^{32}-1`.

    Example:
        >>> import torch
        >>> table = ContingencyTable()
        >>> table.add(torch.tensor([[1, 1]]), torch.tensor([[7, 7]]), torch.tensor([[1, 2]]), torch.tensor([[3, 4]]))
        >>> table.rows.tolist()
        [[1, 7, 1, 3, 1], [1, 7, 2, 4, 1]]
    """

    def __init__(self, rows: Tensor | None = None) -> None:
        self.rows = torch.zeros((0, 5), dtype=torch.int64) if rows is None else _grouped(rows)

    def add(self, pred_category: LabelMap, pred_segment: LabelMap, gt_category: LabelMap, gt_segment: LabelMap) -> None:
        """Count the pixels of one view, or of several: four integer maps of one shape.

        Raises:
            InputError: shapes differ, a map is not of integers, an id is negative or too large.
        """
        given = (pred_category, pred_segment, gt_category, gt_segment)
        maps = [as_integers(labels, name) for name, labels in zip(_COLUMNS, given)]
        for name, labels in zip(_COLUMNS, maps):
            if labels.shape != maps[2].shape:
                raise InputError(
                    name,
                    f"shape {list(labels.shape)}",
                    f"shape {list(maps[2].shape)} as gt_category",
                    "Resample the prediction to the size of the truth by nearest neighbour.",
                )
        rows = _runs([labels.flatten() for labels in maps]).to(self.rows.device)
        for column, (name, highest) in enumerate(zip(_COLUMNS, (2**31 - 1, 2**32 - 1) * 2)):
            values = rows[:, column]
            if values.numel() and (values.min() < 0 or values.max() > highest):
                raise InputError(
                    name,
                    f"ids from {values.min()} to {values.max()}",
                    f"ids from 0 to {highest}",
                    "Use 0 for pixels without a label.",
                )
        self.rows = _grouped(torch.cat([self.rows, rows]))

    def merge(self, other: ContingencyTable) -> ContingencyTable:
        """Add the pixels of other views; returns this table."""
        self.rows = _grouped(torch.cat([self.rows, other.rows.to(self.rows.device)]))
        return self

    def all_reduce(self, group: Any = None) -> ContingencyTable:
        """Give every process of a ``torch.distributed`` group the table of all of them; every process calls this.

        Returns:
            This table.
        """
        own = self.rows
        for rows in rows_of_others(len(own), lambda first, last: own[first:last], own[:0], group):
            self.rows = _grouped(torch.cat([self.rows, rows]))
        return self

    def empty(self) -> ContingencyTable:
        """A table of no pixels, on the same device."""
        return ContingencyTable().to(self.rows.device)

    def to(self, device: torch.device | str) -> ContingencyTable:
        """The same table on another device."""
        table = ContingencyTable()
        table.rows = self.rows.to(device)
        return table

    @property
    def num_pixels(self) -> int:
        """How many pixels were counted, void included."""
        return int(self.rows[:, 4].sum())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ContingencyTable) and torch.equal(self.rows.cpu(), other.rows.cpu())

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"ContingencyTable({len(self.rows)} pairs, {self.num_pixels} pixels)"


def as_integers(labels: LabelMap, name: str) -> Tensor:
    """A label map as a tensor of an integer type that every torch version computes with.

    Raises:
        InputError: it is not of integers.
    """
    if isinstance(labels, np.ndarray):
        if labels.dtype.kind not in "iub":
            raise InputError(name, f"a {labels.dtype} array", "an integer map", "Pass ids, not probabilities.")
        common = labels.dtype.kind != "u" or labels.dtype == np.uint8
        return torch.from_numpy(np.ascontiguousarray(labels if common else labels.astype(np.int64)))
    if labels.is_floating_point() or labels.is_complex():
        raise InputError(name, f"a {labels.dtype} tensor", "an integer map", "Pass ids, not probabilities.")
    return labels if labels.dtype in _COMMON_DTYPES else labels.to(torch.int64)


_COMMON_DTYPES = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.bool)


def _runs(maps: list[Tensor]) -> Tensor:
    """Runs of equal labels as rows ``[R, 5]``: label maps are nearly constant, so this does most of the grouping."""
    length = maps[0].numel()
    if length == 0:
        return torch.zeros((0, 5), dtype=torch.int64, device=maps[0].device)
    changes = maps[0][1:] != maps[0][:-1]
    for labels in maps[1:]:
        changes |= labels[1:] != labels[:-1]
    first = torch.zeros(1, dtype=torch.int64, device=changes.device)
    starts = torch.cat([first, changes.nonzero().squeeze(1) + 1])
    counts = torch.diff(starts, append=first + length)
    return torch.stack([*(labels[starts].to(torch.int64) for labels in maps), counts], dim=1)


def _grouped(rows: Tensor) -> Tensor:
    """Add up rows of the same pair; the result is sorted, so equal tables have equal rows."""
    pred, pred_index = torch.unique((rows[:, 0] << 32) | rows[:, 1], return_inverse=True)
    gt, gt_index = torch.unique((rows[:, 2] << 32) | rows[:, 3], return_inverse=True)
    pairs, index = torch.unique(pred_index * max(len(gt), 1) + gt_index, return_inverse=True)
    counts = torch.zeros_like(pairs).index_add_(0, index, rows[:, 4])
    pred_keys, gt_keys = pred[pairs // max(len(gt), 1)], gt[pairs % max(len(gt), 1)]
    low = (1 << 32) - 1
    return torch.stack([pred_keys >> 32, pred_keys & low, gt_keys >> 32, gt_keys & low, counts], dim=1)
