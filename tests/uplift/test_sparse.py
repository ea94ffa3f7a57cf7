# SPDX-License-Identifier: Apache-2.0
"""Sparse products against dense ones and scipy's."""

from __future__ import annotations

import pytest
import torch
from scipy.sparse import random_array

from panoptic_gs import InputError
from panoptic_gs.uplift.sparse import SparseMatrix, side_by_side


def matrix_of(rows: int, columns: int, density: float = 0.2, seed: int = 0) -> SparseMatrix:
    made = random_array((rows, columns), density=density, format="csr", rng=seed)
    return SparseMatrix(
        torch.from_numpy(made.indptr).long(), torch.from_numpy(made.indices).int(), torch.from_numpy(made.data).float(),
        columns,
    )  # fmt: skip


@pytest.fixture(params=["avx512", "avx2", "baseline"])
def isa(request, monkeypatch):
    from panoptic_gs import kernels

    monkeypatch.setenv("PANOPTIC_GS_ISA", request.param)
    try:
        kernels.active_isa()
    except RuntimeError:
        pytest.skip(f"no {request.param} here")


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("channels", [1, 3, 7, 16, 70, 131])
def test_products_are_those_of_the_dense_matrix(channels):
    matrix = matrix_of(301, 90)
    dense = torch.randn(90, channels, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(matrix @ dense, matrix.to_dense() @ dense, rtol=1e-5, atol=1e-5)
    back = torch.randn(301, channels, generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(matrix.T @ back, matrix.to_dense().T @ back, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close((matrix @ dense[:, 0]), matrix.to_dense() @ dense[:, 0], rtol=1e-5, atol=1e-5)


def test_the_transpose_is_scipys_and_its_transpose_is_the_matrix():
    matrix = matrix_of(700, 500, density=0.3)  # more entries than one part takes
    wanted = matrix.to_scipy().T.tocsr()
    assert torch.equal(matrix.T.indptr, torch.from_numpy(wanted.indptr).long())
    assert torch.equal(matrix.T.column, torch.from_numpy(wanted.indices).int())
    assert torch.equal(matrix.T.weight, torch.from_numpy(wanted.data))
    assert matrix.T.T is matrix


def test_the_gradient_is_the_product_with_the_transpose():
    matrix = matrix_of(30, 20)
    dense = torch.randn(20, 4, requires_grad=True)
    back = torch.randn(30, 4)
    (matrix @ dense).backward(back)
    assert torch.equal(dense.grad, matrix.T @ back)


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_threads_do_not_change_a_bit(threads):
    matrix = matrix_of(3000, 200, density=0.25)
    dense = torch.randn(200, 5, generator=torch.Generator().manual_seed(3))
    transposed = SparseMatrix(matrix.indptr, matrix.column, matrix.weight, 200).T
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        again = SparseMatrix(matrix.indptr, matrix.column, matrix.weight, 200).T
        product = matrix @ dense
    finally:
        torch.set_num_threads(before)
    assert torch.equal(product, matrix @ dense)
    assert torch.equal(again.weight, transposed.weight)
    assert torch.equal(again.column, transposed.column)


def test_rows_are_taken_in_any_order_and_number():
    matrix = matrix_of(12, 9, density=0.5)
    rows = torch.tensor([3, 11, 3, 0])
    assert torch.equal(matrix.take_rows(rows).to_dense(), matrix.to_dense()[rows])
    assert matrix.take_rows(rows[:0]).shape == (0, 9)


def test_blocks_lie_beside_each_other():
    blocks = [matrix_of(12, columns, density=0.4, seed=columns) for columns in (3, 1, 5)]
    assert torch.equal(side_by_side(blocks, 12).to_dense(), torch.cat([block.to_dense() for block in blocks], 1))
    assert side_by_side([], 4).shape == (4, 0)
    with pytest.raises(InputError, match="12 rows"):
        side_by_side(blocks, 13)


def test_a_dense_matrix_of_another_size_is_named():
    with pytest.raises(InputError, match="dense"):
        matrix_of(12, 9) @ torch.zeros(8, 2)
    with pytest.raises(InputError, match="float64"):
        matrix_of(12, 9) @ torch.zeros(9, 2, dtype=torch.float64)
