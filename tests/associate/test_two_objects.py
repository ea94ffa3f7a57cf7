# SPDX-License-Identifier: Apache-2.0
"""When two clusters of patches are two objects, by what views say of them."""

from __future__ import annotations

import pytest

from panoptic_gs.associate.consensus import Verdict


def verdict(**differs) -> Verdict:
    """A cup on a table, as blurred Gaussians show it: no view parts them cleanly, few put them under one mask."""
    cup_on_table = {
        "patches": 3, "views": 8, "most": 8, "parted": 0, "joined": 1, "together": 0.36, "one_class": False,
        "alone_one_class": False, "contact": 0.73,
    }  # fmt: skip
    return Verdict(**{**cup_on_table, **differs})


def test_blurred_things_of_other_classes_are_told_apart():
    assert verdict().two_objects(cut=False)
    assert verdict().two_objects(cut=True)


@pytest.mark.parametrize(
    "differs",
    [
        {"alone_one_class": True},  # one class: perhaps one object that every view cuts elsewhere
        {"together": 0.7},  # views put them under one mask
        {"joined": 4},  # half of the views join them
        {"views": 2, "joined": 0},  # too few views to tell
        {"patches": 1},  # a patch is no object
    ],
)
def test_what_may_be_one_object_stays_one(differs):
    assert not verdict(**differs).two_objects(cut=False)


def test_masks_that_are_cut_in_general_have_to_be_joined_less():
    assert verdict(joined=2).two_objects(cut=False)
    assert not verdict(joined=2).two_objects(cut=True)
