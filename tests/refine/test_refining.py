# SPDX-License-Identifier: Apache-2.0
"""Refined labels: planted errors are mended, what is right stays, and no bit depends on threads or order."""

import numpy as np
import pytest
import torch
from small_rooms import FAR, FLOOR, NASTY, NEAR
from staged_room import renamed, staged

from panoptic_gs import Category, InputError, Segment, render_panoptic, uplift_labels
from panoptic_gs.labelling import Labelling
from panoptic_gs.refine import CleanedMap, RefineOptions, changes_between, label_gaussians, refine_labels, sharpened
from panoptic_gs.uplift import GaussianLabels


def cleaned(splats, cameras, maps, weights=None, options=None) -> tuple[GaussianLabels, list[CleanedMap]]:
    found: list[CleanedMap] = []
    labels = refine_labels(splats, list(zip(cameras, maps)), weights, options,
                           lambda position, view: found.append(view))  # fmt: skip
    assert len(found) == len(maps)
    return labels, found


def iou(a: np.ndarray, b: np.ndarray) -> float:
    return (a & b).sum() / max((a | b).sum(), 1)


def same(a: GaussianLabels, b: GaussianLabels) -> bool:
    return all(torch.equal(a.tensors()[name], b.tensors()[name]) for name in a.tensors())


def test_perfect_maps_stay_and_so_do_their_labels():
    splats, cameras, maps = staged()
    labels, found = cleaned(splats, cameras, maps)
    for before, after in zip(maps, found):
        assert (before == after.ids).mean() > 0.995
        assert set(np.unique(before)) == set(np.unique(after.ids))
    plain = uplift_labels(splats, list(zip(cameras, maps)))
    assert (plain.best()[0] == labels.best()[0]).float().mean() > 0.995


def test_a_swallowed_object_and_one_of_another_name_come_back():
    splats, cameras, maps = staged()
    wrong = [m.copy() for m in maps]
    largest = max(range(len(maps)), key=lambda k: (maps[k] == NASTY).sum())
    other = max((k for k in range(len(maps)) if k != largest), key=lambda k: (maps[k] == NEAR).sum())
    wrong[largest] = renamed(maps[largest], NASTY, FLOOR)
    wrong[other] = renamed(maps[other], NEAR, FAR)
    _, found = cleaned(splats, cameras, wrong)
    assert iou(found[largest].ids == NASTY, maps[largest] == NASTY) > 0.85
    assert iou(found[other].ids == NEAR, maps[other] == NEAR) > 0.85
    changes = changes_between(wrong[largest], found[largest].ids, found[largest].share)
    assert (changes[0].reason, changes[0].old, changes[0].new) == ("object swallowed", FLOOR, NASTY)
    assert changes[0].share > 0.65


def test_a_small_object_that_a_third_of_the_views_miss_survives_and_comes_back():
    splats, cameras, maps = staged(12, 100, 75)
    tiny = 40
    corner = (splats.means - torch.tensor([0.3, -1.2, 0.0])).abs().amax(1) < 0.32
    base = uplift_labels(splats, list(zip(cameras, maps)))
    best = torch.where(corner, tiny, base.best()[0])
    rows = best > 0
    indptr = torch.cat([torch.zeros(1, dtype=torch.int64), rows.long().cumsum(0)])
    labels = GaussianLabels(indptr, best[rows].int(), torch.ones(int(rows.sum())), base.total, base.void)
    true = [render_panoptic(splats, labels, camera).ids.numpy() for camera in cameras]
    shown = [k for k, m in enumerate(true) if (m == tiny).sum() >= 8]
    assert len(shown) >= 6
    missed = shown[1::3]
    wrong = [renamed(m, tiny, FLOOR) if k in missed else m for k, m in enumerate(true)]
    _, found = cleaned(splats, cameras, wrong)  # nobody loses it
    assert all(iou(found[k].ids == tiny, true[k] == tiny) > 0.7 for k in shown if k not in missed)
    assert all((found[k].ids == tiny)[true[k] == tiny].mean() > 0.25 for k in missed)  # and its middle comes back


def test_holes_are_filled_but_not_under_a_mask():
    splats, cameras, maps = staged()
    wrong = [m.copy() for m in maps]
    wrong[0][20:40, 20:50] = 0
    counting = [np.ones(m.shape, np.float32) for m in maps]
    counting[0][20:30, 20:50] = 0
    _, found = cleaned(splats, cameras, wrong, counting)
    there = maps[0][30:40, 20:50]
    assert (found[0].ids[30:40, 20:50] == there)[there > 0].mean() > 0.9
    assert (found[0].ids[20:30, 20:50] == 0).all()


