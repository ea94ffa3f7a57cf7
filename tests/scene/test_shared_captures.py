# SPDX-License-Identifier: Apache-2.0
"""Captures after public bug reports and mutated files, kept beside the repository, each with what is expected of it."""

from __future__ import annotations

import importlib.util
import shutil
import time
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from panoptic_gs import InputError
from panoptic_gs.scene import Scene


@pytest.fixture(scope="session")
def captures(shared_data: Path) -> Path:
    folder = shared_data / "captures"
    if not folder.is_dir():
        pytest.skip("no captures beside the repository")
    return folder


@pytest.fixture(scope="session")
def room(captures: Path) -> ModuleType:
    """The captures' own ray caster."""
    spec = importlib.util.spec_from_file_location("ray_room", captures / "ray_room.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def right(scene: Scene, room: ModuleType) -> tuple[float, float, float]:
    """Worst share of right labels, mean share of void, mean colour error, over the views with maps."""
    maps = scene.load_panoptic().maps
    shares, voids, errors = [], [], []
    for frame in scene.frames:
        camera = frame.camera
        rays = room.rays_pinhole(camera.width, camera.height, camera.K.double().numpy())
        labels, colors = room.shoot(camera.to_opengl().numpy(), rays)
        found = frame.fit_labels(maps[frame.stem])
        known = found != 0
        shares.append((found == labels)[known].mean())
        voids.append(1 - known.mean())
        errors.append(np.abs(frame.read_image().astype(float) - colors)[known].mean())
    return float(min(shares)), float(np.mean(voids)), float(np.mean(errors))


@pytest.mark.parametrize(
    ("case", "least", "void", "error"),
    [
        ("barrel_strong", 0.99, 0, 5),
        ("full_opencv", 0.99, 0, 4),
        ("fisheye_wide", 0.99, 0, 5),
        ("exif_maps_upright", 1, 0, 5),
        ("mixed_orientation", 1, 0, 0),
        ("windows_paths", 1, 0, 0),
        ("unregistered", 1, 0, 0),
        ("split_lists", 1, 0, 0),
        ("mask_grey", 1, 0.2512, 0),
        ("mask_palette", 1, 0.2512, 0),
        ("mask_void", 1, 0.2512, 0),
        ("rgba", 1, 0.707, 0),
    ],
)
def test_what_the_scene_gives_is_what_is_there(
    captures: Path, room: ModuleType, case: str, least: float, void: float, error: float
) -> None:
    found = right(Scene.load(captures / case), room)
    assert found[0] >= least
    assert found[1] == pytest.approx(void, abs=0.002)
    assert found[2] <= error + 0.01


def test_panoramas_are_refused_by_name(captures: Path) -> None:
    with pytest.raises(InputError, match="camera model EQUIRECTANGULAR"):
        Scene.load(captures / "equirect")


def test_a_phone_s_photo_is_halved(captures: Path) -> None:
    scene = Scene.load(captures / "phone200mp")
    assert (scene.frames[0].camera.width, scene.frames[0].camera.height) == (8160, 6120)
    assert len(scene.notes) == 1


def test_the_field_of_a_wide_lens(captures: Path) -> None:
    camera = Scene.load(captures / "fisheye_wide").frames[0].camera
    assert np.degrees(2 * np.arctan(0.5 * camera.width / float(camera.K[0, 0]))) == pytest.approx(120, abs=0.1)
    wider = Scene.load(captures / "fisheye_wide", max_fov=150).frames[0].camera
    assert np.degrees(2 * np.arctan(0.5 * wider.width / float(wider.K[0, 0]))) == pytest.approx(150, abs=0.1)


def test_the_splits_and_the_rig(captures: Path) -> None:
    splits = Scene.load(captures / "split_lists").splits
    assert splits["train"] == tuple(f"{n:04d}" for n in range(7))
    assert splits["test"] == splits["val"] == ("0007", "0008", "0009")
    stems = [frame.stem for frame in Scene.load(captures / "rig_same_names").frames]
    assert stems == [f"{side}/{n:04d}" for side in ("left", "right") for n in range(5)]


def test_the_model_of_colmap_is_read_whatever_its_number(captures: Path) -> None:
    assert len(Scene.load(captures / "colx_full_opencv").frames) == 10


@pytest.mark.parametrize("number", range(3))
def test_mutated_scenes_are_refused_in_a_second(shared_data: Path, tmp_path: Path, number: int) -> None:
    files = sorted((shared_data / "hostile").glob("scene-*.json"))
    if number >= len(files):
        pytest.skip("no such file")
    (tmp_path / "images").mkdir()
    base = shared_data / "captures" / "base" / "images" / "0000.png"
    for name in "abc":
        shutil.copyfile(base, tmp_path / "images" / f"{name}.png")
    shutil.copyfile(files[number], tmp_path / "transforms.json")
    started = time.process_time()
    with pytest.raises(InputError, match=r"transforms\.json"):
        Scene.load(tmp_path)
    assert time.process_time() - started < 1
