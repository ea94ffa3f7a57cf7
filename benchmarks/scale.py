# SPDX-License-Identifier: Apache-2.0
"""How memory and time grow with Gaussians and labels: ``python -m benchmarks.scale``.

Each size runs in two processes of its own. One has Gaussians on the walls of a room, uplifts label maps of the same
walls seen from within, renders, and writes the labelled scene; the other scores as many views, and opens what was
written for the viewer and for a mesh. The exit code is 1 where uplifting takes more memory than its bar, or where its
time grows faster than the pairs.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from rich.console import Console
from rich.table import Table

from benchmarks.speed.timing import machine
from panoptic_gs import Camera, Category, Segment, Splats
from panoptic_gs.files import read_json, write_json
from panoptic_gs.labelling import Labelling
from panoptic_gs.mesh import FusionOptions, MeshOptions, fuse, scene_surface
from panoptic_gs.metrics.scorer import Scorer
from panoptic_gs.objects.opening import open_scene
from panoptic_gs.refine import LabelRule, label_gaussians
from panoptic_gs.uplift import render_panoptic, save_labelled_scene
from panoptic_gs.uplift.maps import Repeated
from panoptic_gs.viewer.page import Page
from panoptic_gs.viewer.start import start_viewer

BAR_BYTES, BAR_PER_GAUSSIAN = 1.5 * 2**30, 120
"""Most memory of uplifting: so much, and so much a Gaussian."""
BAR_SLOPE = 0.1
"""By how much the exponent of time may be above that of pairs: what a measurement of seconds repeats to."""
_OFF = 3  # pixels by which the scored maps are moved
_SIZE = np.array([5.0, 3.0, 4.0], np.float32)


@dataclass(frozen=True)
class Scale:
    """Measure uplifting, rendering, export, scoring, viewing and meshing at several sizes."""

    gaussians: tuple[int, ...] = (100_000, 500_000, 1_000_000, 2_000_000, 5_000_000)
    """Numbers of Gaussians."""
    labels: tuple[int, ...] = (10, 100, 1000)
    """Numbers of labels; the walls are divided into about so many."""
    views: int = 20
    """Views that vote; memory does not depend on them once all Gaussians were seen, time is told a view."""
    width: int = 1920
    """Of a view; the height is 9/16 of it."""
    sample: int = 1_000_000
    """Gaussians that the viewer is started with a second time, after all."""
    voxel: float = 0.03
    """Of the mesh, in metres; the room is 5 m long."""
    out: Path | None = None
    """JSON to write."""
    one: tuple[int, int] | None = None
    """Gaussians and labels of the one size to measure in this process, printed as JSON."""
    folder: Path | None = None
    """With --one: where the labelled scene lies."""
    written: bool = False
    """With --one: measure what is done with the labelled scene, not what makes it."""


def room(count: int, seed: int = 0) -> Splats:
    """Flat Gaussians on the walls of a closed box, as dense as they cover it."""
    generator = torch.Generator().manual_seed(seed)
    size = torch.from_numpy(_SIZE)
    means = torch.rand(count, 3, generator=generator)
    wall = torch.randint(0, 3, (count,), generator=generator)
    means.scatter_(1, wall[:, None], torch.randint(0, 2, (count, 1), generator=generator).float())
    means = (means - 0.5) * size
    area = 2 * float(size[0] * size[1] + size[1] * size[2] + size[0] * size[2])
    scales = torch.full((count, 3), 0.7 * (area / count) ** 0.5)
    scales.scatter_(1, wall[:, None], 1e-3)
    quats = torch.zeros(count, 4)
    quats[:, 0] = 1
    opacities = 0.3 + 0.65 * torch.rand(count, generator=generator)
    return Splats(means, quats, scales, opacities, torch.zeros(count, 1, 3))


def patch_of(points: np.ndarray, labels: int) -> np.ndarray:
    """Which patch of the wall that it lies on each point ``[N, 3]`` is in, as :func:`views_of` numbers them."""
    across = max(1, round((labels / 6) ** 0.5))
    at = points / _SIZE + 0.5
    wall = np.abs(at - 0.5).argmax(axis=1)
    cell = np.minimum((at.clip(0, 1) * across).astype(np.int32), across - 1)
    rows = np.arange(len(points))
    side = at[rows, wall] > 0.5
    first, second = cell[rows, np.array([1, 0, 0])[wall]], cell[rows, np.array([2, 2, 1])[wall]]
    return (((2 * wall + side) * across + first) * across + second + 1).astype(np.int32)


def views_of(count: int, width: int, labels: int, seed: int = 0) -> Iterator[tuple[Camera, np.ndarray]]:
    """Cameras within the room, and which patch of which wall each pixel sees, from 1."""
    rng, height = np.random.default_rng(seed), 9 * width // 16
    across = max(1, round((labels / 6) ** 0.5))
    columns, rows = np.meshgrid(np.arange(width, dtype=np.float32) + 0.5, np.arange(height, dtype=np.float32) + 0.5)
    for _ in range(count):
        eye, target = (rng.random(3) - 0.5) * _SIZE * 0.5, (rng.random(3) - 0.5) * _SIZE * 2
        camera = Camera.look_at(eye.tolist(), target.tolist(), [0.0, 1.0, 0.0], np.radians(70.0), width, height)
        K, view = camera.K.numpy(), camera.viewmat.numpy()
        rays = np.stack([(columns - K[0, 2]) / K[0, 0], (rows - K[1, 2]) / K[1, 1], np.ones_like(columns)], axis=-1)
        rays = rays @ view[:3, :3]  # of the camera in the world: the transpose on the other side
        origin = (-view[:3, :3].T @ view[:3, 3]).astype(np.float32)
        with np.errstate(divide="ignore"):
            reach = (np.sign(rays) * _SIZE / 2 - origin) / rays
        wall = reach.argmin(axis=-1)
        hit = (origin + rays * reach.min(axis=-1)[..., None]) / _SIZE + 0.5
        cell = np.minimum((hit.clip(0, 1) * across).astype(np.int32), across - 1)
        first, second = np.array([1, 0, 0])[wall], np.array([2, 2, 1])[wall]
        side = np.take_along_axis(rays, wall[..., None], axis=-1)[..., 0] > 0
        at = [np.take_along_axis(cell, axis[..., None], axis=-1)[..., 0] for axis in (first, second)]
        yield camera, (((2 * wall + side) * across + at[0]) * across + at[1] + 1).astype(np.int32)


def made(gaussians: int, labels: int, views: int, width: int, folder: Path) -> dict[str, Any]:
    """Uplifting, rendering and writing at one size, in this process."""
    splats = room(gaussians)
    row: dict[str, Any] = {"gaussians": gaussians, "labels": labels, "views": views, "width": width}
    seen = set[int]()
    rules: tuple[tuple[str, LabelRule], ...] = (("uplift", "average"), ("weighed", "weighed"))
    for name, rule in rules:
        elsewhere = 0.0

        def timed() -> Iterator[tuple[Camera, np.ndarray]]:
            nonlocal elsewhere
            start = time.perf_counter()
            for camera, label_map in views_of(views, width, labels):
                seen.update(np.unique(label_map).tolist())
                elsewhere += time.perf_counter() - start
                yield camera, label_map
                start = time.perf_counter()

        _forget_peak()
        start = time.perf_counter()
        found = label_gaussians(rule, splats, Repeated(timed))
        row |= {f"{name}_seconds_per_view": (time.perf_counter() - start - elsewhere) / views,
                f"{name}_peak_bytes": _peak(), "pairs": len(found.label)}  # fmt: skip
        if name == "uplift":
            del found
    row["labels_seen"] = len(seen)
    camera, label_map = next(views_of(1, width, labels))
    rendered = _timed(row, "render", lambda: render_panoptic(splats, found, camera))
    row["agreement"] = float((rendered.ids.numpy() == label_map).mean())
    meaning = Labelling((Category(1, "patch", True),), tuple(Segment(i, 1) for i in sorted(seen)))
    _timed(row, "export", lambda: save_labelled_scene(folder, splats, found, meaning))
    return row


def used(labels: int, views: int, width: int, folder: Path, sample: int, voxel: float) -> dict[str, Any]:
    """Scoring, viewing and meshing at one size, in this process."""
    row: dict[str, Any] = {
        "sample": sample,
        "voxel": voxel,
    }
    meaning = Labelling.from_json(read_json(folder / "segments.json"), folder / "segments.json")
    scorer = Scorer(meaning, meaning)
    _timed(row, "evaluate", lambda: [scorer.add(np.roll(ids, _OFF, 1), ids) for ids in _known(views, width, labels)])
    row["evaluate_views"], row["pq"] = views, scorer.scores()["strict"].panoptic.pq
    for name, most in (("sample_view", sample), ("view", None)):
        page = _timed(row, name, lambda most=most: _drawn(start_viewer(folder, port=0, max_gaussians=most)[0]))
        row[f"{name}_gaussians"] = len(page.session.table.segment_of)
        page.close()
        del page
    opened = _timed(row, "open", lambda: open_scene(folder))
    cameras = [camera for camera, _ in views_of(views, width, labels)]
    up, options = np.array([0.0, 1.0, 0.0]), FusionOptions(voxel, added_places=1)
    mesh = _timed(row, "mesh", lambda: scene_surface(fuse(opened.scene, cameras, up, options), MeshOptions()))
    row["triangles"] = len(mesh.faces)
    return row


def _drawn(page: Page) -> Page:
    """A viewer's page once all that it shows is ready to be sent."""
    while not page.draws:
        time.sleep(0.02)
    return page


