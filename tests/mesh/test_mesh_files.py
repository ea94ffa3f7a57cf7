# SPDX-License-Identifier: Apache-2.0
import json
from dataclasses import replace

import numpy as np
import pytest

from panoptic_gs import InputError
from panoptic_gs.labelling import Labelling
from panoptic_gs.mesh import LabelledMesh, write_mesh_ply
from panoptic_gs.mesh.reading import read_mesh
from panoptic_gs.panoptic import Category, Segment

LABELLING = Labelling((Category(3, "box", True),), (Segment(7, 3),))
MESH = LabelledMesh(
    np.array([[0, 0, 0], [1, 0, 0], [0, 2, 0], [0, 0, 3.0]]), np.array([[0, 2, 1], [0, 1, 3], [1, 2, 3]], np.int32),
    np.arange(12, dtype=np.uint8).reshape(4, 3), np.array([7, 7, 0, 7], np.int32),
    np.array([1, 0.5, 0, 0.25], np.float32), np.array([1, 2, 3, 4], np.float32),
)  # fmt: skip


def written(folder, mesh=MESH, unit=0.5):
    write_mesh_ply(folder / "mesh.ply", mesh, LABELLING, unit)
    (folder / "mesh.json").write_text(json.dumps({"info": {"meters_per_world_unit": unit}}))
    return folder


def test_a_mesh_comes_back_in_the_units_of_its_scene(tmp_path):
    mesh = read_mesh(written(tmp_path))
    for name in ("vertices", "faces", "color", "segment", "confidence", "weight"):
        np.testing.assert_array_equal(getattr(mesh, name), getattr(MESH, name))


@pytest.mark.parametrize(("change", "found"), [
    ({"faces": np.array([[0, 1, 4]], np.int32)}, "vertices that are not there"),
    ({"faces": np.array([[0, 1, -1]], np.int32)}, "vertices that are not there"),
    ({"vertices": np.full((4, 3), np.nan)}, "NaN"),
    ({"weight": np.full(4, np.inf, np.float32)}, "NaN"),
])  # fmt: skip
def test_what_is_wrong_in_a_mesh_is_said(tmp_path, change, found):
    with pytest.raises(InputError, match=found):
        read_mesh(written(tmp_path, replace(MESH, **change)))


@pytest.mark.parametrize("unit", [0, -1, None, "1", float("nan"), True])
def test_a_unit_that_is_none_is_refused(tmp_path, unit):
    folder = written(tmp_path)
    (folder / "mesh.json").write_text(json.dumps({"info": {"meters_per_world_unit": unit}}))
    with pytest.raises(InputError, match="unit"):
        read_mesh(folder)


def test_point_clouds_and_missing_files_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"mesh\.json"):
        read_mesh(tmp_path)
    folder = written(tmp_path)
    (folder / "mesh.ply").write_bytes(b"ply\nformat ascii 1.0\nelement vertex 1\nproperty float x\nend_header\n0\n")
    with pytest.raises(InputError, match="no faces"):
        read_mesh(folder)


def test_damaged_meshes_are_refused_or_read(tmp_path):
    folder = written(tmp_path)
    whole = (folder / "mesh.ply").read_bytes()
    rng = np.random.default_rng(0)
    refused = 0
    for number in range(300):
        damaged = bytearray(whole)
        if number % 3 == 0:
            damaged = damaged[: rng.integers(len(damaged))]
        else:
            for at in rng.integers(0, len(damaged), 1 + number % 5):
                damaged[at] = rng.integers(256)
        (folder / "mesh.ply").write_bytes(damaged)
        try:
            mesh = read_mesh(folder)
        except InputError:
            refused += 1
        else:
            assert len(mesh.faces) == 0 or mesh.faces.max() < len(mesh.vertices)
    assert refused > 100
