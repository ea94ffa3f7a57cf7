# SPDX-License-Identifier: Apache-2.0
"""The report's table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from rich.table import Table

Row = dict[str, Any]


def speed_table(rows: Sequence[Row], found: dict[str, Any]) -> Table:
    """The rows under the machine's name, with the columns that any of them fills."""
    where = found.get("gpu") or f"{found['cpu']}, {found['threads']} threads, {found['isa']}"
    table = Table(title=where + (f", {found['peak_gflops']:.0f} GFLOP/s" if "peak_gflops" in found else ""))
    table.add_column("workload")
    table.add_column("")
    filled = [(title, cell) for title, cell in _COLUMNS.items() if any(cell(row) for row in rows)]
    for title, _ in filled:
        table.add_column(title, justify="right")
    for row in rows:
        table.add_row(row["workload"], row["name"], *(cell(row) for _, cell in filled))
    return table


def _milliseconds(key: str) -> Callable[[Row], str]:
    return lambda row: f"{row[key]:.{1 if row[key] >= 2 else 3}f}" if key in row else ""


def _billions(key: str) -> Callable[[Row], str]:
    return lambda row: f"{row[key] / 1e9:.2f} G" if key in row else ""


def _percent(key: str) -> Callable[[Row], str]:
    return lambda row: f"{100 * row[key]:.0f} %" if key in row else ""


def _goal(row: Row) -> str:
    return f"{row['goal']}: {'met' if row['goal_met'] else 'missed'}" if "goal" in row else ""


_COLUMNS: dict[str, Callable[[Row], str]] = {
    "ms": _milliseconds("median_ms"),
    "mean": _milliseconds("mean_ms"),
    "least": _milliseconds("least_ms"),
    "blended/s": _billions("blended_pairs_per_s"),
    "evaluated/s": _billions("evaluated_pairs_per_s"),
    "of peak": _percent("share_of_peak"),
    "of atomics": _percent("share_of_atomics"),
    "of copying": _percent("share_of_copy"),
    "ratio": lambda row: f"{row['ratio']:.2f} × {row['ratio_to']}" if "ratio" in row else "",
    "goal": _goal,
}
