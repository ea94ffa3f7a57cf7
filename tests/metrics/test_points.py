# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import scannet_oracle
import torch
from hypothesis import given
from hypothesis import strategies as st
from label_strategies import CATEGORIES, THINGS, scenes

from panoptic_gs import Camera, Category, InputError
from panoptic_gs.metrics import (
    ContingencyTable,
    LabelledPoints,
    PointCloudQuality,
    average_precision,
    match_instances,
    point_table,
    score_points,
    transfer_labels,
)
from panoptic_gs.metrics.average_precision import THRESHOLDS

CHAIR = [Category(1, "wall", False), Category(3, "chair", True)]


@given(scenes(), st.integers(1, 4), st.data())
def test_instance_scores_are_those_of_the_literal_benchmark(maps, min_points, data):
    table = ContingencyTable()
    table.add(*maps)
    segments = {int(s) for s in np.unique(maps[1])}
    scores = {s: data.draw(st.sampled_from([0.2, 0.5, 0.5001, 0.9])) for s in sorted(segments)}
    found = average_precision(match_instances(table, CATEGORIES, scores, min_points), CATEGORIES)
    labels = [labels.ravel().tolist() for labels in maps]
    pred, truth = list(zip(*labels[:2])), list(zip(*labels[2:]))
    for threshold in (0.25, 0.5, 0.75):
        expected = scannet_oracle.evaluate(pred, truth, scores, sorted(THINGS), min_points, threshold)
        mine = {c.category.id: (c.ap[threshold], c.precision[threshold], c.recall[threshold]) for c in found.classes}
        assert mine.keys() == expected.keys()
        for c, values in expected.items():
            assert mine[c] == pytest.approx(values)


def chairs(*areas):
    """Predicted chair 1 that shares ``areas[i]`` points with true chair i + 1, whose other points are unpredicted."""
    rows = [[3, 1, 3, i + 1, shared] for i, (shared, _) in enumerate(areas)]
    rows += [[0, 0, 3, i + 1, alone] for i, (_, alone) in enumerate(areas)]
    return ContingencyTable(torch.tensor(rows))


def test_small_true_instances_are_neither_found_nor_missed():
    scores = score_points(chairs((150, 0), (20, 20)), CHAIR)
    assert (scores["ap50"], scores["recall50"], scores["precision50"]) == (1.0, 1.0, 1.0)
    assert score_points(chairs((150, 0), (20, 20)), CHAIR, min_points=10)["recall50"] == 0.5


def test_a_chair_predicted_on_the_wall_is_ignored_and_one_on_another_class_of_things_is_false():
    both = [*CHAIR, Category(7, "cup", True)]
    rows = [[3, 1, 3, 1, 300], [3, 2, 1, 0, 300], [7, 4, 7, 9, 300]]
    assert score_points(ContingencyTable(torch.tensor(rows)), both)["precision50"] == 1.0
    rows[1] = [3, 2, 7, 8, 300]
    assert score_points(ContingencyTable(torch.tensor(rows)), both)["precision50"] == 0.75


def test_confident_false_positives_cost_more_than_doubtful_ones():
    rows = torch.tensor([[3, 1, 3, 1, 200], [3, 2, 3, 2, 90], [0, 0, 3, 2, 200], [3, 3, 3, 2, 110]])
    doubtful = score_points(ContingencyTable(rows), CHAIR, {1: 0.9, 2: 0.1, 3: 0.1}, min_points=50)
    confident = score_points(ContingencyTable(rows), CHAIR, {1: 0.1, 2: 0.9, 3: 0.9}, min_points=50)
    assert doubtful["ap50"] == pytest.approx(1 / 2)
    assert confident["ap50"] == pytest.approx(1 / 12)


def test_scenes_are_joined_by_their_matches():
    one, two = chairs((300, 0)), chairs((100, 400))
    joined = average_precision(torch.cat([match_instances(table, CHAIR) for table in (one, two)]), CHAIR)
    assert joined.recall50 == 0.5
    assert joined.precision50 == 0.5
    assert set(joined.classes[0].ap) == set(THRESHOLDS)


def grid(n=12):
    axis = np.linspace(0, 1, n)
    return np.stack(np.meshgrid(axis, axis, [0.0]), axis=-1).reshape(-1, 3)


