# SPDX-License-Identifier: Apache-2.0
"""Gaussians in another frame than the cameras: told by the photos, moved where nerfstudio says how."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from benchmarks.captures.folder import PINHOLE, capture, splat_columns, write_capture, write_splats
from benchmarks.captures.judge import command
from benchmarks.captures.room import wall_splats
from panoptic_gs import InputError, Splats
from panoptic_gs.scene import Scene
from panoptic_gs.splats import read_splats
from panoptic_gs.uplift.placement import place, placement_of, similarities

SPLATS = wall_splats(3000, size=0.07)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("placed")
    write_capture(root / "room", capture(PINHOLE, count=6))
    write_splats(root / "room.ply", splat_columns(SPLATS))
    return root


def training_frame() -> tuple[torch.Tensor, dict[str, object]]:
    """A similarity from the scene's frame to a training's, and the file in which nerfstudio keeps it."""
    transform = np.eye(4)[:3]
    transform[:, :3] = Rotation.from_euler("xyz", [20, -50, 130], degrees=True).as_matrix()
    transform[:, 3] = [0.4, -1.1, 0.3]
    matrix = torch.eye(4, dtype=torch.float64)
    matrix[:3] = 0.31 * torch.from_numpy(transform)
    return matrix, {"transform": transform.tolist(), "scale": 0.31}


def test_renders_in_place_agree_with_the_photos_and_others_do_not(folder: Path) -> None:
    scene, splats = Scene.load(folder / "room"), read_splats(folder / "room.ply").splats
    inside = place(splats, scene, folder / "room.ply")
    assert inside.splats is splats
    assert not inside.notes
    assert inside.placement is not None
    assert inside.placement.correlation > 0.9
    assert inside.placement.psnr > 18
    with pytest.raises(InputError, match=r"nothing in common with the photos .* dB"):
        place(splats.transformed(training_frame()[0]), scene, folder / "room.ply")
    shown = place(splats.transformed(training_frame()[0]), scene, folder / "room.ply", refuse=False)
    assert "agree poorly" in shown.notes[0]
    tilted = torch.eye(4, dtype=torch.float64)
    tilted[:3, :3] = torch.from_numpy(Rotation.from_euler("x", 4, degrees=True).as_matrix())
    assert "agree poorly" in place(splats.transformed(tilted), scene, folder / "room.ply").notes[0]


def test_exposure_does_not_move_gaussians(folder: Path) -> None:
    scene, splats = Scene.load(folder / "room"), read_splats(folder / "room.ply").splats
    dark = Splats(splats.means, splats.quats, splats.scales, splats.opacities, 0.3 * splats.sh - 0.8)
    placed = place(dark, scene, folder / "room.ply")
    assert not placed.notes
    assert placed.placement is not None
    assert placed.placement.psnr < 14


@pytest.mark.parametrize("applied", [False, True])
@pytest.mark.parametrize("where", ["beside", "above", "option"])
def test_nerfstudio_s_transforms_bring_gaussians_back(applied: bool, where: str, folder: Path, tmp_path: Path) -> None:
    matrix, document = training_frame()
    root = write_capture(tmp_path / "scene", capture(PINHOLE, count=6))
    if applied:  # ns-process-data swapped the world's axes: the training's transform is from COLMAP's world
        swap = np.eye(4)[[0, 2, 1, 3]] * np.array([[1], [1], [-1], [1]])
        scene = json.loads((root / "transforms.json").read_text())
        (root / "transforms.json").write_text(json.dumps(scene | {"applied_transform": swap[:3].tolist()}))
        whole = np.vstack([document["transform"], [0, 0, 0, 1]]) @ swap
        document = document | {"transform": whole[:3].tolist()}
    splats = read_splats(folder / "room.ply").splats
    run = tmp_path / "run" / "exported"
    run.mkdir(parents=True)
    splats.transformed(matrix).save_ply(run / "splat.ply")
    home = {"beside": run, "above": run.parent, "option": tmp_path}[where]
    (home / "dataparser_transforms.json").write_text(json.dumps(document))
    options = ["--frame", str(tmp_path)] if where == "option" else []
    said = command("uplift", str(run / "splat.ply"), str(root), "--out", str(tmp_path / "out"), *options)
    assert "moved into the scene's frame" in said["notes"][0]
    assert said["placement"]["correlation"] > 0.9
    back = read_splats(tmp_path / "out" / "splats.ply").splats
    torch.testing.assert_close(back.means, splats.means, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(back.scales, splats.scales, atol=1e-6, rtol=1e-4)


def test_a_transform_that_is_not_needed_is_not_used(folder: Path, tmp_path: Path) -> None:
    scene, splats = Scene.load(folder / "room"), read_splats(folder / "room.ply").splats
    (tmp_path / "dataparser_transforms.json").write_text(json.dumps(training_frame()[1]))
    assert place(splats, scene, tmp_path / "splat.ply").splats is splats
    still = {"transform": np.eye(4)[:3].tolist(), "scale": 1.0}
    (tmp_path / "dataparser_transforms.json").write_text(json.dumps(still))
    assert similarities(tmp_path / "dataparser_transforms.json", scene.root) == []


def test_gaussians_without_colours_are_held_against_the_seed_points(folder: Path, tmp_path: Path) -> None:
    scene, splats = Scene.load(folder / "room"), read_splats(folder / "room.ply").splats
    grey = Splats(splats.means, splats.quats, splats.scales, splats.opacities, torch.zeros_like(splats.sh))
    assert math.isnan(placement_of(grey, scene.frames).correlation)
    for has_colors in (False, True):
        (note,) = place(grey, scene, folder / "room.ply", has_colors=has_colors).notes
        assert "no colours" in note
        assert "another frame" not in note
    matrix, document = training_frame()
    (note,) = place(grey.transformed(matrix), scene, folder / "room.ply").notes
    assert "another frame" in note
    (tmp_path / "dataparser_transforms.json").write_text(json.dumps(document))
    moved = place(grey.transformed(matrix), scene, tmp_path / "splat.ply")
    assert "moved into the scene's frame" in moved.notes[0]
    torch.testing.assert_close(moved.splats.means, splats.means, atol=1e-4, rtol=1e-4)


def test_the_check_may_be_left_out(folder: Path) -> None:
    scene, splats = Scene.load(folder / "room"), read_splats(folder / "room.ply").splats
    placed = place(splats.transformed(training_frame()[0]), scene, folder / "room.ply", check=False)
    assert placed.notes == ("not held against the photos",)
    with pytest.raises(InputError, match="no Gaussians"):
        place(splats.subset(torch.arange(0)), scene, folder / "room.ply")


@pytest.mark.parametrize(
    "document",
    [{}, [], {"transform": [[1, 0], [0, 1]], "scale": 1}, {"transform": np.zeros((3, 4)).tolist(), "scale": 1},
     {"transform": np.eye(4)[:3].tolist(), "scale": "x"}, {"transform": np.eye(4)[:3].tolist(), "scale": -1},
     {"transform": [[1, 0, 0, 0], [0, 2, 0, 0], [0, 0, 1, 0]], "scale": 1},
     {"transform": [[1, 0, 0, float("nan")], [0, 1, 0, 0], [0, 0, 1, 0]], "scale": 1}],
)  # fmt: skip
def test_malformed_transforms_are_refused(document: object, folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "dataparser_transforms.json"
    file.write_text(json.dumps(document))
    with pytest.raises(InputError, match="dataparser_transforms"):
        similarities(file, folder / "room")


def test_the_room_in_another_frame(shared_data: Path, tmp_path: Path) -> None:
    captures = shared_data / "captures"
    if not captures.is_dir():
        pytest.skip("no captures beside the repository")
    with pytest.raises(InputError, match=r"nothing in common with the photos .*\(9\.\d dB"):
        command("uplift", str(captures / "other_frame.ply"), str(captures / "base"), "--out", str(tmp_path / "out"))
    said = command("uplift", str(captures / "room.ply"), str(captures / "base"), "--out", str(tmp_path / "out"))
    assert said["placement"]["psnr"] > 20
    assert said["notes"] == []
