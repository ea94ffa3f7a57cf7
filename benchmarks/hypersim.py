# SPDX-License-Identifier: Apache-2.0
"""Hypersim: ``python -m benchmarks.hypersim --root SCENES``; every 6th view is held out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from benchmarks.quality.command import main
from benchmarks.quality.dataset import DatasetBenchmark


@dataclass(frozen=True)
class Hypersim(DatasetBenchmark):
    """Score scenes of Hypersim, next to the published rows."""

    name: ClassVar[str] = "hypersim"
    benchmark_scenes: ClassVar[tuple[str, ...]] = (
        "ai_001_003", "ai_001_006", "ai_001_008", "ai_001_010", "ai_004_006", "ai_008_004", "ai_010_005", "ai_027_008",
        "ai_035_001", "ai_048_008",
    )  # fmt: skip
    """Candidates: which scenes the published tables took is not known; --scenes gives another list."""
    raw_folders: ClassVar[tuple[str, ...]] = ("{scene}",)


if __name__ == "__main__":
    main(Hypersim)
