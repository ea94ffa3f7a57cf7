# SPDX-License-Identifier: Apache-2.0
"""Masks that found no object become objects of their own only where several views agree."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from panoptic_gs.associate.evidence import ViewEvidence
from panoptic_gs.associate.left_over import left_over_objects

BOTTLE, TABLE = 1, 2
COUNT = 40
"""Gaussians: 0–9 are a bottle, the others a table."""


def view(masks: dict[int, tuple[range, int]], weight: float = 2.0) -> ViewEvidence:
    """A view of all Gaussians: the Gaussians and the class of each mask, each blurred over three more."""
    votes = np.zeros((COUNT, len(masks)), np.float32)
    for column, (inside, _) in enumerate(masks.values()):
        votes[list(inside), column] = 0.6 * weight
    table = sparse.csr_matrix(votes)
    total = np.full(COUNT, weight, np.float32)
    ones = np.ones(len(masks))
    categories = np.array([category for _, category in masks.values()], np.int64)
    return ViewEvidence(np.arange(COUNT, dtype=np.int32), total, table, table, np.arange(len(masks)), categories,
                        ones.astype(np.float32), votes.sum(axis=0).astype(float), votes.sum(axis=1))  # fmt: skip


def found(views, objects, share=None, things=None):
    none = sparse.csr_matrix((COUNT, 1), dtype=np.float32)
    things = things or [np.ones(len(of), bool) for of in objects]
    return [of.tolist() for of in left_over_objects(views, things, [np.array(of) for of in objects],
                                                    none if share is None else share)]  # fmt: skip


def test_masks_of_several_views_that_agree_are_one_object():
    views = [view({0: (range(10), BOTTLE)}) for _ in range(3)]
    assert found(views, [[-1]] * 3) == [[0]] * 3


def test_one_view_alone_says_nothing():
    views = [view({0: (range(10), BOTTLE)}), view({0: (range(20, 30), BOTTLE)})]
    assert found(views, [[-1], [-1]]) == [[-1], [-1]]


def test_masks_of_one_view_are_never_one_object():
    views = [view({0: (range(6), BOTTLE), 1: (range(4, 10), BOTTLE)}), view({0: (range(6), BOTTLE)})]
    first, second = found(views, [[-1, -1], [-1]])
    assert second == [0]
    assert sorted(first) == [-1, 0]


def test_what_shows_in_few_of_many_views_is_left_alone():
    views = [view({0: (range(10), BOTTLE)}) for _ in range(2)] + [view({0: (range(20, 40), TABLE)}) for _ in range(18)]
    assert found(views, [[-1]] * 2 + [[0]] * 18) == [[-1]] * 20


def test_masks_where_an_object_of_their_class_is_known_are_left_alone():
    views = [view({0: (range(10), BOTTLE), 1: (range(5, 15), BOTTLE)}) for _ in range(3)]
    share = sparse.csr_matrix(np.r_[np.full(15, 0.8), np.zeros(COUNT - 15)][:, None].astype(np.float32))
    assert found(views, [[-1, 0]] * 3, share) == [[-1, -1]] * 3


@pytest.mark.parametrize(("count", "expected"), [(2, -1), (3, 0)])
def test_a_bottle_that_went_to_its_table_is_an_object_where_view_after_view_has_a_mask_of_each(count, expected):
    views = [view({0: (range(10), BOTTLE), 1: (range(10, 40), TABLE)}) for _ in range(count)]
    share = sparse.csr_matrix(np.ones((COUNT, 1), np.float32))
    assert found(views, [[0, 0]] * count, share) == [[expected, -1]] * count


def test_stuff_and_fused_masks_are_not_asked():
    views = [view({0: (range(10), BOTTLE), 1: (range(10), BOTTLE)}) for _ in range(3)]
    things = [np.array([False, True])] * 3
    assert found(views, [[-1, -2]] * 3, things=things) == [[-1, -1]] * 3
