# SPDX-License-Identifier: Apache-2.0
"""Simulated query masks, against the truth they were made from."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from panoptic_gs import Category, InputError, PanopticScene, Segment
from panoptic_gs.camera import Camera
from panoptic_gs.synthetic.queries import QueryNoise, network_input, simulate_queries


def iou(a: np.ndarray, b: np.ndarray) -> float:
    return (a & b).sum() / max((a | b).sum(), 1)


def best_matches(truth, raw) -> dict[int, list[int]]:
    """True segment → the queries whose masks (logit > 0) match it with IoU > 0.5 over all views."""
    masks = raw.mask_logits.numpy() > 0
    step = [full // small for full, small in zip(truth.maps[truth.stems[0]].shape, masks.shape[2:])]
    small = np.stack([truth.maps[stem][:: step[0], :: step[1]] for stem in truth.stems])
    return {s.id: [q for q in range(masks.shape[1]) if iou(masks[:, q], small == s.id) > 0.5] for s in truth.segments}


def test_without_noise_each_visible_segment_has_one_query_of_its_class(office):
    truth = office.truth
    raw = simulate_queries(truth, office.cameras, QueryNoise.none(), seed=1)
    visible = set(np.unique(np.stack(list(truth.maps.values()))).tolist())
    assert raw.mask_logits.shape == (15, len(visible), 48, 64)
    names = {category.id: category.name for category in truth.categories}
    large = {s for s in visible if sum((m == s).sum() for m in truth.maps.values()) > 1500}
    assert len(large) > 10
    for segment, queries in best_matches(truth, raw).items():
        if segment not in large:
            continue
        assert len(queries) == 1
        predicted = raw.classes[int(raw.class_logits[queries[0]].argmax())].name
        assert predicted == names[int(truth.category_of()[segment])]


def test_default_noise_has_duplicates_parts_unions_background_and_missed_objects(office):
    truth = office.truth
    counts = []
    matched, whole = 0, 0
    for seed in range(3):
        raw = simulate_queries(truth, office.cameras, QueryNoise(), seed)
        counts.append(raw.mask_logits.shape[1])
        matches = best_matches(truth, raw)
        matched += sum(len(queries) > 1 for queries in matches.values())
        whole += len(matches)
        best = torch.sigmoid(raw.class_logits).max(1).values
        assert (best < 0.5).sum() >= 8
        assert (best > 0.5).sum() > 25
    assert 0.15 < matched / whole < 0.9
    # 1 + 0.7 + 0.4 + 0.4 queries a segment, less those of lost ones, and 12 in the background.
    visible = len(np.unique(np.stack(list(truth.maps.values()))))
    assert np.mean(counts) == pytest.approx(12 + 0.96 * 2.5 * visible, rel=0.2)


def test_lost_segments_have_no_query():
    ids = np.repeat(np.repeat(np.arange(1, 13, dtype=np.int32).reshape(3, 4), 32, 0), 32, 1)
    truth = PanopticScene([Category(1, "chair", True)], [Segment(i, 1) for i in range(1, 13)], {"0": ids, "1": ids})
    camera = Camera.look_at((0, 0, 1), (1, 0, 1), (0, 0, 1), 1.0, 128, 96)
    noise = QueryNoise(**{**QueryNoise.none().__dict__, "lost": 0.5})
    counts = [
        simulate_queries(truth, {"0": camera, "1": camera}, noise, seed).mask_logits.shape[1] for seed in range(30)
    ]
    assert np.mean(counts) == pytest.approx(6, abs=1.0)


@pytest.mark.parametrize(
    ("size", "expected"), [((320, 240), (320, 240)), ((640, 480), (512, 384)), ((1000, 562), (512, 272))]
)
def test_the_network_sees_a_centred_crop(size, expected):
    width, height, transform = network_input(*size)
    assert (width, height) == expected
    np.testing.assert_allclose(transform @ [width / 2, height / 2, 1], [size[0] / 2, size[1] / 2, 1])
    corner = transform @ [width, height, 1]
    assert (corner[:2] <= np.array(size) + 1e-9).all()


def test_cameras_and_masks_refer_to_the_crop():
    ids = np.full((562, 1000), 1, np.int32)
    ids[200:360, 600:800] = 2
    truth = PanopticScene(
        [Category(1, "wall", False), Category(2, "bag", True)], [Segment(1, 1), Segment(2, 2)], {"a": ids}
    )
    camera = Camera.look_at((0, 0, 1), (1, 0, 1), (0, 0, 1), 1.0, 1000, 562)
    raw = simulate_queries(truth, {"a": camera}, QueryNoise.none())
    assert raw.Ks is not None
    assert raw.to_original is not None
    torch.testing.assert_close(raw.to_original[0] @ raw.Ks[0], camera.K)
    bag = int(raw.class_logits[:, 1].argmax())
    rows, columns = np.nonzero(raw.mask_logits[0, bag].numpy() > 0)
    low = raw.to_original[0].numpy() @ [2 * columns.min(), 2 * rows.min(), 1]
    high = raw.to_original[0].numpy() @ [2 * columns.max() + 2, 2 * rows.max() + 2, 1]
    np.testing.assert_allclose([low[0], low[1], high[0], high[1]], [600, 200, 800, 360], atol=4)


def test_wrong_rates_are_refused():
    with pytest.raises(InputError):
        QueryNoise(lost=1.2)
    with pytest.raises(InputError):
        QueryNoise.preset("some")


def chair_and_bag(views: int) -> tuple[PanopticScene, dict[str, Camera]]:
    ids = np.full((240, 320), 1, np.int32)
    ids[80:160, 100:180], ids[80:160, 180:220] = 2, 3
    categories = [Category(1, "wall", False), Category(2, "chair", True), Category(3, "bag", True)]
    camera = Camera.look_at((0, 0, 1), (1, 0, 1), (0, 0, 1), 1.0, 320, 240)
    stems = [f"{v:03d}" for v in range(views)]
    segments = [Segment(1, 1), Segment(2, 2), Segment(3, 3)]
    return PanopticScene(categories, segments, dict.fromkeys(stems, ids)), dict.fromkeys(stems, camera)


def test_a_query_misses_its_object_over_runs_of_views():
    truth, cameras = chair_and_bag(40)
    raw = simulate_queries(truth, cameras, replace(QueryNoise.none(), absent=0.4, run=8.0), seed=3)
    found = (raw.mask_logits > 0).flatten(2).any(-1).numpy()  # [views, queries]
    changes = (found[1:] != found[:-1]).sum(0)
    assert (changes <= 5).all()
    assert changes.sum() > 0
    assert 0.2 < 1 - found.mean() < 0.6


def test_masks_of_things_reach_outward_and_take_in_what_is_next_to_them():
    truth, cameras = chair_and_bag(60)
    biased = simulate_queries(truth, cameras, replace(QueryNoise.none(), bias=6.0), seed=3)
    exact = simulate_queries(truth, cameras, QueryNoise.none(), seed=3)
    chair = int(exact.class_logits[:, 1].argmax())
    areas = [int((raw.mask_logits[0, chair] > 0).sum()) for raw in (biased, exact)]
    assert areas[1] == 40 * 40  # masks have half the image's size
    assert areas[0] - areas[1] == pytest.approx(3 * 3 * 40, abs=15)  # left, above, below; the bag is on the right
    joined = simulate_queries(truth, cameras, replace(QueryNoise.none(), joined=1.0), seed=3)
    chair, bag = (int(joined.class_logits[:, category].argmax()) for category in (1, 2))
    areas = (joined.mask_logits > 0).flatten(2).sum(-1).numpy()
    both = areas[:, bag] == 0
    assert both.mean() == pytest.approx(0.75, abs=0.2)
    assert (areas[both, chair] == 40 * 60).all()
    assert (areas[~both, chair] == 40 * 40).all()
