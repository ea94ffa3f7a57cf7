# SPDX-License-Identifier: Apache-2.0
"""Files that once broke a reader, each in the place of its twin in a valid folder: refused by name, at once."""

import shutil
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from panoptic_gs import Category, InputError, PanopticScene, Segment
from panoptic_gs.camera import Camera
from panoptic_gs.export import load_camera_path
from panoptic_gs.labelling import Labelling
from panoptic_gs.objects.opening import open_scene
from panoptic_gs.scene import Scene, write_scene
from panoptic_gs.splats import Splats
from panoptic_gs.uplift import GaussianLabels, save_labelled_scene

COUNT = 12
LABELLING = Labelling((Category(1, "wall", False), Category(2, "chair", True)), (Segment(1, 1), Segment(2, 2)))
STEMS = ("a", "b")


def camera() -> Camera:
    return Camera(torch.eye(4), torch.tensor([[8.0, 0, 4], [0, 8, 3], [0, 0, 1]]), 8, 6)


def labelled(folder: Path) -> None:
    splats = Splats(torch.zeros(COUNT, 3), torch.eye(4)[:1].expand(COUNT, 4), torch.ones(COUNT, 3), torch.ones(COUNT),
                    torch.zeros(COUNT, 1, 3))  # fmt: skip
    label = torch.tensor([1, 2] * (COUNT // 2), dtype=torch.int32)
    labels = GaussianLabels(torch.arange(COUNT + 1), label, torch.ones(COUNT), torch.ones(COUNT), torch.zeros(COUNT))
    save_labelled_scene(folder, splats, labels, LABELLING)


def maps(folder: Path) -> None:
    PanopticScene(LABELLING.categories, LABELLING.segments, dict.fromkeys(STEMS, np.full((6, 8), 1))).save(folder)


def scene(folder: Path) -> None:
    images = {stem: np.zeros((6, 8, 3), np.uint8) for stem in STEMS}
    points = np.zeros((3, 3), np.float32), np.zeros((3, 3), np.uint8)
    write_scene(folder, dict.fromkeys(STEMS, camera()), images, points, {"train": ["a"], "test": ["b"]})


LABELLED = {".json": "segments.json", ".safetensors": "labels.safetensors", ".ply": "splats.ply"}
KINDS: dict[str, tuple[Callable[[Path], None] | None, dict[str, str], Callable[[Path], object]]] = {
    "panoptic": (maps, {".json": "panoptic.json", ".png": "a.png"}, PanopticScene.load),
    "labelled": (labelled, LABELLED, open_scene),
    "labelled_eval": (labelled, LABELLED, open_scene),
    "cloud": (labelled, LABELLED, open_scene),
    "scene": (scene, {".json": "transforms.json"}, Scene.load),
    "ckpt": (None, {}, open_scene),
    "campath": (None, {}, load_camera_path),
}
# Put into these folders, the files are whole: 12 Gaussians, and labels of them.
WHOLE = ("labelled-a1ea3b.ply",)


def test_the_valid_folders_are_read(tmp_path):
    for kind, (make, _, read) in KINDS.items():
        if make is not None:
            make(tmp_path / kind)
            read(tmp_path / kind)


@pytest.mark.parametrize("kind", KINDS)
def test_hostile_files_are_refused_by_name_within_a_second(kind, shared_data, tmp_path):
    make, places, read = KINDS[kind]
    files = sorted((shared_data / "hostile").glob(f"{kind}-*"))
    assert files
    for file in files:
        target = file
        if make is not None:
            folder = tmp_path / file.stem
            make(folder)
            target = folder / places[file.suffix]
            shutil.copyfile(file, target)
        start = time.perf_counter()
        try:
            read(folder if make is not None else file)
            assert file.name in WHOLE, file.name
        except InputError as error:
            mentioned = error.source.startswith((str(target), str(target.parent)))
            if not mentioned:
                raise
        assert time.perf_counter() - start < 1, file.name
