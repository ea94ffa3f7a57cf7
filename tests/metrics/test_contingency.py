# SPDX-License-Identifier: Apache-2.0
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from label_strategies import scenes

from panoptic_gs import InputError
from panoptic_gs.metrics import ContingencyTable


def table_of(maps) -> ContingencyTable:
    table = ContingencyTable()
    table.add(*maps)
    return table


@given(scenes())
def test_counts_are_those_of_counting_one_by_one(maps):
    expected = Counter(zip(*(labels.ravel().tolist() for labels in maps)))
    assert table_of(maps).rows.tolist() == [[*pair, count] for pair, count in sorted(expected.items())]


@given(scenes(views=3), st.permutations(range(3)))
def test_views_may_come_in_any_order_and_in_parts(maps, order):
    parts = [table_of([labels[view] for labels in maps]) for view in order]
    assert parts[0] + (parts[1] + parts[2]) == table_of(maps)
    streamed = ContingencyTable()
    for view in order:
        streamed.add(*(labels[view] for labels in maps))
    assert streamed == table_of(maps)


def test_ids_up_to_2_to_the_31_stay_apart():
    ids = np.array([[2**31, 2**31 - 1, 2**31 - 2, 0]])
    ones = np.ones_like(ids)
    table = table_of((ones, ids, ones * (2**31 - 1), ids))
    assert sorted(table.rows[:, 1].tolist()) == sorted(ids.ravel().tolist())
    assert table.rows[:, 2].unique().tolist() == [2**31 - 1]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.uint32, np.int16, np.int32, np.int64])
def test_any_integer_dtype_gives_the_same_table(dtype):
    maps = [np.arange(12).reshape(3, 4) % n for n in (2, 5, 3, 7)]
    expected = table_of([torch.from_numpy(labels) for labels in maps])
    assert table_of([labels.astype(dtype) for labels in maps]) == expected


def test_an_empty_map_counts_nothing():
    assert table_of([np.zeros((0, 4), dtype=int)] * 4).num_pixels == 0


def test_bad_maps_are_named():
    good = np.ones((2, 3), dtype=int)
    with pytest.raises(InputError, match="gt_segment: found a float32"):
        table_of((good, good, good, good.astype(np.float32)))
    with pytest.raises(InputError, match=r"pred_segment: found shape \[3, 2\]"):
        table_of((good, good.T, good, good))
    with pytest.raises(InputError, match="pred_category: found ids from -1"):
        table_of((-good, good, good, good))
