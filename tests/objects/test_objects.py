# SPDX-License-Identifier: Apache-2.0
"""The objects of a labelled scene: rows, boxes, which way is up"""

import dataclasses

import numpy as np
import pytest
import torch
from small_rooms import FAR, FLOOR, NASTY, NEAR, small_room

from panoptic_gs.camera import Camera
from panoptic_gs.labelling import Labelling
from panoptic_gs.objects import boxes
from panoptic_gs.objects.boxes import ONE_PLACE, fit_box, upright_axes
from panoptic_gs.objects.orientation import first_standpoint, up_direction
from panoptic_gs.objects.table import ObjectTable
from panoptic_gs.panoptic import Category, Segment
from panoptic_gs.splats import Splats
from panoptic_gs.uplift import GaussianLabels, LabelledScene, render_panoptic
from panoptic_gs.viewer import edits


class TestObjects:
    def test_rows(self):
        table = ObjectTable(small_room())
        assert [row.id for row in table][:2] == [NEAR, FAR]
        assert (table[NEAR].count, table[NEAR].confidence) == (600, pytest.approx(0.7))
        assert (table[FLOOR].title, table[FLOOR].count) == ("floor · 1", 1600)
        assert table.get(99) is None

    @pytest.mark.parametrize(
        ("text", "found"), [("CHAIR", [NEAR, FAR]), ("9", [FAR]), ("ann", [NEAR]), ("ann far", [])]
    )
    def test_search(self, text, found):
        table = ObjectTable(edits.rename(small_room(), NEAR, "Ann's chair"))
        assert sorted(row.id for row in table.search(text)) == found

    def test_boxes_are_upright_turned_and_blind_to_strays(self):
        rng = np.random.default_rng(1)
        turn = np.array([[0.8, -0.6, 0.0], [0.6, 0.8, 0.0], [0.0, 0.0, 1.0]])
        points = rng.uniform(-0.5, 0.5, (4000, 3)) * [2.0, 1.0, 0.5] @ turn.T + [1, 2, 3]
        stray = rng.uniform(8.9, 9.1, (150, 3))
        box = fit_box(np.concatenate([points, stray]), np.array([0.0, 0.0, 1.0]))
        assert box is not None
        assert np.sort(box.size) == pytest.approx([0.5, 1.0, 2.0], abs=0.06)
        assert box.size[2] == pytest.approx(0.5, abs=0.03)
        assert box.center == pytest.approx([1, 2, 3], abs=0.05)
        assert abs(box.axes[:, int(box.size.argmax())] @ turn[:, 0]) == pytest.approx(1, abs=1e-3)
        assert box.contains(points).mean() > 0.93

    @pytest.mark.parametrize("points", [np.zeros((1, 3)), np.ones((5, 3)), np.arange(6.0).reshape(2, 3)])
    def test_boxes_of_points_and_lines(self, points):
        box = fit_box(points, np.array([0.0, 1.0, 0.0]))
        assert box is not None
        assert np.isfinite(box.corners()).all()

    def test_corners_span_the_box(self):
        box = fit_box(np.random.default_rng(0).normal(size=(500, 3)), np.array([0.0, 0.0, 1.0]))
        assert box is not None
        local = (box.corners() - box.center) @ box.axes
        assert np.abs(local) == pytest.approx(np.tile(box.size / 2, (8, 1)))


class TestUp:
    def test_the_floor_tells(self):
        room = small_room()
        for axes in (np.eye(3), np.diag([1.0, -1.0, -1.0]), upright_axes(np.array([1.0, 2.0, 3.0]))):
            means = room.splats.means.numpy() @ axes.T
            assert up_direction(ObjectTable(room), means, []) == pytest.approx(axes[:, 2], abs=1e-6)

    def test_cameras_tell_more_than_the_floor(self):
        camera = Camera.look_at((4, 0, 1), (0, 0, 0), (0, 0, -1), 1.0, 8, 8)
        room = small_room()
        up = up_direction(ObjectTable(room), room.splats.means.numpy(), [camera])
        assert up[2] < -0.9

    def test_cameras_that_all_look_down_do_not_tilt_the_floor(self):
        camera = Camera.look_at((4, 0, 3), (0, 0, 0), (0, 0, 1), 1.0, 8, 8)
        room = small_room()
        up = up_direction(ObjectTable(room), room.splats.means.numpy(), [camera])
        assert up == pytest.approx([0, 0, 1], abs=1e-6)

    def test_a_wall_called_floor_does_not_tilt_the_cameras(self):
        camera = Camera.look_at((4, 0, 0), (0, 0, 0), (0, 0, 1), 1.0, 8, 8)
        room = small_room()
        upended = room.splats.means.numpy()[:, [2, 0, 1]]
        assert up_direction(ObjectTable(room), upended, [camera]) == pytest.approx([0, 0, 1], abs=1e-6)

    def test_the_first_view_sees_the_scene(self):
        room = small_room()
        table, means, up = ObjectTable(room), room.splats.means.numpy(), np.array([0.0, 0.0, 1.0])
        eye, target = first_standpoint(table, means, up, [])
        camera = Camera.look_at(torch.tensor(eye), torch.tensor(target), torch.tensor(up), 1.2, 60, 40)
        ids = render_panoptic(room.splats, room.labels, camera).ids
        assert {FLOOR, NEAR, FAR, NASTY} <= set(ids.unique().tolist())


