# SPDX-License-Identifier: Apache-2.0
"""What an object stands on, lies under and is in, where boxes alone would say something else."""

from collections.abc import Mapping

import numpy as np
import pytest
import torch
from furnished_room import surface

from benchmarks.relations import KINDS, figures, measure
from panoptic_gs import Splats, export
from panoptic_gs.labelling import Category, Labelling, Segment
from panoptic_gs.objects.survey import Survey
from panoptic_gs.uplift import GaussianLabels, LabelledScene

UP = np.array([0.0, 0.0, 1.0])
FLOOR, TABLE, THIRD, FOURTH = 1, 2, 3, 4
TOP = 0.74
DESK = np.concatenate([
    surface([0, 0, TOP - 0.02], [1.4, 0.8, 0.04]),
    *(surface([x, y, 0.35], [0.06, 0.06, 0.7]) for x in (-0.65, 0.65) for y in (-0.35, 0.35)),
])  # fmt: skip
GROUND = surface([0, 0, -0.02], [4, 4, 0.04])


def said(
    clouds: Mapping[int, np.ndarray], names: Mapping[int, str], normals: Mapping[int, int] | None = None
) -> set[tuple[int, str, int]]:
    """What is said of objects that are these points; the floor is stuff. Those with ``normals`` are of flat Gaussians
    that face this axis."""
    ids = np.repeat(list(clouds), [len(points) for points in clouds.values()])
    means, count = np.concatenate(list(clouds.values())), len(ids)
    scales = torch.full((count, 3), 0.014)
    for segment, axis in (normals or {}).items():
        scales[ids == segment, axis] = 0.002
    splats = Splats(torch.from_numpy(means).float(), torch.tensor([[1.0, 0, 0, 0]]).repeat(count, 1), scales,
                    torch.full((count,), 0.95), torch.zeros(count, 1, 3))  # fmt: skip
    labels = GaussianLabels(torch.arange(count + 1), torch.from_numpy(ids).int(), torch.ones(count), torch.ones(count),
                            torch.zeros(count))  # fmt: skip
    classes = tuple(Category(k, names[k], isthing=k != FLOOR) for k in clouds)
    scene = LabelledScene(splats, labels, Labelling(classes, tuple(Segment(k, k) for k in clouds)))
    survey = Survey(scene, up=UP)
    objects = export.placed_objects(survey.table, survey.up, uncertain=False)
    return {(r.subject, r.relation, r.object) for r in export.relate_objects(splats, objects, UP)}


def test_a_plate_stands_on_the_table_and_not_on_what_a_floor_took_beside_it() -> None:
    """Some Gaussians about the plate carry the floor's label, as where a view of the floor was displaced."""
    plate = surface([0.2, 0.1, TOP + 0.02], [0.2, 0.2, 0.04])
    strays = np.random.default_rng(0).uniform([0.05, -0.05, TOP - 0.03], [0.35, 0.25, TOP + 0.01], (60, 3))
    found = said({FLOOR: np.concatenate([GROUND, strays]), TABLE: DESK, THIRD: plate},
                 {FLOOR: "floor", TABLE: "table", THIRD: "plate"})  # fmt: skip
    assert {fact for fact in found if fact[1] == "on"} == {(TABLE, "on", FLOOR), (THIRD, "on", TABLE)}


def test_what_bridges_two_tables_stands_on_the_one_that_carries_most_of_it() -> None:
    other = surface([1.01, 0, TOP - 0.02], [0.6, 0.8, 0.04])
    scissors = surface([0.65, 0.0, TOP + 0.01], [0.3, 0.1, 0.02])
    found = said({FLOOR: GROUND, TABLE: DESK, THIRD: scissors, FOURTH: other},
                 {FLOOR: "floor", TABLE: "table", THIRD: "scissors", FOURTH: "table"})  # fmt: skip
    assert [fact for fact in found if fact[0] == THIRD and fact[1] == "on"] == [(THIRD, "on", TABLE)]


