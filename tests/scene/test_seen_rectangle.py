# SPDX-License-Identifier: Apache-2.0
"""The rectangle that rectified photos keep, against brute force on a grid."""

from __future__ import annotations

import math

import numpy as np
import pytest

from benchmarks.captures.random_lenses import brute_force_area, most_outside, random_lens
from panoptic_gs import InputError
from panoptic_gs.scene.lens import Distortion
from panoptic_gs.scene.rectification import rectification, rectified_intrinsics
from panoptic_gs.scene.seen_rectangle import Rectangle, largest_rectangle


@pytest.mark.parametrize("seed", range(20))
def test_no_larger_rectangle_is_found_by_brute_force(seed: int) -> None:
    rng = np.random.default_rng(seed)
    while True:
        lens, photo = random_lens(rng)
        try:
            found = largest_rectangle(lens, photo, 120.0)
            break
        except InputError:
            continue  # it folds; another
    area = (found.right - found.left) * (found.bottom - found.top)
    cells = 150
    assert area > brute_force_area(lens, photo, 120.0, cells) * 0.999
    assert area < brute_force_area(lens, photo, 120.0, cells) * (1 + 8 / cells)
    assert most_outside(lens, photo, found) < 1e-3


def test_a_fisheye_of_230_degrees_keeps_the_field_that_is_asked_for() -> None:
    lens, K = Distortion(model="fisheye"), np.array([[80.0, 0, 160], [0, 80, 90], [0, 0, 1]])
    for degrees in (60.0, 120.0, 150.0):
        ideal, width, height = rectified_intrinsics(K, lens, 320, 180, degrees)
        assert math.degrees(2 * math.atan(0.5 * width / ideal[0, 0])) == pytest.approx(degrees, abs=0.1)
        # The photo itself ends at 64.5° above and below, but at its corners.
        assert math.degrees(2 * math.atan(0.5 * height / ideal[1, 1])) == pytest.approx(min(degrees, 129.0), abs=0.2)
    with pytest.raises(InputError, match="180"):
        rectified_intrinsics(K, lens, 320, 180, 180.0)


def test_a_barrel_lens_keeps_all_between_the_middles_of_its_sides() -> None:
    """Its edges bulge in: the middles of the four sides bound the rectangle, in closed form."""
    lens = Distortion(k1=-0.15)
    photo = Rectangle(-0.8, -0.5, 0.8, 0.5)
    found = largest_rectangle(lens, photo, 120.0)
    r = np.linspace(0, 1.2, 200001)
    x, y = np.interp([0.8, 0.5], lens.radius(r), r)
    assert (found.right, found.bottom) == (pytest.approx(x, rel=1e-3), pytest.approx(y, rel=1e-3))


@pytest.mark.parametrize(
    "lens",
    [
        Distortion(k1=-0.5),
        Distortion(k1=-0.2, k2=-0.2),
        Distortion(k1=0.9, model="division"),
        Distortion(k1=-0.3, k2=-0.1, model="fisheye"),
        Distortion(p1=0.4),
    ],
)
def test_a_lens_that_folds_in_the_photo_is_refused(lens: Distortion) -> None:
    K = np.array([[100.0, 0, 120], [0, 100, 80], [0, 0, 1]])
    with pytest.raises(InputError, match="folds inside the photo"):
        rectified_intrinsics(K, lens, 240, 160)


def test_a_fold_outside_of_the_photo_is_nobody_s_business() -> None:
    lens, K = Distortion(k1=-0.5), np.array([[200.0, 0, 80], [0, 200, 60], [0, 0, 1]])  # folds at r = 0.82
    ideal = rectification(K, lens, 160, 120)
    assert ideal is not None
    assert (ideal.labels(np.ones((120, 160), dtype=bool))).all()
