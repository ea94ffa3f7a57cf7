# SPDX-License-Identifier: Apache-2.0
"""The rules of PanSt3R's two releases, written down plainly and held against ours, pixel by pixel."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from panoptic_gs import Category
from panoptic_gs.merge import merge_predictions, solve_qubo
from panoptic_gs.predict import RawImage, RawPredictions

CLASSES = tuple(Category(i, f"class {i}", True) for i in range(1, 5))
SIZES = [(32, 24), (24, 32), (32, 24)]


def sigmoid(values: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-values.astype(np.float64)))


def scene(seed: int, lower: float = 0.0) -> RawPredictions:
    """12 queries for 8 regions with soft outlines in three views, one upright; class logits by ``lower`` lower."""
    rng = np.random.default_rng(seed)
    masks = []
    for width, height in SIZES:
        smooth = [ndimage.gaussian_filter(layer, 3.0) for layer in rng.normal(size=(20, height // 2, width // 2))]
        region = np.argmax(smooth[:8], 0)
        inside = np.stack([np.where(region == query % 8, 4.0, -4.0) for query in range(12)])
        wobble = np.stack(smooth[8:]) / np.std(smooth[8:])
        masks.append(torch.from_numpy(ndimage.gaussian_filter(inside, (0, 0.7, 0.7)) + 1.2 * wobble - 0.5).half())
    logits = torch.from_numpy(rng.normal(0.5 - lower, 1.0, (12, len(CLASSES)))).float()
    images = tuple(RawImage(f"{i}.png", *size) for i, size in enumerate(SIZES))
    return RawPredictions(masks, logits, images, CLASSES, "random", tuple(SIZES))


def doubled(masks: np.ndarray) -> np.ndarray:
    """[Q, h, w] at twice the size, bilinear between pixel centres, by hand."""
    for axis in (1, 2):
        side = masks.shape[axis]
        before = masks.take(np.maximum(np.arange(side) - 1, 0), axis)
        after = masks.take(np.minimum(np.arange(side) + 1, side - 1), axis)
        pair = np.stack([0.75 * masks + 0.25 * before, 0.75 * masks + 0.25 * after], axis + 1)
        masks = pair.reshape(*masks.shape[:axis], 2 * side, *masks.shape[axis + 1 :])
    return masks


def published(raw: RawPredictions, mask_threshold: float, share: float, passes: int) -> list[np.ndarray]:
    """The query at each pixel of each view, −1 where there is none."""
    certainty = sigmoid(raw.class_logits.numpy()).max(1)
    views = [doubled(sigmoid(raw.mask_logits[i].numpy())) for i in range(len(SIZES))]
    alive = [query for query in range(12) if certainty[query] > 0.1]
    for _ in range(passes):
        winners = [np.array(alive)[(certainty[alive, None, None] * view[alive]).argmax(0)] for view in views]
        survivors = []
        for query in alive:
            kept = own = 0
            for view, winner in zip(views, winners):
                for pixel in np.ndindex(winner.shape):
                    own += view[query][pixel] >= 0.5
                    kept += winner[pixel] == query and view[query][pixel] >= mask_threshold
            if kept and own and kept / own >= share:
                survivors.append(query)
        labels = []
        for view, winner in zip(views, winners):
            sure = np.take_along_axis(view, winner[None], 0)[0] >= mask_threshold
            labels.append(np.where(sure & np.isin(winner, survivors), winner, -1))
        alive = survivors
    return labels


def ours(raw: RawPredictions, method: str, **options: float) -> list[np.ndarray]:
    merged = merge_predictions(raw, method, **options)
    query = np.array([-1, *(segment.query for segment in merged.segments)])
    return [query[merged.label_map(index)[0].numpy()] for index in range(len(SIZES))]


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("lower", [0.0, 2.0])
@pytest.mark.parametrize(("method", "numbers"), [("standard", (0.5, 0.8, 1)), ("standard-v2", (0.25, 0.5, 2))])
def test_every_pixel_is_labelled_as_the_published_rules_say(seed, lower, method, numbers):
    raw = scene(seed, lower)
    for found, expected in zip(ours(raw, method), published(raw, *numbers)):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("seed", range(3))
def test_qubo_without_a_threshold_labels_as_the_published_decoder(seed):
    raw = scene(seed)
    merged = merge_predictions(raw, "qubo", void_threshold=0)
    views = [doubled(sigmoid(raw.mask_logits[i].numpy())) for i in range(len(SIZES))]
    flat = np.concatenate([sigmoid(raw.mask_logits[i].numpy()).reshape(12, -1) for i in range(len(SIZES))], 1)
    overlaps = np.minimum(flat[:, None], flat[None]).mean(-1)
    chosen = solve_qubo(torch.from_numpy(flat.mean(1)), torch.from_numpy(overlaps)).numpy().nonzero()[0]
    assert merged.contestants.tolist() == chosen.tolist()
    certainty = sigmoid(raw.class_logits.numpy()).max(1)
    winners = [chosen[view[chosen].argmax(0)] for view in views]
    small = [chosen[sigmoid(raw.mask_logits[i].numpy())[chosen].argmax(0)] for i in range(len(SIZES))]
    mean = {
        query: np.concatenate([sigmoid(raw.mask_logits[i].numpy())[query][w == query] for i, w in enumerate(small)])
        for query in chosen
    }
    kept = [query for query in chosen if len(mean[query]) and certainty[query] * mean[query].mean() >= 0.01]
    for found, winner in zip(ours(raw, "qubo", void_threshold=0), winners):
        np.testing.assert_array_equal(found, np.where(np.isin(winner, kept), winner, -1))
