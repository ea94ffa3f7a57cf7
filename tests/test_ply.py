# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import numpy as np
import pytest
from plyfile import PlyData, PlyElement

from panoptic_gs import InputError
from panoptic_gs.ply import read_points


def write(path: Path, colors: np.ndarray, names: tuple[str, ...] = ("red", "green", "blue")) -> Path:
    fields = [("x", "f4"), ("y", "f4"), ("z", "f4"), *((name, colors.dtype) for name in names)]
    vertices = np.zeros(len(colors), dtype=fields)
    for index, name in enumerate(names):
        vertices[name] = colors[:, index]
    PlyData([PlyElement.describe(vertices, "vertex")]).write(str(path))
    return path


def test_colours_are_understood_as_people_store_them(tmp_path: Path) -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (50, 3))
    for stored in (
        rgb.astype(np.uint8), rgb.astype(np.int32), rgb.astype(np.float32), (rgb / 255).astype(np.float32),
        rgb / 255, (rgb * 257).astype(np.uint16),
    ):  # fmt: skip
        np.testing.assert_array_equal(read_points(write(tmp_path / "p.ply", stored))[1], rgb)
    np.testing.assert_array_equal(
        read_points(write(tmp_path / "p.ply", rgb.astype(np.uint8), ()))[1], np.full((50, 3), 128)
    )


@pytest.mark.parametrize(
    ("colors", "names", "message"),
    [
        (np.full((3, 3), 300.0), ("red", "green", "blue"), "colours up to 300"),
        (np.full((3, 3), -1.0), ("red", "green", "blue"), "negative"),
        (np.full((3, 3), np.nan), ("red", "green", "blue"), "NaN"),
        (np.full((3, 3), 70000, np.int32), ("red", "green", "blue"), "colours up to 70000"),
        (np.zeros((3, 3)), ("red", "blue"), "red and blue without green"),
        (np.zeros((3, 3)), ("green",), "green without red and blue"),
    ],
)
def test_other_colours_are_refused(colors: np.ndarray, names: tuple[str, ...], message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        read_points(write(tmp_path / "p.ply", colors, names))
