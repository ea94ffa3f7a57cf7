# SPDX-License-Identifier: Apache-2.0
"""One object or two, by what the views that see both sides say."""

from panoptic_gs.associate.consensus import Verdict

FUSED_OFTEN = Verdict(
    patches=60, views=12, most=17, parted=0, joined=8, together=0.7, one_class=False, alone_one_class=True, contact=1.0
)


def test_large_bodies_that_do_not_touch_are_two_though_most_views_fuse_them():
    assert FUSED_OFTEN._replace(contact=0.0).two_objects(cut=False)
    assert FUSED_OFTEN._replace(contact=0.2).two_objects(cut=True)
    assert not FUSED_OFTEN.two_objects(cut=False)


def test_a_piece_that_something_in_front_cuts_off_stays_with_its_object():
    assert not FUSED_OFTEN._replace(contact=0.0, patches=20).two_objects(cut=False)
    # Neither is there a reason to divide large pieces that are under one mask wherever both are seen.
    assert not FUSED_OFTEN._replace(contact=0.0, joined=12, together=0.97).two_objects(cut=False)


def test_bodies_apart_of_different_classes_are_two_whatever_their_size():
    assert FUSED_OFTEN._replace(contact=0.0, patches=20, alone_one_class=False).two_objects(cut=False)
