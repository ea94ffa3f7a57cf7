# SPDX-License-Identifier: Apache-2.0
"""Sparse matrices in compressed rows: the product with a dense one, and the transpose."""

from __future__ import annotations

import torch
from torch import Tensor

from panoptic_gs import _kernels
from panoptic_gs.kernels.core import checked, num_threads


def multiply_sparse(
    indptr: Tensor,  # [R + 1] int64
    column: Tensor,  # [nnz] int32, 0 … C - 1
    weight: Tensor,  # [nnz]
    dense: Tensor,  # [C, D]
) -> Tensor:  # [R, D]
    """The product. Sums are taken in order of a row's entries, whatever the number of threads."""
    dense = checked("dense", dense, (None, None))
    out = torch.empty(len(indptr) - 1, dense.shape[1])
    _kernels.multiply_sparse(*_rows(indptr, column, weight), dense, num_threads(), out)
    return out


def transpose_sparse(
    indptr: Tensor,  # [R + 1] int64
    column: Tensor,  # [nnz] int32, 0 … C - 1
    weight: Tensor,  # [nnz]
    columns: int,
) -> tuple[Tensor, Tensor, Tensor]:
    """``indptr [C + 1]``, ``column`` and ``weight [nnz]`` of the transposed matrix, columns ascending in a row."""
    out = torch.empty(columns + 1, dtype=torch.int64), torch.empty_like(column), torch.empty_like(weight)
    _kernels.transpose_sparse(*_rows(indptr, column, weight), num_threads(), *out)
    return out


def _rows(indptr: Tensor, column: Tensor, weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    column = checked("column", column, (None,), torch.int32)
    return checked("indptr", indptr, (None,), torch.int64), column, checked("weight", weight, column.shape)
