# SPDX-License-Identifier: Apache-2.0
# scipy has no types: what is inferred of its sparse matrices is wrong.
# pyright: reportArgumentType=false
"""Patches: pure where views tell objects apart, and not more than are allowed."""

import numpy as np
import pytest
from scipy import sparse

from panoptic_gs.associate import superpoints
from panoptic_gs.associate.superpoints import Sums


def row_of_objects(borders, count, views=3):
    """Gaussians along a line, a pixel each; every view has a mask for each object between the borders."""
    object_ = np.searchsorted(borders, np.arange(count), side="right")
    objects = len(borders) + 1
    masks = sparse.hstack(
        [sparse.csr_matrix((np.ones(count, np.float32), (np.arange(count), object_)), (count, objects))] * views,
        format="csr",
    )
    everything = sparse.csr_matrix(np.ones((count, views), np.float32))
    sums = Sums(masks, everything, everything, np.repeat(np.arange(views), objects), np.zeros(views * objects, int))
    means = np.c_[np.arange(count, dtype=float), np.zeros((count, 2))]
    return means, sums, object_


@pytest.mark.parametrize("most", [120, 300])
def test_a_scarce_number_of_patches_goes_to_where_views_disagree(monkeypatch, most):
    monkeypatch.setattr(superpoints, "MOST", (most, most))
    means, sums, object_ = row_of_objects([313, 777, 1490, 2222, 2901, 3333, 3777], 4000)
    patch = superpoints.superpoints(means, sums)
    assert patch.min() == 0
    assert patch.max() < most
    # All but a few Gaussians at each border lie in patches of one object.
    table = np.zeros((patch.max() + 1, object_.max() + 1))
    np.add.at(table, (patch, object_), 1)
    strangers = table.sum(1) - table.max(1)
    assert strangers.sum() <= 7 * superpoints.SMALL / 2
    assert np.bincount(patch).max() <= max(superpoints.LARGE, 2 * 4000 / most)
