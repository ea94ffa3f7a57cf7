# SPDX-License-Identifier: Apache-2.0
"""The association benchmark on a hall of two chairs, and how it counts."""

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.associating.baselines import linear_assignment
from benchmarks.associating.cases import pairs
from benchmarks.associating.hall import OneId, chairs_with_one_id, hall
from benchmarks.associating.view_consensus import view_consensus
from panoptic_gs.associate import ViewMasks


@pytest.fixture(scope="module")
def case():
    return hall(rows=1, columns=2, views=8, width=96)


def test_two_equal_chairs_get_one_id_each(case):
    objects, maps = case.closed_form(case.evidence())
    assert chairs_with_one_id(case, objects).by_pixels == 2
    assert pairs(case.true_objects(), objects)[0] == 100
    assert len({segment.id for segment in maps.segments if maps.is_thing[segment.category_id]}) == 2


def test_true_objects_score_above_ids_that_mean_nothing(case):
    true = case.true_objects()
    scores = case.scores(case.maps_of(true), true)
    assert scores["precision"] == scores["recall"] == 100
    apart = {stem: np.where(of >= 0, 100 * k + np.arange(len(of)), -1) for k, (stem, of) in enumerate(true.items())}
    assert case.scores(case.maps_of(apart), apart)["strict"] < scores["strict"] - 10


def test_linear_assignment_names_every_thing(case):
    for stem, objects in linear_assignment(case, case.evidence()).items():
        np.testing.assert_array_equal(objects >= 0, case.things(stem))


def test_view_consensus_joins_masks_of_one_chair_and_drops_one_over_two():
    case = hall(rows=1, columns=2, views=8, width=240)
    true = case.true_objects()
    objects = view_consensus(case, case.evidence())
    precision, recall = pairs(true, objects)
    assert precision == 100
    assert recall > 60
    stem = next(s for s in true if (true[s] > 0).sum() == 2 and (objects[s][true[s] > 0] >= 0).all())
    first, second = np.flatnonzero(true[stem] > 0)
    one = np.arange(1, len(true[stem]) + 1)
    one[second] = one[first]
    categories = {int(i): int(c) for i, c in zip(one, case.masks[stem].category_ids)}
    fused = ViewMasks.from_label_map(case.masks[stem].paint(one), categories)
    changed = replace(case, masks={**case.masks, stem: fused})
    found = view_consensus(changed, changed.evidence())[stem]
    assert (found == -1).all()


def test_chairs_with_one_id_are_counted_by_pixels_and_by_masks(case):
    true = case.true_objects()
    assert chairs_with_one_id(case, true, least=1) == OneId(chairs=2, by_pixels=2, by_masks=2)
    # Lost in the view in which it is smallest, the first chair keeps most pixels, and 7/8 of its masks.
    first = min(of[of > 0].min() for of in true.values())
    area = {s: int(case.masks[s].areas()[of == first].sum()) for s, of in true.items()}
    smallest = min(area, key=area.__getitem__)
    assert 0 < area[smallest] < 0.1 * sum(area.values())
    lost = {s: np.where((of == first) & (s == smallest), -1, of) for s, of in true.items()}
    assert chairs_with_one_id(case, lost, least=1) == OneId(chairs=2, by_pixels=2, by_masks=1)
    # One id for both chairs is no chair's own.
    merged = {s: np.where(of > 0, 7, -1) for s, of in true.items()}
    assert chairs_with_one_id(case, merged, least=1) == OneId(chairs=2, by_pixels=0, by_masks=0)