@pytest.mark.parametrize("wing", [True, False])
def test_a_bottle_before_a_partition_is_neither_in_nor_under_it(wing: bool) -> None:
    """Haze of the partition hangs over the bottle at all heights, and its box holds the bottle."""
    bottle = surface([0.1, 0.3, TOP + 0.13], [0.08, 0.08, 0.26])
    rng = np.random.default_rng(1)
    wall = surface([0, 0.48, 0.7], [2.0, 0.06, 1.4])
    haze = rng.uniform([-0.9, 0.2, TOP + 0.24], [0.9, 0.48, 1.4], (500, 3))
    parts = [wall, haze, *([surface([0.95, 0.1, 0.7], [0.06, 0.8, 1.4])] if wing else [])]
    found = said({FLOOR: GROUND, TABLE: DESK, THIRD: bottle, FOURTH: np.concatenate(parts)},
                 {FLOOR: "floor", TABLE: "table", THIRD: "bottle", FOURTH: "partition"})  # fmt: skip
    assert (THIRD, "on", TABLE) in found
    assert not {fact for fact in found if fact[1] in ("in", "under")}


def test_a_floor_is_not_against_the_walls_that_it_meets() -> None:
    wall = surface([0, 2.02, 1.0], [4, 0.04, 2.0])
    cabinet = surface([0.5, 1.78, 0.5], [0.6, 0.4, 1.0])
    found = said({FLOOR: GROUND, THIRD: cabinet, FOURTH: wall}, {FLOOR: "floor", THIRD: "cabinet", FOURTH: "wall"})
    assert found == {(THIRD, "on", FLOOR), (THIRD, "against", FOURTH)}


@pytest.mark.parametrize("wall", [True, False])
def test_a_window_over_a_chair_does_not_stand_on_it(wall: bool) -> None:
    """It hovers over the chair by less than 15 % of its height, as what has a hidden lower end does."""
    chair = surface([0.5, 1.75, 0.44], [0.6, 0.45, 0.88])
    window = surface([0.5, 1.92, 1.56], [0.9, 0.1, 1.2])
    clouds = {FLOOR: GROUND, TABLE: chair, THIRD: window, FOURTH: surface([0, 1.99, 1.25], [4, 0.04, 2.5])}
    found = said({k: clouds[k] for k in clouds if wall or k != FOURTH},
                 {FLOOR: "floor", TABLE: "chair", THIRD: "window", FOURTH: "wall"})  # fmt: skip
    assert ((THIRD, "against", FOURTH) in found) is wall
    assert ((THIRD, "on", TABLE) in found) is not wall


@pytest.mark.parametrize(("gap", "under"), [(0.1, True), (0.9, False)])
def test_what_is_over_a_thing_has_to_be_close(gap: float, under: bool) -> None:
    bottle = surface([0.1, 0.0, TOP + 0.13], [0.08, 0.08, 0.26])
    board = surface([0.1, 0.0, TOP + 0.26 + gap], [0.8, 0.25, 0.03])
    found = said({FLOOR: GROUND, TABLE: DESK, THIRD: bottle, FOURTH: board},
                 {FLOOR: "floor", TABLE: "table", THIRD: "bottle", FOURTH: "board"})  # fmt: skip
    assert (THIRD, "on", TABLE) in found
    assert ((THIRD, "under", FOURTH) in found) is under


def test_a_poster_is_not_on_the_cabinet_whose_front_it_hangs_at() -> None:
    cabinet = surface([0, 0, 0.5], [0.5, 0.4, 1.0])
    poster = surface([0, -0.21, 0.6], [0.3, 0.01, 0.4])
    found = said({FLOOR: GROUND, THIRD: cabinet, FOURTH: poster},
                 {FLOOR: "floor", THIRD: "cabinet", FOURTH: "poster"})  # fmt: skip
    assert {fact for fact in found if fact[1] in ("on", "in", "under")} == {(THIRD, "on", FLOOR)}


