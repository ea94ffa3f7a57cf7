# SPDX-License-Identifier: Apache-2.0
"""ScanNet: ``python -m benchmarks.scannet --root SCENES``; every 5th view is held out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from benchmarks.quality.command import main
from benchmarks.quality.dataset import DatasetBenchmark
from panoptic_gs.datasets.scannet_labels import LABEL_TABLE, LATER_LABEL_TABLE
from panoptic_gs.records import read_record


@dataclass(frozen=True)
class ScanNet(DatasetBenchmark):
    """Score the twelve ScanNet scenes of the PanLift benchmark, next to the published rows."""

    name: ClassVar[str] = "scannet"
    benchmark_scenes: ClassVar[tuple[str, ...]] = (
        "scene0050_02", "scene0144_01", "scene0221_01", "scene0300_01", "scene0354_00", "scene0389_00", "scene0423_02",
        "scene0427_00", "scene0494_00", "scene0616_00", "scene0645_02", "scene0693_00",
    )  # fmt: skip
    raw_folders: ClassVar[tuple[str, ...]] = ("{scene}", "scans/{scene}")

    def notes(self, scenes: Sequence[Path]) -> Sequence[str]:
        """Which of the scenes' truths were reduced by another label table than the benchmark's."""
        others = [scene.name for scene in scenes if _label_table(scene) == LATER_LABEL_TABLE]
        if not others:
            return ()
        return (
            f"The truth of {', '.join(others)} was reduced by {LATER_LABEL_TABLE}, the benchmark's by {LABEL_TABLE}; "
            "they differ in 25 labels. Download that table, put it beside the raw scenes, or name it by "
            '--prepare-options="--labels FILE", and prepare them again.',
        )


def _label_table(scene: Path) -> str | None:
    """The name of the table that a prepared scene's truth was reduced by; None where that is not known."""
    file = scene / "preparation.json"
    raw = read_record(file, _Preparation).raw if file.is_file() else {}
    return Path(str(raw["labels"])).name if raw.get("labels") else None


@dataclass(frozen=True)
class _Preparation:
    raw: dict[str, Any]


if __name__ == "__main__":
    main(ScanNet)
