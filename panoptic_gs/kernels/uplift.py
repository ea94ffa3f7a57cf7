# SPDX-License-Identifier: Apache-2.0
"""Labels and features from the pixels of a view to Gaussians, and label rows back to pixels."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from panoptic_gs import _kernels
from panoptic_gs._kernels import View  # pyright: ignore[reportMissingImports] (built by CMake, installed elsewhere)
from panoptic_gs.kernels.core import checked, num_threads, optional

VOTE_MEMORY = 32 << 20
"""Bytes for a view's votes that are not yet added to a :class:`VoteStore`; beyond it a view is added in parts."""


class VoteStore:
    """Exact sums of blending weights for pairs (Gaussian, label), sparse, in units of 2⁻³⁴.

    A sum of 2⁶³ units or more raises ``OverflowError``.
    """

    def __init__(self, num_gaussians: int) -> None:
        self._store = _kernels.VoteStore(num_gaussians)

    @property
    def num_gaussians(self) -> int:
        """N, the number of Gaussians."""
        return self._store.num_gaussians

    @property
    def num_bytes(self) -> int:
        """Memory that the sums take."""
        return self._store.num_bytes

    def num_pairs(self, void_too: bool) -> int:
        """How many pairs have a sum; those of label 0 only where ``void_too``."""
        return self._store.num_pairs(void_too)

    def add_view(self, view: View, labels: Tensor, weights: Tensor | None = None) -> None:
        """Add the blending weights of a view's pixels to the pairs with their labels ``[H, W]`` int32.

        ``weights [H, W]`` multiply them.
        """
        size = (view.height, view.width)
        labels = checked("labels", labels, size, torch.int32)
        self._store.add_view(view, labels, optional("weights", weights, size), VOTE_MEMORY, num_threads())

    def add_sums(self, gaussian: Tensor, label: Tensor, sums: Tensor) -> None:
        """Add to pairs: ``gaussian [n]`` int64, ``label [n]`` int32, ``sums [n]`` int64."""
        size = (len(gaussian),)
        self._store.add_sums(
            checked("gaussian", gaussian, size, torch.int64),
            checked("label", label, size, torch.int32),
            checked("sums", sums, size, torch.int64),
        )

    def sums(self) -> tuple[Tensor, Tensor, Tensor]:
        """Sparse rows: ``indptr [N + 1]`` int64, ``label [nnz]`` int32 ascending in a row, ``sums [nnz]`` int64."""
        indptr, label = self._rows(void_too=True)
        sums = torch.empty(len(label), dtype=torch.int64)
        self._store.write_sums(num_threads(), indptr, label, sums)
        return indptr, label, sums

    def pairs(self) -> tuple[Tensor, Tensor]:
        """All pairs, ascending: ``key [nnz]`` int64, Gaussian · 2³² + label, and ``sums [nnz]`` int64."""
        key = torch.empty(self.num_pairs(void_too=True), dtype=torch.int64)
        sums, first = torch.empty_like(key), 0
        for index in range(self._store.num_chunks):
            last = first + self._store.pairs_of_chunk(index)
            self._store.write_chunk(index, key[first:last], sums[first:last])
            first = last
        return key, sums

    def blocks(self, least: int = 1 << 18) -> Iterator[Tensor]:
        """All pairs, ascending, in blocks ``[n, 2]`` int64 of at least so many: Gaussian · 2³² + label, and the sum."""
        parts, count = [], 0
        for index in range(self._store.num_chunks):
            part = torch.empty(2, self._store.pairs_of_chunk(index), dtype=torch.int64)
            self._store.write_chunk(index, part[0], part[1])
            parts.append(part)
            count += part.shape[1]
            if count >= least or index + 1 == self._store.num_chunks:
                yield torch.cat(parts, dim=1).T
                parts, count = [], 0

    def labels(self) -> list[int]:
        """The labels that occur, ascending."""
        return self._store.labels()

    def strongest(self) -> Tensor:
        """The label with the largest sum of each Gaussian, ``[N]`` int64, the lowest of equals; 0 where it has none."""
        best = torch.empty(self.num_gaussians, dtype=torch.int64)
        self._store.write_strongest(num_threads(), best)
        return best

    def heard(
        self,
        labels: list[int],  # as labels() gives them
        gaussian: Tensor,  # [n] int64
        label: Tensor,  # [n] int32
        units: Tensor,  # [n] int64
        weight: Tensor,  # [n] float64
        power: float,
        missed: float,
    ) -> Tensor:
        """How much of what a view says is heard, ``[n]`` float64 (:meth:`panoptic_gs.refine.overlooked.Said.heard`).

        Its pairs, with their ``units`` and the ``weight`` of the view's votes, ascend and are part of these sums.
        """
        size, heard = (len(gaussian),), torch.empty(len(gaussian), dtype=torch.float64)
        self._store.write_heard(
            labels, checked("gaussian", gaussian, size, torch.int64), checked("label", label, size, torch.int32),
            checked("units", units, size, torch.int64), checked("weight", weight, size, torch.float64), power, missed,
            heard,
        )  # fmt: skip
        return heard

    def shares(self, void_too: bool) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Rows normalised to one: ``indptr``, ``label``, ``weight [nnz]``, and ``total [N]``, ``void [N]`` weights.

        Label 0 is in the rows only where ``void_too``.
        """
        indptr, label = self._rows(void_too)
        weight = torch.empty(len(label))
        total, void = torch.empty(self.num_gaussians), torch.empty(self.num_gaussians)
        self._store.write_shares(void_too, num_threads(), indptr, label, weight, total, void)
        return indptr, label, weight, total, void

    def _rows(self, void_too: bool) -> tuple[Tensor, Tensor]:
        """Empty ``indptr [N + 1]`` and ``label [nnz]``."""
        indptr = torch.empty(self.num_gaussians + 1, dtype=torch.int64)
        return indptr, torch.empty(self.num_pairs(void_too), dtype=torch.int32)


def blending_weights(
    view: View,
    row_of: Tensor | None,  # [H, W] int32
    rows: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The blending weights of a view's pixels, sparse: a row for each, its Gaussians in order of depth.

    ``row_of`` has the row of each pixel, each of 0 … rows − 1 once, and −1 elsewhere; None: all pixels, in order.

    Returns:
        ``indptr [rows + 1]`` int64, ``gaussians [C]`` int64 (those seen, ascending: what columns mean),
        ``column [nnz]`` int32, ``weight [nnz]``.
    """
    row_of = None if row_of is None else checked("row_of", row_of, (view.height, view.width), torch.int32)
    found = _kernels.ViewWeights(view, row_of, rows, num_threads())
    indptr, gaussians = torch.empty(rows + 1, dtype=torch.int64), torch.empty(found.num_columns, dtype=torch.int64)
    column, weight = torch.empty(found.num_entries, dtype=torch.int32), torch.empty(found.num_entries)
    found.write(num_threads(), indptr, gaussians, column, weight)
    return indptr, gaussians, column, weight


