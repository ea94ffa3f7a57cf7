# SPDX-License-Identifier: Apache-2.0
"""ScanNet++: ``python -m benchmarks.scannetpp --root SCENES``; all scenes of the folder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from benchmarks.command import main
from benchmarks.dataset import DatasetBenchmark


@dataclass(frozen=True)
class ScanNetPlusPlus(DatasetBenchmark):
    """Score scenes of ScanNet++, next to the published rows (50 validation scenes, 100 classes)."""

    name: ClassVar[str] = "scannetpp"
    raw_folders: ClassVar[tuple[str, ...]] = ("{scene}", "data/{scene}")


if __name__ == "__main__":
    main(ScanNetPlusPlus)