def _known(views: int, width: int, labels: int) -> Iterator[np.ndarray]:
    """Ids that views see."""
    return (ids for _, ids in views_of(views, width, labels))


def _timed(row: dict[str, Any], name: str, call: Callable[[], Any]) -> Any:
    _forget_peak()
    start = time.perf_counter()
    result = call()
    row[f"{name}_seconds"], row[f"{name}_peak_bytes"] = time.perf_counter() - start, _peak()
    return result


def _forget_peak() -> None:
    """Let the process's peak memory begin anew (Linux)."""
    Path("/proc/self/clear_refs").write_text("5")


def _peak() -> int:
    """The process's most resident memory since then, in bytes."""
    found = re.search(r"^VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text(), flags=re.MULTILINE)
    assert found is not None
    return 1024 * int(found[1])


def exponent(rows: list[dict[str, Any]], name: str) -> float:
    """The slope of log(value) over log(Gaussians), by least squares."""
    x = np.log([row["gaussians"] for row in rows])
    return float(np.polyfit(x, np.log([row[name] for row in rows]), 1)[0])


def exponents(rows: list[dict[str, Any]]) -> dict[int, dict[str, float]]:
    """How time, memory and pairs grow with Gaussians, for each number of labels that has two sizes or more."""
    found = {}
    for labels in dict.fromkeys(row["labels"] for row in rows):
        of = [row for row in rows if row["labels"] == labels]
        if len({row["gaussians"] for row in of}) > 1:
            names = ("pairs", *(name for _, name, _ in COLUMNS if name in of[0]))
            found[labels] = {name: exponent(of, name) for name in names}
    return found


def faults(rows: list[dict[str, Any]]) -> list[str]:
    """Which bars were missed."""
    missed = []
    for row in rows:
        bar = BAR_BYTES + BAR_PER_GAUSSIAN * row["gaussians"]
        for name in ("uplift", "weighed"):
            if row[f"{name}_peak_bytes"] > bar:
                missed.append(f"{row['gaussians']:,} Gaussians, {row['labels']} labels: {name} took "
                              f"{row[f'{name}_peak_bytes'] / 2**30:.2f} GiB of {bar / 2**30:.2f}")  # fmt: skip
    for labels, slopes in exponents(rows).items():
        if slopes["uplift_seconds_per_view"] > max(slopes["pairs"], 0.0) + BAR_SLOPE:
            missed.append(f"{labels} labels: time grows as Gaussians^{slopes['uplift_seconds_per_view']:.2f}, pairs as "
                          f"Gaussians^{slopes['pairs']:.2f}")  # fmt: skip
    return missed


COLUMNS = (
    ("uplift s/view", "uplift_seconds_per_view", 1), ("GiB", "uplift_peak_bytes", 2**30),
    ("weighed s/view", "weighed_seconds_per_view", 1), ("GiB", "weighed_peak_bytes", 2**30),
    ("render s", "render_seconds", 1), ("export s", "export_seconds", 1), ("GiB", "export_peak_bytes", 2**30),
    ("evaluate s", "evaluate_seconds", 1), ("GiB", "evaluate_peak_bytes", 2**30),
    ("view s", "view_seconds", 1), ("GiB", "view_peak_bytes", 2**30),
    ("view sample s", "sample_view_seconds", 1), ("GiB", "sample_view_peak_bytes", 2**30),
    ("mesh s", "mesh_seconds", 1), ("GiB", "mesh_peak_bytes", 2**30),
)  # fmt: skip
"""Heading, value, and its unit."""


def table(rows: list[dict[str, Any]]) -> Table:
    """A row a size, and one of exponents for each number of labels; evaluate and mesh are of all views."""
    made = Table("Gaussians", "labels", "pairs", "bar GiB", "agreement", *(heading for heading, _, _ in COLUMNS))
    for row in rows:
        bar = BAR_BYTES + BAR_PER_GAUSSIAN * row["gaussians"]
        cells = (f"{row[name] / unit:.2f}" if name in row else "" for _, name, unit in COLUMNS)
        made.add_row(f"{row['gaussians']:,}", str(row["labels"]), f"{row['pairs']:,}", f"{bar / 2**30:.2f}",
                     f"{100 * row['agreement']:.1f} %", *cells)  # fmt: skip
    for labels, slopes in exponents(rows).items():
        cells = (f"{slopes[name]:.2f}" if name in slopes else "" for _, name, _ in COLUMNS)
        made.add_row("exponent", str(labels), f"{slopes['pairs']:.2f}", "", "", *cells)
    return made


def measured(options: Scale, gaussians: int, labels: int) -> dict[str, Any]:
    """One size, in two processes."""
    row: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "benchmarks.scale", "--one", str(gaussians), str(labels), "--views",
                   str(options.views), "--width", str(options.width), "--sample", str(options.sample), "--voxel",
                   str(options.voxel), "--folder", str(Path(folder) / "scene")]  # fmt: skip
        for part in ("--no-written", "--written"):
            done = subprocess.run([*command, part], check=True, stdout=subprocess.PIPE, text=True)
            row |= json.loads(done.stdout.splitlines()[-1])  # the viewer's server says where it listens
    return row


def main(options: Scale) -> int:
    """Run and print."""
    if options.one is not None:
        folder = options.folder or Path("scene")
        size = (options.one[1], options.views, options.width, folder)
        row = used(*size, options.sample, options.voxel) if options.written else made(options.one[0], *size)
        print(json.dumps(row))
        return 0
    console, rows = Console(soft_wrap=True), []
    for labels in options.labels:
        for gaussians in options.gaussians:
            rows.append(measured(options, gaussians, labels))
            console.print(f"{gaussians:,} Gaussians, {labels} labels: done", highlight=False)
            if options.out is not None:
                settings = {name: value for name, value in asdict(options).items()
                            if name not in ("out", "one", "folder", "written")}  # fmt: skip
                write_json(options.out, {"settings": settings, "rows": rows, "machine": machine("cpu")})
    console.print(table(rows))
    for fault in faults(rows):
        console.print(fault, style="red", highlight=False)
    return 1 if faults(rows) else 0


if __name__ == "__main__":
    raise SystemExit(main(tyro.cli(Scale)))
