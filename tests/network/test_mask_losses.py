# SPDX-License-Identifier: Apache-2.0
"""Matching against brute force, losses against their formulas in plain loops."""

from itertools import permutations
from math import exp, log

import pytest
import torch
from torch.nn import functional

from panoptic_gs.network.losses.dense import contrast
from panoptic_gs.network.losses.masks import MaskWeights, SampledMasks, mask_losses, match, matching_cost
from panoptic_gs.network.losses.sampling import features_at, sample_pixels

WEIGHTS = MaskWeights()


def scene(queries: int, segments: int, seed: int, points: int = 40) -> tuple[torch.Tensor, torch.Tensor, SampledMasks]:
    generator = torch.Generator().manual_seed(seed)
    owner = torch.randint(segments, (points,), generator=generator)
    inside = functional.one_hot(owner, segments).T.float()
    classes = torch.randint(5, (segments,), generator=generator)
    draw = lambda *shape: 2 * torch.randn(*shape, generator=generator)
    return draw(queries, 5), draw(queries, points), SampledMasks(inside, classes)


def plain_cost(class_logits: torch.Tensor, mask_logits: torch.Tensor, truth: SampledMasks, q: int, s: int) -> float:
    p = 1 / (1 + exp(-class_logits[q, truth.classes[s]].item()))
    focal = 0.25 * (1 - p) ** 2 * -log(p) - 0.75 * p**2 * -log(1 - p)
    overlap = total = entropy = 0.0
    for x, m in zip(mask_logits[q].tolist(), truth.inside[s].tolist(), strict=True):
        own = 1 / (1 + exp(-x))
        overlap, total = overlap + own * m, total + own + m
        entropy -= log(own) if m else log(1 - own)
    return 2 * focal + 5 * (1 - (2 * overlap + 1) / (total + 1)) + 5 * entropy / mask_logits.shape[1]


@pytest.mark.parametrize(("queries", "segments"), [(6, 4), (3, 5), (4, 4), (5, 1)])
def test_the_matching_is_the_cheapest_of_all(queries: int, segments: int):
    class_logits, mask_logits, truth = scene(queries, segments, 10 * queries + segments)
    cost = matching_cost(class_logits, mask_logits, truth, WEIGHTS)
    for q in range(queries):
        for s in range(segments):
            assert cost[q, s].item() == pytest.approx(plain_cost(class_logits, mask_logits, truth, q, s), rel=1e-4)
    rows, columns = match(cost)
    wide = cost if queries >= segments else cost.T
    best = min(
        sum(wide[row, column].item() for column, row in enumerate(chosen))
        for chosen in permutations(range(wide.shape[0]), wide.shape[1])
    )
    assert cost[rows, columns].sum().item() == pytest.approx(best, rel=1e-5)
    assert len(set(rows.tolist())) == len(set(columns.tolist())) == min(queries, segments)


def test_losses_are_their_formulas():
    class_logits, mask_logits, truth = scene(6, 3, 0)
    losses = mask_losses(class_logits, mask_logits, truth, WEIGHTS)
    rows, columns = match(matching_cost(class_logits, mask_logits, truth, WEIGHTS))
    of_query = dict(zip(rows.tolist(), columns.tolist(), strict=True))
    classes = dice = entropy = 0.0
    for q in range(6):
        for c in range(5):
            p = 1 / (1 + exp(-class_logits[q, c].item()))
            wanted = q in of_query and truth.classes[of_query[q]].item() == c
            classes += -0.25 * (1 - p) ** 2 * log(p) if wanted else -0.75 * p**2 * log(1 - p)
        if q in of_query:
            own, m = mask_logits[q].sigmoid(), truth.inside[of_query[q]]
            dice += 1 - (2 * (own * m).sum().item() + 1) / (own.sum().item() + m.sum().item() + 1)
            entropy -= torch.where(m > 0, own.log(), (1 - own).log()).mean().item()
    assert losses["classes"].item() == pytest.approx(2 * classes / 3, rel=1e-4)
    assert losses["dice"].item() == pytest.approx(5 * dice / 3, rel=1e-4)
    assert losses["cross_entropy"].item() == pytest.approx(5 * entropy / 3, rel=1e-4)


def test_the_focal_loss_is_that_of_the_shared_library():
    ops = pytest.importorskip("torchvision.ops")
    class_logits, mask_logits, truth = scene(6, 3, 3)
    rows, columns = match(matching_cost(class_logits, mask_logits, truth, WEIGHTS))
    wanted = torch.zeros(6, 5)
    wanted[rows, truth.classes[columns]] = 1
    expected = 2 * ops.sigmoid_focal_loss(class_logits, wanted, 0.25, 2, "sum") / 3
    assert mask_losses(class_logits, mask_logits, truth, WEIGHTS)["classes"].item() == pytest.approx(expected.item())


def test_the_order_of_queries_and_segments_means_nothing():
    class_logits, mask_logits, truth = scene(7, 4, 1)
    q, s = torch.randperm(7), torch.randperm(4)
    shuffled = SampledMasks(truth.inside[s], truth.classes[s])
    a = mask_losses(class_logits, mask_logits, truth, WEIGHTS)
    b = mask_losses(class_logits[q], mask_logits[q], shuffled, WEIGHTS)
    assert {name: value.item() for name, value in a.items()} == pytest.approx({n: v.item() for n, v in b.items()})


def test_contrast_is_its_formula():
    torch.manual_seed(0)
    features, segments = torch.randn(9, 4, dtype=torch.float64), torch.tensor([0, 0, 1, 1, 1, 2, 3, 3, 0])
    z = functional.normalize(features, dim=-1)
    terms = []
    for i in range(9):
        others = [a for a in range(9) if a != i]
        positives = [p for p in others if segments[p] == segments[i]]
        below = sum(exp((z[i] @ z[a]).item() / 0.1) for a in others)
        if positives:
            terms.append(-sum((z[i] @ z[p]).item() / 0.1 - log(below) for p in positives) / len(positives))
    assert contrast(features, segments, 0.1).item() == pytest.approx(sum(terms) / len(terms))
    features.requires_grad_(True)
    assert torch.autograd.gradcheck(lambda x: contrast(x, segments, 0.5), features)


def test_features_at_pixels_are_those_of_an_enlarged_map():
    torch.manual_seed(0)
    features = torch.randn(2, 5, 6, 7)
    large = functional.interpolate(features, scale_factor=4, mode="bilinear", align_corners=False)
    view, row, column = torch.randint(2, (50,)), torch.randint(24, (50,)), torch.randint(28, (50,))
    torch.testing.assert_close(features_at(features, view, row, column, 4), large[view, :, row, column])


def test_small_segments_are_drawn_as_often_as_large_ones_where_wanted():
    segments = torch.full((2, 20, 20), 7)
    segments[0, 0, :5], segments[1, 5:8] = 3, 0
    categories = torch.where(segments == 3, 2, 1)
    drawn = sample_pixels(segments, categories, 1000, 1.0, torch.Generator().manual_seed(0))
    assert drawn.ids.tolist() == [3, 7]
    assert drawn.masks.classes.tolist() == [2, 1]
    assert (segments[drawn.view, drawn.row, drawn.column] == drawn.ids[drawn.segment]).all()
    assert 400 < drawn.masks.inside[0].sum() < 600
    even = sample_pixels(segments, categories, 1000, 0.0, torch.Generator().manual_seed(0))
    assert even.masks.inside[0].sum() < 40
    assert len(sample_pixels(torch.zeros_like(segments), categories, 100, 0.5).ids) == 0
