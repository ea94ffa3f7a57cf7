# SPDX-License-Identifier: Apache-2.0
"""The judge of captures is itself held against OpenCV, and told apart from what is wrong."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from benchmarks.captures.__main__ import all_situations, judge_all
from benchmarks.captures.folder import capture, splat_columns, write_capture, write_splats
from benchmarks.captures.judge import library, plugin, uplifted
from benchmarks.captures.lenses import Lens
from benchmarks.captures.room import poses, wall_splats


@pytest.mark.parametrize(
    ("model", "more"),
    [
        ("OPENCV", {"k1": -0.2, "k2": 0.05, "p1": 0.002, "p2": -0.003}),
        ("FULL_OPENCV", {"k1": 0.2, "k2": -0.1, "k3": 0.02, "k4": 0.3, "k5": -0.05, "k6": 0.01, "p2": 0.001}),
        ("OPENCV", {"k1": -0.1, "s1": 0.004, "s2": -0.002, "s3": 0.003, "s4": 0.001}),
        ("OPENCV_FISHEYE", {"k1": 0.02, "k2": -0.01, "k3": 0.003, "k4": -0.001}),
    ],
)
def test_rays_project_back_to_their_pixels_in_opencv(model: str, more: dict[str, float]) -> None:
    lens = Lens(model, 60, 40, 40.0, (2.3, -1.6), tuple(more.items()))
    rays = lens.rays().reshape(-1, 1, 3)
    cx, cy = lens.principal_point
    K = np.array([[40.0, 0, cx - 0.5], [0, 40.0, cy - 0.5], [0, 0, 1]])
    if lens.of_angles:
        seen, _ = cv2.fisheye.projectPoints(
            rays, np.zeros(3), np.zeros(3), K, np.array([lens[f"k{i}"] for i in "1234"])
        )
    else:
        names = ("k1", "k2", "p1", "p2", "k3", "k4", "k5", "k6", "s1", "s2", "s3", "s4")
        seen, _ = cv2.projectPoints(rays, np.zeros(3), np.zeros(3), K, np.array([lens[name] for name in names]))
    expected = np.stack(np.meshgrid(np.arange(60), np.arange(40)), axis=-1).reshape(-1, 2)
    np.testing.assert_allclose(seen[:, 0], expected, atol=1e-4)


def test_a_lens_that_folds_is_no_lens() -> None:
    with pytest.raises(ValueError, match="folds"):
        Lens("RADIAL", 240, 160, 100.0, (0, 0), (("k1", -0.4),)).rays()


def test_the_undisturbed_room_is_right_and_a_wrong_lens_is_not(tmp_path: Path) -> None:
    pytest.importorskip("nerfstudio")
    splats = wall_splats(1500, size=0.09)
    file = write_splats(tmp_path / "room.ply", splat_columns(splats))
    root = write_capture(tmp_path / "room", capture(Lens("RADIAL", 240, 160, 150.0, (3, -2), (("k1", -0.08),))))
    assert library(root).outcome == plugin(root).outcome == "right"
    verdict = uplifted(file, root, tmp_path / "out", splats.labels)
    assert verdict.figure is not None
    assert verdict.figure > 0.97
    document = json.loads((root / "transforms.json").read_text())
    (root / "transforms.json").write_text(json.dumps(document | {"k1": 0.1}))
    assert library(root).outcome == plugin(root).outcome == "wrong"
    (root / "transforms.json").write_text("{}")
    assert library(root).outcome == plugin(root).outcome == "refused"
    assert len(poses(5)) == 5


def test_a_sample_of_the_situations_is_right_or_refused_by_name() -> None:
    pytest.importorskip("nerfstudio")
    situations = all_situations()
    assert len(situations) >= 60
    assert len({(situation.group, situation.name) for situation in situations}) == len(situations)
    wanted = {
        "FULL_OPENCV, colmap binary", "THIN_PRISM_FISHEYE, colmap text", "equirectangular", "portrait and landscape",
        "a person under a palette mask", "SuperSplat's compressed layout", "filter_3D of Mip-Splatting",
        "2D Gaussians", "a few rows of NaN", "f_rest_x", "no Gaussians", "in nerfstudio's training frame",
        "after ns-process-data turned the world", "seed colours as floats to 1", "fisheye cameras",
        "an id twice in an image, two categories",
    }  # fmt: skip
    chosen = [situation for situation in situations if situation.name in wanted]
    assert len(chosen) == len(wanted)
    faults = [(s.name, verdict) for s, verdict, _ in judge_all(chosen) if not s.passes(verdict)]
    assert not faults
