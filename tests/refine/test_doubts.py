# SPDX-License-Identifier: Apache-2.0
"""What a person should look at: planted doubts are found, and a right labelling has none."""

import numpy as np
import pytest
from small_rooms import CATEGORIES, FAR, NASTY, NEAR, SEGMENTS
from staged_room import halves, renamed, staged

from panoptic_gs.labelling import Labelling, Segment
from panoptic_gs.refine import Doubt, find_doubts

SPARE, OTHER = 50, 51
CLASS = {s.id: s.category_id for s in SEGMENTS}
ANOTHER = next(c.id for c in CATEGORIES if c.isthing and c.id != CLASS[NASTY])
LABELLING = Labelling(
    CATEGORIES, (*SEGMENTS, Segment(SPARE, CLASS[NASTY]), Segment(OTHER, ANOTHER)), "planted"
)  # fmt: skip


def found(splats, cameras, maps, weights=None) -> dict[str, Doubt]:
    doubts = find_doubts(splats, list(zip(cameras, maps)), LABELLING, weights)
    assert len({doubt.kind for doubt in doubts}) == len(doubts)  # planted one by one
    return {doubt.kind: doubt for doubt in doubts}


def seen_in(maps, thing) -> list[int]:
    most = max((m == thing).sum() for m in maps)
    return [k for k, m in enumerate(maps) if (m == thing).sum() > 0.5 * most]


def test_true_maps_leave_nothing_to_look_at():
    splats, cameras, maps = staged()
    assert found(splats, cameras, maps) == {}


def test_a_mistake_of_one_view_is_nothing_to_look_at():
    splats, cameras, maps = staged()
    maps[seen_in(maps, NASTY)[0]] = renamed(maps[seen_in(maps, NASTY)[0]], NASTY, OTHER)
    assert found(splats, cameras, maps) == {}


def test_a_class_that_a_third_of_the_views_call_another():
    splats, cameras, maps = staged(24)
    those = range(1, 24, 3)
    told = [renamed(m, NASTY, OTHER) if k in those else m for k, m in enumerate(maps)]
    doubts = found(splats, cameras, told)
    assert set(doubts) == {"class in dispute"}
    assert doubts["class in dispute"].segments == (NASTY, OTHER)
    assert set(doubts["class in dispute"].views) <= set(those)
    assert 0.25 <= doubts["class in dispute"].share < 0.5


@pytest.mark.parametrize(("apart", "kind"), [(0, "may be two"), (1, "may be one")])
def test_halves_that_some_views_tell_apart_and_others_do_not(apart, kind):
    """In one of three views apart: most say that it is one object. The other way round, most say two."""
    splats, cameras, maps = staged(24)
    masks = halves(splats, cameras, maps, NASTY, SPARE)
    told = [np.where(mask & ((k % 3 == 1) != bool(apart)), SPARE, m) for k, (m, mask) in enumerate(zip(maps, masks))]
    doubts = found(splats, cameras, told)
    assert kind in doubts
    assert set(doubts[kind].segments) == {NASTY, SPARE}


def test_two_cubes_under_one_id_are_in_pieces():
    splats, cameras, maps = staged()
    doubts = found(splats, cameras, [renamed(m, FAR, NEAR) for m in maps])
    assert set(doubts) == {"in pieces"}
    assert doubts["in pieces"].segments == (NEAR,)
    assert 0.2 < doubts["in pieces"].share < 0.8
    told = doubts["in pieces"].to_json(LABELLING, [])
    assert str(NEAR) in told["what"]
    assert told["views"] == []


def test_a_view_without_weight_says_nothing():
    splats, cameras, maps = staged(24)
    told = [renamed(m, NASTY, OTHER) if k % 3 == 1 else m for k, m in enumerate(maps)]
    factors = [np.full(m.shape, float(k % 3 != 1), np.float32) for k, m in enumerate(maps)]
    assert found(splats, cameras, told, iter(factors)) == {}