def test_labels_come_from_the_nearest_labelled_point_within_reach():
    pred = LabelledPoints(np.array([[0.0, 0, 0], [1, 0, 0], [0.4, 0, 0]]), np.array([1, 3, 0]), np.array([9, 5, 6]))
    positions = np.array([[0.1, 0, 0], [0.45, 0, 0], [0.6, 0, 0], [1.05, 0, 0], [3.0, 0, 0]])
    category, segment = transfer_labels(pred, positions, max_distance=0.5)
    assert category.tolist() == [1, 1, 3, 3, 0]
    assert segment.tolist() == [9, 9, 5, 5, 0]
    category, _ = transfer_labels(pred, positions, max_distance=0.2)
    assert category.tolist() == [1, 0, 0, 3, 0]


def test_the_truth_scores_one_and_permuted_ids_do_not_matter():
    points = grid()
    segment = np.where(points[:, 0] < 0.5, 1, 2) * (points[:, 1] < 0.7)
    truth = LabelledPoints(points, np.where(segment > 0, 3, 1), segment)
    permuted = LabelledPoints(points + 1e-3, truth.category, np.array([0, 8, 4])[segment])
    scores = score_points(point_table(permuted, truth, 0.01), CHAIR, min_points=10)
    assert all(value == 1.0 for value in scores.values())


def test_out_of_reach_counts_as_unpredicted():
    points = grid()
    truth = LabelledPoints(points, np.full(len(points), 3), np.ones(len(points), dtype=int))
    near = points[:, 0] < 0.6
    pred = LabelledPoints(points[near], truth.category[near], truth.segment[near])
    scores = score_points(point_table(pred, truth, 1e-6), CHAIR, min_points=10)
    assert (scores["covered"], scores["miou"]) == pytest.approx((near.mean(), near.mean()))


def test_the_metric_over_scenes_is_the_function_of_their_matches():
    generator = np.random.default_rng(0)
    metric, tables = PointCloudQuality(CHAIR, 0.2, min_points=5), []
    for _ in range(2):
        points = grid()
        truth = LabelledPoints(points, generator.choice([1, 3], len(points)), generator.integers(0, 3, len(points)))
        pred = LabelledPoints(points, generator.choice([0, 1, 3], len(points)), truth.segment)
        metric.update(pred, truth)
        tables.append(point_table(pred, truth, 0.2))
    expected = average_precision(torch.cat([match_instances(table, CHAIR, min_points=5) for table in tables]), CHAIR)
    scores = metric.compute()
    assert {name: scores[name] for name in expected.as_dict()} == expected.as_dict()
    pred_class, true_class, count = torch.cat([table.rows for table in tables])[:, [0, 2, 4]].T
    ious = [
        count[(pred_class == c) & (true_class == c)].sum() / count[(pred_class == c) | (true_class == c)].sum()
        for c in (1, 3)
    ]
    assert scores["miou"] == pytest.approx(float(sum(ious) / 2))


def test_depth_maps_give_points_where_they_project():
    camera = Camera.look_at([1.0, 2.0, 0.5], [0.0, 0.0, 0.0], [0.0, 0.0, 1.0], 1.0, 20, 15)
    depth = np.random.default_rng(1).uniform(1, 3, (15, 20)).astype(np.float32)
    depth[0] = 0
    category = np.arange(300).reshape(15, 20)
    cloud = LabelledPoints.from_depth([(camera, depth, category, category)], voxel=1e-4)
    assert len(cloud) == 280
    local = cloud.positions @ camera.viewmat[:3, :3].numpy().T + camera.viewmat[:3, 3].numpy()
    pixels = local @ camera.K.numpy().T
    columns, rows = (np.floor(pixels[:, axis] / pixels[:, 2]).astype(int) for axis in range(2))
    assert (category[rows, columns] == cloud.category).all()
    np.testing.assert_allclose(local[:, 2], depth[rows, columns], rtol=1e-5)
    twice = LabelledPoints.from_depth([(camera, depth, category, category)] * 2, voxel=1e-4)
    assert len(twice) == len(cloud)


def test_bad_points_are_named():
    points = grid()
    labels = np.ones(len(points), dtype=int)
    with pytest.raises(InputError, match="category"):
        LabelledPoints(points, -labels, labels)
    with pytest.raises(InputError, match="shapes"):
        LabelledPoints(points, labels[:-1], labels)
    with pytest.raises(InputError, match="NaN"):
        LabelledPoints(points * np.nan, labels, labels)
