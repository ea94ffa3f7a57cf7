# SPDX-License-Identifier: Apache-2.0
"""How large a scene folder's unit is, where what made the folder knew it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from panoptic_gs.records import read_record

ASSEMBLED = "assembled.json"
"""What ``panoptic-gs predict`` and ``scene`` write beside the photos that they placed."""


@dataclass(frozen=True)
class _Assembled:
    metric: bool = False


def known_unit(root: Path) -> float | None:
    """Metres of the unit of a folder whose cameras were found by something that measures in metres; else None.

    Raises:
        InputError: ``assembled.json`` is malformed.
    """
    file = root / ASSEMBLED
    return 1.0 if file.is_file() and read_record(file, _Assembled).metric else None
