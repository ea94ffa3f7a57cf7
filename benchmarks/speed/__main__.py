# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
import tyro
from rich.console import Console

from benchmarks.speed import device, workloads
from benchmarks.speed.beside import beside_rows
from benchmarks.speed.host_table import host_goals, host_table
from benchmarks.speed.plugin import demo_iteration
from benchmarks.speed.rasterize import rasterizer_rows, training_iteration, training_rows
from benchmarks.speed.table import speed_table
from benchmarks.speed.timing import machine
from benchmarks.speed.uplift import uplift_rows, voronoi
from benchmarks.speed.workloads import Workload
from panoptic_gs import Camera, InputError, LabelVotes, Splats, rasterization, render_panoptic
from panoptic_gs.backends import gsplat


@dataclass(frozen=True)
class Speed:
    """Measure the kernels of this machine."""

    device: Literal["cpu", "cuda"] = "cpu"
    """Where to run. On CUDA the rasterizer is gsplat's; without it the kernels alone are timed."""
    out: Path | None = None
    """A JSON file to write the numbers to; the table goes beside it, as .txt."""
    garden: Path = Path("../shared/data/garden/garden_splats.npz")
    """The garden workload, or a PLY file of Gaussians; a random scene stands in where it is missing."""
    repeat: int = 15
    """Timed calls of each row; the median is printed."""
    threads: int | None = None
    """torch's number of threads; by default as torch decides."""
    beside: int = 0
    """Measure beside up to this many processes that keep a core busy each, instead: how much longer calls take then.
    With nerfstudio, one of them is an iteration of ns-train on the demo's scene."""


def main(config: Speed) -> None:
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    torch.manual_seed(0)
    found = machine(config.device)
    scene = workloads.load(config.garden)
    room = workloads.room()
    goals: list[dict[str, Any]] = []
    if config.beside:
        rows = _beside(scene, room, config)
    elif config.device == "cuda":
        rows = _on_cuda(scene, room, config)
    else:
        rows = _on_cpu(scene, room, config, found)
        goals = host_goals(rows, scene.name, room.name)
    tables = [speed_table(rows, found)]
    if goals:
        tables.append(host_table(goals))
    Console(width=None if Console().is_terminal else 150).print(*tables)
    if config.out is not None:
        sizes = [_sizes(workload) for workload in (scene, room)]
        config.out.parent.mkdir(parents=True, exist_ok=True)
        config.out.write_text(
            json.dumps({"machine": found, "workloads": sizes, "rows": rows, "goals": goals}, indent=1) + "\n"
        )
        with config.out.with_suffix(".txt").open("w") as file:
            Console(file=file, width=150).print(*tables)


def _beside(scene: Workload, room: Workload, config: Speed) -> list[dict[str, Any]]:
    """Training, and what is seen of a trained scene, while other processes run."""
    splats = Splats(scene.means, scene.quats, scene.scales, scene.opacities, scene.colors[:, None])
    camera = Camera(scene.viewmat, scene.K, scene.width, scene.height)
    label_map = voronoi(200, scene.width, scene.height)
    votes = LabelVotes(len(splats))
    votes.add(splats, camera, label_map)
    labels = votes.finish()
    calls: dict[str, Callable[[], object]] = {
        "RGB forward": lambda: rasterization(
            splats.means, splats.quats, splats.scales, splats.opacities, scene.colors, camera.viewmat[None],
            camera.K[None], camera.width, camera.height,
        ),
        "uplift one more view, 200 labels": lambda: votes.add(splats, camera, label_map),
        "render panoptic, 200 labels": lambda: render_panoptic(splats, labels, camera),
    }  # fmt: skip
    training = {"training iteration (SH 3, L1 + SSIM, Adam)": training_iteration(room, "cpu")}
    rows = beside_rows(room.name, training, config.beside, config.repeat)
    with tempfile.TemporaryDirectory() as folder:
        try:
            demo = {"training iteration, ns-train": demo_iteration(Path(folder))}
        except ImportError:
            print("nerfstudio is not installed: its training loop is left out.")
        else:
            rows += beside_rows("demo", demo, config.beside, config.repeat)
    return rows + beside_rows(scene.name, calls, config.beside, config.repeat)


def _on_cpu(scene: Workload, room: Workload, config: Speed, found: dict[str, Any]) -> list[dict[str, Any]]:
    peak = found["peak_gflops"]
    rows = rasterizer_rows(scene, config.repeat, "cpu", peak) + rasterizer_rows(room, config.repeat, "cpu", peak)
    return rows + training_rows(room, config.repeat, "cpu") + _uplift(scene, config)


def _on_cuda(scene: Workload, room: Workload, config: Speed) -> list[dict[str, Any]]:
    try:
        rasterization = gsplat.load().module.rasterization
    except InputError as error:
        print(f"Without gsplat's rasterizer: {error}")
        return device.measure(scene, "cuda", config.repeat, None)
    rows = rasterizer_rows(scene, config.repeat, "cuda", None) + rasterizer_rows(room, config.repeat, "cuda", None)
    rows += training_rows(room, config.repeat, "cuda")
    return rows + device.measure(scene, "cuda", config.repeat, rasterization)


def _uplift(workload: Workload, config: Speed) -> list[dict[str, Any]]:
    splats = Splats(workload.means, workload.quats, workload.scales, workload.opacities, workload.colors[:, None])
    camera = Camera(workload.viewmat, workload.K, workload.width, workload.height)
    rows = []
    for row in uplift_rows(splats, camera, workload.colors, repeat=config.repeat):
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


if __name__ == "__main__":
    main(tyro.cli(Speed))
