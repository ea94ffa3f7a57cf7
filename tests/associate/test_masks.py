# SPDX-License-Identifier: Apache-2.0
"""Masks of one photo: regions, overlaps, what lies on top."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from panoptic_gs import InputError
from panoptic_gs.associate import ViewMasks
from panoptic_gs.associate.masks import require_size


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 6), st.integers(0, 2**31))
def test_overlapping_masks_come_back_as_they_were(count, seed):
    rng = np.random.default_rng(seed)
    stack = rng.uniform(size=(count, 9, 7)) < rng.uniform(0, 1, size=(count, 1, 1))
    masks = ViewMasks.from_masks(stack, (9, 7), ids=range(100, 100 + count))
    kept = [k for k in range(count) if stack[k].any()]
    assert sorted(masks.ids) == [100 + k for k in kept]
    for number, name in enumerate(masks.ids.tolist()):
        assert (masks.mask(number) == stack[name - 100]).all()
    assert (masks.areas() == [stack[name - 100].sum() for name in masks.ids]).all()
    assert masks.overlap == (stack.sum(axis=0) > 1).any()


def test_numbers_of_masks_do_not_depend_on_their_ids():
    labels = np.array([[0, 7, 7], [3, 3, 9]])
    first = ViewMasks.from_label_map(labels, {7: 1, 3: 2, 9: 1})
    second = ViewMasks.from_label_map(np.array([0, 0, 0, 11, 0, 0, 0, 2, 0, 5])[labels], {2: 1, 11: 2, 5: 1})
    assert (first.regions == second.regions).all()
    assert first.category_ids.tolist() == second.category_ids.tolist() == [1, 2, 1]
    assert (first.ids.tolist(), second.ids.tolist()) == ([7, 3, 9], [2, 11, 5])


def test_the_better_score_lies_on_top_and_the_smaller_of_equals():
    large, small = np.ones((2, 3), bool), np.array([[1, 0, 0], [0, 0, 0]], bool)
    equal = ViewMasks.from_masks([small, large], (2, 3), ids=[5, 6])
    assert equal.paint(equal.ids).tolist() == [[5, 6, 6], [6, 6, 6]]
    scored = ViewMasks.from_masks([small, large], (2, 3), ids=[5, 6], scores=[0.2, 0.9])
    assert (scored.paint(scored.ids) == 6).all()


@pytest.mark.parametrize("size", [(40, 30), (400, 300), (41, 31), (13, 10)])
def test_masks_of_the_photos_shape_may_have_any_size(size):
    require_size("m", size, (200, 150))


@pytest.mark.parametrize(
    ("size", "found"), [((150, 200), "turned by 90"), ((200, 200), "200×200"), ((64, 64), "64×64")]
)
def test_masks_of_another_shape_are_refused(size, found):
    with pytest.raises(InputError, match=found):
        require_size("m", size, (200, 150))
