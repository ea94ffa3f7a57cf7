# SPDX-License-Identifier: Apache-2.0
"""Overlaps are those of float64 brute force, and the same bits whatever computes them."""

import pytest
import torch
from query_masks import minima

from panoptic_gs import InputError, kernels
from panoptic_gs.merge import Overlaps, overlaps
from panoptic_gs.merge.overlap import _blockwise

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU"))]


def logits(*shape: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (4 * torch.randn(*shape, generator=generator) - 3).half()


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("shape", [(2, 13, 33, 47), (1, 1, 1, 1), (3, 4, 1, 257), (1, 9, 96, 128)])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_means_are_those_of_brute_force(shape, dtype, device):
    masks = logits(*shape).to(dtype)
    areas, shared = overlaps(masks.to(device))
    expected_areas, expected = minima(masks)
    assert areas.dtype == shared.dtype == torch.float64
    assert areas.device.type == device
    torch.testing.assert_close(areas.cpu(), expected_areas, rtol=1e-6, atol=1e-14)
    torch.testing.assert_close(shared.cpu(), expected, rtol=1e-6, atol=1e-14)
    assert torch.equal(shared, shared.T)
    assert torch.equal(shared.diagonal(), areas)


@pytest.mark.parametrize("value", [-9.0, -0.3, 0.2, 7.0])
def test_rounding_does_not_pile_up_where_masks_are_constant(value):
    masks = torch.full((1, 2, 64, 65), value).half()
    torch.testing.assert_close(overlaps(masks)[1], minima(masks)[1], rtol=1e-6, atol=0)


def test_infinite_logits_are_certain():
    masks = torch.tensor([[[[torch.inf, -torch.inf]], [[torch.inf, torch.inf]]]]).half()
    areas, shared = overlaps(masks)
    assert areas.tolist() == [0.5, 1.0]
    assert shared[0, 1] == 0.5


def test_instruction_sets_threads_and_the_order_of_views_change_no_bit(monkeypatch):
    masks = logits(3, 21, 70, 93)
    expected = overlaps(masks)[1]
    for isa in ("baseline", "avx2", "avx512"):
        monkeypatch.setenv("PANOPTIC_GS_ISA", isa)
        try:
            kernels.active_isa()
        except RuntimeError:
            continue
        for threads in (1, 2, 5):
            monkeypatch.setenv("PANOPTIC_GS_NUM_THREADS", str(threads))
            assert torch.equal(overlaps(masks.flip(0))[1], expected), (isa, threads)


def test_sums_of_parts_add_up():
    masks = logits(4, 7, 20, 30)
    parts = [Overlaps(7) for _ in range(2)]
    for index, view in enumerate(masks):
        parts[index % 2].add(view)
    for table in (parts[0] + parts[1], parts[1].merge(parts[0])):
        assert torch.equal(table.means()[1], overlaps(masks)[1])
        assert table.num_pixels == 4 * 600


def test_processes_reduce_to_the_whole(tmp_path):
    import torch.distributed as distributed

    distributed.init_process_group("gloo", init_method=f"file://{tmp_path / 'store'}", rank=0, world_size=1)
    try:
        table = Overlaps(3)
        table.add(logits(3, 5, 6))
        reduced = table.all_reduce()
        assert torch.equal(reduced.sums, table.sums)
        assert reduced.num_pixels == 30
    finally:
        distributed.destroy_process_group()


def test_torch_gives_the_kernels_sums():
    masks = logits(11, 5000)
    table = Overlaps(11)
    table.add(masks[:, None])
    torch.testing.assert_close(_blockwise(masks).double(), table.sums.double(), rtol=1e-6, atol=4)


def test_a_file_of_masks_is_read_view_by_view():
    class Stack:
        shape = (2, 5, 6, 7)

        def __getitem__(self, index):
            return logits(2, 5, 6, 7)[index]

    assert torch.equal(overlaps(Stack())[1], overlaps(logits(2, 5, 6, 7))[1])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("masks", "message"),
    [
        (torch.zeros(2, 0, 3, 3), "at least one view and query"),
        (torch.zeros(0, 2, 3, 3), "at least one view and query"),
        (torch.zeros(2, 3, 3), r"\[N, Q, h, w\]"),
        (torch.full((1, 2, 3, 3), torch.nan), "NaN"),
        (torch.zeros(1, 2, 3, 3, dtype=torch.int32), "floating point"),
    ],
)
def test_what_is_no_mask_is_named(masks, message):
    with pytest.raises(InputError, match=message):
        overlaps(masks)


def test_sums_that_do_not_fit_are_refused():
    table = Overlaps(2)
    with pytest.raises(InputError, match=r"\[2, h, w\]"):
        table.add(torch.zeros(3, 4, 4))
    with pytest.raises(InputError, match="no views"):
        table.means()
    with pytest.raises(InputError, match="3 queries"):
        table.merge(Overlaps(3))
    table.num_pixels = 1 << 29
    with pytest.raises(InputError, match="at most"):
        table.add(torch.zeros(2, 4, 4))
