# SPDX-License-Identifier: Apache-2.0
"""From masks to maps: who wins a pixel, what is a segment, where the crop lies in the photo."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from panoptic_gs import Category, InputError, PanopticScene
from panoptic_gs.merge import MaskFormerRules, maskformer, merge_predictions, qubo
from panoptic_gs.predict import RawImage, RawPredictions
from panoptic_gs.scene.confidence import ConfidenceMaps

CLASSES = (Category(1, "wall", False), Category(5, "chair", True), Category(9, "floor", False))
HEIGHT, WIDTH = 12, 16


def logit(probability: float) -> float:
    return float(np.log(probability / (1 - probability)))


def predictions(
    masks: list[tuple[slice, slice, float]], classes: list[tuple[int, float]], views: int = 2, **other
) -> RawPredictions:
    """Boxes of a probability on nothing, the same in all views, with the index and probability of their class."""
    logits = torch.full((views, len(masks), HEIGHT, WIDTH), logit(1e-5))
    for query, (rows, columns, probability) in enumerate(masks):
        logits[:, query, rows, columns] = logit(probability)
    class_logits = torch.full((len(masks), 3), -9.0)
    for query, (index, probability) in enumerate(classes):
        class_logits[query, index] = logit(probability)
    images = tuple(RawImage(f"{view:04d}.jpg", 2 * WIDTH, 2 * HEIGHT) for view in range(views))
    return replace(
        RawPredictions(logits.half(), class_logits, images, CLASSES, "boxes", (2 * WIDTH, 2 * HEIGHT)), **other
    )


ALL = slice(None)
LEFT, RIGHT = slice(0, 8), slice(8, 16)
TOP, BOTTOM = slice(0, 6), slice(6, 12)


def room() -> RawPredictions:
    """Two walls and two chairs in quarters, a second query for a chair and one for the left half."""
    return predictions(
        [(TOP, LEFT, 0.9), (TOP, RIGHT, 0.95), (BOTTOM, LEFT, 0.9), (BOTTOM, RIGHT, 0.8), (BOTTOM, RIGHT, 0.7),
         (ALL, LEFT, 0.6)],
        [(0, 0.9), (0, 0.8), (1, 0.9), (1, 0.7), (1, 0.95), (2, 0.6)],
    )  # fmt: skip


def test_qubo_keeps_one_query_an_object_and_joins_stuff():
    merged = qubo(room(), bound=True)
    assert merged.contestants.tolist() == [0, 1, 2, 3]
    wall, first, second = merged.segments
    assert (wall.category_id, wall.queries, wall.query) == (1, (0, 1), 0)
    assert (first.category_id, first.queries) == (5, (2,))
    assert wall.score == pytest.approx((0.9 * 0.9 + 0.8 * 0.95) / 2, abs=1e-3)
    assert second.score == pytest.approx(0.7 * 0.8, abs=1e-3)
    ids, confidence = merged.label_map(0, "mask")
    assert ids.dtype == torch.int32
    assert ids[0, 0] == ids[0, 15] == wall.id
    assert ids[11, 0] == first.id
    assert ids[11, 15] == second.id
    assert confidence[0, 0] == pytest.approx(0.9, abs=1e-3)
    assert confidence[11, 15] == pytest.approx(0.8, abs=1e-3)
    assert merged.objective == pytest.approx((0.9 + 0.95 + 0.9 + 0.8) / 4, abs=1e-3)
    assert merged.gap is not None
    assert merged.gap < 1e-4


def test_pixels_of_weak_masks_are_void_unless_asked():
    weak = predictions([(ALL, LEFT, 0.9), (ALL, RIGHT, 0.4)], [(0, 0.9), (1, 0.9)])
    merged = qubo(weak)
    ids, confidence = merged.label_map("0001", "mask")
    assert (ids[:, RIGHT] == 0).all()
    assert (confidence[:, RIGHT] == 0).all()
    assert len(merged.segments) == 1
    assert list(merged.dropped.values()) == [(1,)]
    ids, confidence = qubo(weak, void_threshold=0).label_map(0, "mask")
    assert (ids > 0).all()
    assert confidence[0, 15] == pytest.approx(0.4, abs=1e-3)


def test_unsure_segments_are_dropped_and_their_pixels_void():
    unsure = predictions([(ALL, LEFT, 0.9), (ALL, RIGHT, 0.9)], [(0, 0.9), (1, 0.01)])
    merged = qubo(unsure)
    assert [segment.query for segment in merged.segments] == [0]
    assert merged.dropped == {"class and mask confidence below 0.01": (1,)}
    assert (merged.label_map(0, "mask")[0][:, RIGHT] == 0).all()
    assert len(qubo(unsure, min_confidence=0).segments) == 2


def test_standard_drops_whoever_keeps_too_little_of_its_mask():
    # The strong query 0 takes a quarter of query 1's mask, which keeps 75%, and half of query 2's.
    masks = [(TOP, LEFT, 0.9), (ALL, slice(4, 12), 0.8), (TOP, slice(4, 12), 0.6), (BOTTOM, LEFT, 0.9)]
    raw = predictions(masks, [(1, 0.9), (1, 0.8), (1, 0.8), (1, 0.45)])
    standard = maskformer(replace(raw, class_logits=torch.cat([raw.class_logits[:3], raw.class_logits[3:] - 5])))
    assert standard.contestants.tolist() == [0, 1, 2]
    assert [segment.query for segment in standard.segments] == [0]
    second = maskformer(raw, "standard-v2")
    assert second.contestants.tolist() == [0, 1, 3]
    assert sorted(s.query for s in second.segments if s.query is not None) == [0, 1, 3]
    assert second.dropped == {"kept less than 0.5 of the mask": (2,)}


def test_survivors_take_the_pixels_of_the_dropped_in_the_second_pass():
    # Query 2 keeps a quarter of its mask, is dropped, and leaves it to query 1, which lay under it.
    masks = [(ALL, slice(0, 12), 0.9), (ALL, slice(12, 16), 0.6), (TOP, ALL, 0.7)]
    raw = predictions(masks, [(1, 0.9), (1, 0.9), (1, 0.9)])
    once = MaskFormerRules(0.1, 0.25, 0.5, void_counts=False, passes=1)
    assert (maskformer(raw, once).label_map(0, "mask")[0][TOP, 13] == 0).all()
    twice = maskformer(raw, "standard-v2")
    by_query = {segment.query: segment.id for segment in twice.segments}
    assert set(by_query) == {0, 1}
    assert (twice.label_map(0, "mask")[0][:, 13] == by_query[1]).all()


def test_areas_are_of_all_views_together():
    logits = torch.full((2, 2, HEIGHT, WIDTH), -9.0).half()
    logits[:, 0] = 2
    logits[0, 0, :, LEFT] = -9  # query 1 keeps all of it in the first view, and nothing of the second
    logits[0, 1, :, LEFT] = 1
    logits[1, 1] = 1
    raw = replace(predictions([(ALL, ALL, 0.9)] * 2, [(1, 0.9), (1, 0.9)]), mask_logits=logits)
    assert maskformer(raw).segments[0].query == 0
    kept = MaskFormerRules(0.5, 0.5, 0.34, void_counts=True, passes=1)
    assert len(maskformer(raw, kept).segments) == 1
    kept = MaskFormerRules(0.5, 0.5, 0.33, void_counts=True, passes=1)
    assert len(maskformer(raw, kept).segments) == 2


def test_a_map_covers_the_photo_and_what_the_crop_left_out_is_void():
    # A photo of 44 × 24: the network saw 32 × 24 of it, from column 6 on.
    shift = torch.tensor([[1.0, 0, 6], [0, 1, 0], [0, 0, 1]]).expand(2, 3, 3)
    images = tuple(RawImage(f"{view}.jpg", 44, 24) for view in range(2))
    merged = qubo(replace(room(), images=images, to_original=shift))
    ids, _ = merged.label_map(1)
    assert ids.shape == (24, 44)
    whole, _ = qubo(room()).label_map(1)
    assert torch.equal(ids[:, 6:38], whole)
    assert (ids[:, :6] == 0).all()
    assert (ids[:, 38:] == 0).all()
    small, _ = merged.label_map(1, "mask")
    assert small.shape == (12, 22)
    assert torch.equal(small[:, 3:19], qubo(room()).label_map(1, "mask")[0])


def test_outlines_are_interpolated_at_the_size_of_the_photo():
    raw = predictions([(ALL, LEFT, 0.99), (ALL, RIGHT, 0.9)], [(0, 0.9), (1, 0.9)])
    ids, confidence = qubo(raw).label_map(0)
    assert ids.shape == (2 * HEIGHT, 2 * WIDTH)
    assert (ids[:, :16] == ids[0, 0]).all()
    assert (ids[:, 16:] == ids[0, -1]).all()
    assert 0.5 < confidence[0, 15] < 0.99


@pytest.mark.parametrize("resolution", ["image", "mask"])
def test_what_is_saved_is_what_is_computed(tmp_path, resolution):
    merged = qubo(room())
    stages = []
    merged.save(
        tmp_path / "out", resolution=resolution, progress=lambda stage, done, total: stages.append(done / total)
    )
    assert stages == [0.5, 1.0]
    loaded = PanopticScene.load(tmp_path / "out")
    confidences = ConfidenceMaps(tmp_path / "out" / "confidence", loaded.stems)
    assert loaded.segments == merged.segments
    assert loaded.categories == merged.categories
    assert "boxes, merged by qubo (penalty 2" in loaded.source
    for stem in loaded.stems:
        ids, confidence = merged.label_map(stem, resolution)
        np.testing.assert_array_equal(loaded.maps[stem], ids.numpy())
        np.testing.assert_allclose(confidences.read(stem), confidence.numpy(), atol=1e-5)
    with pytest.raises(InputError, match="overwrite"):
        merged.save(tmp_path / "out")
    merged.save(tmp_path / "out", overwrite=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"]


def test_photos_of_several_sizes_get_maps_of_their_own(tmp_path):
    raw = predictions([(ALL, ALL, 0.9)], [(0, 0.9)], views=3)
    images = (RawImage("a.jpg", 40, 30), RawImage("b.jpg", 40, 30), RawImage("c.jpg", 30, 40))
    qubo(replace(raw, images=images)).save(tmp_path / "out")
    maps = PanopticScene.load(tmp_path / "out").maps
    assert {stem: maps[stem].shape for stem in maps} == {"a": (30, 40), "b": (30, 40), "c": (40, 30)}
    confidence = ConfidenceMaps(tmp_path / "out" / "confidence", ["a", "b", "c"])
    assert confidence.read("c").shape == (40, 30)


def test_infinite_logits_leave_no_holes():
    raw = room()
    logits = raw.mask_logits[0].expand(2, -1, -1, -1).clone()  # type: ignore[attr-defined]
    logits[logits > 0] = torch.inf
    logits[logits < 0] = -torch.inf
    ids, confidence = qubo(replace(raw, mask_logits=logits)).label_map(0)
    assert torch.isfinite(confidence).all()
    assert (ids > 0).all()


@pytest.mark.parametrize(
    ("raw", "options", "message"),
    [
        (predictions([(ALL, ALL, 1e-5)], [(0, 0.9)]), {}, "no segment.*no pixel"),
        (predictions([(ALL, ALL, 0.9)], [(0, 0.001)]), {}, "no segment.*confidence below 0.01"),
        (predictions([(ALL, ALL, 0.9)], [(0, 0.04)]), {"method": "standard"}, "no class probability above 0.1.*0.0"),
        (predictions([(ALL, ALL, 0.9)], [(0, 0.05)]), {"method": "standard-v2"}, "above 0.1"),
        (predictions([(ALL, ALL, 0.3)], [(0, 0.9)]), {"method": "standard"}, "no segment.*kept less than 0.8"),
        (room(), {"method": "best"}, "qubo, standard, standard-v2"),
        (room(), {"penalty": -1}, "penalty"),
        (room(), {"void_threshold": 1.5}, "void_threshold"),
        (room(), {"min_confidence": float("nan")}, "min_confidence"),
    ],
)
def test_what_leaves_nothing_is_named(raw, options, message):
    with pytest.raises(InputError, match=message):
        merge_predictions(raw, **options)


def test_masks_without_any_weight_choose_nothing():
    raw = replace(room(), mask_logits=torch.full((2, 6, HEIGHT, WIDTH), -torch.inf).half())
    with pytest.raises(InputError, match="no query is worth keeping"):
        qubo(raw)


def test_unknown_views_and_sizes_are_named():
    with pytest.raises(InputError, match="0009"):
        qubo(room()).label_map("0009")
    with pytest.raises(InputError, match="resolution"):
        qubo(room()).label_map(0, "full")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="rules"):
        maskformer(room(), "v3")  # type: ignore[arg-type]
