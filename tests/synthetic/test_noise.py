# SPDX-License-Identifier: Apache-2.0
"""Simulated predictions: each rate measured on maps where nothing else is wrong."""

import numpy as np
import pytest

from panoptic_gs import Category, InputError, PanopticScene, Segment
from panoptic_gs.metrics import evaluate_scenes
from panoptic_gs.synthetic import PredictionNoise, simulate_predictions
from panoptic_gs.synthetic.mask_errors import displaced

SILENT = PredictionNoise.none().__dict__
WALL, CHAIR, BAG, TABLE = 1, 2, 3, 4
CATEGORIES = (
    Category(WALL, "wall", False), Category(CHAIR, "chair", True), Category(BAG, "bag", True),
    Category(TABLE, "table", False),
)  # fmt: skip


def blocks(views: int = 60) -> PanopticScene:
    """A wall with six chairs and two bags, squares of 20 pixels that do not touch."""
    ids = np.full((120, 160), 1, np.int32)
    segments = [Segment(1, WALL)]
    for k in range(8):
        row, column = divmod(k, 4)
        ids[20 + 50 * row : 40 + 50 * row, 15 + 36 * column : 35 + 36 * column] = k + 2
        segments.append(Segment(k + 2, CHAIR if k < 6 else BAG))
    return PanopticScene(CATEGORIES, segments, {f"{v:03d}": ids for v in range(views)})


def usual_id(prediction: PanopticScene, truth: PanopticScene, segment: int) -> int:
    """The predicted id that covers most of a true segment over all views."""
    values = np.concatenate([prediction.maps[s][truth.maps[s] == segment] for s in truth.stems])
    return int(np.bincount(values).argmax())


def share_of_regions(truth: PanopticScene, prediction: PanopticScene, changed) -> float:
    """Share of (view, thing) for which `changed(pixels, usual id)` holds."""
    usual = {segment: usual_id(prediction, truth, segment) for segment in range(2, 10)}
    outcomes = [
        changed(prediction.maps[stem][truth.maps[stem] == segment], usual[segment])
        for stem in truth.stems
        for segment in usual
    ]
    return float(np.mean(outcomes))


def test_without_noise_predictions_are_the_truth_up_to_a_permutation_of_ids(office):
    truth = office.truth
    prediction = simulate_predictions(truth, PredictionNoise.none(), seed=4)
    true_category, predicted_category = truth.category_of(), prediction.category_of()
    pairs = set()
    for stem in truth.stems:
        pairs |= set(zip(truth.maps[stem].ravel().tolist(), prediction.maps[stem].ravel().tolist()))
        np.testing.assert_array_equal(true_category[truth.maps[stem]], predicted_category[prediction.maps[stem]])
    assert len(pairs) == len({a for a, _ in pairs}) == len({b for _, b in pairs})
    assert any(a != b for a, b in pairs)


@pytest.mark.parametrize(
    ("name", "changed"),
    [
        ("missed", lambda pixels, usual: (pixels != usual).all()),
        ("merged", lambda pixels, usual: (pixels != usual).all()),
        ("switched", lambda pixels, usual: (pixels != usual).all()),
        ("flipped", lambda pixels, usual: (pixels != usual).all()),
        ("split", lambda pixels, usual: len(np.unique(pixels)) == 2),
    ],
)
def test_rates_per_region_are_as_stated(name, changed):
    truth = blocks()
    prediction = simulate_predictions(truth, PredictionNoise(**{**SILENT, name: 0.3}), seed=2)
    measured = share_of_regions(truth, prediction, changed)
    assert measured == pytest.approx(0.3, abs=4 * np.sqrt(0.3 * 0.7 / 480))