class TestFloaters:
    def test_haze_before_a_surface_and_stuffing_behind_it_do_not_move_a_side(self):
        rng = np.random.default_rng(4)
        shell = rng.uniform(-0.5, 0.5, (3000, 3))
        axis, side = rng.integers(0, 3, 3000), rng.choice([-0.5, 0.5], 3000)
        shell[np.arange(3000), axis] = side
        shell = shell * [2.0, 1.0, 0.6] + [0, 0, 1]
        haze = rng.uniform([-1.0, 0.5, 0.7], [1.0, 0.9, 1.3], (200, 3))
        splats, labels = _one_object(np.concatenate([shell, haze]), np.repeat([0.9, 0.12], [3000, 200]))
        table = ObjectTable(LabelledScene(splats, labels, _one_labelling()))
        box = table.box(1, np.array([0.0, 0.0, 1.0]))
        assert box is not None
        assert sorted(box.size) == pytest.approx([0.6, 1.0, 2.0], abs=0.06)
        assert box.left_out < 0.05

    @pytest.mark.parametrize(("void", "width"), [(0.05, 1.6), (0.6, 1.0)])
    def test_what_views_hardly_name_does_not_widen_what_it_touches(self, void, width):
        """A chair beside a bookcase: void in most of its pixels, and of the bookcase's label in the others."""
        rng = np.random.default_rng(7)
        bookcase = rng.uniform([-0.5, 0, 0], [0.5, 0.3, 1.8], (3000, 3))
        chair = rng.uniform([0.5, 0, 0], [1.1, 0.3, 0.9], (900, 3))
        splats, labels = _one_object(np.concatenate([bookcase, chair]), np.full(3900, 0.9))
        voids = torch.cat([torch.full((3000,), 0.05), torch.full((900,), void)])
        labels = dataclasses.replace(labels, void=voids)
        box = ObjectTable(LabelledScene(splats, labels, _one_labelling())).box(1, np.array([0.0, 0.0, 1.0]))
        assert box is not None
        assert sorted(box.size) == pytest.approx(sorted([0.3, width, 1.8]), abs=0.06)

    def test_what_lies_apart_is_left_out_and_said(self):
        rng = np.random.default_rng(5)
        body, far = rng.uniform(-0.5, 0.5, (3000, 3)), rng.uniform([3.9, -0.1, -0.1], [4.1, 0.1, 0.1], (300, 3))
        box = fit_box(np.concatenate([body, far]), np.array([0.0, 0.0, 1.0]))
        assert box is not None
        assert box.size == pytest.approx([1, 1, 1], abs=0.05)
        assert box.left_out == pytest.approx(300 / 3300, abs=0.05)

    @pytest.mark.parametrize("count", [900, 1800])
    def test_a_thing_is_in_one_place_unless_its_other_piece_is_near(self, count):
        rng = np.random.default_rng(5)
        body = rng.uniform(-0.5, 0.5, (3000, 3))
        far, near = (rng.uniform([at, -0.4, -0.5], [at + 0.5, 0.4, 0.5], (count, 3)) for at in (1.5, 0.65))
        up = np.array([0.0, 0.0, 1.0])
        alone = fit_box(np.concatenate([body, far]), up, apart=ONE_PLACE)
        with_near = fit_box(np.concatenate([body, near]), up, apart=ONE_PLACE)
        anywhere = fit_box(np.concatenate([body, far]), up)
        assert alone is not None
        assert with_near is not None
        assert anywhere is not None
        assert alone.size == pytest.approx([1, 1, 1], abs=0.05)
        assert with_near.size.max() == pytest.approx(1.65, abs=0.05)
        assert anywhere.size.max() == pytest.approx(2.5, abs=0.05)

    def test_a_small_part_beside_a_thing_is_its(self):
        rng = np.random.default_rng(5)
        basin = rng.uniform([-0.3, -0.3, 0], [0.3, 0.3, 0.2], (3000, 3))
        tap, bit = (rng.uniform([-0.02, -0.02, low], [0.02, 0.02, low + 0.15], (count, 3))
                    for low, count in ((0.26, 300), (0.26, 40)))  # fmt: skip
        up = np.array([0.0, 0.0, 1.0])
        with_tap, with_bit = (fit_box(np.concatenate([basin, part]), up, apart=ONE_PLACE) for part in (tap, bit))
        anywhere = fit_box(np.concatenate([basin, tap]), up)
        assert with_tap is not None
        assert with_bit is not None
        assert anywhere is not None
        assert with_tap.size[2] == pytest.approx(0.41, abs=0.02)
        assert [with_bit.size[2], anywhere.size[2]] == pytest.approx([0.2, 0.2], abs=0.02)

    def test_a_stuff_class_falls_into_its_pieces(self):
        rng = np.random.default_rng(6)
        windows = [rng.uniform(-0.5, 0.5, (800, 3)) * [0.1, 1.2, 1.0] + at for at in ([0, -2, 1], [0, 2, 1])]
        splats, labels = _one_object(np.concatenate(windows), np.full(1600, 0.9))
        scene = LabelledScene(splats, labels, _one_labelling(isthing=False))
        up = np.array([0.0, 0.0, 1.0])
        pieces = ObjectTable(scene).pieces(1, up, gap=0.2)
        assert sorted(len(members) for members, _ in pieces) == [800, 800]
        assert all(max(box.size) < 1.4 for _, box in pieces)
        thing = LabelledScene(splats, labels, _one_labelling())
        assert len(ObjectTable(thing).pieces(1, up, gap=0.2)) == 1


