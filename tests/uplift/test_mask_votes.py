# SPDX-License-Identifier: Apache-2.0
"""Votes for masks against float64 blending."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from brute_force import blend, blobs, random_camera, random_splats

from panoptic_gs import InputError
from panoptic_gs.uplift import MaskVotes

WIDTH, HEIGHT, COUNT = 53, 37, 90


def stack_of(seed: int, count: int = 11) -> np.ndarray:  # [M, H, W]
    """Rectangles over each other, one of them empty, one a copy, one everywhere."""
    rng = np.random.default_rng(seed)
    masks = np.zeros((count, HEIGHT, WIDTH), dtype=bool)
    for mask in masks[:-3]:
        x, y = rng.integers(0, WIDTH - 5), rng.integers(0, HEIGHT - 5)
        mask[y : y + rng.integers(3, 25), x : x + rng.integers(3, 30)] = True
    masks[-2] = masks[0]
    masks[-1] = True
    return masks


def expected_votes(splats, camera, masks: np.ndarray, factors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """v [N, M] and V [N]."""
    weights = (blend(splats, camera).weights * factors).reshape(len(splats), -1)
    return weights @ masks.reshape(len(masks), -1).T.astype(np.float64), weights.sum(1)


def test_masks_of_two_views_have_their_own_columns():
    splats = random_splats(1, COUNT)
    cameras = [random_camera(view, WIDTH, HEIGHT) for view in (1, 2)]
    factors = [(~blend(splats, camera).uncertain).astype(np.float32) for camera in cameras]
    id_map = blobs(3, WIDTH, HEIGHT, np.array([0, 7, 900, 70000]))
    ids = np.setdiff1d(np.unique(id_map), [0])
    votes = MaskVotes(COUNT)
    votes.add(splats, cameras[0], id_map, factors[0])
    votes.add(splats, cameras[1], stack_of(4), factors[1])
    weights = votes.finish()
    first, first_seen = expected_votes(splats, cameras[0], id_map == ids[:, None, None], factors[0])
    second, second_seen = expected_votes(splats, cameras[1], stack_of(4), factors[1])
    assert weights.view.tolist() == [0] * len(ids) + [1] * 11
    assert weights.mask.tolist() == [*ids, *range(11)]
    result = weights.votes.to_dense().double().numpy()
    np.testing.assert_allclose(result, np.concatenate([first, second], axis=1), rtol=1e-3, atol=1e-3)
    seen = weights.seen.to_dense().double().numpy()
    np.testing.assert_allclose(seen, np.stack([first_seen, second_seen], axis=1), rtol=1e-3, atol=1e-3)
    wanted = result / np.maximum(seen[:, weights.view.numpy()], 1e-30)
    np.testing.assert_allclose(weights.shares.to_dense().numpy(), wanted, rtol=1e-5, atol=1e-7)


def test_masks_that_cover_the_image_share_out_all_weight():
    splats, camera = random_splats(2, COUNT), random_camera(3, WIDTH, HEIGHT)
    votes = MaskVotes(COUNT)
    votes.add(splats, camera, blobs(5, WIDTH, HEIGHT, np.arange(1, 6)))
    weights = votes.finish()
    shares = weights.shares.to_dense().sum(1)
    seen = weights.seen.to_dense()[:, 0] > 0
    torch.testing.assert_close(shares[seen], torch.ones(int(seen.sum())), rtol=0, atol=1e-6)
    assert (shares[~seen] == 0).all()


def test_a_map_and_the_stack_of_its_masks_are_the_same_bits():
    splats, camera = random_splats(3, 700), random_camera(4, WIDTH, HEIGHT)
    id_map = blobs(6, WIDTH, HEIGHT, np.arange(0, 40))
    ids = np.setdiff1d(np.unique(id_map), [0])
    by_map, by_stack = MaskVotes(700), MaskVotes(700)
    by_map.add(splats, camera, id_map)
    by_stack.add(splats, camera, id_map == ids[:, None, None])
    one, other = by_map.finish(), by_stack.finish()
    for field in ("indptr", "column", "weight"):
        assert torch.equal(getattr(one.votes, field), getattr(other.votes, field))
        assert torch.equal(getattr(one.seen, field), getattr(other.seen, field))


def test_views_merge_and_order_changes_columns_alone():
    splats = random_splats(4, 400)
    cameras = [random_camera(view, WIDTH, HEIGHT) for view in range(4)]
    stacks = [stack_of(view, 3 + view) for view in range(4)]
    together, first, second = MaskVotes(400), MaskVotes(400), MaskVotes(400)
    for view in range(4):
        together.add(splats, cameras[view], stacks[view])
    for view, part in ((2, first), (3, first), (0, second), (1, second)):
        part.add(splats, cameras[view], stacks[view])
    first.merge(second)
    merged, whole = first.finish(), together.finish()
    assert torch.equal(merged.seen.to_dense()[:, [2, 3, 0, 1]], whole.seen.to_dense())
    assert merged.view.tolist() == [0] * 5 + [1] * 6 + [2] * 3 + [3] * 4
    order = torch.cat([(merged.view == view).nonzero()[:, 0] for view in (2, 3, 0, 1)])
    assert torch.equal(merged.votes.to_dense()[:, order], whole.votes.to_dense())
    with pytest.raises(InputError, match="blended alike"):
        first.merge(MaskVotes(400, eps2d=0.1))


def test_views_without_masks_are_seen_all_the_same():
    splats, camera = random_splats(5, COUNT), random_camera(5, WIDTH, HEIGHT)
    votes = MaskVotes(COUNT)
    assert votes.finish().votes.shape == (COUNT, 0)
    votes.add(splats, camera, np.zeros((HEIGHT, WIDTH), dtype=np.int32))
    votes.add(splats, camera, np.zeros((0, HEIGHT, WIDTH), dtype=bool))
    weights = votes.finish()
    assert weights.votes.shape == (COUNT, 0)
    assert torch.equal(weights.seen.to_dense()[:, 0], weights.seen.to_dense()[:, 1])
    assert float(weights.seen.to_dense().sum()) > 0


def test_other_masks_are_refused():
    votes = MaskVotes(5)
    splats, camera = random_splats(1, 5), random_camera(1, WIDTH, HEIGHT)
    for masks in (
        np.zeros((2, WIDTH, HEIGHT), dtype=bool),
        np.zeros((2, HEIGHT, WIDTH), dtype=np.uint8),
        np.zeros((HEIGHT, WIDTH)),
    ):
        with pytest.raises(InputError):
            votes.add(splats, camera, masks)
    assert votes.num_views == 0
