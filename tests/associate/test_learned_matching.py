# SPDX-License-Identifier: Apache-2.0
"""Matching of queries and masks against brute force, and the panoptic head."""

from itertools import permutations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from panoptic_gs.associate.head import instance_shares, panoptic_head
from panoptic_gs.associate.matching import (
    cross_entropy_loss,
    dice_loss,
    match,
    pairwise_cross_entropy,
    pairwise_dice,
)


def drawn(seed, pixels=60, queries=5, masks=3):
    generator = torch.Generator().manual_seed(seed)
    label = torch.randint(0, masks + 1, (pixels,), generator=generator)
    return torch.rand(pixels, queries, generator=generator), (label[:, None] == torch.arange(masks)).float()


@given(st.integers(0, 1000))
def test_matching_costs_as_little_as_any(seed):
    rendered, masks = drawn(seed)
    cost = [
        [float(dice_loss(rendered[:, [q]], masks[:, [m]]) + cross_entropy_loss(rendered[:, [q]], masks[:, [m]]))
         for m in range(3)]
        for q in range(5)
    ]  # fmt: skip
    least = min(sum(cost[q][m] for m, q in enumerate(order)) for order in permutations(range(5), 3))
    found = match(rendered, masks)
    assert sum(cost[q][m] for m, q in zip(found.masks.tolist(), found.queries.tolist())) == pytest.approx(least, 1e-4)


def test_costs_of_pairs_are_the_losses_of_pairs():
    rendered, masks = drawn(3)
    dice, entropy = pairwise_dice(rendered, masks), pairwise_cross_entropy(rendered, masks)
    for q in range(5):
        for m in range(3):
            torch.testing.assert_close(dice[q, m], dice_loss(rendered[:, [q]], masks[:, [m]]))
            torch.testing.assert_close(entropy[q, m], cross_entropy_loss(rendered[:, [q]], masks[:, [m]]))


def test_more_masks_than_queries_leave_masks_over():
    rendered, masks = drawn(1, queries=2, masks=4)
    found = match(rendered, masks)
    assert len(found.masks) == 2
    assert len(set(found.queries.tolist())) == 2
    assert len(match(rendered[:, :0], masks).masks) == len(match(rendered, masks[:, :0]).masks) == 0


def test_a_query_that_two_masks_want_is_contested():
    masks = torch.zeros(40, 2)
    masks[:10, 0] = masks[10:20, 1] = 1
    rendered = torch.zeros(40, 2)
    rendered[:20, 0] = 0.9  # shows both
    rendered[30:, 1] = 0.5
    assert match(rendered, masks).contested.tolist() == [0]
    rendered[:, 1] = rendered[:, 0] * masks[:, 1]
    rendered[:, 0] *= masks[:, 0]
    assert match(rendered, masks).contested.tolist() == []


def test_bad_pairs_can_be_left_out_and_classes_can_decide():
    rendered, masks = torch.full((40, 2), 0.02), torch.zeros(40, 2)
    masks[:10, 0] = masks[10:20, 1] = 1
    rendered[:10, 0] = rendered[10:20, 1] = 0.9
    rendered[10:20, 1] = 0.001
    assert match(rendered, masks, most_dice=0.9).masks.tolist() == [0]
    alike = torch.full((40, 2), 0.5)
    swapped = match(alike, masks, class_cost=torch.tensor([[0.5, 0.0], [0.0, 0.5]]))
    assert dict(zip(swapped.masks.tolist(), swapped.queries.tolist())) == {0: 1, 1: 0}


@given(st.integers(0, 1000), st.integers(1, 4), st.booleans())
def test_the_panoptic_head_sums_to_one(seed, stuff, far):
    generator = torch.Generator().manual_seed(seed)
    semantics = torch.rand(30, 6, generator=generator).softmax(-1)
    attention = torch.rand(30, 7, generator=generator) * (1e-30 if far else 1.0)
    attention[0] = 0
    spread = panoptic_head(semantics, attention, stuff)
    assert spread.shape == (30, stuff + 7)
    torch.testing.assert_close(spread.sum(-1), torch.ones(30))
    torch.testing.assert_close(spread[:, :stuff], semantics[:, :stuff])
    assert (spread >= 0).all()


def test_instances_share_things_as_they_attend():
    torch.testing.assert_close(
        instance_shares(torch.tensor([[0.6, 0.2, 0.0]])), torch.tensor([[0.75, 0.25, 0.0]]), atol=1e-6, rtol=0
    )
