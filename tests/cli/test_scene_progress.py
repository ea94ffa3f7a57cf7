# SPDX-License-Identifier: Apache-2.0
"""What is said of the time that several stages take."""

import io

import pytest
from rich.console import Console

from panoptic_gs.cli.scene_progress import Estimate, StagedProgress, time_left


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_the_time_left_is_what_is_expected_until_it_can_be_measured():
    clock = Clock()
    estimate = Estimate({"a": 60, "b": 100, "c": 40}, {"b": "steps"}, clock)
    assert estimate.remaining() == 200
    estimate.begin("a")
    clock.now += 50
    assert estimate.remaining() == 10 + 140
    clock.now += 500  # longer than expected
    assert estimate.remaining() == 6 + 140
    estimate.end("a")
    estimate.expect({"c": 30})
    assert estimate.remaining() == 130
    estimate.begin("b")
    estimate.report("steps", 600, 1000)  # goes on from an earlier try: those say nothing of the speed
    clock.now += 10
    estimate.report("other steps", 5, 10)
    assert estimate.remaining() == 90 + 30
    estimate.report("steps", 700, 1000)
    assert estimate.remaining() == pytest.approx(30 + 30)
    clock.now += 12
    assert estimate.remaining() == pytest.approx(18 + 30)
    estimate.end("b")
    estimate.end("c")
    assert estimate.remaining() == 0


def test_stages_are_named_with_the_time_left_also_where_nothing_can_be_drawn():
    output = io.StringIO()
    console = Console(file=output, width=100)
    progress = StagedProgress(console, Estimate({"Finding": 60, "Training": 600}, {"Training": "steps"}), 2)
    with progress.shown():
        with progress.stage(1, "Finding", done=True) as needed:
            assert not needed
        with progress.stage(2, "Training", done=False) as needed:
            assert needed
            progress("steps", 1, 10)
    assert "[1/2] Finding: done before" in output.getvalue()
    assert "[2/2] Training (about 10 min left in all)" in output.getvalue()


def test_bars_of_all_stages_and_of_the_one_that_runs_are_drawn_on_a_terminal():
    output = io.StringIO()
    console = Console(file=output, width=100, force_terminal=True, color_system=None)
    progress = StagedProgress(console, Estimate({"Training": 600}, {}), 1)
    with progress.shown(), progress.stage(1, "Training", done=False):
        progress("Steps", 30, 100)
        progress._bars.refresh()
        drawn = output.getvalue()
    assert "All stages" in drawn
    assert "30/100" in drawn


@pytest.mark.parametrize(
    ("seconds", "said"), [(20, "less than a minute left"), (130, "about 2 min left"), (9000, "about 2.5 h left")]
)
def test_times_are_said_as_people_say_them(seconds, said):
    assert time_left(seconds) == said
