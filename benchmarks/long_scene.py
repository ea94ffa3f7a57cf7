# SPDX-License-Identifier: Apache-2.0
"""A long capture of a large scene through the commands that users type: ``python -m benchmarks.long_scene``.

The room of ``benchmarks.scale``, its walls in patches of their own colours, becomes a file of Gaussians and a scene
folder with photos, panoptic maps that are wrong as networks are (moved by some pixels, patches missed or taken for
others), and true ones. Then ``uplift``, ``render``, ``evaluate``, ``export`` and ``mesh`` run on it, each in a process
of its own, and the viewer starts; time, processor time and peak memory of each are told, and the share of Gaussians
and pixels that got the right label. What is written already, and what ran, is not done again.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import tyro
from rich.console import Console
from rich.table import Table

from panoptic_gs.files import read_json, write_json

_ERRORS = 0.1  # of the patches of a view, half of them missed, half taken for another
_FARTHEST = 4  # pixels by which a map is moved
_TESTED = 20  # every which view is of the test split


@dataclass(frozen=True)
class LongScene:
    """Measure the commands on one scene of many views."""

    folder: Path
    """Where the scene and everything made of it lie; about 0.8 MB a view and 0.5 KB a Gaussian."""
    gaussians: int = 5_000_000
    """Number of Gaussians."""
    labels: int = 10_000
    """Number of labels; the walls are divided into about so many."""
    views: int = 1000
    """Number of views."""
    width: int = 1920
    """Of a view; the height is 9/16 of it."""
    split: Literal["all", "train", "test"] = "all"
    """Views that vote and are meshed; one in twenty is of the split test, which is rendered."""
    commands: tuple[str, ...] = ("uplift", "render", "evaluate-renders", "evaluate", "export", "mesh", "view", "check")
    """What to run, in this order; all but evaluate need uplift's."""
    out: Path | None = None
    """JSON to write."""
    part: str = ""
    """Do this in this process: write, view or check."""


def commands(options: LongScene) -> dict[str, list[str]]:
    """Name → the command, as a user types it."""
    at, run = options.folder, [sys.executable, "-m", "panoptic_gs"]
    scene, labelled, again = str(at / "scene"), str(at / "labelled"), "--overwrite"
    own = [sys.executable, "-m", "benchmarks.long_scene", "--folder", str(at), "--gaussians", str(options.gaussians),
           "--labels", str(options.labels), "--views", str(options.views), "--width", str(options.width)]  # fmt: skip
    return {
        "write": [*own, "--part", "write"],
        "uplift": [*run, "uplift", str(at / "splats.ply"), scene, "--split", options.split, "--out", labelled,
                   again],
        "render": [*run, "render", labelled, scene, "--split", "test", "--out", str(at / "renders"), again],
        "evaluate-renders": [*run, "evaluate", str(at / "renders" / "panoptic"), scene, "--splits", "test", "--json",
                             str(at / "scores_of_renders.json")],
        "evaluate": [*run, "evaluate", scene, scene, "--json", str(at / "scores.json")],
        "export": [*run, "export", labelled, "--out", str(at / "export"), "--format", "splats", "points", "boxes",
                   "graph", "--up", "y", again],
        "mesh": [*run, "mesh", labelled, "--data", scene, "--split", options.split, "--voxel", "0.03", "--up", "y",
                 "--metres-per-unit", "1", "--out", str(at / "mesh"), again],
        "view": [*own, "--part", "view"],
        "check": [*own, "--part", "check"],
    }  # fmt: skip


def write(options: LongScene) -> dict[str, Any]:
    """The Gaussians and the scene folder."""
    import numpy as np
    import torch
    from PIL import Image

    from benchmarks.scale import patch_of, room, views_of
    from panoptic_gs.label_maps import encode_ids
    from panoptic_gs.scene.transforms import PosedPhoto, write_transforms
    from panoptic_gs.splats import Splats
    from panoptic_gs.splats.harmonics import SH_C0

    scene, rng = options.folder / "scene", np.random.default_rng(1)
    splats = room(options.gaussians)
    true = patch_of(splats.means.numpy(), options.labels)
    last = 6 * max(1, round((options.labels / 6) ** 0.5)) ** 2
    colors = rng.integers(40, 256, (last + 1, 3), dtype=np.uint8)
    dc = torch.from_numpy((colors[true] / 255 - 0.5) / SH_C0).float()[:, None]
    Splats(splats.means, splats.quats, splats.scales, splats.opacities, dc).save_ply(options.folder / "splats.ply")
    np.save(options.folder / "true.npy", true)
    del splats, dc
    if (scene / "transforms.json").is_file():  # of other Gaussians in the same room
        return {}
    for name in ("images", "panoptic", "panoptic_gt"):
        (scene / name).mkdir(parents=True, exist_ok=True)
    photos, listed = [], {"panoptic": [], "panoptic_gt": []}
    for number, (camera, seen) in enumerate(views_of(options.views, options.width, options.labels)):
        stem = f"{number:05d}"
        photos.append(PosedPhoto(f"images/{stem}.jpg", camera))
        Image.fromarray(colors[seen]).save(scene / "images" / f"{stem}.jpg", quality=85)
        wrong = np.arange(last + 1, dtype=np.int32)
        errors = rng.random(last + 1) < _ERRORS
        wrong[errors] = np.where(rng.random(errors.sum()) < 0.5, 0, rng.integers(1, last + 1, errors.sum()))
        wrong[0] = 0
        moved = np.roll(wrong[seen], rng.integers(-_FARTHEST, _FARTHEST + 1, 2), (0, 1))
        for name, ids in (("panoptic", moved), ("panoptic_gt", seen)):
            Image.fromarray(encode_ids(ids)).save(scene / name / f"{stem}.png", compress_level=1)
            areas = np.bincount(ids.ravel())
            areas[0] = 0
            listed[name].append({
                "image_id": number, "file_name": f"{stem}.png",
                "segments_info": [{"id": int(i), "category_id": 1 + int(i) % 20, "area": int(areas[i])}
                                  for i in np.flatnonzero(areas)],
            })  # fmt: skip
        if number % 50 == 49:
            print(f"{number + 1} views written", flush=True)
    height = 9 * options.width // 16
    for name, entries in listed.items():
        document = {
            "info": {"source": "patches", "scene_wide_ids": True},
            "images": [{"id": a["image_id"], "file_name": a["file_name"], "width": options.width, "height": height}
                       for a in entries],
            "annotations": entries,
            "categories": [{"id": i, "name": f"patch {i}", "isthing": int(i > 2)} for i in range(1, 21)],
        }  # fmt: skip
        (scene / name / "panoptic.json").write_text(json.dumps(document))
    stems = [f"{number:05d}" for number in range(options.views)]
    write_json(scene / "splits.json", {"train": [s for i, s in enumerate(stems) if i % _TESTED],
                                       "test": stems[::_TESTED]})  # fmt: skip
    write_transforms(scene / "transforms.json", photos, None, 1.0)
    return {}


