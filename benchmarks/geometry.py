# SPDX-License-Identifier: Apache-2.0
"""Cameras found from photos alone, against known ones: ``python -m benchmarks.geometry SCENE …``."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from tyro.conf import Positional

from benchmarks.quality.command import main
from benchmarks.quality.measurements import Measurement, Outcome, scene_stamp
from benchmarks.quality.on_engine import OnEngine
from benchmarks.speed.timing import machine
from panoptic_gs.errors import InputError
from panoptic_gs.files import write_json
from panoptic_gs.predict.cameras import align_to_known, camera_centers
from panoptic_gs.predict.geometry import GeometryOptions, load_geometry
from panoptic_gs.predict.photos import find_photos
from panoptic_gs.progress import silent
from panoptic_gs.scene import Scene


@dataclass(frozen=True)
class GeometryBenchmark(OnEngine):
    """Find the cameras of each scene's photos, and compare them with those of its transforms.json after one similarity.

    Degrees are of the rotations; centres are off in percent of the extent, the longest side of the box around the known
    centres.
    """

    scenes: Positional[tuple[Path, ...]]
    """Scene folders with images/ and transforms.json."""
    geometry: str = "colmap"
    """What finds the cameras: colmap, mapanything, da3, panst3r."""
    rooms: tuple[int, ...] = ()
    """Seeds of procedural rooms of 50 photos to add; they are made in --out."""
    out: Path = Path("outputs/geometry")
    """Folder for results.json and the rooms; what is finished in it is kept."""

    def run(self) -> Outcome:
        """Find, compare, print and write."""
        if not self.scenes and not self.rooms:
            raise InputError("scenes", "none", "scene folders, or --rooms", "Name scene folders.")
        console = Console()
        work = [self._measurement(root) for root in (*self.scenes, *map(self._room, self.rooms))]
        outcome = self.measured(work, console, self.out / "logs", lambda r: f"{r['placed']} of {r['photos']} placed")
        table = Table(
            "scene", "photos", "placed", "rotation median, max [°]", "centre median, max [%]", "focal [%]", "s"
        )
        for r in outcome.results:
            table.add_row(
                r["scene"], str(r["photos"]), str(r["placed"]), f"{r['degrees']:.3f}  {r['degrees_max']:.3f}",
                f"{r['centre']:.2f}  {r['centre_max']:.2f}", f"{r['focal']:.2f}", f"{r['seconds']:.0f}",
            )  # fmt: skip
        console.print(table)
        write_json(self.out / "results.json", {
            "machine": machine("cpu"), "geometry": self.geometry,
            "results": list(outcome.results), "failures": dict(outcome.failures),
        })  # fmt: skip
        console.print(f"Written: {self.out / 'results.json'}", highlight=False, soft_wrap=True)
        return outcome

    def _room(self, seed: int) -> Path:
        from panoptic_gs.synthetic import synthesize, write_synthetic_scene

        root = self.out / f"room-{seed}"
        if not (root / "transforms.json").is_file():
            scene = synthesize(seed, 50, width=320, height=240)
            write_synthetic_scene(root, scene, scene.truth)
        return root

    def _measurement(self, root: Path) -> Measurement:
        name = root.resolve().name
        file = self.out / "scenes" / f"{name}-{self.geometry}.json"
        signature = {**scene_stamp(root), "geometry": self.geometry}
        return Measurement(name, self._compared, (root,), file, signature, file.with_suffix(".log"))

    def _compared(self, root: Path, threads: int) -> dict[str, Any]:
        scene, photos = Scene.load(root), find_photos(root)
        started = time.monotonic()
        device = "cuda" if torch.cuda.is_available() else "cpu"
        found = load_geometry(self.geometry, GeometryOptions(device=device)).find(photos, silent)
        seconds = time.monotonic() - started
        known = [scene.frame(stem).camera for stem in found.cameras]
        mine, theirs = (
            np.stack([camera.viewmat.double().numpy() for camera in cameras])
            for cameras in (found.cameras.values(), known)
        )
        similarity, _, degrees = align_to_known(mine, theirs)
        centers = camera_centers(theirs)
        extent = float(np.ptp(centers, axis=0).max())
        off = 100 * np.linalg.norm(similarity(camera_centers(mine)) - centers, axis=1) / extent
        focals = [
            100 * abs(float(a.K[0, 0] / b.K[0, 0] * b.width / a.width) - 1)
            for a, b in zip(found.cameras.values(), known, strict=True)
        ]
        return {
            "scene": root.resolve().name, "photos": len(photos), "placed": len(found.cameras),
            "degrees": float(np.median(degrees)), "degrees_max": float(degrees.max()),
            "centre": float(np.median(off)), "centre_max": float(off.max()), "focal": float(np.median(focals)),
            "scale": similarity.scale, "metric": found.metric, "seconds": seconds, "notes": list(found.notes),
            "left_out": dict(found.left_out),
        }  # fmt: skip


if __name__ == "__main__":
    main(GeometryBenchmark)