class TestEvidence:
    @pytest.mark.parametrize(
        ("kept", "lost", "isthing", "uncertain"),
        [(9, 0, True, True), (10, 0, True, False), (50, 400, True, True), (50, 100, True, False),
         (9, 0, False, False)],
    )  # fmt: skip
    def test_few_gaussians_or_little_agreement(self, kept, lost, isthing, uncertain):
        """Object 1 has the most on ``kept`` Gaussians, and a vote on ``lost`` ones that object 2 wins."""
        share = np.array([[0.9, 0.1]] * kept + [[0.45, 0.55]] * lost, dtype=np.float32)
        count = kept + lost
        labels = GaussianLabels(
            torch.arange(count + 1) * 2, torch.tensor([1, 2] * count, dtype=torch.int32),
            torch.from_numpy(share.ravel()), torch.ones(count), torch.zeros(count),
        )  # fmt: skip
        splats, _ = _one_object(np.random.default_rng(0).normal(size=(count, 3)), np.full(count, 0.9))
        category = Category(1, "chair", isthing)
        labelling = Labelling((category,), (Segment(1, 1), Segment(2, 1)))
        table = ObjectTable(LabelledScene(splats, labels, labelling))
        row = table[1]
        assert (row.count, row.uncertain) == (kept, uncertain)
        assert row.pixels == pytest.approx(0.9 * kept, rel=1e-4)
        assert row.agreement == pytest.approx(0.9 * kept / (0.9 * kept + 0.45 * lost), rel=1e-4)
        assert (row in table.certain, row in table.uncertain) == (not uncertain, uncertain)


def _one_labelling(isthing: bool = True) -> Labelling:
    return Labelling((Category(1, "window", isthing),), (Segment(1, 1),))


def _one_object(points: np.ndarray, opacities: np.ndarray) -> tuple[Splats, GaussianLabels]:
    count = len(points)
    labels = GaussianLabels(
        torch.arange(count + 1), torch.ones(count, dtype=torch.int32), torch.ones(count), torch.ones(count),
        torch.zeros(count),
    )  # fmt: skip
    splats = Splats(
        torch.from_numpy(points).float(), torch.tensor([[1.0, 0, 0, 0]]).repeat(count, 1),
        torch.full((count, 3), 0.01), torch.from_numpy(opacities).float(), torch.zeros(count, 1, 3),
    )  # fmt: skip
    return splats, labels


def test_slices_of_sorted_values_are_those_of_numpy():
    rng = np.random.default_rng(0)
    for kind in range(60):
        count = int(rng.integers(2, 2000))
        draws = rng.normal(size=count), np.round(rng.normal(size=count), 1), 5 + 1e-3 * rng.random(count)
        values = np.sort(draws[kind % 3])
        weights = rng.random(count)
        low, high = np.quantile(values, [0.01, 0.99])
        if high > low:
            expected, expected_edges = np.histogram(values, boxes._SLICES, (low, high), weights=weights)
            found, edges = boxes._sorted_histogram(values, weights, float(low), float(high))
            assert np.array_equal(edges, expected_edges)
            assert np.array_equal(found, expected)