def test_a_poster_in_the_blur_of_a_cabinets_front_is_against_it_and_a_board_in_a_crate_is_in_it() -> None:
    """No view sees behind the front, and its Gaussians lie before and behind the poster."""
    rng = np.random.default_rng(3)
    cabinet = surface([0, 0, 0.5], [0.5, 0.3, 1.0])
    cabinet = cabinet[cabinet[:, 1] < 0.1]
    cabinet[:, 1] += rng.normal(0, 0.02, len(cabinet))
    poster = surface([0, -0.15, 0.6], [0.3, 0.01, 0.4])
    names = {FLOOR: "floor", THIRD: "cabinet", FOURTH: "poster"}
    found = said({FLOOR: GROUND, THIRD: cabinet, FOURTH: poster}, names)
    assert found == {(THIRD, "on", FLOOR), (FOURTH, "against", THIRD)}
    inside = surface([0, -0.02, 0.5], [0.3, 0.01, 0.4])
    assert (FOURTH, "in", THIRD) in said(
        {FLOOR: GROUND, THIRD: surface([0, 0, 0.5], [0.5, 0.3, 1.0]), FOURTH: inside}, names
    )


def test_a_can_before_a_partition_is_not_under_a_knot_of_its_haze() -> None:
    """Sixteen of its Gaussians lie within ten centimetres over the can, and as many higher up: no board is there."""
    can = surface([0.1, 0.3, TOP + 0.1], [0.1, 0.08, 0.2])
    rng = np.random.default_rng(4)
    wall = surface([0, 0.48, 0.7], [2.0, 0.06, 1.4])
    knot = rng.uniform([0.03, 0.25, TOP + 0.19], [0.17, 0.35, TOP + 0.29], (16, 3))
    above = rng.uniform([0.03, 0.25, TOP + 0.3], [0.17, 0.35, TOP + 0.6], (14, 3))
    found = said({FLOOR: GROUND, TABLE: DESK, THIRD: can, FOURTH: np.concatenate([wall, knot, above])},
                 {FLOOR: "floor", TABLE: "table", THIRD: "can", FOURTH: "partition"})  # fmt: skip
    assert (THIRD, "on", TABLE) in found
    assert not {fact for fact in found if fact[1] in ("in", "under")}


@pytest.mark.parametrize(("normal", "under"), [(1, False), (2, True)])
def test_what_faces_sideways_covers_nothing(normal: int, under: bool) -> None:
    """Gaussians over a bottle, close together in height: of a partition behind it, or of a board."""
    bottle = surface([0.1, 0.3, TOP + 0.13], [0.08, 0.08, 0.26])
    over = np.random.default_rng(6).uniform([0.0, 0.2, TOP + 0.28], [0.2, 0.48, TOP + 0.31], (60, 3))
    panel = surface([0, 0.48, TOP + 0.6], [1.0, 0.04, 0.6])
    found = said({FLOOR: GROUND, TABLE: DESK, THIRD: bottle, FOURTH: np.concatenate([panel, over])},
                 {FLOOR: "floor", TABLE: "table", THIRD: "bottle", FOURTH: "board"}, {FOURTH: normal})  # fmt: skip
    assert ((THIRD, "under", FOURTH) in found) is under


def test_a_floor_that_took_the_legs_of_tables_is_where_most_of_it_is() -> None:
    """A third of the floor's Gaussians are on furniture, at all heights up to a table's top."""
    rng = np.random.default_rng(2)
    junk = rng.uniform([-0.7, -0.4, 0.05], [0.7, 0.4, 0.7], (len(GROUND) // 3, 3))
    chair = np.concatenate([surface([0, 0.9, 0.44], [0.45, 0.45, 0.04]), surface([0, 1.1, 0.7], [0.45, 0.04, 0.5]), *(
        surface([x, 0.9 + y, 0.21], [0.04, 0.04, 0.42]) for x in (-0.2, 0.2) for y in (-0.2, 0.2))])  # fmt: skip
    found = said({FLOOR: np.concatenate([GROUND, junk]), TABLE: DESK, THIRD: chair},
                 {FLOOR: "floor", TABLE: "table", THIRD: "chair"})  # fmt: skip
    assert {(TABLE, "on", FLOOR), (THIRD, "on", FLOOR)} <= found


def test_arranged_furniture_is_told_as_it_was_arranged() -> None:
    """The measure of benchmarks.relations, on two of its floors."""
    total = figures(sum((measure(seed)[0] for seed in (7, 8)), start=type(measure(7)[0])()))
    for kind in KINDS:
        assert total[kind]["precision"] >= 0.9, kind
        assert total[kind]["recall"] >= 0.9, kind