FEATURE_MEMORY = 128 << 20
"""Bytes for the channels that :func:`add_feature_votes` sums at a time."""


def add_feature_votes(
    view: View,
    sums: Tensor,  # [N, D], added to
    totals: Tensor,  # [N], added to
    features: Tensor,  # [H, W, D]
    weights: Tensor | None = None,  # [H, W]
) -> None:
    """Add blending weight × feature over a view's pixels to ``sums``, and the blending weights to ``totals``."""
    _kernels.add_features(
        view, checked("sums", sums, (view.count, features.shape[-1])), checked("totals", totals, (view.count,)),
        checked("features", features, (view.height, view.width, sums.shape[1])),
        optional("weights", weights, (view.height, view.width)), FEATURE_MEMORY, num_threads(),
    )  # fmt: skip


def render_panoptic(
    view: View,
    indptr: Tensor,  # [N + 1] int64
    label: Tensor,  # [nnz] int32
    weight: Tensor,  # [nnz]
) -> tuple[Tensor, Tensor, Tensor]:
    """The label with the largest blended weight ``[H, W]`` int64, its share ``[H, W]``, and the alpha ``[H, W]``."""
    size = (view.height, view.width)
    ids = torch.empty(size, dtype=torch.int64)
    confidence, accumulation = torch.empty(size), torch.empty(size)
    _kernels.render_panoptic(
        view, checked("indptr", indptr, (view.count + 1,), torch.int64), checked("label", label, (None,), torch.int32),
        checked("weight", weight, label.shape), ids, confidence, accumulation, num_threads(),
    )  # fmt: skip
    return ids, confidence, accumulation
