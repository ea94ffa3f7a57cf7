# SPDX-License-Identifier: Apache-2.0
import copy

import numpy as np
import pytest
import torch
from hypothesis import given
from label_strategies import CATEGORIES, scenes
from torch import multiprocessing
from torchmetrics import MetricCollection

from panoptic_gs import InputError
from panoptic_gs.metrics import (
    ContingencyTable,
    InstanceCoverage,
    MeanAccuracy,
    MeanIoU,
    ScenePanopticQuality,
    class_iou,
    coverage,
    panoptic_quality,
)


@given(scenes(views=3))
def test_views_one_by_one_or_together_give_the_function_of_the_table(maps):
    together, one_by_one = (ScenePanopticQuality(CATEGORIES, "strict") for _ in range(2))
    together.update(*maps)
    for view in range(3):
        one_by_one.update(*(torch.from_numpy(labels[view]) for labels in maps))
    table = ContingencyTable()
    table.add(*maps)
    expected = panoptic_quality(table, CATEGORIES, "strict").as_dict()
    np.testing.assert_equal(together.compute(), expected)
    np.testing.assert_equal(one_by_one.compute(), expected)


def random_views(views, seed=0):
    generator = np.random.default_rng(seed)
    table = np.array([(0, 0), (1, 0), (2, 0), (3, 5), (3, 6), (7, 5)])
    truth = np.kron(generator.integers(0, len(table), (views, 4, 5)), np.ones((1, 8, 8), dtype=int))
    pred = np.where(generator.random(truth.shape) < 0.2, generator.integers(0, len(table), truth.shape), truth)
    return table[pred, 0], table[pred, 1], table[truth, 0], table[truth, 1]


def test_forward_scores_the_batch_and_keeps_the_whole():
    maps = random_views(3)
    metric, whole = ScenePanopticQuality(CATEGORIES), ScenePanopticQuality(CATEGORIES)
    for view in range(3):
        alone = ScenePanopticQuality(CATEGORIES)
        alone.update(*(labels[view] for labels in maps))
        assert metric(*(labels[view] for labels in maps)) == alone.compute()
    whole.update(*maps)
    assert metric.compute() == whole.compute()


def test_reset_copy_and_a_collection_work():
    maps = random_views(2)
    metric = ScenePanopticQuality(CATEGORIES, "strict")
    metric.update(*maps)
    before = copy.deepcopy(metric).compute()
    metric.reset()
    assert metric.table.num_pixels == 0
    metric.update(*maps)
    assert metric.compute() == before
    collection = MetricCollection([MeanIoU(CATEGORIES, "strict"), MeanAccuracy(CATEGORIES, "strict"),
                                   InstanceCoverage(CATEGORIES, "strict")])  # fmt: skip
    collection.update(*maps)
    scores = collection.compute()
    assert scores["miou"] == pytest.approx(np.mean(list(class_iou(metric.table, CATEGORIES, "strict").values())))
    assert (scores["mcov"], scores["mwcov"]) == coverage(metric.table, CATEGORIES)
    valid = maps[2] > 0
    expected = np.mean([np.mean(maps[0][valid & (maps[2] == c)] == c) for c in (1, 2, 3, 7)])
    assert scores["macc"] == pytest.approx(expected)


def test_prediction_and_truth_of_two_sizes_are_scored_where_the_protocol_resizes():
    pred, truth = random_views(1)[:2], [labels.repeat(2, axis=1).repeat(2, axis=2) for labels in random_views(1)[2:]]
    metric = ScenePanopticQuality(CATEGORIES, "panoptic-lifting")
    metric.update(*pred, *truth)
    assert metric.table.num_pixels == 512 * 512
    with pytest.raises(InputError, match="pred_category"):
        ScenePanopticQuality(CATEGORIES, "strict").update(*pred, *truth)


def test_one_hot_masks_are_refused():
    labels = np.zeros((1, 2, 3, 4), dtype=int)
    with pytest.raises(InputError, match=r"\[N, H, W\]"):
        ScenePanopticQuality(CATEGORIES).update(labels, labels, labels, labels)


def score_share(rank, rendezvous, folder):
    torch.distributed.init_process_group("gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=2)
    results = {}
    for name, views_of in {"uneven": ([0, 1], [2]), "one without views": ([0, 1, 2], [])}.items():
        maps = random_views(3)
        metric, table = ScenePanopticQuality(CATEGORIES), ContingencyTable()
        for view in views_of[rank]:
            metric.update(*(labels[view] for labels in maps))
            table.add(*(labels[view] for labels in maps))
        results[name] = {"scores": metric.compute(), "rows": table.all_reduce().rows}
        metric.update(*(labels[0] for labels in maps))
        results[name]["pixels after"] = metric.table.num_pixels
    torch.save(results, f"{folder}/{rank}.pt")
    torch.distributed.destroy_process_group()


@pytest.mark.filterwarnings("ignore")
def test_two_processes_give_the_scores_of_one(tmp_path):
    multiprocessing.start_processes(score_share, (str(tmp_path / "rendezvous"), str(tmp_path)), nprocs=2)
    metric, table = ScenePanopticQuality(CATEGORIES), ContingencyTable()
    metric.update(*random_views(3))
    table.add(*random_views(3))
    for rank, own_views in ((0, (2, 3)), (1, (1, 0))):
        results = torch.load(tmp_path / f"{rank}.pt")
        for result, views in zip(results.values(), own_views):
            assert result["scores"] == metric.compute()
            assert torch.equal(result["rows"], table.rows)
            assert result["pixels after"] == (views + 1) * 512 * 512