def test_what_the_errors_do():
    truth = blocks()

    def predicted(name):
        prediction = simulate_predictions(truth, PredictionNoise(**{**SILENT, name: 0.4}), seed=3)
        return prediction, prediction.category_of()

    prediction, category_of = predicted("flipped")
    for stem in truth.stems:
        same = prediction.maps[stem][truth.maps[stem] == 2]
        assert len(np.unique(same)) == 1
    assert {category_of[usual_id(prediction, truth, s)] for s in range(2, 8)} == {CHAIR}

    prediction, category_of = predicted("switched")
    for stem in truth.stems:
        assert (category_of[prediction.maps[stem]] == truth.category_of()[truth.maps[stem]]).all()

    prediction, _ = predicted("missed")
    values = np.concatenate([prediction.maps[s][truth.maps[s] > 1] for s in truth.stems])
    void, wall = (values == 0).mean(), (values == usual_id(prediction, truth, 1)).mean()
    assert void == pytest.approx(0.2, abs=0.06)
    assert wall == pytest.approx(0.2, abs=0.06)


@pytest.mark.parametrize("name", ["lost", "confused", "fused"])
def test_scene_wide_errors_are_the_same_in_all_views_and_as_frequent_as_stated(name):
    truth = blocks(views=4)
    wrong = total = 0
    for seed in range(50):
        prediction = simulate_predictions(truth, PredictionNoise(**{**SILENT, name: 0.25}), seed)
        category_of = prediction.category_of()
        usual = {segment: usual_id(prediction, truth, segment) for segment in range(2, 10)}
        for segment, predicted in usual.items():
            total += 1
            values = [np.unique(prediction.maps[s][truth.maps[s] == segment]) for s in truth.stems]
            if name == "lost":
                background = {0, usual_id(prediction, truth, 1)}
                wrong += all(len(v) == 1 and int(v[0]) in background for v in values)
                continue
            assert all(len(v) == 1 and v[0] == predicted for v in values)
            if name == "confused":
                wrong += category_of[predicted] != truth.category_of()[segment]
        if name == "fused":
            wrong += 8 - len(set(usual.values()))
    # Fusing is drawn per thing; two that are drawn to fuse with each other are one pair.
    low, high = (0.12, 0.26) if name == "fused" else (0.20, 0.30)
    assert low < wrong / total < high


def test_small_stuff_is_confused_as_often_as_stated_and_large_stuff_never():
    truth = blocks(views=2)
    ids = truth.maps["000"].copy()
    ids[90:115, 60:90] = 10
    truth = PanopticScene(CATEGORIES, [*truth.segments, Segment(10, TABLE)], {"000": ids, "001": ids})
    tables = []
    for seed in range(80):
        prediction = simulate_predictions(truth, PredictionNoise(**{**SILENT, "confused": 0.25}), seed)
        called = prediction.category_of()[prediction.maps["000"]]
        assert (called[truth.maps["000"] == 1] == WALL).all()
        tables.append((called[ids == 10] != TABLE).all())
    assert np.mean(tables) == pytest.approx(0.25, abs=0.15)


def test_void_blobs_cover_the_stated_share():
    truth = blocks()
    prediction = simulate_predictions(truth, PredictionNoise(**{**SILENT, "blobs": 0.05}), seed=1)
    void = np.mean([(prediction.maps[stem] == 0).mean() for stem in truth.stems])
    assert void == pytest.approx(0.05, rel=0.25)


def test_the_displacement_has_the_stated_amplitude():
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:240, :320]
    shifts = []
    for _ in range(5):
        moved = [displaced(axis, 3.0, np.random.default_rng(seed)) for axis in (rows, columns) for seed in [7]]
        shifts.append((moved[0] - rows) ** 2 + (moved[1] - columns) ** 2)
    assert np.sqrt(np.mean(shifts)) == pytest.approx(3.0, rel=0.1)
    assert (displaced(rows, 0.0, rng) == rows).all()


