# SPDX-License-Identifier: Apache-2.0
"""Two clusters of one object are one again where no view has a mask of each."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from panoptic_gs.associate.evidence import ViewEvidence
from panoptic_gs.associate.reunion import reunite

LEFT, RIGHT = range(20), range(20, 40)
"""The Gaussians of the two objects that are asked about."""
SHARE = sparse.csr_matrix(np.r_[np.tile([1, 0], (20, 1)), np.tile([0, 1], (20, 1))].astype(np.float32))


def view(masks: list[range], classes: list[int]) -> ViewEvidence:
    votes = np.zeros((40, len(masks)), np.float32)
    for column, inside in enumerate(masks):
        votes[list(inside), column] = 1
    table = sparse.csr_matrix(votes)
    areas = votes.sum(axis=0).astype(float)
    return ViewEvidence(np.arange(40, dtype=np.int32), np.ones(40, np.float32), table, table, np.arange(len(masks)),
                        np.array(classes), np.ones(len(masks), np.float32), areas, votes.sum(axis=1))  # fmt: skip


def found(views, objects, cut=False):
    numbers = reunite(views, objects, [SHARE] * len(views), 2, cut)
    return None if numbers is None else numbers.tolist()


WHOLE = view([range(40)], [1])
PARTED = view([LEFT, RIGHT], [1, 1])


def test_two_clusters_under_one_mask_in_every_view_are_one():
    assert found([WHOLE] * 4, [[(0,)], [(1,)], [(1,)], [(0,)]]) == [0, 0]


def test_one_view_with_a_mask_of_each_keeps_them_apart():
    assert found([WHOLE] * 5 + [PARTED], [[(0,)], [(1,)]] * 2 + [[(0,)], [(0,), (1,)]]) is None


def test_too_few_views_say_nothing():
    assert found([WHOLE] * 2, [[(0,)], [(1,)]]) is None


def test_other_classes_stay_apart():
    views = [view([range(40)], [c]) for c in (1, 2, 1, 2)]
    assert found(views, [[(0,)], [(1,)], [(0,)], [(1,)]]) is None


@pytest.mark.parametrize(("cut", "expected"), [(False, None), (True, [0, 0])])
def test_masks_that_are_cut_in_general_may_show_a_piece_each(cut, expected):
    crossing = view([range(30), range(30, 40)], [1, 1])  # half of what it covers of the second lies under the first
    views = [WHOLE] * 3 + [crossing] * 3
    assert found(views, [[(0,)], [(1,)], [(0,)]] + [[(0,), (1,)]] * 3, cut) == expected


@pytest.mark.parametrize("cut", [False, True])
def test_objects_that_views_show_apart_stay_apart(cut):
    assert found([PARTED] * 6, [[(0,), (1,)]] * 6, cut) is None
    assert reunite([PARTED], [[(), ()]], [SHARE[:, :0]], 0, cut) is None
