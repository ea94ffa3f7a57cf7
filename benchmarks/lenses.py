# SPDX-License-Identifier: Apache-2.0
"""``python -m benchmarks.lenses``: the rectangle that rectified photos keep, against brute force on random lenses.

A lens is valid where it does not fold inside its photo; others are drawn again and counted. The rectangle has to be at
least as large as the best one of whole cells of a grid, and nothing of its border may lie outside of the photo.
"""

from __future__ import annotations

import json
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro
from rich.console import Console
from rich.table import Table

from benchmarks.captures.random_lenses import brute_force_area, most_outside, random_lens
from panoptic_gs.errors import InputError
from panoptic_gs.scene.rectification import MAX_FOV
from panoptic_gs.scene.seen_rectangle import largest_rectangle


@dataclass(frozen=True)
class Lenses:
    """Search the largest rectangle of random lenses, and by brute force."""

    count: int = 1000
    """Valid lenses."""
    cells: int = 300
    """Of the grid, on a side of what the photo shows."""
    max_fov: float = MAX_FOV
    """Degrees."""
    seed: int = 0
    """Of the lenses."""
    out: Path | None = None
    """A JSON file to write the numbers to."""


def main(config: Lenses) -> None:
    """Measure and print."""
    rng = np.random.default_rng(config.seed)
    ratios: dict[str, list[float]] = defaultdict(list)
    outside: dict[str, float] = defaultdict(float)
    milliseconds: dict[str, list[float]] = defaultdict(list)
    folded = 0
    while sum(map(len, ratios.values())) < config.count:
        lens, photo = random_lens(rng)
        started = time.process_time()
        try:
            kept = largest_rectangle(lens, photo, config.max_fov)
        except InputError:
            folded += 1
            continue
        milliseconds[lens.model].append(1000 * (time.process_time() - started))
        area = (kept.right - kept.left) * (kept.bottom - kept.top)
        ratios[lens.model].append(area / brute_force_area(lens, photo, config.max_fov, config.cells))
        outside[lens.model] = max(outside[lens.model], most_outside(lens, photo, kept))
    table = Table("lens", "count", "area / brute force, least", "mean", "most outside, of the width", "CPU ms")
    rows = {}
    for model, values in sorted(ratios.items()):
        rows[model] = {
            "count": len(values), "least": min(values), "mean": float(np.mean(values)), "outside": outside[model],
            "ms": float(np.median(milliseconds[model])),
        }  # fmt: skip
        row = rows[model]
        table.add_row(model, str(len(values)), f"{row['least']:.4f}", f"{row['mean']:.4f}", f"{row['outside']:.1e}",
                      f"{row['ms']:.0f}")  # fmt: skip
    Console().print(table, f"{folded} more fold inside their photo and are refused.")
    if config.out is not None:
        config.out.parent.mkdir(parents=True, exist_ok=True)
        document = {"seed": config.seed, "cells": config.cells, "max_fov": config.max_fov, "folded": folded}
        config.out.write_text(json.dumps({**document, "lenses": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main(tyro.cli(Lenses))
