# SPDX-License-Identifier: Apache-2.0
"""Changes on an ideal camera's pixels come back to the photo's, whatever lies between them."""

import numpy as np
import pytest

from panoptic_gs.label_maps import resize_nearest
from panoptic_gs.refine.photo_maps import on_photo


def test_the_same_pixels_take_the_same_labels():
    rng = np.random.default_rng(0)
    before, after = rng.integers(0, 4, (2, 30, 40)).astype(np.int32)
    assert np.array_equal(on_photo(before, before, after, lambda ids: ids), after)


@pytest.mark.parametrize("scale", [2, 3])
def test_a_larger_photo_changes_in_whole_regions_and_keeps_its_detail(scale):
    small = np.ones((20, 30), np.int32)
    small[:, 15:] = 2
    photo = np.kron(small, np.ones((scale, scale), np.int32))
    photo[0, 1] = 9  # finer than the ideal camera's pixels
    fit = lambda ids: resize_nearest(ids, 30, 20)
    after = small.copy()
    after[5:15, 5:12] = 3
    result = on_photo(photo, fit(photo), np.where(fit(photo) == 9, 9, after), fit)
    expected = np.kron(after, np.ones((scale, scale), np.int32))
    inner = np.zeros(photo.shape, bool)
    inner[6 * scale : 14 * scale, 6 * scale : 11 * scale] = True
    assert (result[inner] == 3).all()
    assert (result != expected).mean() < 0.05
    assert result[0, 1] == 9
    assert np.array_equal(fit(result)[5:15, 5:12], after[5:15, 5:12])


def test_what_the_ideal_camera_does_not_see_stays():
    photo = np.full((20, 20), 4, np.int32)

    def middle(ids: np.ndarray) -> np.ndarray:
        return ids[5:15, 5:15]

    result = on_photo(photo, middle(photo), np.full((10, 10), 6, np.int32), middle)
    assert (middle(result) == 6).all()
    assert (result[:3] == 4).all()
    assert (result[:, -3:] == 4).all()
