# SPDX-License-Identifier: Apache-2.0
"""ScanNet: ``python -m benchmarks.scannet --root SCENES``; every 5th view is held out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from benchmarks.quality.command import main
from benchmarks.quality.dataset import DatasetBenchmark


@dataclass(frozen=True)
class ScanNet(DatasetBenchmark):
    """Score the twelve ScanNet scenes of the PanLift benchmark, next to the published rows."""

    name: ClassVar[str] = "scannet"
    benchmark_scenes: ClassVar[tuple[str, ...]] = (
        "scene0050_02", "scene0144_01", "scene0221_01", "scene0300_01", "scene0354_00", "scene0389_00", "scene0423_02",
        "scene0427_00", "scene0494_00", "scene0616_00", "scene0645_02", "scene0693_00",
    )  # fmt: skip
    raw_folders: ClassVar[tuple[str, ...]] = ("{scene}", "scans/{scene}")


if __name__ == "__main__":
    main(ScanNet)
