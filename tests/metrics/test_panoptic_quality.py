# SPDX-License-Identifier: Apache-2.0
import dataclasses
from fractions import Fraction

import numpy as np
import panoptic_oracle as oracle
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from label_strategies import CATEGORIES, CLASSES, THINGS, scenes
from PIL import Image
from torchmetrics.functional.detection import panoptic_quality as torchmetrics_panoptic_quality

from panoptic_gs import Category, InputError
from panoptic_gs.metrics import (
    PANOPTIC_LIFTING,
    STRICT,
    ContingencyTable,
    Protocol,
    ScenePanopticQuality,
    panoptic_quality,
)
from panoptic_gs.metrics.protocol import resize_labels

WALL, FLOOR, CHAIR, LAMP = 1, 2, 3, 4
BOTH = pytest.mark.parametrize("protocol", [PANOPTIC_LIFTING, STRICT], ids=lambda protocol: protocol.name)


def table_of(maps) -> ContingencyTable:
    table = ContingencyTable()
    table.add(*maps)
    return table


def per_class(table, protocol):
    return {c.category.id: (c.pq, c.sq, c.rq) for c in panoptic_quality(table, CATEGORIES, protocol).classes}


def assert_close(actual, expected):
    assert set(actual) == set(expected)
    for c in expected:
        assert actual[c] == pytest.approx(expected[c], abs=1e-12), f"class {c}"


# The reference scene of the protocols: every number to four digits, at 100×100 and through the resize to 512×512.


def toy_pq(pred, truth, categories, protocol) -> float:
    metric = ScenePanopticQuality(categories, protocol)
    metric.update(*pred, *truth)
    return metric.compute()["pq"]


@BOTH
def test_toy_perfect_with_permuted_ids(protocol, toy_truth, toy_categories):
    category, segment = toy_truth
    permuted = np.array([0, 40, 17, 2**31 - 1, 5])[segment]
    assert toy_pq((category, permuted), toy_truth, toy_categories, protocol) == 1.0


@BOTH
def test_toy_chair_ids_swapped_in_the_second_view(protocol, toy_truth, toy_categories):
    category, segment = toy_truth
    swapped = segment.copy()
    swapped[1] = np.array([0, 1, 2, 4, 3])[segment[1]]
    assert toy_pq((category, swapped), toy_truth, toy_categories, protocol) == pytest.approx(0.6667, abs=5e-5)


@BOTH
def test_toy_second_chair_called_floor(protocol, toy_truth, toy_categories):
    category, segment = toy_truth
    pred = np.where(segment == 4, FLOOR, category), np.where(segment == 4, 2, segment)
    assert toy_pq(pred, toy_truth, toy_categories, protocol) == pytest.approx(0.8599, abs=5e-5)


@BOTH
def test_toy_all_chairs_missed(protocol, toy_truth, toy_categories):
    category, segment = toy_truth
    pred = np.where(category == CHAIR, FLOOR, category), np.where(category == CHAIR, 2, segment)
    assert toy_pq(pred, toy_truth, toy_categories, protocol) == pytest.approx(0.6133, abs=5e-5)


def with_lamp(truth, boxes):
    category, segment = (labels.copy() for labels in truth)
    for view, (rows, columns) in enumerate(boxes):
        category[view, rows, columns], segment[view, rows, columns] = LAMP, 77
    return category, segment


@BOTH
def test_toy_two_percent_of_the_wall_called_lamp(protocol, toy_truth, toy_categories):
    pred = with_lamp(toy_truth, [(slice(0, 4), slice(0, 25)), (slice(1, 5), slice(0, 25))])
    assert np.mean(pred[0][toy_truth[0] == WALL] == LAMP) == 0.02
    assert toy_pq(pred, toy_truth, toy_categories, protocol) == pytest.approx(0.7450, abs=5e-5)


def test_toy_a_speck_of_lamp_falls_under_the_half_percent_rule(toy_truth, toy_categories):
    speck = with_lamp(toy_truth, [(slice(10, 12), slice(20, 25))] * 2)
    assert np.mean(speck[0][toy_truth[0] == WALL] == LAMP) == 0.002
    without_rule = dataclasses.replace(PANOPTIC_LIFTING, min_share=0.0, resize=None)
    assert toy_pq(speck, toy_truth, toy_categories, PANOPTIC_LIFTING) == 1.0
    assert toy_pq(speck, toy_truth, toy_categories, without_rule) == pytest.approx(0.7495, abs=1e-9)
    assert toy_pq(speck, toy_truth, toy_categories, STRICT) == pytest.approx(0.7495, abs=1e-9)
    of_the_views = with_lamp(toy_truth, [(slice(10, 14), slice(20, 25))] * 2)
    assert np.mean(of_the_views[0] == LAMP) == 0.002
    assert toy_pq(of_the_views, toy_truth, toy_categories, STRICT) == pytest.approx(0.7490, abs=1e-9)


