# SPDX-License-Identifier: Apache-2.0
"""Sparse matrices whose products are threaded, reproducible and differentiable."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from panoptic_gs import kernels
from panoptic_gs.errors import InputError

if TYPE_CHECKING:
    from scipy.sparse import csr_array


@dataclass(frozen=True, eq=False)
class SparseMatrix:
    """A sparse matrix ``[R, C]`` of float32 in compressed rows, on the CPU.

    ``matrix @ dense`` and ``matrix.T @ dense`` take every sum in order of a row's entries, so neither threads nor runs
    change a bit; both are differentiable in ``dense``, each by the other.

    >>> import torch
    >>> matrix = SparseMatrix(torch.tensor([0, 2, 2, 3]), torch.tensor([0, 2, 1], dtype=torch.int32),
    ...                       torch.tensor([0.5, 0.25, 1.0]), 3)
    >>> (matrix @ torch.tensor([[4.0], [5.0], [8.0]]))[:, 0].tolist()
    [4.0, 0.0, 5.0]
    >>> matrix.T.to_dense().tolist()
    [[0.5, 0.0, 0.0], [0.0, 0.0, 1.0], [0.25, 0.0, 0.0]]
    """

    indptr: Tensor  # [R + 1] int64: row r has entries indptr[r] … indptr[r + 1]
    column: Tensor  # [nnz] int32
    weight: Tensor  # [nnz] float32
    num_columns: int

    @property
    def shape(self) -> tuple[int, int]:
        """(R, C)."""
        return len(self.indptr) - 1, self.num_columns

    @property
    def nnz(self) -> int:
        """The number of entries."""
        return len(self.column)

    @property
    def num_bytes(self) -> int:
        """Memory that the entries take, without those of the transpose."""
        return self.indptr.nbytes + self.column.nbytes + self.weight.nbytes

    @cached_property
    def T(self) -> SparseMatrix:
        """The transpose ``[C, R]``; kept once it was asked for."""
        rows, columns = self.shape
        transposed = SparseMatrix(*kernels.transpose_sparse(self.indptr, self.column, self.weight, columns), rows)
        transposed.__dict__["T"] = self
        return transposed

    def __matmul__(self, dense: Tensor) -> Tensor:
        """``[C, D]`` to ``[R, D]``, or ``[C]`` to ``[R]``.

        Raises:
            InputError: not a float32 CPU tensor with C rows.
        """
        values = dense[:, None] if dense.ndim == 1 else dense
        kernels.checked("dense", values, (self.num_columns, None))
        product = _Product.apply(values, self)
        return product[:, 0] if dense.ndim == 1 else product

    def rows(self) -> Tensor:  # [nnz] int64
        """The row of each entry."""
        return torch.repeat_interleave(torch.arange(len(self.indptr) - 1), self.indptr.diff())

    def take_rows(self, rows: Tensor) -> SparseMatrix:
        """The matrix of these rows ``[P]``, in this order; a row may be taken several times."""
        lengths = self.indptr.diff()[rows]
        indptr = torch.cat([torch.zeros(1, dtype=torch.int64), lengths.cumsum(0)])
        within = torch.arange(int(indptr[-1])) - torch.repeat_interleave(indptr[:-1], lengths)
        entries = torch.repeat_interleave(self.indptr[rows], lengths) + within
        return SparseMatrix(indptr, self.column[entries], self.weight[entries], self.num_columns)

    def to_dense(self) -> Tensor:  # [R, C]
        """The matrix with its zeros; entries of one place are added."""
        dense = torch.zeros(self.shape)
        dense.view(-1).index_add_(0, self.rows() * self.num_columns + self.column, self.weight)
        return dense

    def to_scipy(self) -> csr_array:
        """A ``scipy.sparse.csr_array`` of the same memory."""
        from scipy.sparse import csr_array

        return csr_array((self.weight.numpy(), self.column.numpy(), self.indptr.numpy()), shape=self.shape)


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, dense: Tensor, matrix: SparseMatrix) -> Tensor:
        ctx.matrix = matrix
        return kernels.multiply_sparse(matrix.indptr, matrix.column, matrix.weight, dense)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Any) -> tuple[Tensor, None]:
        transposed = ctx.matrix.T
        return kernels.multiply_sparse(transposed.indptr, transposed.column, transposed.weight, grads[0]), None


def side_by_side(blocks: list[SparseMatrix], rows: int) -> SparseMatrix:
    """The matrix ``[R, ΣC]`` of blocks ``[R, C]`` beside each other.

    Raises:
        InputError: a block of another number of rows, or more than 2³¹ − 1 columns.
    """
    for number, block in enumerate(blocks):
        if block.shape[0] != rows:
            raise InputError(f"block {number}", f"{block.shape[0]} rows", f"{rows} rows",
                             "Put matrices over the same Gaussians together.")  # fmt: skip
    firsts = np.cumsum([0, *(block.num_columns for block in blocks)])
    if firsts[-1] > 2**31 - 1:
        raise InputError("blocks", f"{firsts[-1]} columns", f"at most {2**31 - 1}", "Work on fewer views at a time.")
    indptr = torch.zeros(rows + 1, dtype=torch.int64)
    for block in blocks:
        indptr += block.indptr
    column = torch.empty(int(indptr[-1]), dtype=torch.int32)
    weight = torch.empty(int(indptr[-1]))
    next_place = indptr[:-1].clone()
    for block, first in zip(blocks, firsts):
        lengths = block.indptr.diff()
        places = torch.repeat_interleave(next_place - block.indptr[:-1], lengths) + torch.arange(block.nnz)
        column[places] = block.column + int(first)
        weight[places] = block.weight
        next_place += lengths
    return SparseMatrix(indptr, column, weight, int(firsts[-1]))
