# SPDX-License-Identifier: Apache-2.0
"""The whole way from nothing but photos: cameras, masks of single photos, association, training, held-out views."""

from __future__ import annotations

import resource
import shutil
import sys
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from rich.console import Console

from benchmarks.demo import draw_sheet, score_table
from benchmarks.quality.command import main
from benchmarks.quality.harness import Outcome
from benchmarks.quality.nerfstudio_run import NerfstudioRun
from benchmarks.speed.timing import machine
from panoptic_gs.camera import Camera
from panoptic_gs.errors import InputError
from panoptic_gs.files import write_json, write_png
from panoptic_gs.metrics import evaluate_scenes
from panoptic_gs.panoptic import PanopticScene
from panoptic_gs.predict.assembled import MASKS
from panoptic_gs.predict.cameras import align_to_known
from panoptic_gs.predict.photos import Photo
from panoptic_gs.predict.scene_folder import Alignment, copy_photo
from panoptic_gs.scene import Scene
from panoptic_gs.scene.transforms import PosedPhoto, write_transforms
from panoptic_gs.uplift.checkpoint import load_checkpoint

PROTOCOL = "strict"
"""The one that decides; every other is shown beside it."""
_MOST_IDS = 1000  # ids of a photo are drawn from so many more than it has masks


@dataclass(frozen=True)
class DemoPhotos:
    """Photos of a procedural room, without poses, to a scene with labels; exit code 1 where it scores too low.

    COLMAP finds the cameras of the photos to train on. Their masks are simulated predictions whose ids are drawn anew
    in every photo; the training associates them. Held-out views have their true cameras, moved into the world that
    COLMAP found by the photos that both have cameras of.
    """

    out: Path = Path("demo-photos")
    """Folder for everything; its earlier content is replaced."""
    seed: int = 0
    """Seed of the room, of its masks and of their ids."""
    iterations: int = 1500
    """Training iterations."""
    min_pq: float = 85.0
    """Least PQ (strict) of the held-out views, in percent."""

    def run(self) -> Outcome:
        """Make, find, train, render, score and show."""
        started, console, out = time.monotonic(), Console(), self.out.resolve()
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir(parents=True)
        run = NerfstudioRun(out, console)
        panoptic_gs = str(Path(sys.executable).with_name("panoptic-gs"))
        run.call([panoptic_gs, "synth", str(out / "room"), "--seed", str(self.seed)])
        room = Scene.load(out / "room")
        train, test = ([frame.stem for frame in room.split(name)] for name in ("train", "test"))
        for stem in train:
            copy_photo(Photo.open(room.frame(stem).image_path), out / "photos")

        run.call([panoptic_gs, "predict", str(out / "photos"), "--geometry", "colmap", "--out", str(out / "scene")])
        placed = [frame.stem for frame in Scene.load(out / "scene").frames]
        predictions = room.load_panoptic("panoptic")
        write_masks(out / "scene" / MASKS, predictions, placed, self.seed)
        alignment = add_held_out_views(out / "scene", room)
        console.print(
            f"{len(placed)} of {len(train)} photos have cameras; against the true ones, after one similarity, they are "
            f"off by {alignment.angle_error:.2f}° and {100 * alignment.center_error:.2f}% of their spread (medians)"
        )

        run.train(out / "scene", ("--max-num-iterations", str(self.iterations)))
        run.render()
        results = run.evaluate()
        scene, meaning = Scene.load(out / "scene"), load_checkpoint(run.config).labelling
        truth = scene.load_panoptic("panoptic_gt")
        rendered = PanopticScene(meaning.categories, meaning.segments, run.rendered_ids(), source="ns-render")
        before = evaluate_scenes(predictions, room.load_panoptic("panoptic_gt"), placed)
        after = evaluate_scenes(rendered, truth, test)
        rows = {
            "masks": {name: score.as_dict() for name, score in before.items()},
            "novel views": {name: score.as_dict() for name, score in after.items()},
        }
        sheet = out / "contact_sheet.png"
        draw_sheet(sheet, run, scene, rendered, truth, test)
        caption = (
            "masks: those of the training views, as if their ids had not been drawn anew · novel views: "
            f"associated, uplifted, held out, PSNR {results['psnr']:.2f} dB, SSIM {results['ssim']:.3f}"
        )
        console.print(score_table(rows, "Procedural room from photos alone, in percent", caption))

        minutes, cpu_minutes = (time.monotonic() - started) / 60, _cpu_seconds() / 60
        write_json(out / "demo.json", {
            "machine": machine("cpu"), "seed": self.seed, "iterations": self.iterations, "photos": len(train),
            "placed": len(placed), "degrees": alignment.angle_error, "centre": alignment.center_error, **rows,
            "ns-eval": results, "minutes": minutes, "cpu_minutes": cpu_minutes,
        })  # fmt: skip
        console.print(f"Finished in {minutes:.1f} minutes, {cpu_minutes:.1f} minutes of CPU time.")
        console.print(f"Contact sheet   {sheet}", soft_wrap=True)
        console.print(f"Rendered views  {run.renders}", soft_wrap=True)
        console.print(f"All scores      {out / 'demo.json'}", soft_wrap=True)
        pq = 100 * after[PROTOCOL].panoptic.pq
        if not pq >= self.min_pq:
            failure = f"PQ {pq:.1f} ({PROTOCOL}) of the held-out views is below {self.min_pq:g}"
            console.print(failure, style="bold red")
            return Outcome((), {"demo-photos": failure})
        return Outcome(())


