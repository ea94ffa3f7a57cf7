# SPDX-License-Identifier: Apache-2.0
"""300 random scenes through the whole of `evaluate_scenes`, against literal versions of each protocol's rules."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import panoptic_oracle as oracle
import pytest
from label_strategies import CATEGORIES, CLASSES, THINGS
from PIL import Image

from panoptic_gs import PanopticScene, Segment
from panoptic_gs.metrics import PANOPTIC_LIFTING, STRICT, Protocol, evaluate_scenes

HEIGHT, WIDTH = 13, 18
CROWD = 6
TRUE = [Segment(1, 1), Segment(2, 2), Segment(3, 3), Segment(4, 3), Segment(5, 7), Segment(CROWD, 3, iscrowd=True)]
PREDICTED = [Segment(10, 1), Segment(11, 1), Segment(12, 2), *(Segment(13 + k, (3, 7)[k % 2]) for k in range(6))]
PROTOCOLS = (replace(PANOPTIC_LIFTING, resize=(16, 16), min_share=0.05), STRICT, Protocol.parse("panopticrecon:0.3"))


def random_scene(seed: int) -> tuple[PanopticScene, PanopticScene]:
    """Blocky maps of two to four views; a prediction that follows the truth where it is not noise."""
    rng = np.random.default_rng(seed)
    true_ids, pred_ids = [0, *(s.id for s in TRUE)], [0, *(s.id for s in PREDICTED)]
    means = np.array(rng.permutation(pred_ids)[: len(true_ids)])
    truth, pred = {}, {}
    for view in range(int(rng.integers(2, 5))):
        blocks = rng.integers(0, len(true_ids), (4, 5)) * (rng.uniform(size=(4, 5)) < rng.uniform(0.5, 1))
        ids = np.kron(blocks, np.ones((4, 4), int))[:HEIGHT, :WIDTH]
        noise = rng.integers(0, len(pred_ids), ids.shape)
        noisy = rng.uniform(size=ids.shape) < rng.choice([0.02, 0.2, 0.6])
        truth[str(view)] = np.array(true_ids)[ids].astype(np.int32)
        pred[str(view)] = np.where(noisy, np.array(pred_ids)[noise], means[ids]).astype(np.int32)
    return PanopticScene(CATEGORIES, PREDICTED, pred), PanopticScene(CATEGORIES, TRUE, truth)


def frames_of(pred: PanopticScene, truth: PanopticScene, size: tuple[int, int]) -> list[list]:
    """The pixels of each view, resampled as PIL does."""
    frames = []
    for stem in truth.stems:
        sampled = [
            np.asarray(Image.fromarray(scene.maps[stem]).resize(size, Image.Resampling.NEAREST))
            for scene in (pred, truth)
        ]
        categories = [scene.category_of()[labels] for scene, labels in zip((pred, truth), sampled)]
        frames.append(oracle.pixels_of((categories[0], sampled[0], categories[1], sampled[1])))
    return frames


def joined(frames: list[list]) -> list:
    return [pixel for frame in frames for pixel in frame]


def assert_quality(found, expected):
    assert {c.category.id for c in found.classes} == set(expected)
    for c in found.classes:
        assert (c.pq, c.sq, c.rq) == pytest.approx(expected[c.category.id], abs=1e-12)


@pytest.mark.parametrize("first", range(0, 300, 100))
def test_scores_of_a_hundred_random_scenes_are_those_of_the_literal_rules(first):
    for seed in range(first, first + 100):
        pred, truth = random_scene(seed)
        scores = evaluate_scenes(pred, truth, protocols=PROTOCOLS)

        frames = frames_of(pred, truth, (WIDTH, HEIGHT))
        strict = scores["strict"]
        assert_quality(strict.panoptic, oracle.coco(joined(frames), THINGS, CLASSES, crowds={CROWD}))
        assert strict.iou == pytest.approx(oracle.iou_per_class(joined(frames), CLASSES, 0))
        coverages = oracle.coverages(joined(frames), THINGS, {CROWD})
        assert strict.mcov == pytest.approx(oracle.mean([iou for iou, _ in coverages]), nan_ok=True)

        pixels = joined(frames_of(pred, truth, (16, 16)))
        lifting = scores["panoptic-lifting"]
        without = [(p, (0, 0) if g[1] == CROWD else g) for p, g in pixels]
        assert_quality(lifting.panoptic, oracle.panoptic_lifting(without, THINGS, CLASSES, 0.05))
        assert lifting.iou == pytest.approx(oracle.iou_per_class(pixels, [0, *CLASSES], 0.05))

        quarter = frames_of(pred, truth, (round(WIDTH / 4), round(HEIGHT / 4)))
        recon = scores["panopticrecon:0.3"]
        expected = oracle.coco(joined(quarter), THINGS, CLASSES, Fraction(3, 10), absent_is_zero=True, crowds={CROWD})
        assert_quality(recon.panoptic, expected)
        assert (recon.miou, recon.macc) == pytest.approx(oracle.frame_means(quarter, CLASSES), nan_ok=True)
