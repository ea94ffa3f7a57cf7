# SPDX-License-Identifier: Apache-2.0
"""What the measurements of sizes and of starts measure."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from benchmarks import scale, startup


def test_patches_are_of_the_wall_that_a_ray_meets() -> None:
    for camera, labels in scale.views_of(3, 64, 600, seed=2):
        across, inverse = 10, np.linalg.inv(camera.viewmat.double().numpy())
        for row, column in ((0, 0), (17, 40), (35, 63)):
            ray = inverse[:3, :3] @ np.linalg.inv(camera.K.double().numpy()) @ [column + 0.5, row + 0.5, 1.0]
            met = []
            for axis in range(3):
                for side in (0, 1):
                    reach = ((side - 0.5) * scale._SIZE[axis] - inverse[axis, 3]) / ray[axis]
                    if reach > 0:
                        met.append((reach, axis, side))
            reach, axis, side = min(met)
            at = ((inverse[:3, 3] + reach * ray) / scale._SIZE + 0.5) * across
            others = [int(at[other]) for other in (0, 1, 2) if other != axis]
            number = {tuple(others), tuple(reversed(others))}
            label = labels[row, column] - 1
            assert label // across**2 == 2 * axis + side
            assert (label // across % across, label % across) in number


def test_a_small_size_is_measured_and_its_labels_are_right(tmp_path) -> None:
    row = scale.made(20_000, 100, 2, 320, tmp_path / "scene")
    row |= scale.used(100, 2, 320, tmp_path / "scene", 5000, 0.1)
    assert row["agreement"] > 0.9
    assert 0.5 < row["pq"] < 1  # of maps that are moved by three pixels
    assert row["sample_view_gaussians"] == 5000
    assert row["view_gaussians"] == 20_000
    assert row["triangles"] > 1000
    assert row["pairs"] >= 0.1 * row["gaussians"]
    assert row["uplift_peak_bytes"] > 2**26
    assert row["export_seconds"] > 0


def rows(power: float, peak: float) -> list[dict]:
    return [
        {"gaussians": n, "labels": 10, "pairs": 3 * n, "uplift_seconds_per_view": n**power, "render_seconds": 1.0,
         "export_seconds": 1.0, "uplift_peak_bytes": peak + 100 * n, "weighed_peak_bytes": 1}
        for n in (10**5, 10**6, 4 * 10**6)
    ]  # fmt: skip


def test_bars() -> None:
    assert scale.exponents(rows(1.0, 1e9))[10]["pairs"] == pytest.approx(1.0)
    assert scale.faults(rows(1.0, 1e9)) == []
    assert "grows as Gaussians^1.50, pairs as Gaussians^1.00" in scale.faults(rows(1.5, 1e9))[0]
    assert len(scale.faults(rows(1.0, 2e9))) == 3


def test_starts_are_told_from_each_other() -> None:
    nothing = startup.least([sys.executable, "-S", "-c", ""], 1)
    waits = startup.least([sys.executable, "-S", "-c", "import time; time.sleep(0.3)"], 1)
    works = startup.least([sys.executable, "-S", "-c", "while __import__('time').process_time() < 0.5: pass"], 1)
    assert waits[0] > 0.3
    assert works[1] > max(0.45, waits[1], nothing[1])
    row = {"name": "panoptic-gs --help", "seconds": 0.6, "bar": startup.HELP_BAR}
    assert startup.slow([row, {**row, "seconds": 0.4}, {**row, "bar": None}]) == ["panoptic-gs --help"]
