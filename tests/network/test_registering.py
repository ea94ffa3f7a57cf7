# SPDX-License-Identifier: Apache-2.0
"""Poses from matched pixels, against poses that are known."""

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from panoptic_gs.network.bundling import Rays, agreement
from panoptic_gs.network.registering import (
    TEMPERATURE,
    Describer,
    Pair,
    agreed_poses,
    fit_rotations,
    matched,
    pair_costs,
    register,
)


def scene(views: int, seed: int, wrong: float = 0.0) -> tuple[list[Describer], np.ndarray]:
    """Views of points around the origin; each point has its own descriptor, a share of them that of another point."""
    rng = np.random.default_rng(seed)
    points, descriptors = rng.normal(0, 1, (300, 3)), rng.normal(size=(300, 24))
    poses = np.concatenate([Rotation.random(views, rng=rng).as_matrix(), rng.normal(0, 1, (views, 3, 1))], -1)
    poses[0] = np.eye(4)[:3]
    out = []
    for pose in poses:
        local = (points - pose[:, 3]) @ pose[:, :3]
        shown = rng.permutation(300)[:200]
        named = shown.copy()
        swapped = rng.uniform(size=200) < wrong
        named[swapped] = rng.integers(300, size=swapped.sum())
        d = torch.nn.functional.normalize(torch.from_numpy(descriptors[named]).float(), dim=-1)
        noise = rng.normal(0, 0.01, (200, 3))
        out.append(Describer(torch.from_numpy(local[shown] + noise).float(), d, torch.ones(200)))
    return out, poses


def pair(rotation: np.ndarray, place: np.ndarray, support: float) -> Pair:
    return Pair(rotation, place, support, (np.zeros((0, 3)), np.zeros((0, 3))), np.zeros(0))


def degrees(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    cosine = (np.einsum("nij,nij->n", a[:, :, :3], b[:, :, :3]) - 1) / 2
    return np.degrees(np.arccos(np.clip(cosine, -1, 1)))


def test_poses_are_found_through_false_matches():
    views, poses = scene(6, 0, wrong=0.3)
    guess = np.tile(np.eye(4)[:3], (6, 1, 1))
    found, _ = register(views, guess, [(i, j) for i in range(6) for j in range(i)])
    assert degrees(found, poses).max() < 2
    assert np.linalg.norm(found[:, :, 3] - poses[:, :, 3], axis=1).max() < 0.1


def test_a_view_that_matches_nothing_keeps_its_own_pose():
    views, poses = scene(4, 1)
    lonely = torch.nn.functional.normalize(torch.randn(200, 24, generator=torch.Generator().manual_seed(0)), dim=-1)
    views[3] = Describer(views[3].points, lonely, views[3].weights)
    guess = np.tile(np.eye(4)[:3], (4, 1, 1))
    guess[3, :, 3] = 5
    found, _ = register(views, guess, [(i, j) for i in range(4) for j in range(i)])
    np.testing.assert_allclose(found[3], guess[3], atol=1e-9)
    assert degrees(found[:3], poses[:3]).max() < 2


def test_one_false_pair_is_outvoted():
    poses = np.concatenate([Rotation.random(5, rng=np.random.default_rng(0)).as_matrix(), np.ones((5, 3, 1))], -1)
    poses[0] = np.eye(4)[:3]
    pairs = {}
    for i in range(5):
        for j in range(i):
            R, t = poses[j, :, :3].T @ poses[i, :, :3], poses[j, :, :3].T @ (poses[i, :, 3] - poses[j, :, 3])
            pairs[i, j] = pair(R, t, 50.0)
    pairs[4, 1] = pair(np.diag([1.0, -1, -1]), np.array([3.0, 0, 0]), 40.0)
    found = agreed_poses(np.tile(np.eye(4)[:3], (5, 1, 1)), pairs)
    assert degrees(found, poses).max() < 3


def test_many_fits_at_once_are_each_the_fit_of_the_library():
    rng = np.random.default_rng(0)
    source, target = rng.normal(size=(4, 9, 3)), rng.normal(size=(4, 9, 3))
    weights = rng.uniform(size=(4, 9))
    rotation, place = fit_rotations(*(torch.from_numpy(x) for x in (source, target, weights)))
    for k in range(4):
        a, b = (np.average(x[k], axis=0, weights=weights[k]) for x in (source, target))
        expected, _ = Rotation.align_vectors(target[k] - b, source[k] - a, weights=weights[k])
        np.testing.assert_allclose(rotation[k].numpy(), expected.as_matrix(), atol=1e-9)
        np.testing.assert_allclose(place[k].numpy(), b - expected.as_matrix() @ a, atol=1e-9)


def test_matches_are_mutual():
    views, _ = scene(2, 2)
    rows, columns, likely = matched(views[0], views[1])
    assert len(set(columns.tolist())) == len(rows) > 80
    assert (likely.diff() <= 0).all()
    same = (views[0].descriptors[rows] - views[1].descriptors[columns]).abs().amax(1) < 1e-6
    assert same.float().mean() > 0.7  # the others' own pixel is not in both views
    assert same[:50].all()
    similarity = views[0].descriptors @ views[1].descriptors.T / TEMPERATURE
    expected = similarity.softmax(0) * similarity.softmax(1)
    torch.testing.assert_close(likely, expected[rows, columns])


def test_triangles_outvote_several_strong_false_pairs():
    rng = np.random.default_rng(3)
    poses = np.concatenate([Rotation.random(7, rng=rng).as_matrix(), rng.normal(size=(7, 3, 1))], -1)
    poses[0] = np.eye(4)[:3]
    pairs, false = {}, {(6, 0), (5, 1), (4, 2), (3, 0), (6, 3)}
    for i in range(7):
        for j in range(i):
            R, t = poses[j, :, :3].T @ poses[i, :, :3], poses[j, :, :3].T @ (poses[i, :, 3] - poses[j, :, 3])
            wrong = (i, j) in false
            pairs[i, j] = pair(Rotation.random(rng=rng).as_matrix(), t, 90.0) if wrong else pair(R, t, 40.0)
    found = agreed_poses(np.tile(np.eye(4)[:3], (7, 1, 1)), pairs)
    assert degrees(found, poses).max() < 5


def test_costs_of_many_motions_are_those_that_poses_are_bundled_by():
    rng = np.random.default_rng(4)
    source, target = rng.normal((0, 0, 4), 1, (20, 3)), rng.normal((0, 0, 4), 1, (20, 3))
    R, t = Rotation.random(5, rng=rng).as_matrix(), rng.normal(size=(5, 3))
    tensors = [torch.from_numpy(part) for part in (source, target, R, t)]
    found = pair_costs(*tensors, 0.05).numpy()
    for k in range(5):
        poses = np.stack([np.eye(4)[:3], np.column_stack([R[k], t[k]])])  # the second view is the world
        rays = [Rays(1, 0, source[p : p + 1], target[p : p + 1], np.ones(1)) for p in range(20)]
        expected = 1 / agreement(rays, poses, np.ones(2), 0.05) - 1
        np.testing.assert_allclose(found[k], expected, rtol=1e-6)


def test_more_effort_tries_more_and_still_finds_the_poses():
    views, poses = scene(5, 5, wrong=0.4)
    guess = np.tile(np.eye(4)[:3], (5, 1, 1))
    found, scales = register(views, guess, [(i, j) for i in range(5) for j in range(i)], effort=4)
    assert degrees(found, poses).max() < 2
    np.testing.assert_allclose(scales, 1, atol=0.05)
