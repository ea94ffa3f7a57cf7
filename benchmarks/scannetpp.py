# SPDX-License-Identifier: Apache-2.0
"""ScanNet++: ``python -m benchmarks.scannetpp --root SCENES``; the validation scenes, or all of the folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from benchmarks.quality.command import main
from benchmarks.quality.dataset import DatasetBenchmark

VALIDATION = Path("splits") / "nvs_sem_val.txt"
"""Where the download lists the 50 scenes that are scored."""


@dataclass(frozen=True)
class ScanNetPlusPlus(DatasetBenchmark):
    """Score scenes of ScanNet++, next to the published rows (50 validation scenes, 100 classes)."""

    name: ClassVar[str] = "scannetpp"
    raw_folders: ClassVar[tuple[str, ...]] = ("{scene}", "data/{scene}")
    raw_part: ClassVar[str] = "scans"

    def scene_names(self) -> Sequence[str]:
        """Those that were asked for; with --raw the validation scenes that the download lists; or all of the folder."""
        listed = None if self.raw is None else self.raw / VALIDATION
        if self.scenes or listed is None or not listed.is_file():
            return super().scene_names()
        return listed.read_text(encoding="utf-8").split()


if __name__ == "__main__":
    main(ScanNetPlusPlus)
