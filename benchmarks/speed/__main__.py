# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

# Before torch is imported: its idle threads would spin on the cores that the kernels need.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch
import tyro
from rich.console import Console
from rich.table import Table

from benchmarks.speed import workloads
from benchmarks.speed.rasterize import rasterizer_rows, training_rows
from benchmarks.speed.timing import machine
from benchmarks.speed.uplift import uplift_rows
from benchmarks.speed.workloads import Workload
from panoptic_gs import Camera, Splats


@dataclass(frozen=True)
class Speed:
    """Measure the kernels of this machine."""

    device: Literal["cpu", "cuda"] = "cpu"
    """Where to run. On CUDA the rasterizer is gsplat's."""
    out: Path | None = None
    """A JSON file to write the numbers to."""
    garden: Path = Path("../shared/data/garden/garden_splats.npz")
    """The garden workload; a random scene of its size stands in where it is missing."""
    repeat: int = 15
    """Timed calls of each row; the median is printed."""
    threads: int | None = None
    """torch's number of threads; by default as torch decides."""


def main(config: Speed) -> None:
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    torch.manual_seed(0)
    found = machine(config.device)
    scene = workloads.garden(config.garden) if config.garden.is_file() else workloads.random_scene()
    room = workloads.room()
    peak = found.get("peak_gflops")
    rows = rasterizer_rows(scene, config.repeat, config.device, peak)
    rows += rasterizer_rows(room, config.repeat, config.device, peak)
    rows += training_rows(room, config.repeat, config.device)
    rows += _uplift(scene, config)
    _print(rows, found)
    if config.out is not None:
        sizes = [_sizes(workload) for workload in (scene, room)]
        config.out.parent.mkdir(parents=True, exist_ok=True)
        config.out.write_text(json.dumps({"machine": found, "workloads": sizes, "rows": rows}, indent=1) + "\n")


def _uplift(workload: Workload, config: Speed) -> list[dict[str, Any]]:
    device = config.device
    splats = Splats(workload.means, workload.quats, workload.scales, workload.opacities, workload.colors[:, None]).to(
        device
    )
    camera = Camera(workload.viewmat, workload.K, workload.width, workload.height).to(device)
    rows = []
    for row in uplift_rows(splats, camera, workload.colors.to(device), repeat=config.repeat):
        labels = f", {row['labels']} labels" if row["labels"] else ""
        rows.append({
            "workload": workload.name, "name": row["name"] + labels, "median_ms": row["milliseconds"]["median"],
            "least_ms": row["milliseconds"]["least"], "ratio": row["ratio"]["median"], "ratio_to": "RGB forward",
            **{key: row[key] for key in ("bytes_per_gaussian",) if key in row},
        })  # fmt: skip
    return rows


def _sizes(workload: Workload) -> dict[str, Any]:
    return {
        "name": workload.name, "gaussians": len(workload), "width": workload.width, "height": workload.height,
        "seed": workload.seed,
    }  # fmt: skip


def _print(rows: list[dict[str, Any]], found: dict[str, Any]) -> None:
    where = found.get("gpu") or f"{found['cpu']}, {found['threads']} threads, {found['isa']}"
    title = where + (f", {found['peak_gflops']:.0f} GFLOP/s" if "peak_gflops" in found else "")
    table = Table(title=title)
    table.add_column("workload")
    table.add_column("")
    for column in ("ms", "least", "blended/s", "evaluated/s", "of peak", "ratio"):
        table.add_column(column, justify="right")
    for row in rows:
        table.add_row(
            row["workload"], row["name"], f"{row['median_ms']:.1f}", f"{row['least_ms']:.1f}",
            _count(row.get("blended_pairs_per_s")), _count(row.get("evaluated_pairs_per_s")),
            f"{100 * row['share_of_peak']:.0f} %" if "share_of_peak" in row else "",
            f"{row['ratio']:.2f} × {row['ratio_to']}" if "ratio" in row else "",
        )  # fmt: skip
    Console(width=None if Console().is_terminal else 150).print(table)


def _count(number: float | None) -> str:
    return "" if number is None else f"{number / 1e9:.2f} G"


if __name__ == "__main__":
    main(tyro.cli(Speed))
