# SPDX-License-Identifier: Apache-2.0
"""What the host kernels are asked for, beside what was measured."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.table import Table

Row = dict[str, Any]


def host_goals(rows: Sequence[Row], scene: str, room: str) -> list[Row]:
    """One row for each goal: ``name``, ``unit``, the largest ``measured`` value, ``required``, ``aim``, ``goal_met``.

    Args:
        rows: of the rasterizer, of training and of uplifting, as the report has them.
        scene, room: names of the workloads.
    """

    def value(workload: str, name: str, key: str) -> float:
        """The largest of the rows whose name begins with this."""
        return max(row[key] for row in rows if row["workload"] == workload and row["name"].startswith(name))

    asked = [
        ("RGB forward", "ms", value(scene, "forward, 3", "median_ms"), 22.0, 14.0),
        ("RGB backward", "ms", value(scene, "backward, 3", "median_ms"), 50.0, 30.0),
        ("6 channels ÷ 3 channels, forward + backward", "×", value(scene, "forward + backward", "ratio"), 1.35, 1.2),
        ("one more view's labels ÷ RGB forward, 2 … 10,000 labels", "×",
         value(scene, "uplift one more view", "ratio"), 1.2, 0.8),
        ("a lone view's labels ÷ RGB forward, 2 … 10,000 labels", "×",
         value(scene, "uplift one view", "ratio"), 1.2, 0.8),
        ("label memory a Gaussian, 2 … 10,000 labels", "bytes",
         value(scene, "uplift one more view", "bytes_per_gaussian"), 96.0, 96.0),
        ("panoptic render ÷ RGB forward, 200 labels", "×",
         value(scene, "render panoptic, 200 labels", "ratio"), 2.0, 1.3),
        ("training iteration, room", "ms", value(room, "training iteration", "median_ms"), 90.0, 60.0),
    ]  # fmt: skip
    return [
        {"name": name, "unit": unit, "measured": measured, "required": required, "aim": aim,
         "goal_met": measured <= required}
        for name, unit, measured, required, aim in asked
    ]  # fmt: skip


def host_table(goals: Sequence[Row]) -> Table:
    """The goals as a table."""
    table = Table(title="asked of the host")
    table.add_column("")
    for title in ("required", "aim", "measured", ""):
        table.add_column(title, justify="right")
    for row in goals:
        digits = 1 if row["unit"] != "×" else 2
        numbers = (f"{row[key]:.{digits}f} {row['unit']}" for key in ("required", "aim", "measured"))
        verdict = "missed" if not row["goal_met"] else "aim met" if row["measured"] <= row["aim"] else "met"
        table.add_row(row["name"], *numbers, verdict)
    return table
