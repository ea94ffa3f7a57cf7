# SPDX-License-Identifier: Apache-2.0
"""Replica by Semantic-NeRF: ``python -m benchmarks.replica --root SCENES``; every 4th view is held out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from benchmarks.quality.command import main
from benchmarks.quality.dataset import DatasetBenchmark


@dataclass(frozen=True)
class Replica(DatasetBenchmark):
    """Score the seven scenes of Replica, next to the published rows."""

    name: ClassVar[str] = "replica"
    benchmark_scenes: ClassVar[tuple[str, ...]] = (
        "room_0",
        "room_1",
        "room_2",
        "office_0",
        "office_2",
        "office_3",
        "office_4",
    )
    raw_folders: ClassVar[tuple[str, ...]] = ("{scene}/Sequence_1", "{scene}")


if __name__ == "__main__":
    main(Replica)
