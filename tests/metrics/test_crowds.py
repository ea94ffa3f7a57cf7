# SPDX-License-Identifier: Apache-2.0
"""Crowds of the truth, by the rules of COCO's panoptic evaluation."""

import json
from pathlib import Path

import numpy as np
import panoptic_oracle as oracle
import pytest
from hypothesis import given
from hypothesis import strategies as st
from label_strategies import CATEGORIES, CLASSES, THINGS, scenes

from panoptic_gs import Category, PanopticScene, Segment
from panoptic_gs.metrics import STRICT, ContingencyTable, ScenePanopticQuality, coverage, evaluate_scenes
from panoptic_gs.metrics import panoptic_quality as quality

SHARED = Path(__file__).parents[3] / "shared" / "data"
WALL, PERSON = 1, 2
TWO = [Category(WALL, "wall", False), Category(PERSON, "person", True)]


def crowd_scene() -> tuple[PanopticScene, PanopticScene]:
    """Two views with a person and a crowd; two persons are found in the crowd, half the crowd is called wall."""
    truth, pred = np.full((60, 100), 1, np.int32), np.full((60, 100), 1, np.int32)
    truth[5:25, 5:25] = pred[5:25, 5:25] = 11
    truth[10:55, 50:95] = 12
    pred[20:40, 52:76], pred[15:39, 76:100] = 22, 23
    segments = [Segment(1, WALL), Segment(11, PERSON), Segment(12, PERSON, iscrowd=True)]
    found = [Segment(i, WALL if i == 1 else PERSON) for i in (1, 11, 22, 23)]
    return PanopticScene(TWO, found, {"a": pred, "b": pred}), PanopticScene(TWO, segments, {"a": truth, "b": truth})


def test_a_crowd_is_not_missed_and_what_is_found_in_it_is_not_false():
    pred, truth = crowd_scene()
    strict = evaluate_scenes(pred, truth)["strict"].panoptic
    person = strict.classes[1]
    assert (person.tp, person.fp, person.fn) == (1, 0, 0)
    counted = PanopticScene(TWO, [Segment(1, WALL), Segment(11, PERSON), Segment(12, PERSON)], truth.maps)
    person = evaluate_scenes(pred, counted)["strict"].panoptic.classes[1]
    assert (person.tp, person.fp, person.fn) == (1, 2, 1)


def test_half_in_the_crowd_is_not_more_than_half():
    truth, pred = np.full((10, 20), 1, np.int32), np.full((10, 20), 1, np.int32)
    truth[:, 10:], pred[:, 6:14] = 12, 21
    table = ContingencyTable()
    table.add(np.array([0, 1] + [2] * 20)[pred], pred, np.array([0, 1] + [2] * 11)[truth], truth)
    assert quality(table, TWO, STRICT, crowds=[12]).classes[1].fp == 1
    table = ContingencyTable()
    pred[:, 14] = 21
    table.add(np.array([0, 1] + [2] * 20)[pred], pred, np.array([0, 1] + [2] * 11)[truth], truth)
    assert [c.category.id for c in quality(table, TWO, STRICT, crowds=[12]).classes] == [WALL]


def test_a_crowd_excuses_its_own_class_only():
    truth, pred = np.full((10, 20), 1, np.int32), np.full((10, 20), 1, np.int32)
    truth[:, 10:], pred[:, 10:] = 12, 21
    categories = [*TWO, Category(3, "dog", True)]
    table = ContingencyTable()
    table.add(np.where(pred == 21, 3, 1), pred, np.where(truth == 12, 2, 1), truth)
    classes = quality(table, categories, STRICT, crowds=[12]).classes
    assert {c.category.name: (c.tp, c.fp, c.fn) for c in classes} == {"wall": (1, 0, 0), "dog": (0, 1, 0)}


def test_in_panoptic_lifting_a_crowd_is_void_truth():
    pred, truth = crowd_scene()
    ids = {stem: np.where(labels == 12, 0, labels) for stem, labels in truth.maps.items()}
    void = PanopticScene(TWO, [Segment(1, WALL), Segment(11, PERSON)], ids)
    name = "panoptic-lifting"
    assert evaluate_scenes(pred, truth)[name].panoptic == evaluate_scenes(pred, void)[name].panoptic


@given(scenes(), st.sets(st.sampled_from([5, 6, 9, 2**31 - 1])))
def test_crowds_equal_the_literal_rules(maps, crowds):
    table = ContingencyTable()
    table.add(*maps)
    found = {c.category.id: (c.pq, c.sq, c.rq) for c in quality(table, CATEGORIES, STRICT, crowds).classes}
    expected = oracle.coco(oracle.pixels_of(maps), THINGS, CLASSES, crowds=crowds)
    assert set(found) == set(expected)
    for c, values in expected.items():
        assert found[c] == pytest.approx(values, abs=1e-12)
    coverages = oracle.coverages(oracle.pixels_of(maps), THINGS, crowds)
    mcov = coverage(table, CATEGORIES, crowds).mcov
    assert mcov == pytest.approx(np.mean([iou for iou, _ in coverages]) if coverages else np.nan, nan_ok=True)
    metric = ScenePanopticQuality(CATEGORIES, STRICT, crowds)
    metric.update(*maps)
    assert metric.compute()["pq"] == pytest.approx(quality(table, CATEGORIES, STRICT, crowds).pq, nan_ok=True)


@pytest.mark.skipif(not (SHARED / "captures" / "crowd").is_dir(), reason="the captures are not here")
def test_the_capture_with_a_crowd_scores_as_cocos_code_scores_it():
    folder = SHARED / "captures" / "crowd"
    scores = evaluate_scenes(PanopticScene.load(folder / "pred"), PanopticScene.load(folder / "gt"))
    assert 100 * scores["strict"].panoptic.pq == pytest.approx(89.3, abs=0.05)


@pytest.mark.skipif(not (SHARED / "dataset_samples").is_dir(), reason="the dataset samples are not here")
@pytest.mark.parametrize("stem", ["000000142238", "000000439180"])
def test_cocos_own_truth_without_its_crowds_is_a_perfect_prediction(stem, tmp_path):
    """COCO's code gives 1.0 for both images."""
    source = SHARED / "dataset_samples" / "coco_panoptic"
    document = json.loads((source / "panoptic_examples.json").read_text())
    document["annotations"] = [a for a in document["annotations"] if a["file_name"] == f"{stem}.png"]
    (tmp_path / "panoptic.json").write_text(json.dumps(document))
    (tmp_path / f"{stem}.png").write_bytes((source / f"{stem}.png").read_bytes())
    truth = PanopticScene.load(tmp_path)
    crowds = [segment.id for segment in truth.segments if segment.iscrowd]
    assert len(crowds) == (1 if stem == "000000142238" else 2)
    kept = {name: np.where(np.isin(ids, crowds), 0, ids) for name, ids in truth.maps.items()}
    pred = PanopticScene(truth.categories, truth.segments, kept)
    assert evaluate_scenes(pred, truth)["strict"].panoptic.pq == 1.0
