# SPDX-License-Identifier: Apache-2.0
"""What the measurement of several processes measures."""

from benchmarks.processes import ManyProcesses, measured, table
from panoptic_gs.processes import ALONE


def test_every_kind_of_work_is_timed() -> None:
    rows = measured(ManyProcesses(gaussians=5000, labels=20, views=2, width=64), ALONE)
    assert list(rows) == ["uplift", "associate", "evaluate"]
    assert all(row["cpu_seconds"] > 0 and row["seconds"] > 0 for row in rows.values())


def test_the_busiest_process_is_shown_beside_one_alone() -> None:
    rank = lambda seconds: {
        name: {"cpu_seconds": seconds, "seconds": 3.0} for name in ("uplift", "associate", "evaluate")
    }
    made = table({1: [rank(4.0)], 2: [rank(1.0), rank(3.0)]})
    shown = [list(column.cells) for column in made.columns[:4]]
    assert shown == [["1", "2"], ["4.00", "3.00"], ["100 %", "75 %"], ["3.00", "3.00"]]