@pytest.mark.parametrize("rounds", [1, 2])
def test_neither_threads_nor_the_order_of_views_change_a_bit(rounds):
    splats, cameras, maps = staged(6)
    maps[2] = renamed(maps[2], NEAR, FLOOR)
    options = RefineOptions(rounds=rounds)
    expected, found = cleaned(splats, cameras, maps, None, options)
    order, before = [3, 1, 5, 0, 2, 4], torch.get_num_threads()
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            labels, again = cleaned(splats, [cameras[k] for k in order], [maps[k] for k in order], None, options)
            assert same(labels, expected)
            assert all(np.array_equal(again[place].ids, found[k].ids) for place, k in enumerate(order))
    finally:
        torch.set_num_threads(before)


def test_an_iterator_of_views_is_as_good_as_a_list():
    splats, cameras, maps = staged(4)
    expected = refine_labels(splats, list(zip(cameras, maps)))
    assert same(refine_labels(splats, zip(cameras, maps)), expected)


def test_one_view_has_nobody_to_ask_and_keeps_its_map():
    splats, cameras, maps = staged(1)
    _, found = cleaned(splats, cameras, maps)
    assert np.array_equal(found[0].ids, maps[0])


@pytest.mark.parametrize("wrong", [{"overrule": 1.5}, {"fill": -0.1}, {"power": 0.5}, {"rounds": 0}])
def test_options_out_of_range_are_refused(wrong):
    with pytest.raises(InputError, match=next(iter(wrong))):
        RefineOptions(**wrong)


def test_every_region_that_changed_is_told_once_with_its_reason():
    old = np.ones((30, 40), np.int32)
    old[:, 20:] = 2
    old[25:, :10] = 0
    new = old.copy()
    new[5:15, 5:15] = 2  # a part of 1
    new[:20, 19] = 2  # a strip beside 2
    new[10:20, 25:35] = 3  # 3 was nowhere
    new[25:, :10] = 1
    changes = changes_between(old, new, np.full(old.shape, 0.75, np.float32))
    said = {(c.reason, c.old, c.new, c.area, c.box) for c in changes}
    assert said == {
        ("part relabelled", 1, 2, 100, (5, 5, 10, 10)),
        ("outline moved", 1, 2, 20, (19, 0, 1, 20)),
        ("object swallowed", 2, 3, 100, (25, 10, 10, 10)),
        ("void filled", 0, 1, 50, (0, 25, 10, 5)),
    }
    assert sum(c.area for c in changes) == (old != new).sum()
    assert [c.area for c in changes] == [100, 100, 50, 20]
    assert changes[0].to_json()["share"] == 0.75
    assert changes_between(old, old, np.zeros(old.shape)) == []


def test_sharpening_squares_the_shares_and_keeps_the_strongest():
    splats, cameras, maps = staged(3)
    labels = uplift_labels(splats, list(zip(cameras, maps)))
    dense, squared = labels.to_dense(13).double(), sharpened(labels).to_dense(13).double()
    expected = dense**2 / (dense**2).sum(1, keepdim=True).clamp_min(1e-12)
    torch.testing.assert_close(squared, expected, rtol=1e-5, atol=1e-7)
    assert torch.equal(sharpened(labels).best()[0], labels.best()[0])
    assert torch.isfinite(sharpened(labels, 64).weight).all()
    torch.testing.assert_close(sharpened(labels, 1).weight, labels.weight, rtol=1e-5, atol=1e-7)
    with pytest.raises(InputError, match="power"):
        sharpened(labels, 0.5)


@pytest.mark.parametrize("rule", ["average", "sharpened"])
def test_void_ends_things_where_nothing_is_stuff(rule):
    """One mask in a view, in one view with stray pixels on the floor, which is void, as of a detector without stuff."""
    splats, cameras, maps = staged()
    things = [np.where(m == NEAR, 1, 0) for m in maps]
    things[0][::7, ::7] = 1
    floor = uplift_labels(splats, list(zip(cameras, maps))).best()[0] == FLOOR
    views = list(zip(cameras, things))
    thing, stuff = Category(1, "chair", True), Category(2, "floor", False)
    alone = label_gaussians(rule, splats, views, None, Labelling((thing, stuff), (Segment(1, 1),)))
    assert (alone.best()[0][floor] == 1).float().mean() < 0.1  # what outlines and large Gaussians share with it
    others = uplift_labels(splats, list(zip(cameras, maps))).best()[0] == NEAR
    assert (alone.best()[0][others] == 1).float().mean() > 0.95
    beside = label_gaussians(rule, splats, views, None, Labelling((thing, stuff), (Segment(1, 1), Segment(2, 2))))
    assert (beside.best()[0][floor] == 1).float().mean() > 0.3
    assert not (beside.label == 0).any()


def test_a_thing_that_few_views_show_stays_beside_void():
    splats, cameras, maps = staged()
    found = [np.where(m == NEAR, 1, 0) if k % 3 == 0 else np.zeros_like(m) for k, m in enumerate(maps)]
    meaning = Labelling((Category(1, "chair", True),), (Segment(1, 1),))
    near = uplift_labels(splats, list(zip(cameras, maps))).best()[0] == NEAR
    labels = label_gaussians("average", splats, list(zip(cameras, found)), None, meaning)
    assert (labels.best()[0][near] == 1).float().mean() > 0.8
