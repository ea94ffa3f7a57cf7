# SPDX-License-Identifier: Apache-2.0
"""Views are chosen as plain greedy search chooses them, and what they leave out is told."""

import numpy as np
import pytest
from furnished import cameras, furnished

from panoptic_gs.mesh.coverage import _angles, _surface_points, covering


def test_views_are_those_of_plain_greedy_search():
    splats, views = furnished().splats, list(cameras().values())
    angles = _angles(_surface_points(splats), views)
    angles /= angles.max(axis=0).clip(1e-30)
    taken, seen = [], np.zeros(angles.shape[1])
    for _ in range(7):
        gains = (np.sqrt(seen + angles) - np.sqrt(seen)).sum(axis=1)
        gains[taken] = -1
        taken.append(int(gains.argmax()))
        seen += angles[taken[-1]]
    chosen = covering(splats, views, 7)
    assert chosen.views.tolist() == sorted(taken)
    assert chosen.shown == pytest.approx((seen > 0).sum() / (angles > 0).any(axis=0).sum())
    assert covering(splats, views, 1).shown < chosen.shown <= 1


def test_few_views_are_all_taken():
    splats, views = furnished().splats, list(cameras().values())
    for most in (0, len(views), len(views) + 1):
        assert covering(splats, views, most).views.tolist() == list(range(len(views)))


def test_what_is_hidden_is_not_shown():
    splats, views = furnished().splats, list(cameras().values())
    points = _surface_points(splats)
    behind = np.concatenate([points, points - 40 * (views[0].center.numpy() - points)])  # far behind each of them
    shown = _angles(behind, views[:1])[0] > 0
    assert shown[: len(points)].mean() > 0.3
    assert shown[len(points) :].sum() < 0.02 * shown[: len(points)].sum()