def test_boundary_noise_scales_with_the_image():
    """The same share of the picture is wrong at twice the size."""
    small = blocks(8)
    large = PanopticScene(
        CATEGORIES, small.segments, {s: np.kron(m, np.ones((2, 2), np.int32)) for s, m in small.maps.items()}
    )
    noise = PredictionNoise(**{**SILENT, "boundary": 4.0})
    wrong = []
    for truth in (small, large):
        prediction = simulate_predictions(truth, noise, seed=5)
        ids = np.array([0, *(usual_id(prediction, truth, s) for s in range(1, 10))])
        wrong.append(np.mean([(prediction.maps[s] != ids[truth.maps[s]]).mean() for s in truth.stems]))
    assert 0.01 < wrong[0] < 0.2
    assert wrong[1] == pytest.approx(wrong[0], rel=0.2)


def test_predictions_are_reproducible_and_views_differ_in_their_errors():
    truth = blocks(6)
    noise = PredictionNoise()
    a, b, c = (simulate_predictions(truth, noise, seed) for seed in (1, 1, 2))
    assert all((a.maps[s] == b.maps[s]).all() for s in truth.stems)
    assert any((a.maps[s] != c.maps[s]).any() for s in truth.stems)
    assert len({a.maps[s].tobytes() for s in truth.stems}) == 6


def test_more_noise_scores_less(office):
    scores = [
        evaluate_scenes(simulate_predictions(office.truth, PredictionNoise.preset(name), seed), office.truth)
        for name in ("none", "low", "default", "high")
        for seed in range(3)
    ]
    means = np.reshape([s["panoptic-lifting"].panoptic.pq for s in scores], (4, 3)).mean(1)
    assert means[0] == pytest.approx(1.0)
    assert (np.diff(means) < -0.03).all()


@pytest.mark.parametrize(
    "wrong", [{"missed": -0.1}, {"missed": 0.6, "merged": 0.5}, {"boundary": float("nan")}, {"lost": 0.7, "fused": 0.5}]
)
def test_impossible_rates_are_refused(wrong):
    with pytest.raises(InputError, match="rates"):
        PredictionNoise(**{**SILENT, **wrong})


def test_an_unknown_preset_is_refused():
    with pytest.raises(InputError, match="medium"):
        PredictionNoise.preset("medium")


def row_of_things(views: int = 48) -> PanopticScene:
    """A wall with two pairs of things: a chair and a bag that touch, a chair and a bag far from all."""
    ids = np.full((120, 320), 1, np.int32)
    for number, (left, right) in enumerate(((20, 60), (60, 80), (140, 170), (240, 280)), 2):
        ids[30:90, left:right] = number
    segments = [Segment(1, WALL), Segment(2, CHAIR), Segment(3, BAG), Segment(4, CHAIR), Segment(5, BAG)]
    return PanopticScene(CATEGORIES, segments, {f"{v:03d}": ids for v in range(views)})


def test_errors_of_a_run_are_those_of_its_neighbouring_views():
    truth = blocks(views=64)
    noise = {**SILENT, "missed": 0.15, "flipped": 0.15}

    def fates(run: float) -> np.ndarray:
        prediction = simulate_predictions(truth, PredictionNoise(**{**noise, "run": run}), seed=2)
        return np.array([[np.bincount(prediction.maps[s][truth.maps[s] == k]).argmax() for s in truth.stems]
                         for k in range(2, 10)])  # fmt: skip

    repeated, anew = fates(8.0), fates(0.0)
    changes = (repeated[:, 1:] != repeated[:, :-1]).sum(1)
    assert (changes <= 8).all()  # at most once every eight views
    positions = {int(p) % 8 for row in repeated for p in np.flatnonzero(row[1:] != row[:-1])}
    assert len(positions) > 1  # the runs of different things end at different views
    usual = np.array([np.bincount(row).argmax() for row in anew])
    assert (repeated != usual[:, None]).mean() == pytest.approx(0.3, abs=0.15)
    assert (anew[:, 1:] != anew[:, :-1]).sum() > 3 * changes.sum()


