# SPDX-License-Identifier: Apache-2.0
"""``training.json``: how a training went and how it was started, beside its ``config.yml``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from torch import Tensor

from panoptic_gs.errors import InputError
from panoptic_gs.files import read_json, write_json
from panoptic_gs.records import Name, Range, parse_record

FILE = "training.json"
POINTS = 150
"""About how many points a curve has."""

Row = dict[str, float]


@dataclass
class TrainingLog:
    """Curves of a training: ``rows`` hold ``step`` and means over the steps since the row before.

    Args:
        origin: how it was made: ``command``, ``data``, ``seed``, ``rasterize_mode``, ``environment``, …, ready for
            JSON.
        every: steps that a row stands for.
        rows: one a point of the curves, by step.
    """

    origin: dict[str, Any]
    every: int = 1
    rows: list[Row] = field(default_factory=list)
    _sums: dict[str, Any] = field(default_factory=dict, repr=False)
    _count: int = field(default=0, repr=False)

    @classmethod
    def start(cls, origin: Mapping[str, Any], iterations: int, before: TrainingLog | None = None) -> TrainingLog:
        """An empty log with a fitting number of points; one of a training that goes on has the rows ``before`` it."""
        return cls(dict(origin), max(1, iterations // POINTS), [] if before is None else list(before.rows))

    def add(self, step: int, values: Mapping[str, Tensor | float]) -> None:
        """Count one step; tensors are not read before their row is complete, so that a GPU is not waited for."""
        for name, value in values.items():
            value = value.detach() if isinstance(value, Tensor) else value
            self._sums[name] = self._sums[name] + value if name in self._sums else value
        self._count += 1
        if (step + 1) % self.every == 0:
            self.rows.append({"step": step + 1, **{name: float(v) / self._count for name, v in self._sums.items()}})
            self._sums, self._count = {}, 0

    def up_to(self, step: int) -> TrainingLog:
        """The log of the first ``step`` steps."""
        return TrainingLog(self.origin, self.every, [row for row in self.rows if row["step"] <= step])

    def curve(self, name: str) -> list[tuple[float, float]]:
        """The points (step, value) of one quantity."""
        return [(row["step"], row[name]) for row in self.rows if name in row]

    @property
    def names(self) -> list[str]:
        """The quantities there are curves of."""
        return [name for name in dict.fromkeys(name for row in self.rows for name in row) if name != "step"]

    def save(self, folder: Path) -> None:
        """Write ``training.json`` into a training's folder, in one move."""
        columns = ["step", *self.names]
        rows = [[_rounded(row.get(name)) for name in columns] for row in self.rows]
        write_json(folder / FILE, {**self.origin, "every": self.every, "columns": columns, "rows": rows})

    @classmethod
    def load(cls, folder: Path) -> TrainingLog | None:
        """Read ``training.json`` of a training's folder; None where there is none.

        Raises:
            InputError: it is malformed.
        """
        file = folder / FILE
        if not file.is_file():
            return None
        document = read_json(file)
        log = parse_record(document, _Stored, file, mend="Remove the file; the report does without it.")
        rows = [{name: value for name, value in zip(log.columns, row) if value is not None} for row in log.rows]
        if not all("step" in row for row in rows):
            raise InputError(file, "a row without a step", "a training's columns and rows", "Remove the file.")
        origin = {name: value for name, value in document.items() if name not in ("every", "columns", "rows")}
        return cls(origin, log.every, rows)


@dataclass(frozen=True)
class _Stored:
    """What is read of the file; the rest of ``origin`` is told as it is."""

    every: Annotated[int, Range(1)]
    columns: tuple[Name, ...]
    rows: tuple[tuple[float | None, ...], ...]
    commands: tuple[str, ...] = ()
    held_out: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)


def _rounded(value: float | None) -> float | None:
    """Six digits: enough for a curve. NaN and infinity are no JSON, so they become None."""
    if value is None or value != value or abs(value) == float("inf"):
        return None
    return float(f"{value:.6g}")
