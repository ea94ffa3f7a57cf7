# SPDX-License-Identifier: Apache-2.0
"""Scores of maps whose photos have lenses and masks, on the command line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.captures.folder import capture, write_capture, write_maps
from benchmarks.captures.lenses import Lens
from panoptic_gs.cli.main import main
from panoptic_gs.files import write_png
from panoptic_gs.scene import Scene


def score(pred: Path, truth: Path, out: Path) -> dict:
    assert not main(["evaluate", str(pred), str(truth), "--json", str(out), "--protocols", "strict", "-q"])
    return json.loads(out.read_text())["splits"]["all"]["scores"]["strict"]


def test_pixels_under_a_mask_are_not_scored(tmp_path: Path) -> None:
    made = capture(Lens("PINHOLE", 120, 80, 75.0), 2)
    root = write_capture(tmp_path / "scene", made, frame_extra=lambda stem: {"mask_path": "mask.png"})
    kept = np.ones((80, 120), dtype=bool)
    kept[:, 60:] = False
    Image.fromarray(kept).save(root / "mask.png")
    (root / "panoptic").rename(root / "panoptic_gt")
    write_maps(root / "panoptic", {stem: np.where(kept, ids, 2) for stem, ids in made.maps.items()})
    assert score(root, root, tmp_path / "masked.json")["pq"] == 1
    (root / "transforms.json").rename(tmp_path / "transforms.json")
    assert score(root, root, tmp_path / "bare.json")["pq"] < 0.9


def test_renders_are_scored_on_their_own_pixels(tmp_path: Path) -> None:
    """What a perfect scene renders scores 1 against the truth of photos that a lens bent."""
    lens = Lens("OPENCV", 120, 80, 50.0, more=(("k1", -0.35), ("k2", 0.12)))
    root = write_capture(tmp_path / "scene", capture(lens, 2))
    (root / "panoptic").rename(root / "panoptic_gt")
    scene = Scene.load(root)
    truth = scene.on_cameras(scene.load_panoptic("panoptic_gt")).maps
    out = tmp_path / "rendered"
    write_maps(out / "panoptic", dict(truth))
    for frame in scene.frames:
        write_png(out / "rgb" / f"{frame.stem}.png", frame.read_image())
    assert score(out, root, tmp_path / "right.json")["pq"] == 1
