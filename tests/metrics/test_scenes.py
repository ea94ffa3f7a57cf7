# SPDX-License-Identifier: Apache-2.0
import json

import numpy as np
import pytest

from panoptic_gs import Category, InputError, PanopticScene, Segment
from panoptic_gs.metrics import Protocol, ScenePanopticQuality, evaluate_scenes
from panoptic_gs.metrics.scenes import view_order

CATEGORIES = [Category(1, "wall", False), Category(2, "floor", False), Category(3, "chair", True)]
SEGMENTS = [Segment(1, 1), Segment(2, 2), Segment(3, 3), Segment(4, 3)]


def make_scene(seed, stems=("0", "1", "2"), shape=(24, 32), categories=CATEGORIES, segments=SEGMENTS):
    generator = np.random.default_rng(seed)
    blocks = (shape[0] // 4, shape[1] // 4)
    maps = {stem: np.kron(generator.integers(0, 5, blocks), np.ones((4, 4))).astype(np.int32) for stem in stems}
    return PanopticScene(categories, segments, maps, source=f"scene {seed}")


def test_scores_are_those_of_the_metric_fed_by_hand():
    pred, gt = make_scene(1), make_scene(2)
    scores = evaluate_scenes(pred, gt)
    assert list(scores) == ["panoptic-lifting", "strict"]
    for protocol, score in scores.items():
        metric = ScenePanopticQuality(CATEGORIES, protocol)
        for stem in gt.maps:
            categories = pred.category_of()[pred.maps[stem]], gt.category_of()[gt.maps[stem]]
            metric.update(categories[0], pred.maps[stem], categories[1], gt.maps[stem])
        assert score.panoptic.as_dict() == metric.compute()
    json.dumps(scores["strict"].as_dict(), allow_nan=False)


@pytest.mark.parametrize(("size", "quarter"), [((968, 1296), (324, 242)), ((779, 1168), (292, 195)), ((1, 2), (1, 1))])
def test_panopticrecon_scores_at_a_quarter_of_the_size(size, quarter):
    rules = Protocol.parse("panopticrecon:0.1")
    assert rules.size_of(*size) == quarter
    assert (rules.iou_threshold, rules.mean_over_frames, rules.absent_is_zero) == (0.1, True, True)


def test_panopticrecons_miou_is_that_of_frames():
    """Twice the frame counts as once; in one table over all pixels a frame of many chairs would weigh more."""
    gt, pred = make_scene(3, stems=("0", "1")), make_scene(3, stems=("0", "1"))
    pred.maps["1"] = np.full_like(pred.maps["1"], 1)
    frames = [evaluate_scenes(pred, gt, [stem], ["panopticrecon:0.3"])["panopticrecon:0.3"] for stem in "01"]
    both = evaluate_scenes(pred, gt, protocols=["panopticrecon:0.3"])["panopticrecon:0.3"]
    for c in both.iou:
        shown = [frame.iou[c] for frame in frames if c in frame.iou]
        assert both.iou[c] == pytest.approx(sum(shown) / len(shown))
    assert both.miou != pytest.approx(evaluate_scenes(pred, gt)["strict"].miou)


def test_stems_choose_the_views():
    pred, gt = make_scene(1), make_scene(1)
    gt.maps["2"] = np.full_like(gt.maps["2"], 1)
    assert evaluate_scenes(pred, gt, stems=["0", "1"])["strict"].panoptic.pq == 1.0
    assert evaluate_scenes(pred, gt)["strict"].panoptic.pq < 1.0


def test_a_prediction_of_twice_the_size_scores_as_its_truth():
    gt = make_scene(1)
    doubled = {stem: ids.repeat(2, 0).repeat(2, 1) for stem, ids in gt.maps.items()}
    scores = evaluate_scenes(PanopticScene(CATEGORIES, SEGMENTS, doubled), gt)
    assert scores["strict"].panoptic.pq == scores["strict"].miou == scores["strict"].mcov == 1.0


def test_a_missing_view_is_an_error_or_counts_as_unpredicted():
    pred, gt = make_scene(1, stems=("0", "1")), make_scene(1)
    with pytest.raises(InputError, match=r"scene 1: found no map for 1 of 3 views, the first '2'"):
        evaluate_scenes(pred, gt)
    missing = evaluate_scenes(pred, gt, allow_missing=True)["strict"]
    pred.maps["2"] = np.zeros_like(gt.maps["2"])
    assert missing == evaluate_scenes(pred, gt)["strict"]
    assert missing.macc < 1.0


def test_nothing_to_score_is_an_error():
    pred, gt = make_scene(1), make_scene(1)
    with pytest.raises(InputError, match="at least one view"):
        evaluate_scenes(pred, gt, stems=[])
    with pytest.raises(InputError, match="no map for view '9'"):
        evaluate_scenes(pred, gt, stems=["0", "9"])
    with pytest.raises(InputError, match="3 of 3 views"):
        evaluate_scenes(make_scene(1, stems=("a",)), gt, allow_missing=True)


@pytest.mark.parametrize(("category", "message"), [
    (Category(3, "sofa", True), r"category 3 'sofa' \(a thing\); expected 'chair' \(a thing\)"),
    (Category(3, "chair", False), r"category 3 'chair' \(stuff\); expected 'chair' \(a thing\)"),
    (Category(9, "chair", True), r"segments of category 9 'chair'"),
])  # fmt: skip
def test_category_lists_that_disagree_are_refused(category, message):
    segments = [Segment(1, 1), Segment(2, 2), Segment(3, category.id), Segment(4, category.id)]
    pred = make_scene(1, categories=[*CATEGORIES[:2], category], segments=segments)
    with pytest.raises(InputError, match=message):
        evaluate_scenes(pred, make_scene(1))


def test_an_unused_category_of_the_prediction_is_no_error():
    pred = make_scene(1, categories=[*CATEGORIES, Category(9, "lamp", True)])
    assert evaluate_scenes(pred, make_scene(1))["strict"].panoptic.pq == 1.0


def test_views_are_in_the_order_of_their_numbers():
    assert sorted(["10", "0_0007", "9", "kitchen", "0008"], key=view_order) == ["0_0007", "0008", "9", "10", "kitchen"]


@pytest.mark.parametrize(("folder", "split", "protocol", "expected"), [
    ("panoptic", "train", "panoptic-lifting", {"pq": 60.5, "sq": 67.9, "rq": 76.7}),
    ("panoptic", "train", "strict", {"pq": 54.9, "pq_things": 51.8, "pq_stuff": 82.0}),
    ("panoptic", "test", "panoptic-lifting", {"pq": 57.0}),
    ("panoptic", "test", "strict", {"pq": 53.9}),
    ("panoptic_detector", "train", "panoptic-lifting", {"pq": 4.4}),
    ("panoptic_detector", "train", "strict", {"pq": 5.2}),
])  # fmt: skip
def test_office_scores_are_those_of_the_fields_own_code(shared_data, folder, split, protocol, expected):
    root = shared_data / "tum_fr3_office"
    if not root.is_dir():
        pytest.skip("no office scene")
    stems = json.loads((root / "splits.json").read_text())[split]
    pred, gt = (PanopticScene.load(root / name) for name in (folder, "panoptic_gt"))
    scores = evaluate_scenes(pred, gt, stems, [protocol])[protocol].panoptic
    assert {name: round(100 * getattr(scores, name), 1) for name in expected} == expected
