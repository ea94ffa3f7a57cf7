# SPDX-License-Identifier: Apache-2.0
"""Which pairs of photos are believed, where repeated objects match what they should not."""

import itertools
import math
from types import SimpleNamespace

import numpy as np
import pytest

from panoptic_gs.predict.geometry.colmap_pairs import (
    Pair,
    agreement,
    believed_pairs,
    matches_that_agree,
    trusted_pairs,
)


def pair(first: int, second: int, coverage: float, points=None) -> Pair:
    points = np.zeros((1, 2)) if points is None else points
    return Pair(first, second, points, points, coverage)


def test_the_strongest_links_that_hold_the_photos_together_are_trusted():
    # A chain whose weakest link covers 20 cells, a shortcut with 9 of them, and two photos of another place.
    pairs = [pair(1, 2, 50), pair(2, 3, 20), pair(3, 4, 40), pair(1, 4, 9), pair(1, 3, 11), pair(8, 9, 4)]
    assert trusted_pairs(pairs) == [True, True, True, False, True, True]


def test_trust_follows_the_bottleneck_of_every_graph():
    rng = np.random.default_rng(0)
    for _ in range(20):
        pairs = [pair(a, b, float(rng.integers(1, 60))) for a, b in itertools.combinations(range(7), 2)]

        def connected(threshold: float, pairs=pairs) -> bool:
            seen, todo = {0}, [0]
            while todo:
                photo = todo.pop()
                for p in pairs:
                    if p.coverage >= threshold and photo in (p.first, p.second):
                        other = p.second if p.first == photo else p.first
                        if other not in seen:
                            seen.add(other)
                            todo.append(other)
            return len(seen) == 7

        weakest = max(p.coverage for p in pairs if connected(p.coverage))
        assert trusted_pairs(pairs) == [p.coverage >= weakest / 2 for p in pairs]


class Camera:
    """A pinhole as COLMAP's."""

    width, height = 640, 480

    def mean_focal_length(self) -> float:
        return 500.0

    def cam_from_img(self, points: np.ndarray) -> np.ndarray:
        return (points - (320, 240)) / 500


def test_matches_of_another_place_contradict_the_cameras():
    rng = np.random.default_rng(1)
    world = rng.uniform((-1, -1, 3), (1, 1, 6), (60, 3))
    poses = {}
    for number, (angle, shift) in enumerate(((0.0, 0.0), (0.2, 0.5), (-0.1, -0.6))):
        c, s = math.cos(angle), math.sin(angle)
        poses[number] = np.array([[c, 0, s, shift], [0, 1, 0, 0.1 * number], [-s, 0, c, 0]])
    images = {
        number: SimpleNamespace(
            has_pose=True, camera_id=1, cam_from_world=lambda pose=pose: SimpleNamespace(matrix=lambda: pose)
        )
        for number, pose in poses.items()
    }
    images[3] = SimpleNamespace(has_pose=False)
    model = SimpleNamespace(images=images, cameras={1: Camera()})

    def seen(number: int, points: np.ndarray = world) -> np.ndarray:
        local = points @ poses[number][:, :3].T + poses[number][:, 3]
        return local[:, :2] / local[:, 2:] * 500 + (320, 240)

    right = Pair(0, 1, seen(0), seen(1), 30)
    elsewhere = Pair(0, 2, seen(0), seen(2, world + np.array([0.4, 0.5, 0.0])), 30)
    unplaced = Pair(0, 3, seen(0), seen(0), 30)
    shares = agreement(model, [right, elsewhere, unplaced])
    assert shares[0] == 1
    assert shares[1] < 0.3
    assert math.isnan(shares[2])
    assert believed_pairs(shares) == [True, False, True]
    assert matches_that_agree(shares, [right, elsewhere, unplaced]) == pytest.approx((1 + shares[1]) / 3)