# Against the literal versions.


@given(scenes(), st.sampled_from([0.005, 0.1, 0.25]))
def test_panoptic_lifting_equals_the_literal_protocol(maps, min_share):
    protocol = dataclasses.replace(PANOPTIC_LIFTING, resize=None, min_share=min_share)
    expected = oracle.panoptic_lifting(oracle.pixels_of(maps), THINGS, CLASSES, min_share)
    assert_close(per_class(table_of(maps), protocol), expected)


@given(scenes())
def test_strict_equals_the_literal_protocol(maps):
    expected = oracle.coco(oracle.pixels_of(maps), THINGS, CLASSES)
    assert_close(per_class(table_of(maps), STRICT), expected)


@given(scenes(), st.sampled_from([Fraction(1, 10), Fraction(3, 10)]))
def test_panopticrecon_equals_the_literal_protocol(maps, threshold):
    expected = oracle.coco(oracle.pixels_of(maps), THINGS, CLASSES, threshold, absent_is_zero=True)
    actual = per_class(table_of(maps), f"panopticrecon:{float(threshold)}")
    assert set(actual) == set(CLASSES)
    assert_close(actual, expected)


# Against torchmetrics, on the scene tiled into one image.


def tiled(category, segment):
    return torch.from_numpy(np.stack([category, segment], axis=-1)).reshape(1, -1, 1, 2)


@given(scenes())
def test_strict_equals_torchmetrics_where_everything_is_predicted(maps):
    pred_category = np.where(maps[0] == 0, 2, maps[0])
    scores = panoptic_quality(table_of((pred_category, *maps[1:])), CATEGORIES, STRICT)
    if not scores.classes:
        return
    expected = torchmetrics_panoptic_quality(
        tiled(pred_category, maps[1]), tiled(*maps[2:]), things=THINGS, stuffs={1, 2}, return_sq_and_rq=True,
        allow_unknown_preds_category=True,
    )  # fmt: skip
    assert [scores.pq, scores.sq, scores.rq] == pytest.approx(expected.tolist(), abs=1e-6)


@given(scenes())
def test_panoptic_lifting_equals_torchmetrics_with_class_0_as_stuff_and_void_truth_removed(maps):
    protocol = dataclasses.replace(PANOPTIC_LIFTING, resize=None, min_share=0.0)
    valid = maps[2] != 0
    if not valid.any():
        return
    scores = panoptic_quality(table_of(maps), CATEGORIES, protocol)
    expected = torchmetrics_panoptic_quality(
        tiled(maps[0][valid], maps[1][valid]), tiled(maps[2][valid], maps[3][valid]), things=THINGS,
        stuffs={0, 1, 2}, return_sq_and_rq=True,
    )  # fmt: skip
    assert [scores.pq, scores.sq, scores.rq] == pytest.approx(expected.tolist(), abs=1e-6)


# Invariants.


@given(scenes(), st.integers(1, 2**31 - 1), st.sampled_from(["panoptic-lifting", "strict", "panopticrecon:0.3"]))
def test_permuting_ids_changes_nothing(maps, offset, protocol):
    pred_category, pred_segment, gt_category, gt_segment = maps
    renamed = [(labels + offset) % 2**31 for labels in (pred_segment, gt_segment)]
    before = panoptic_quality(table_of(maps), CATEGORIES, protocol)
    after = panoptic_quality(table_of((pred_category, renamed[0], gt_category, renamed[1])), CATEGORIES, protocol)
    assert [(c.tp, c.fp, c.fn) for c in after.classes] == [(c.tp, c.fp, c.fn) for c in before.classes]
    assert [c.iou_sum for c in after.classes] == pytest.approx([c.iou_sum for c in before.classes])
    assert after.left_out == before.left_out


@given(scenes(), st.integers(2, 4), st.sampled_from(["panoptic-lifting", "strict"]))
def test_repeating_every_view_changes_nothing(maps, times, protocol):
    repeated = ContingencyTable()
    for _ in range(times):
        repeated.add(*maps)
    assert panoptic_quality(repeated, CATEGORIES, protocol) == panoptic_quality(table_of(maps), CATEGORIES, protocol)


