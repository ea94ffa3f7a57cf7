# SPDX-License-Identifier: Apache-2.0
"""Views are not heard on what they missed: the formula on dense arrays, and what it is for."""

import numpy as np
import pytest
import torch
from small_rooms import FLOOR, NEAR
from staged_room import renamed, staged

from panoptic_gs import kernels
from panoptic_gs.refine import uplift_weighed
from panoptic_gs.refine.leave_one_out import VotePairs
from panoptic_gs.refine.overlooked import Said
from panoptic_gs.uplift import GaussianLabels

UNIT = 1 << 34


def pairs_of(dense: np.ndarray) -> VotePairs:
    gaussian, label = np.nonzero(dense)
    return VotePairs((gaussian.astype(np.int64) << 32) | label, np.rint(dense[gaussian, label] * UNIT).astype(np.int64))


def said_by(views: list[np.ndarray]) -> Said:
    store = kernels.VoteStore(len(views[0]))
    for view in views:
        store.add_sums(*pairs_of(view).tensors())
    return Said(store)


@pytest.mark.parametrize("seed", range(4))
def test_factors_are_those_of_dense_arrays(seed):
    rng = np.random.default_rng(seed)
    # Labels by region with a few errors, so that some views miss some objects; label 0 is void.
    truth = rng.integers(0, 5, 40)
    views = []
    for _ in range(5):
        shown = np.where(rng.random(5)[truth] < 0.3, rng.integers(0, 5), truth)
        view = np.zeros((40, 5))
        view[np.arange(40), shown] = rng.random(40) * 3
        view[rng.integers(0, 40, 12), rng.integers(0, 5, 12)] += rng.random(12)
        view[rng.random(40) < 0.2] = 0
        views.append(np.round(view * UNIT) / UNIT)
    told = [view**1.5 for view in views]
    told = [np.round(view * UNIT) / UNIT for view in told]
    said, missed = said_by(told), 0
    for view, own in zip(views, told):
        others = np.clip(sum(told) - own, 0, None) ** 2
        share = np.divide(others, others.sum(1, keepdims=True), out=np.zeros_like(others), where=others > 0)
        lost = (view * share).sum(0) < 0.5 * (view.sum(1, keepdims=True) * share).sum(0)
        lost[0] = False
        missed += lost.sum()
        blamed = (share * lost).sum(1, keepdims=True) - share * lost
        expected = np.clip(1 - blamed, 0, 1)[np.nonzero(own)]
        np.testing.assert_allclose(said.heard(pairs_of(view), pairs_of(own), 2.0, 0.5), expected, atol=1e-6)
    assert missed > 0


def test_nothing_is_made_of_all_labels_that_views_say_of_a_view_s_gaussians(peak_of):
    """A long capture says dozens of labels of each Gaussian, of which nothing but packed sums fits into memory."""
    count, labels = 100_000, 40
    store, gaussian = kernels.VoteStore(count), torch.arange(count)
    for label in range(1, labels + 1):
        store.add_sums(gaussian, torch.full((count,), label, dtype=torch.int32), torch.full((count,), label * UNIT))
    view = VotePairs((np.arange(count) << 32) | 1, np.full(count, UNIT))
    heard, taken = peak_of(lambda: Said(store).heard(view, view, 2.0))
    assert taken < 16 * count * labels / 4
    assert (heard < 1e-9).all()  # it has missed all but the label of which least is said


def share_of(labels: GaussianLabels, mine: torch.Tensor, label: int) -> float:
    return float(labels.to_dense(13)[mine, label].mean())


def test_views_that_swallow_an_object_are_not_heard_on_it_and_outlines_are():
    splats, cameras, maps = staged(5)
    mine = uplift_weighed(splats, list(zip(cameras, maps))).to_dense(13)[:, NEAR] > 0.9
    assert mine.sum() > 50
    swallowed = [renamed(m, NEAR, FLOOR) if k in (1, 3) else m for k, m in enumerate(maps)]
    heard_on_all = uplift_weighed(splats, list(zip(cameras, swallowed)), missed=0)
    found = uplift_weighed(splats, list(zip(cameras, swallowed)))
    assert 1 - share_of(found, mine, NEAR) < 0.5 * (1 - share_of(heard_on_all, mine, NEAR))
    # A mask that is displaced is no mask that was missed: nothing changes.
    moved = [np.roll(m, 2, axis=1) if k == 1 else m for k, m in enumerate(maps)]
    one, other = (uplift_weighed(splats, list(zip(cameras, moved)), missed=share) for share in (0, 0.5))
    assert all(torch.equal(value, other.tensors()[name]) for name, value in one.tensors().items())


def test_what_one_view_alone_shows_is_kept_as_it_was():
    splats, cameras, maps = staged(5)
    alone = [m if k == 2 else renamed(m, NEAR, FLOOR) for k, m in enumerate(maps)]
    views = list(zip(cameras, alone))
    one, other = uplift_weighed(splats, views, missed=0).to_dense(13), uplift_weighed(splats, views).to_dense(13)
    assert float(one[:, NEAR].max()) > 0.05
    assert float((other[:, NEAR] - one[:, NEAR]).min()) > -1e-3
