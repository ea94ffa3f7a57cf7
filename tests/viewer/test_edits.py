# SPDX-License-Identifier: Apache-2.0
"""Edits of labelled scenes: what changes, what stays, and that each can be taken back."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_rooms import CENTERS, FAR, FLOOR, NASTY, NEAR, small_room

from panoptic_gs.errors import InputError
from panoptic_gs.objects.boxes import Box
from panoptic_gs.viewer import edits


def dense(scene):
    return scene.labels.to_dense(20)


def counts(scene):
    return torch.bincount(scene.labels.best()[0], minlength=20)


class TestNames:
    def test_a_new_name_leaves_everything_else(self):
        scene = small_room()
        edited = edits.rename(scene, NEAR, "  Ann's chair ")
        assert edits.segment_of(edited, NEAR).name == "Ann's chair"
        assert edits.segment_of(scene, NEAR).name is None
        assert edited.labels is scene.labels
        assert edited.splats is scene.splats

    def test_an_empty_name_is_none(self):
        scene = edits.rename(small_room(), NEAR, "x")
        assert edits.segment_of(edits.rename(scene, NEAR, " "), NEAR).name is None

    @pytest.mark.parametrize("name", ["x" * 81, "two\nlines", "\x1b[31m"])
    def test_bad_names_are_refused(self, name):
        with pytest.raises(InputError, match="shorter name"):
            edits.rename(small_room(), NEAR, name)

    def test_a_category_is_one_of_the_listed(self):
        assert edits.segment_of(edits.recategorise(small_room(), NEAR, 3), NEAR).category_id == 3
        with pytest.raises(InputError, match="categories"):
            edits.recategorise(small_room(), NEAR, 99)

    def test_a_second_segment_of_a_stuff_category_is_refused(self):
        with pytest.raises(InputError, match="Merge"):
            edits.recategorise(small_room(), NEAR, 1)

    def test_unknown_objects_are_refused(self):
        for edit in (
            lambda s: edits.rename(s, 3, "x"),
            lambda s: edits.delete(s, 3),
            lambda s: edits.merge(s, 3, NEAR),
        ):
            with pytest.raises(InputError, match="id 3"):
                edit(small_room())


class TestMerge:
    def test_votes_are_summed(self):
        scene = small_room()
        merged = edits.merge(scene, FAR, NEAR)
        expected = dense(scene)
        expected[:, NEAR] += expected[:, FAR]
        expected[:, FAR] = 0
        torch.testing.assert_close(dense(merged), expected)
        assert [s.id for s in merged.segments] == [FLOOR, NEAR, NASTY]
        assert counts(merged)[NEAR] == 1200

    def test_with_itself_is_refused(self):
        with pytest.raises(InputError, match="twice"):
            edits.merge(small_room(), FAR, FAR)


class TestSplit:
    def test_the_part_inside_gets_an_id_of_its_own(self):
        scene = small_room()
        box = Box(np.add(CENTERS[NEAR], (0, 0, 0.15)), np.eye(3), np.array([1.0, 1.0, 0.3]))
        split, part = edits.split_box(scene, NEAR, box)
        inside = torch.from_numpy(box.contains(scene.splats.means.numpy()))
        own = scene.labels.best()[0] == NEAR
        best = split.labels.best()[0]
        assert part == NASTY + 1
        assert torch.equal(best == part, inside & own)
        assert torch.equal(best == NEAR, ~inside & own)
        assert edits.segment_of(split, part).category_id == 2
        torch.testing.assert_close(dense(split).sum(1), dense(scene).sum(1))
        assert torch.equal(dense(edits.merge(split, part, NEAR)), dense(scene))

    def test_a_turned_box_takes_what_is_inside_it(self):
        turned = np.array([[0.8, -0.6, 0.0], [0.6, 0.8, 0.0], [0.0, 0.0, 1.0]])
        box = Box(np.zeros(3), turned, np.array([2.0, 0.2, 1.0]))
        points = np.array([[0.76, 0.57, 0.0], [0.95, 0.0, 0.0], [0.0, 0.0, 0.6]])
        assert box.contains(points).tolist() == [True, False, False]

    @pytest.mark.parametrize(("size", "found"), [(9.0, "all"), (1e-6, "none")])
    def test_all_or_nothing_is_refused(self, size, found):
        with pytest.raises(InputError, match=found):
            edits.split_box(small_room(), NEAR, Box(np.array(CENTERS[NEAR]), np.eye(3), np.full(3, size)))


class TestDelete:
    def test_the_gaussians_and_the_votes_go(self):
        scene = small_room()
        left = edits.delete(scene, FAR)
        assert len(left.splats) == len(left.labels) == len(scene.splats) - 600
        assert FAR not in left.labels.label.tolist()
        near = left.labels.best()[0] == NEAR
        torch.testing.assert_close(dense(left)[near, NEAR], torch.ones(600))
        torch.testing.assert_close(left.labels.void[near], torch.full((600,), 3.0))
        assert float(left.labels.void[~near].abs().max()) == 0

    def test_the_last_object_stays(self):
        scene = small_room()
        for segment_id in (FAR, NASTY, FLOOR):
            scene = edits.delete(scene, segment_id)
        with pytest.raises(InputError, match="only object"):
            edits.delete(scene, NEAR)


class TestMove:
    def test_only_the_object_moves(self):
        scene = small_room()
        moved = edits.move(scene, NEAR, (0.5, -1.0, 2.0))
        own = scene.labels.best()[0] == NEAR
        shift = moved.splats.means - scene.splats.means
        torch.testing.assert_close(shift[own], torch.tensor([[0.5, -1.0, 2.0]]).expand(600, 3), atol=1e-6, rtol=0)
        assert float(shift[~own].abs().max()) == 0

    @pytest.mark.parametrize("shift", [(float("nan"), 0, 0), (1, 2)])
    def test_bad_shifts_are_refused(self, shift):
        with pytest.raises(InputError, match="three finite"):
            edits.move(small_room(), NEAR, shift)


class TestHistory:
    @settings(max_examples=40, deadline=None)
    @given(st.lists(st.sampled_from(["rename", "merge", "move", "undo", "redo"]), max_size=12))
    def test_undo_and_redo_walk_along_the_edits(self, steps):
        history = edits.History(small_room())
        line, at = [history.current], 0  # every scene so far, and where we are
        for number, step in enumerate(steps):
            if step == "undo":
                assert (history.undo() is None) == (at == 0)
                at = max(at - 1, 0)
            elif step == "redo":
                assert (history.redo() is None) == (at == len(line) - 1)
                at = min(at + 1, len(line) - 1)
            else:
                edited = edits.rename(history.current, NEAR, f"{step} {number}")
                history.apply(step, edited)
                line, at = [*line[: at + 1], edited], at + 1
            assert history.current is line[at]
            assert history.unsaved == (at != 0)

    def test_old_edits_are_forgotten(self):
        history = edits.History(small_room(), limit=2)
        for number in range(5):
            history.apply(str(number), edits.rename(history.current, NEAR, str(number)))
        assert [history.undo(), history.undo(), history.undo()] == ["4", "3", None]

    def test_saving_is_remembered(self):
        history = edits.History(small_room())
        history.apply("name", edits.rename(history.current, NEAR, "x"))
        history.mark_saved()
        assert not history.unsaved
        history.undo()
        assert history.unsaved