def write_masks(folder: Path, predictions: PanopticScene, stems: Sequence[str], seed: int) -> None:
    """Scene-wide maps as id maps of single photos and their ``segments.json``: ids are drawn anew in every photo."""
    categories = {category.id: category for category in predictions.categories}
    category_of = {segment.id: categories[segment.category_id] for segment in predictions.segments}
    table = {}
    for number, stem in enumerate(stems):
        values, dense = np.unique(np.asarray(predictions.maps[stem]), return_inverse=True)
        drawn = np.random.default_rng([seed, number]).permutation(_MOST_IDS + len(values))[: len(values)] + 1
        drawn[values == 0] = 0
        write_png(folder / f"{stem}.png", drawn[dense.reshape(predictions.maps[stem].shape)].astype(np.uint16))
        table[stem] = [
            {"id": int(name), "class": category.name, "category_id": category.id, "isthing": category.isthing}
            for name, category in ((n, category_of[int(v)]) for n, v in zip(drawn, values, strict=True) if v)
        ]
    write_json(folder / "segments.json", table)


def add_held_out_views(root: Path, known: Scene) -> Alignment:
    """Add the held-out photos of a scene, and their truth, to one whose cameras were found from other photos of it.

    The known cameras are moved by the similarity that lays those of the photos that both have onto the found ones.

    Args:
        root: the scene folder whose cameras were found; gets ``splits.json`` and ``panoptic_gt/``.
        known: the scene with all cameras, splits and truth.

    Returns:
        How well the cameras of both agree.

    Raises:
        InputError: they have nothing to do with each other.
    """
    found = Scene.load(root)
    shared = [frame.stem for frame in found.frames]
    to_found, off, degrees = align_to_known(
        _viewmats([known.frame(stem).sensor for stem in shared]), _viewmats([frame.sensor for frame in found.frames])
    )
    held_out = known.split("test")
    if both := set(shared) & {frame.stem for frame in held_out}:
        raise InputError(root, f"held-out photo {min(both)}", "photos to train on alone", "Leave it out.")
    photos = [
        PosedPhoto(frame.image_path.relative_to(root).as_posix(), frame.sensor, frame.distortion)
        for frame in found.frames
    ]
    moved = to_found.move_viewmats(_viewmats([frame.sensor for frame in held_out]))
    for frame, viewmat in zip(held_out, moved, strict=True):
        name = copy_photo(Photo.open(frame.image_path), root / "images", frame.stem)
        sensor = frame.sensor
        camera = Camera(torch.from_numpy(viewmat).float(), sensor.K, sensor.width, sensor.height)
        photos.append(PosedPhoto(f"images/{name}", camera, frame.distortion))
    points = None if found.points is None else "points3D.ply"
    write_transforms(root / "transforms.json", sorted(photos, key=lambda photo: photo.file), points)
    test = [frame.stem for frame in held_out]
    write_json(root / "splits.json", {"train": shared, "test": test})
    _only(known.load_panoptic("panoptic_gt"), test).save(root / "panoptic_gt")
    return Alignment(float(np.median(off)), float(np.median(degrees)))


def _viewmats(cameras: Sequence[Camera]) -> np.ndarray:  # [N, 4, 4] float64
    return np.stack([camera.viewmat.double().numpy() for camera in cameras])


def _only(scene: PanopticScene, stems: Collection[str]) -> PanopticScene:
    return PanopticScene(scene.categories, scene.segments, {stem: scene.maps[stem] for stem in stems}, scene.source)


def _cpu_seconds() -> float:
    """Of this process and the commands that it ran, over all threads."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


if __name__ == "__main__":
    main(DemoPhotos)
