# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import torch

from benchmarks.quality.baselines import (
    SourceView,
    dense_labels,
    hard_labels,
    nearest_view_labels,
    render_dense,
    view_distance,
)
from panoptic_gs import Camera, Splats
from panoptic_gs.uplift import GaussianLabels, render_panoptic, uplift_labels


def camera_at(x, width=48, height=36):
    return Camera.look_at([x, -2.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 1.0], 1.0, width, height)


def cast(camera):
    """Depth and labels of a wall (1) at y = 1 with a chair (2), a small square at y = 0, before it."""
    viewmat, K = camera.viewmat.double().numpy(), camera.K.double().numpy()
    u, v = np.meshgrid(np.arange(camera.width) + 0.5, np.arange(camera.height) + 0.5)
    rays = np.stack([(u - K[0, 2]) / K[0, 0], (v - K[1, 2]) / K[1, 1], np.ones_like(u)], -1) @ viewmat[:3, :3]
    center = -viewmat[:3, :3].T @ viewmat[:3, 3]
    to_chair, to_wall = -center[1] / rays[..., 1], (1 - center[1]) / rays[..., 1]
    on_chair = center + to_chair[..., None] * rays
    hit = (np.abs(on_chair[..., 0]) < 0.3) & (np.abs(on_chair[..., 2]) < 0.25)
    return np.where(hit, to_chair, to_wall), np.where(hit, 2, 1)


def source_at(x):
    camera = camera_at(x)
    return SourceView(camera, *cast(camera))


def test_exact_labels_are_carried_over_exactly_where_they_are_seen():
    target = camera_at(0.1)
    depth, truth = cast(target)
    carried = nearest_view_labels(target, depth, [source_at(0.0), source_at(0.6), source_at(-0.4)])
    seen = carried > 0
    assert seen.mean() > 0.9
    edge = np.zeros_like(seen)  # a pixel at an outline may round to its neighbour
    edge[1:] |= truth[1:] != truth[:-1]
    edge[:-1] |= truth[1:] != truth[:-1]
    edge[:, 1:] |= truth[:, 1:] != truth[:, :-1]
    edge[:, :-1] |= truth[:, 1:] != truth[:, :-1]
    assert (carried[seen & ~edge] == truth[seen & ~edge]).all()
    assert {1, 2} <= set(carried[seen].tolist())


def test_what_the_source_does_not_see_stays_void_until_another_source_shows_it():
    target, near, far = camera_at(0.8), source_at(0.2), source_at(1.4)
    depth, truth = cast(target)
    alone = nearest_view_labels(target, depth, [near])
    both = nearest_view_labels(target, depth, [near, far])
    hidden = alone == 0
    assert hidden.any()
    assert (both > 0).sum() > (alone > 0).sum()
    assert (both[~hidden] == alone[~hidden]).all()
    assert (alone[~hidden] == truth[~hidden]).mean() > 0.97  # without the depth test, the chair would be on the wall


def test_void_labels_are_not_carried_over():
    target, near = camera_at(0.1), source_at(0.0)
    near.labels[:] = 0
    depth, truth = cast(target)
    assert (nearest_view_labels(target, depth, [near]) == 0).all()
    assert (nearest_view_labels(target, depth, [near, source_at(0.2)]) == truth).mean() > 0.85


def test_views_are_as_far_apart_as_their_axes_turn_and_their_centres_move():
    still = Camera(torch.eye(4), torch.eye(3), 4, 4)
    aside = torch.eye(4)
    aside[0, 3] = -1.5
    assert view_distance(still, Camera(aside, torch.eye(3), 4, 4), depth=3.0) == pytest.approx(0.5)
    turned = torch.eye(4)
    turned[0, 0] = turned[2, 2] = 0.0
    turned[0, 2], turned[2, 0] = -1.0, 1.0
    assert view_distance(still, Camera(turned, torch.eye(3), 4, 4), depth=3.0) == pytest.approx(np.pi / 2)


@pytest.fixture
def splats():
    generator = torch.Generator().manual_seed(0)
    count = 60
    means = torch.rand(count, 3, generator=generator) * torch.tensor([2.0, 1.0, 1.5]) - torch.tensor([1.0, 0.0, 0.75])
    quats = torch.nn.functional.normalize(torch.randn(count, 4, generator=generator), dim=-1)
    scales = 0.05 + 0.15 * torch.rand(count, 3, generator=generator)
    return Splats(means, quats, scales, 0.3 + 0.6 * torch.rand(count, generator=generator), torch.zeros(count, 1, 3))


def views(void=False):
    generator = np.random.default_rng(3)
    for x in (-0.5, 0.0, 0.5):
        _, labels = cast(camera_at(x))
        labels = np.where(labels == 1, 40, 7) * (generator.random(labels.shape) > 0.3 if void else 1)
        yield camera_at(x), labels


def test_hard_labels_are_the_strongest_ones_at_full_weight(splats):
    labels = uplift_labels(splats, views())
    hard = hard_labels(labels)
    segment, share = labels.best()
    assert (share[segment > 0] < 0.99).any()
    assert torch.equal(hard.best()[0], segment)
    assert torch.equal(hard.best()[1], (segment > 0).float())
    assert hard.label.tolist() == segment[segment > 0].tolist()


def test_hard_labels_of_unseen_gaussians_stay_empty():
    labels = GaussianLabels(torch.tensor([0, 2, 2, 3]), torch.tensor([3, 9, 5]), torch.tensor([0.4, 0.6, 1.0]),
                            torch.ones(3), torch.zeros(3))  # fmt: skip
    hard = hard_labels(labels)
    assert hard.indptr.tolist() == [0, 1, 1, 2]
    assert hard.label.tolist() == [9, 5]


def test_the_dense_rendering_is_the_sparse_one(splats):
    labels = uplift_labels(splats, views(void=True), void="label")
    dense, ids = dense_labels(labels)
    assert ids.tolist() == [0, 7, 40]
    torch.testing.assert_close(dense, labels.to_dense(41)[:, ids])
    camera = camera_at(0.2)
    literal, sparse = render_dense(splats, dense, ids, camera), render_panoptic(splats, labels, camera).ids
    assert (literal == sparse).float().mean() > 0.999  # sums of other order may tie otherwise
    assert (literal > 0).any()


def test_void_as_a_label_wins_pixels_that_abstaining_leaves_to_the_others(splats):
    camera = camera_at(0.2)
    voided = [(c, np.where(np.arange(labels.size).reshape(labels.shape) % 3 > 0, 0, labels)) for c, labels in views()]
    dense, ids = dense_labels(uplift_labels(splats, voided, void="label"))
    literal = render_dense(splats, dense, ids, camera)
    abstaining = render_panoptic(splats, uplift_labels(splats, voided), camera).ids
    assert (literal > 0).float().mean() < 0.2 * (abstaining > 0).float().mean()
