# SPDX-License-Identifier: Apache-2.0
import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from panoptic_gs.datasets.segment_ids import SegmentIds, count_pairs, distinct
from panoptic_gs.panoptic import Category

WALL, FLOOR, CHAIR, BAG = 1, 2, 3, 4
CATEGORIES = [Category(WALL, "wall", False), Category(FLOOR, "floor", False), Category(CHAIR, "chair", True),
              Category(BAG, "bag", True)]  # fmt: skip

maps = arrays(np.int64, (3, 5), elements=st.integers(0, 4))
instance_maps = arrays(np.int64, (3, 5), elements=st.sampled_from([0, 1, 2, 7, 60_000]))


def number(*frames: tuple[list[int], list[int]]) -> tuple[SegmentIds, list[list[int]]]:
    counted = [count_pairs(np.array([classes]), np.array([instances])) for classes, instances in frames]
    segments = SegmentIds.number([pairs for pairs, _ in counted], CATEGORIES)
    return segments, [segments.map(*pair).ravel().tolist() for pair in counted]


def test_stuff_is_one_segment_a_class_and_things_one_an_instance() -> None:
    segments, ids = number(([WALL, WALL, CHAIR, CHAIR, 0], [5, 6, 300, 9, 9]))
    assert [(segment.id, segment.category_id) for segment in segments.segments] == [(1, WALL), (2, CHAIR), (3, CHAIR)]
    assert ids == [[1, 1, 3, 2, 0]]
    assert segments.instances == {2: 9, 3: 300}


def test_an_instance_takes_its_majority_class_over_all_frames() -> None:
    segments, ids = number(([CHAIR, BAG, BAG], [8, 8, 8]), ([CHAIR, CHAIR, WALL], [8, 8, 8]))
    assert [segment.category_id for segment in segments.segments] == [CHAIR]
    assert ids == [[1, 1, 1], [1, 1, 1]]


def test_an_instance_of_stuff_is_the_stuff() -> None:
    segments, ids = number(([FLOOR, FLOOR, CHAIR, FLOOR], [4, 4, 4, 0]))
    assert [segment.category_id for segment in segments.segments] == [FLOOR]
    assert ids == [[1, 1, 1, 1]]


def test_things_without_an_instance_are_one_segment_a_class() -> None:
    segments, ids = number(([CHAIR, BAG, CHAIR, CHAIR], [0, 0, 0, 3]))
    assert ids == [[1, 2, 1, 3]]
    assert segments.instances == {3: 3}


@given(st.lists(st.tuples(maps, instance_maps), min_size=1, max_size=3))
def test_pixels_share_a_segment_exactly_if_they_are_of_one_object(frames) -> None:
    counted = [count_pairs(*frame) for frame in frames]
    segments = SegmentIds.number([pairs for pairs, _ in counted], CATEGORIES)
    ids = np.concatenate([segments.map(*pair).ravel() for pair in counted])
    classes, instances = (np.concatenate([frame[part].ravel() for frame in frames]) for part in (0, 1))
    category_of = {segment.id: segment.category_id for segment in segments.segments}
    assert set(ids.tolist()) - {0} == set(category_of)
    objects = np.zeros((len(ids), 2), dtype=np.int64)
    for k in np.flatnonzero(classes):
        settled = classes[k]
        if instances[k]:
            votes = np.bincount(classes[(instances == instances[k]) & (classes > 0)])
            settled = votes.argmax()
        objects[k] = settled, instances[k] if settled in (CHAIR, BAG) else 0
        assert category_of[ids[k]] == settled
    assert ((ids == 0) == (classes == 0)).all()
    same_object = (objects[:, None] == objects[None]).all(-1)
    np.testing.assert_array_equal(same_object, ids[:, None] == ids[None])


@given(arrays(np.int32, (4, 3), elements=st.sampled_from([-1, 0, 3, 700, 2**31 - 1]) | st.integers(-5, 5)))
def test_distinct_values_are_those_of_numpy(values: np.ndarray) -> None:
    found, index = distinct(values)
    np.testing.assert_array_equal(found, np.unique(values))
    np.testing.assert_array_equal(found[index], values)