def test_biased_outlines_reach_over_stuff_and_void_by_the_stated_distance():
    ids = np.full((120, 320), 1, np.int32)
    ids[40:80, 100:140], ids[40:80, 140:160], ids[:, 250:] = 2, 3, 0
    ids[10:20, 240:250] = 3
    truth = PanopticScene(CATEGORIES, [Segment(1, WALL), Segment(2, CHAIR), Segment(3, BAG)], {"a": ids})
    prediction = simulate_predictions(truth, PredictionNoise(**{**SILENT, "bias": 3.0}), seed=1)
    wall, chair, bag = (usual_id(prediction, truth, segment) for segment in (1, 2, 3))
    predicted = prediction.maps["a"]
    assert (predicted[60, 97:100] == chair).all()
    assert predicted[60, 96] == wall
    assert (predicted[60, 138:142] == [chair, chair, bag, bag]).all()  # between things nothing moves
    assert (predicted[15, 250:253] == bag).all()
    assert predicted[15, 253] == 0
    far = np.hypot(*np.meshgrid(np.arange(320) - 100, np.arange(120) - 40)) <= 3  # around the chair's corner
    corner = np.zeros_like(far)
    corner[:40, :100] = far[:40, :100]
    assert ((predicted == chair)[:40, :100] == corner[:40, :100]).all()


def test_parts_are_the_same_in_all_views_and_there_as_often_as_stated():
    truth = row_of_things(views=100)
    prediction = simulate_predictions(truth, PredictionNoise(**{**SILENT, "parts": 0.7}), seed=4)
    category_of = prediction.category_of()
    for segment in (2, 3, 4, 5):
        mask = truth.maps["000"] == segment
        seen = [frozenset(np.unique(prediction.maps[s][mask]).tolist()) for s in truth.stems]
        whole = prediction.maps["000"][30, np.flatnonzero(mask[30])[0]]
        assert all(whole in ids for ids in seen)  # the top left carries the thing's id
        every = frozenset.union(*seen)
        assert len(every) in (2, 4)  # one cut or two
        assert {category_of[i] for i in every} == {truth.category_of()[segment]}
        share = np.mean([len(ids) > 1 for ids in seen])
        assert share == pytest.approx(0.7 if len(every) == 2 else 1 - 0.3**2, abs=0.15)
    parts = [{*np.unique(prediction.maps[s][truth.maps[s] == k]).tolist()} for k in (2, 3, 4, 5) for s in truth.stems]
    assert len(set().union(*parts)) == sum(
        len(set().union(*parts[100 * k : 100 * k + 100])) for k in range(4)
    )  # no id of two things
    assert (category_of[prediction.maps["000"]] == truth.category_of()[truth.maps["000"]]).all()


def test_joined_things_are_neighbours_that_have_one_mask_in_three_of_four_views():
    truth = row_of_things(views=100)
    prediction = simulate_predictions(truth, PredictionNoise(**{**SILENT, "joined": 1.0}), seed=1)
    chair, bag = (truth.maps["000"] == segment for segment in (2, 3))
    together = [prediction.maps[s][bag][0] == prediction.maps[s][chair][0] for s in truth.stems]
    assert np.mean(together) == pytest.approx(0.75, abs=0.12)
    for stem in truth.stems:
        assert len(np.unique(prediction.maps[stem][bag])) == 1
    alone = [{int(i) for s in truth.stems for i in np.unique(prediction.maps[s][truth.maps[s] == segment])}
             for segment in (2, 4, 5)]  # fmt: skip
    assert [len(ids) for ids in alone] == [1, 1, 1]  # the larger of a pair, and those without a neighbour
    assert len(set().union(*alone)) == 3


@pytest.mark.parametrize("name", ["correlated", "parts", "fused"])
def test_levels_of_shared_errors_score_less_than_what_they_add_to(name, office):
    base = "default" if name == "correlated" else "low"
    means = [
        np.mean([
            evaluate_scenes(simulate_predictions(office.truth, PredictionNoise.preset(level), seed), office.truth)[
                "strict"
            ].panoptic.pq
            for seed in range(3)
        ])
        for level in (base, name)
    ]  # fmt: skip
    assert means[1] < means[0] - 0.005
