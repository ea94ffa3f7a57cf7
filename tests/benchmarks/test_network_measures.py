# SPDX-License-Identifier: Apache-2.0
"""Shares of poses, depth and ids that are right."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from benchmarks.networks.measures import depth_share, id_consistency, relative_pose_share


def viewmat(rotation: Rotation, place: list[float]) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = rotation.as_matrix(), place
    return matrix


def test_poses_are_compared_pair_by_pair_in_any_world():
    rng = np.random.default_rng(0)
    true = {str(k): viewmat(Rotation.random(rng=rng), rng.normal(size=3).tolist()) for k in range(4)}
    world = viewmat(Rotation.random(rng=rng), [1, 2, 3])
    moved = {name: matrix @ world for name, matrix in true.items()}
    for matrix in moved.values():
        matrix[:3, 3] *= 2.5  # another unit
    assert relative_pose_share(moved, true) == 1
    assert relative_pose_share({name: moved[name] for name in "123"}, true) == pytest.approx(0.5)
    turned = true | {"0": viewmat(Rotation.from_euler("x", 20, degrees=True), [0, 0, 0]) @ true["0"]}
    assert relative_pose_share(turned, true) == pytest.approx(0.5)  # three of the six pairs have view 0
    slightly = true | {"0": viewmat(Rotation.from_euler("x", 3, degrees=True), [0, 0, 0]) @ true["0"]}
    assert relative_pose_share(slightly, true) == 1


def test_depth_has_one_scale():
    true = {"a": np.full((4, 5), 2.0), "b": np.full((4, 5), 3.0)}
    assert depth_share({name: 7 * depth for name, depth in true.items()}, true) == 1
    true["b"][0] = 0  # unknown
    assert depth_share({"a": true["a"], "b": np.full((4, 5), 4.5)}, true) == pytest.approx(20 / 35)


def test_ids_are_right_where_they_are_the_objects():
    true = {"a": np.array([[1, 1, 2, 2]]), "b": np.array([[1, 1, 2, 9]])}
    found = {"a": np.array([[5, 5, 6, 0]]), "b": np.array([[5, 7, 6, 6]])}
    assert id_consistency(found, true, [1, 2]) == pytest.approx((3 + 2) / 7)
