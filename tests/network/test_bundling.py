# SPDX-License-Identifier: Apache-2.0
"""Poses from rays, against poses that are known and derivatives by differences."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from panoptic_gs.network import bundling
from panoptic_gs.network.bundling import Rays, bundled, turned


def room(seed: int, views: int = 6, wrong: float = 0.0, depth_noise: float = 0.0) -> tuple[np.ndarray, list[Rays]]:
    """Cameras on a ring that look inward, and matches of all pairs with true rays, whatever their depths."""
    rng = np.random.default_rng(seed)
    points = rng.uniform(-1, 1, (150, 3))
    poses = []
    for angle in np.linspace(0, 1.8, views):
        eye = np.array([3 * np.cos(angle), 3 * np.sin(angle), rng.normal(0, 0.3)])
        forward = -eye / np.linalg.norm(eye)
        right = np.cross([0, 0, 1.0], forward)
        right /= np.linalg.norm(right)
        poses.append(np.column_stack([right, np.cross(forward, right), forward, eye]))
    first = np.vstack([poses[0], [0, 0, 0, 1]])
    stacked = np.stack([(np.linalg.inv(first) @ np.vstack([pose, [0, 0, 0, 1]]))[:3] for pose in poses])
    points = (points - first[:3, 3]) @ first[:3, :3]
    local = [(points - pose[:, 3]) @ pose[:, :3] for pose in stacked]
    local = [view * np.exp(depth_noise * rng.normal(size=(150, 1))) for view in local]
    rays = []
    for i in range(views):
        for j in range(i):
            other = local[j].copy()
            swapped = rng.uniform(size=150) < wrong
            other[swapped] = rng.permutation(other[swapped])
            rays.append(Rays(i, j, local[i], other, np.ones(150)))
    return stacked, rays


def shaken(poses: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """All but the first turned by about 8 degrees and moved by about a quarter of a metre."""
    rotation = turned(rng.normal(0, 0.08, (len(poses), 3))) @ poses[:, :, :3]
    place = poses[:, :, 3] + rng.normal(0, 0.15, (len(poses), 3))
    guess = np.concatenate([rotation, place[..., None]], -1)
    guess[0] = poses[0]
    return guess


def test_derivatives_are_those_of_differences():
    poses, rays = room(0, views=3, depth_noise=0.2)
    matches = bundling._all_matches(rays)
    rng = np.random.default_rng(0)
    guess = shaken(poses, rng)
    R, t, s = guess[:, :, :3], guess[:, :, 3], rng.normal(0, 0.1, 3)
    seen = bundling._Seen.of(matches, R, t, s)
    J = seen.derivatives()
    for parameter in range(21):
        view, k = divmod(parameter, 7)
        sides = []
        for sign in (1e-6, -1e-6):
            step = np.zeros((3, 7))
            step[view, k] = sign
            moved = (turned(step[:, :3]) @ R, t + step[:, 3:6], s + step[:, 6])
            now = bundling._Seen.of(matches, *moved)
            held = (now.depth / seen.depth)[:, None]
            sides.append(np.column_stack([now.angle, now.apart * held]))
        expected = (sides[0] - sides[1]) / 2e-6
        found = np.zeros_like(expected)
        found[matches.i == view] = J[matches.i == view, :, k]
        found[matches.j == view] = J[matches.j == view, :, 7 + k]
        np.testing.assert_allclose(found, expected, atol=1e-6)


def test_rotations_are_those_of_the_library():
    vectors = np.random.default_rng(0).normal(size=(5, 3))
    np.testing.assert_allclose(turned(vectors), Rotation.from_rotvec(vectors).as_matrix(), atol=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_poses_follow_rays_though_depths_are_wrong_and_matches_false(seed: int):
    poses, rays = room(seed, wrong=0.3, depth_noise=0.2)
    found, _ = bundled(shaken(poses, np.random.default_rng(seed)), rays)
    turn = Rotation.from_matrix(found[:, :, :3] @ poses[:, :, :3].transpose(0, 2, 1)).magnitude()
    assert np.degrees(turn).max() < 2
    true, own = poses[1:, :, 3], found[1:, :, 3]
    cosine = (true * own).sum(1) / np.linalg.norm(true, axis=1) / np.linalg.norm(own, axis=1)
    assert np.degrees(np.arccos(np.clip(cosine, -1, 1))).max() < 2
    np.testing.assert_array_equal(found[0], poses[0])


def test_the_scale_of_a_view_is_found():
    poses, rays = room(1)
    doubled = [Rays(p.i, p.j, p.a * (1.2 if p.i == 4 else 1), p.b * (1.2 if p.j == 4 else 1), p.weights) for p in rays]
    found, scales = bundled(poses, doubled)
    others = np.delete(scales, 4)
    assert scales[4] / others.mean() == pytest.approx(1 / 1.2, rel=0.05)
    assert np.ptp(others) < 0.03
    assert np.isfinite(found).all()


def test_views_without_matches_and_fixed_ones_stay():
    poses, rays = room(2, views=5)
    some = [pair for pair in rays if 4 not in (pair.i, pair.j)]
    guess = shaken(poses, np.random.default_rng(2))
    found, scales = bundled(guess, some, fixed=(0, 2))
    np.testing.assert_allclose(found[[0, 2, 4]], guess[[0, 2, 4]], atol=1e-12)
    assert np.abs(found[[1, 3]] - guess[[1, 3]]).max() > 0.01
    assert scales[4] == 1
    same, ones = bundled(guess, [])
    np.testing.assert_array_equal(same, guess)
    np.testing.assert_array_equal(ones, np.ones(5))
