# SPDX-License-Identifier: Apache-2.0
from types import SimpleNamespace

import numpy as np
from PIL import Image

from benchmarks.quality.harness import predicted_renders
from panoptic_gs import Camera, Category, PanopticScene, Segment
from panoptic_gs.cli.main import main
from panoptic_gs.scene import write_scene


def test_predictions_on_rendered_views_are_scored_against_the_held_out_truth(tmp_path):
    scene, run_folder = tmp_path / "scene", tmp_path / "run"
    stems = [f"{index:04d}" for index in range(4)]
    camera = Camera.look_at([0.0, -2.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 1.0], 1.0, 64, 48)
    images = dict.fromkeys(stems, np.zeros((48, 64, 3), np.uint8))
    points = np.zeros((1, 3), np.float32), np.zeros((1, 3), np.uint8)
    write_scene(scene, dict.fromkeys(stems, camera), images, points, {"train": stems[:2], "test": stems[2:]})
    ids = np.ones((48, 64), np.int32)
    ids[:, 32:] = 2
    maps = {stem: ids if stem in stems[2:] else 3 - ids for stem in stems}  # other halves where it is not scored
    categories = [Category(1, "wall", False), Category(5, "curtain", False)]
    PanopticScene(categories, [Segment(1, 1), Segment(2, 5)], maps).save(scene / "panoptic_gt")
    (run_folder / "renders" / "rgb").mkdir(parents=True)
    for stem in stems[2:]:
        Image.fromarray(images[stem]).save(run_folder / "renders" / "rgb" / f"{stem}.png")

    run = SimpleNamespace(folder=run_folder, call=lambda words: main(words[1:]))
    scores = predicted_renders(run, scene, ["--network", "halves_network:Halves"])["scores"]
    assert scores["strict"]["pq"] == scores["panoptic-lifting"]["pq"] == 1.0
