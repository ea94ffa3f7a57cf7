# SPDX-License-Identifier: Apache-2.0
"""What is a floor, and boxes down to it"""

import numpy as np
import pytest

from panoptic_gs.objects.boxes import Box
from panoptic_gs.objects.standing import down_to_floor, is_floor
from panoptic_gs.panoptic import Category

FLOOR = np.concatenate([np.random.default_rng(0).uniform(-3, 3, (2000, 2)), np.zeros((2000, 1))], axis=1)


class TestFloors:
    @pytest.mark.parametrize(
        ("name", "isthing", "floor"),
        [("floor", False, True), ("floor-wood", False, True), ("rug-merged", False, True), ("bath mat", True, True),
         ("floor lamp", True, False), ("mattress", True, False), ("background", False, False),
         ("material", False, False), ("rug", True, True)],
    )  # fmt: skip
    def test_by_name(self, name, isthing, floor):
        assert is_floor(Category(1, name, isthing)) is floor


class TestLegs:
    seat = Box(np.array([0.0, 0.0, 0.7]), np.eye(3), np.array([0.5, 0.5, 0.4]))  # from 0.5 to 0.9 m

    @staticmethod
    def leg(low: float, high: float, count: int = 12, at: tuple[float, float] = (0.2, 0.2)) -> np.ndarray:
        return np.stack([np.full(count, at[0]), np.full(count, at[1]), np.linspace(low, high, count)], axis=1)

    def test_a_box_reaches_the_floor_where_a_thin_leg_does(self):
        low = Box(np.array([0.0, 0.0, 0.6]), np.eye(3), np.array([0.5, 0.5, 0.5]))  # from 0.35 m
        box = down_to_floor(low, self.leg(0.02, 0.5), FLOOR)
        assert box.center[2] - box.size[2] / 2 == pytest.approx(0, abs=1e-9)
        assert box.center[2] + box.size[2] / 2 == pytest.approx(0.85)
        assert box.size[:2] == pytest.approx(low.size[:2])

    @pytest.mark.parametrize("why", ["nothing below", "haze that ends", "outside its plan", "too far", "no floor"])
    def test_a_box_stays_where_nothing_says_so(self, why):
        low = Box(np.array([0.0, 0.0, 0.6]), np.eye(3), np.array([0.5, 0.5, 0.5]))
        points = {"nothing below": np.zeros((0, 3)), "haze that ends": self.leg(0.2, 0.5),
                  "outside its plan": self.leg(0.02, 0.5, at=(0.6, 0.2))}.get(why, self.leg(0.02, 0.5))  # fmt: skip
        box = self.seat if why == "too far" else low
        floor = FLOOR[:0] if why == "no floor" else FLOOR
        assert down_to_floor(box, points, floor) is box

    def test_a_table_top_reaches_the_floor_where_its_leg_lies_all_the_way(self):
        top = Box(np.array([0.0, 0.0, 0.74]), np.eye(3), np.array([0.5, 0.5, 0.04]))
        box = down_to_floor(top, self.leg(0.02, 0.7, count=30), FLOOR)
        assert box.center[2] + 0.5 * box.size[2] * np.array([-1, 1]) == pytest.approx([0, 0.76])
        drops = np.concatenate([self.leg(0.02, 0.1), self.leg(0.6, 0.7)])  # of its label, on the floor and below it
        assert down_to_floor(top, drops, FLOOR) is top

    def test_any_up(self):
        turn = np.array([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])  # +z becomes +x
        low = Box(turn @ [0.0, 0.0, 0.6], turn, np.array([0.5, 0.5, 0.5]))
        box = down_to_floor(low, self.leg(0.02, 0.5) @ turn.T, FLOOR @ turn.T)
        assert box.center == pytest.approx([0.425, 0, 0])