@given(scenes(), st.sampled_from(["panoptic-lifting", "strict"]))
def test_a_perfect_prediction_scores_1(maps, protocol):
    truth = maps[2:]
    scores = panoptic_quality(table_of((*truth, *truth)), CATEGORIES, protocol)
    assert all(c.pq == c.sq == c.rq == 1.0 for c in scores.classes)


def test_abstaining_costs_in_strict_and_not_where_a_class_is_too_small():
    categories = [Category(1, "wall", False), Category(2, "floor", False)]
    truth = np.where(np.arange(1000) < 500, 1, 2)[None]
    pred = truth.copy()
    pred[0, :4] = 0
    zeros = np.zeros_like(truth)
    table = table_of((pred, zeros, truth, zeros))
    assert panoptic_quality(table, categories, STRICT).pq == pytest.approx((0.992 + 1) / 2)
    assert panoptic_quality(table, categories, PANOPTIC_LIFTING).pq == 1.0
    pred[0, :6] = 0
    lifting = panoptic_quality(table_of((pred, zeros, truth, zeros)), categories, PANOPTIC_LIFTING)
    assert lifting.pq == pytest.approx((0.988 + 1 + 0) / 3)


@BOTH
@pytest.mark.parametrize(("on_void", "false_positives"), [(4, 1), (5, 1), (6, 0)])
def test_a_predicted_segment_is_forgiven_when_more_than_half_of_it_lies_on_void(protocol, on_void, false_positives):
    """Void truth in strict; a class below the share, which became void, in panoptic-lifting."""
    strict = protocol is STRICT
    rules = protocol if strict else dataclasses.replace(protocol, resize=None, min_share=0.01)
    gt_category, pred_category = np.ones((1, 1000), dtype=int), np.ones((1, 1000), dtype=int)
    gt_category[0, :8] = 0 if strict else 7
    pred_category[0, :8] = 0 if strict else 7
    pred_category[0, 8 - on_void : 18 - on_void] = 3
    pred_category[0, 500:600], gt_category[0, 500:600] = 3, 3
    pred_segment = np.where(np.arange(1000)[None] >= 500, 6, 5)
    scores = panoptic_quality(table_of((pred_category, pred_segment, gt_category, pred_segment)), CATEGORIES, rules)
    chair = {c.category.id: c for c in scores.classes}[3]
    assert (chair.tp, chair.fp, chair.fn) == (1, false_positives, 0)


@pytest.mark.parametrize(("unpredicted", "false_negatives"), [(4, 1), (5, 1), (6, 0)])
def test_a_true_segment_is_forgiven_when_more_than_half_of_it_became_void(unpredicted, false_negatives):
    rules = dataclasses.replace(PANOPTIC_LIFTING, resize=None, min_share=0.007)
    category, segment = np.ones((1, 1000), dtype=int), np.where(np.arange(1000)[None] >= 500, 6, 5)
    category[0, :10], category[0, 500:600] = 3, 3
    pred = category.copy()
    pred[0, :10], pred[0, :unpredicted] = 1, 0
    scores = panoptic_quality(table_of((pred, segment, category, segment)), CATEGORIES, rules)
    chair = {c.category.id: c for c in scores.classes}[3]
    assert (chair.tp, chair.fp, chair.fn) == (1, 0, false_negatives)


# The rest.


@pytest.mark.parametrize("shape", [(100, 100), (480, 640), (768, 1024), (513, 511), (1, 7), (1080, 1440)])
def test_resizing_is_pils_nearest_neighbour(shape):
    labels = np.random.default_rng(0).integers(0, 2**31 - 1, shape, dtype=np.int32)
    expected = np.asarray(Image.fromarray(labels).resize((512, 512), Image.Resampling.NEAREST))
    np.testing.assert_array_equal(resize_labels(torch.from_numpy(labels), (512, 512)).numpy(), expected)


def test_an_unlisted_category_is_named():
    ones = np.ones((2, 2), dtype=int)
    with pytest.raises(InputError, match="prediction: found category id 5"):
        panoptic_quality(table_of((5 * ones, ones, ones, ones)), CATEGORIES)


@pytest.mark.parametrize("name", ["coco", "panopticrecon", "panopticrecon:2", "panopticrecon:half"])
def test_an_unknown_protocol_is_named(name):
    with pytest.raises(InputError, match=name):
        Protocol.parse(name)


def test_nothing_counted_scores_nan_not_0():
    assert np.isnan(panoptic_quality(ContingencyTable(), CATEGORIES, "strict").pq)
    assert np.isnan(panoptic_quality(ContingencyTable(), CATEGORIES).pq_things)