def view(options: LongScene) -> dict[str, Any]:
    """The viewer's page, once all Gaussians that it shows are ready to be sent."""
    from panoptic_gs.viewer.start import start_viewer

    page = start_viewer(options.folder / "labelled", port=0, max_gaussians=1_000_000)[0]
    while not page.draws:
        time.sleep(0.02)
    shown = len(page.session.table.segment_of)
    page.close()
    return {"gaussians": shown}


def check(options: LongScene) -> dict[str, Any]:
    """What share of Gaussians and of rendered pixels have the right label."""
    import numpy as np

    from panoptic_gs.panoptic import PanopticScene
    from panoptic_gs.uplift import load_labelled_scene

    labelled = load_labelled_scene(options.folder / "labelled")
    found, true = labelled.labels.best()[0].numpy(), np.load(options.folder / "true.npy")
    seen = labelled.labels.total.numpy() > 0
    result = {"seen": int(seen.sum()), "right_of_seen": float((found == true)[seen].mean()),
              "pairs": len(labelled.labels.label)}  # fmt: skip
    given, truth = (PanopticScene.load(options.folder / "scene" / name).maps for name in ("panoptic", "panoptic_gt"))
    rendered = PanopticScene.load(options.folder / "renders" / "panoptic").maps
    for name, maps in (("right_pixels", rendered), ("right_pixels_given", given)):
        result[name] = float(np.mean([(maps[stem] == truth[stem]).mean() for stem in rendered]))
    return result


def measured(command: list[str], log: Path) -> dict[str, Any]:
    """A command run to its end: time, processor time, peak memory, exit code, and its last line where that is JSON."""
    start = time.time()
    with log.open("wb") as file:
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT)
        _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    row: dict[str, Any] = {"seconds": time.time() - start, "cpu_seconds": used.ru_utime + used.ru_stime,
                           "peak_bytes": 1024 * used.ru_maxrss, "exit_code": process.returncode}  # fmt: skip
    last = (log.read_text(errors="replace").splitlines() or [""])[-1]
    return row | (json.loads(last) if last.startswith("{") else {})


def table(rows: dict[str, Any]) -> Table:
    """A row a command."""
    made = Table("command", "minutes", "CPU minutes", "peak GiB", "exit", "")
    for name, row in rows.items():
        rest = {key: value for key, value in row.items() if key not in ("seconds", "cpu_seconds", "peak_bytes",
                                                                       "exit_code")}  # fmt: skip
        made.add_row(name, f"{row['seconds'] / 60:.1f}", f"{row['cpu_seconds'] / 60:.1f}",
                     f"{row['peak_bytes'] / 2**30:.2f}", str(row["exit_code"]),
                     ", ".join(f"{key} {value:.4g}" for key, value in rest.items()))  # fmt: skip
    return made


def main(options: LongScene) -> int:
    """Run and print."""
    if options.part:
        print(json.dumps({"write": write, "view": view, "check": check}[options.part](options)))
        return 0
    options.folder.mkdir(parents=True, exist_ok=True)
    kept = options.folder / "measured.json"
    size = [options.gaussians, options.labels, options.views, options.width, options.split]
    document = read_json(kept) if kept.is_file() else {"size": size, "rows": {}}
    rows = document["rows"] if document["size"] == size else {}
    console = Console(soft_wrap=True)
    for name in ("write", *options.commands):
        if rows.get(name, {}).get("exit_code") == 0:
            continue
        console.print(f"{time.strftime('%H:%M:%S')} {name}", highlight=False)
        log = options.folder / f"{name}.log"
        rows[name] = measured(commands(options)[name], log)
        if rows[name]["exit_code"]:
            console.print(log.read_text(errors="replace")[-2000:], style="red", markup=False, highlight=False)
        write_json(kept, {"size": size, "rows": rows})
    console.print(table(rows))
    if options.out is not None:
        names = ("gaussians", "labels", "views", "width", "split")
        write_json(options.out, {"settings": dict(zip(names, size)), "commands": rows})
    return 1 if any(row["exit_code"] for row in rows.values()) else 0


if __name__ == "__main__":
    raise SystemExit(main(tyro.cli(LongScene)))
