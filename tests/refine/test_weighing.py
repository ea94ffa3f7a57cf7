# SPDX-License-Identifier: Apache-2.0
"""Each view as one witness: the formula, what it is for, and that no bit depends on threads or order."""

import numpy as np
import pytest
import torch
from small_rooms import FLOOR, NEAR
from staged_room import renamed, staged

from panoptic_gs import kernels, uplift_labels
from panoptic_gs.refine import leave_one_out, uplift_weighed, weighing
from panoptic_gs.refine.leave_one_out import VotePairs, labels_of_rows, labels_of_store
from panoptic_gs.refine.weighing import WeighedVotes, weigh

UNIT = 1 << 34


def votes(*entries: tuple[int, int, float]) -> VotePairs:
    gaussian, label, weight = (np.array(column) for column in zip(*entries))
    return VotePairs((gaussian.astype(np.int64) << 32) | label, np.rint(weight * UNIT).astype(np.int64))


def test_three_views_outvote_one_that_is_near():
    say = [weigh(votes((0, 7, 1.0)))] * 3 + [weigh(votes((0, 9, 3.9)))]
    total = {label: sum(v.units[v.label == label].sum() for v in say) / UNIT for label in (7, 9)}
    assert total[7] == pytest.approx(3.0)
    assert total[9] == pytest.approx(3.9**0.75, rel=1e-6)
    assert total[9] < total[7]


@pytest.mark.parametrize("void", [0.0, 0.2])
def test_labels_follow_the_formula(void):
    splats, cameras, maps = staged(4)
    maps[1] = maps[1].copy()
    maps[1][:30] = 0
    labels = uplift_weighed(splats, list(zip(cameras, maps)), void=void, missed=0)
    said = torch.zeros(len(splats), 13, dtype=torch.float64)
    for view in zip(cameras, maps):
        one = uplift_labels(splats, [view], void="label")
        weight = one.to_dense(13).double() * one.total[:, None].double()
        if not void:
            weight[:, 0] = 0
        share = weight**2 / (weight**2).sum(1, keepdim=True).clamp_min(1e-30)
        share[:, 0] *= void
        said += share * weight.sum(1, keepdim=True) ** 0.75
    expected = said**2 / (said**2).sum(1, keepdim=True).clamp_min(1e-30)
    strong = said.sum(1) > 1e-3
    assert strong.sum() > 1000
    torch.testing.assert_close(labels.to_dense(13).double()[strong], expected[strong], atol=1e-4, rtol=0)
    plain = uplift_labels(splats, list(zip(cameras, maps)))
    torch.testing.assert_close(labels.total, plain.total, rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(labels.void, plain.void, rtol=1e-6, atol=1e-9)
    assert bool((labels.label == 0).any()) == bool(void)


def test_neither_threads_nor_the_order_of_views_change_a_bit():
    splats, cameras, maps = staged(5)
    maps[2] = renamed(maps[2], NEAR, FLOOR)
    expected, before = uplift_weighed(splats, zip(cameras, maps)), torch.get_num_threads()
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            found = uplift_weighed(splats, [(cameras[k], maps[k]) for k in (3, 1, 4, 0, 2)])
            for name, tensor in expected.tensors().items():
                assert torch.equal(tensor, found.tensors()[name]), name
    finally:
        torch.set_num_threads(before)


def test_neither_what_is_kept_of_views_nor_blocks_change_a_bit(monkeypatch):
    """Words of views that are kept in part, forgotten, or all kept; rows of Gaussians in blocks of any size."""
    splats, cameras, maps = staged(5)
    maps[2] = renamed(maps[2], NEAR, FLOOR)
    expected = uplift_weighed(splats, zip(cameras, maps))
    word = WeighedVotes(len(splats)).word_of(splats, cameras[0], maps[0])
    for memory, rows in ((1, 7), (2 * word.num_bytes, len(splats)), (1 << 40, 1000)):
        monkeypatch.setattr(weighing, "WORD_MEMORY", memory)
        monkeypatch.setattr(leave_one_out, "_ROWS", rows)
        found = uplift_weighed(splats, zip(cameras, maps))
        for name, tensor in expected.tensors().items():
            assert torch.equal(tensor, found.tensors()[name]), (name, memory, rows)


def test_votes_are_sent_in_blocks_that_are_all_pairs_in_order(peak_of):
    generator = torch.Generator().manual_seed(0)
    count = 1_000_000
    gaussian = torch.randint(0, 200_000, (count,), generator=generator)
    label = torch.randint(0, 50_000, (count,), generator=generator).int()
    store = kernels.VoteStore(200_000)
    store.add_sums(gaussian, label, torch.randint(1, 1 << 50, (count,), generator=generator))
    whole = VotePairs.of_rows(*store.sums())
    assert torch.equal(torch.cat([block[:, 0] for block in store.blocks(1 << 14)]), torch.from_numpy(whole.key))
    assert torch.equal(torch.cat([block[:, 1] for block in store.blocks(1 << 14)]), torch.from_numpy(whole.units))
    longest, taken = peak_of(lambda: max(len(block) for block in store.blocks(1 << 14)))
    assert longest < 1 << 15
    assert taken < 8 * count  # of 16 bytes a pair
    assert [block.shape for block in kernels.VoteStore(10).blocks()] == [(0, 2)]


@pytest.mark.parametrize(("power", "void_too"), [(1.0, False), (2.0, True)])
def test_labels_are_made_of_votes_without_unpacking_all(peak_of, power, void_too):
    generator = torch.Generator().manual_seed(1)
    count, gaussians = 1_000_000, 200_000
    gaussian = torch.randint(1000, 190_000, (count,), generator=generator)  # neither the first nor the last have any
    label = torch.randint(0, 50_000, (count,), generator=generator).int()
    store = kernels.VoteStore(gaussians)
    store.add_sums(gaussian, label, torch.randint(1, 1 << 50, (count,), generator=generator))
    kernels.give_back_memory()  # so that what is taken is seen
    rows, whole = peak_of(lambda: labels_of_rows(*store.sums(), power, void_too=void_too))
    kernels.give_back_memory()
    blocks, taken = peak_of(lambda: labels_of_store(store, power, void_too=void_too))
    for name, tensor in rows.tensors().items():
        assert torch.equal(tensor, blocks.tensors()[name]), name
    assert taken < 0.7 * whole
    nobody = labels_of_store(kernels.VoteStore(10))
    assert len(nobody) == 10
    assert len(nobody.label) == 0
