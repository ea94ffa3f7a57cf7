# SPDX-License-Identifier: Apache-2.0
import dataclasses

import numpy as np
import panoptic_oracle as oracle
import pytest
from hypothesis import given
from hypothesis import strategies as st
from label_strategies import CATEGORIES, CLASSES, THINGS, scenes

from panoptic_gs.metrics import (
    PANOPTIC_LIFTING,
    STRICT,
    ContingencyTable,
    FrameScores,
    class_accuracy,
    class_iou,
    coverage,
)
from panoptic_gs.metrics.segmentation import mean_over_classes


def table_of(maps) -> ContingencyTable:
    table = ContingencyTable()
    table.add(*maps)
    return table


@given(scenes(), st.sampled_from([0.0, 0.1, 0.25]))
def test_class_iou_equals_counting_sets_of_pixels(maps, min_share):
    protocol = dataclasses.replace(PANOPTIC_LIFTING, min_share=min_share)
    expected = oracle.iou_per_class(oracle.pixels_of(maps), [0, *CLASSES], min_share)
    assert class_iou(table_of(maps), CATEGORIES, protocol) == pytest.approx(expected)
    expected = oracle.iou_per_class(oracle.pixels_of(maps), CLASSES, 0)
    assert class_iou(table_of(maps), CATEGORIES, STRICT) == pytest.approx(expected)


@given(scenes())
def test_class_accuracy_equals_counting_pixels(maps):
    pred, gt = maps[0], maps[2]
    expected = {int(c): np.mean(pred[gt == c] == c) for c in np.unique(gt) if c}
    assert class_accuracy(table_of(maps), CATEGORIES) == pytest.approx(expected)


@given(scenes())
def test_coverage_equals_counting_sets_of_pixels(maps):
    expected = oracle.coverages(oracle.pixels_of(maps), THINGS)
    scores = coverage(table_of(maps), CATEGORIES)
    if not expected:
        assert np.isnan(scores.mcov)
        assert np.isnan(scores.mwcov)
        return
    ious, areas = np.array(expected).T
    assert scores == pytest.approx((ious.mean(), np.average(ious, weights=areas)))


def test_coverage_does_not_ask_for_the_class():
    truth = np.array([[3, 3, 3, 3, 1, 1]]), np.array([[8, 8, 8, 8, 0, 0]])
    pred = np.array([[7, 7, 7, 1, 1, 1]]), np.array([[5, 5, 5, 0, 0, 0]])
    assert coverage(table_of((*pred, *truth)), CATEGORIES).mcov == 0.75


def test_coverage_takes_the_largest_intersection_not_the_largest_iou():
    truth, pred = np.zeros((1, 40), dtype=int), np.zeros((1, 40), dtype=int)
    truth[0, :10] = 1
    pred[0, :4], pred[0, 4:40] = 1, 2  # IoU 4/10 with four pixels, 6/40 with six
    chairs = np.where(truth, 3, 1), truth
    assert coverage(table_of((np.full_like(pred, 3), pred, *chairs)), CATEGORIES).mcov == pytest.approx(6 / 40)


def test_a_class_under_half_a_percent_in_both_is_left_out_of_the_miou():
    truth, pred = np.ones((1, 1000), dtype=int), np.ones((1, 1000), dtype=int)
    truth[0, :4], pred[0, 500:504] = 2, 2
    zeros = np.zeros_like(truth)
    assert set(class_iou(table_of((pred, zeros, truth, zeros)), CATEGORIES)) == {1}
    assert set(class_iou(table_of((pred, zeros, truth, zeros)), CATEGORIES, "strict")) == {1, 2}


def test_unpredicted_pixels_are_a_class_of_the_miou_in_panoptic_lifting_from_half_a_percent_on():
    """Two classes, 5 of 512 rows without a prediction: mean of 256/256, 251/256 and 0."""
    truth = np.repeat([1, 2], 256)[:, None].repeat(512, 1)
    pred = truth.copy()
    pred[-5:] = 0
    ids = np.zeros_like(truth)
    two = CATEGORIES[:2]
    iou = class_iou(table_of((pred, ids, truth, ids)), two, PANOPTIC_LIFTING)
    assert iou == {0: 0.0, 1: 1.0, 2: 251 / 256}
    assert mean_over_classes(iou) == pytest.approx(0.6602, abs=5e-5)
    assert mean_over_classes(class_iou(table_of((pred, ids, truth, ids)), two, STRICT)) == pytest.approx(
        0.9902, abs=5e-5
    )
    pred[-5:-2] = 2  # two rows are 0.39%
    assert 0 not in class_iou(table_of((pred, ids, truth, ids)), two, PANOPTIC_LIFTING)


def test_a_frame_that_shows_a_class_counts_as_much_as_any_other():
    """A chair of 100 pixels is found in one frame and missed in another, where it has 4."""
    frames, truth = FrameScores(), np.ones((10, 20), int)
    for chair, found in (((slice(0, 10), slice(0, 10)), True), ((slice(0, 2), slice(0, 2)), False)):
        category = truth.copy()
        category[chair] = 3
        ids = np.zeros_like(category)
        frames.add(table_of((category if found else truth, ids, category, ids)), CATEGORIES)
    assert frames.iou() == {1: pytest.approx((1 + 196 / 200) / 2), 3: 0.5}
    assert frames.accuracy() == {1: 1.0, 3: 0.5}
    assert (frames + FrameScores()).iou() == frames.iou()
