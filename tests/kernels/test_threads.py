# SPDX-License-Identifier: Apache-2.0
"""Who uses how many threads."""

from __future__ import annotations

import threading

import pytest
import torch

from panoptic_gs import kernels


@pytest.fixture(autouse=True)
def five_threads(monkeypatch):
    monkeypatch.delenv("PANOPTIC_GS_NUM_THREADS", raising=False)
    before = torch.get_num_threads()
    torch.set_num_threads(5)
    yield
    torch.set_num_threads(before)


def test_the_kernels_keep_the_threads_that_torch_gives_up():
    assert kernels.num_threads() == 5
    with kernels.one_torch_thread():
        assert (torch.get_num_threads(), kernels.num_threads()) == (1, 5)
        with kernels.one_torch_thread():
            assert (torch.get_num_threads(), kernels.num_threads()) == (1, 5)
        assert (torch.get_num_threads(), kernels.num_threads()) == (1, 5)
    assert (torch.get_num_threads(), kernels.num_threads()) == (5, 5)


def test_what_was_set_by_hand_goes_first(monkeypatch):
    monkeypatch.setenv("PANOPTIC_GS_NUM_THREADS", "3")
    with kernels.one_torch_thread():
        assert kernels.num_threads() == 3


def test_an_error_gives_torch_its_threads_back():
    with pytest.raises(ZeroDivisionError), kernels.one_torch_thread():
        _ = 1 / 0
    assert torch.get_num_threads() == 5


def test_threads_enter_and_leave_in_any_order():
    inside, leave = threading.Event(), threading.Event()
    seen = {}

    def work() -> None:
        with kernels.one_torch_thread():
            inside.set()
            leave.wait(10)
            seen["inside"] = torch.get_num_threads(), kernels.num_threads()
        seen["after"] = kernels.num_threads()

    other = threading.Thread(target=work)
    with kernels.one_torch_thread():
        other.start()
        assert inside.wait(10)
    assert (torch.get_num_threads(), kernels.num_threads()) == (5, 5)
    leave.set()
    other.join()
    assert seen["inside"][0] == 1
    assert seen["inside"][1] == 5
    assert (torch.get_num_threads(), kernels.num_threads()) == (5, 5)


def test_many_small_jobs_from_several_threads_all_end():
    """Helpers come late, or not at all; nothing may be lost or done twice."""
    values = torch.rand(50_000, 3)
    target = kernels.multiply_sparse(
        torch.arange(50_001), torch.arange(50_000, dtype=torch.int32), torch.ones(50_000), values
    )
    assert torch.equal(target, values)
    wrong = []

    def work(seed: int) -> None:
        rows = torch.randperm(50_000, generator=torch.Generator().manual_seed(seed)).int()
        for _ in range(40):
            product = kernels.multiply_sparse(torch.arange(50_001), rows, torch.ones(50_000), values)
            if not torch.equal(product, values[rows.long()]):
                wrong.append(seed)

    workers = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert wrong == []
