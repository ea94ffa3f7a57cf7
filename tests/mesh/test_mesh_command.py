# SPDX-License-Identifier: Apache-2.0
import json

import numpy as np
import pytest
import trimesh
from furnished import CATEGORIES, cameras, furnished
from plyfile import PlyData

from panoptic_gs import InputError
from panoptic_gs.cli.mesh import Mesh
from panoptic_gs.scene import write_scene
from panoptic_gs.uplift import save_labelled_scene


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("mesh")
    scene = furnished()
    save_labelled_scene(root / "labelled", scene.splats, scene.labels, scene.labelling)
    views = cameras(8, (96, 72))
    photos = dict.fromkeys(views, np.zeros((72, 96, 3), dtype=np.uint8))
    points = (scene.splats.means[:10].numpy(), np.zeros((10, 3), dtype=np.uint8))
    write_scene(root / "scene", views, photos, points, {"train": list(views), "test": []})
    return root


def test_a_labelled_scene_becomes_files_that_others_read(folders, capsys):
    out = folders / "out"
    Mesh(folders / "labelled", out, folders / "scene", voxel=0.05, quantile=0.5, quiet=True).run()
    document = json.loads((out / "mesh.json").read_text())
    assert {row["name"] for row in document["objects"]} == {"table", "cup", "chest"}
    vertex = PlyData.read(out / "mesh.ply")["vertex"]
    assert set(np.unique(vertex["category_id"])) <= {0, *(category.id for category in CATEGORIES)}
    assert {"segment_id", "confidence", "weight", "red"} <= {p.name for p in vertex.properties}
    nodes = trimesh.load(out / "mesh.glb").graph.nodes_geometry
    assert {"shell", "table 3", "cup 4", "chest 5"} == set(nodes)
    for row in document["objects"]:
        mesh = trimesh.load(out / row["file"])
        assert mesh.is_watertight
        assert mesh.volume == pytest.approx(row["volume"], rel=0.01)
    assert str(out / "mesh.ply") in capsys.readouterr().out


def test_metres_are_written(folders):
    bounds = []
    for name, unit in (("one", 1.0), ("ten", 10.0)):
        out = folders / name
        Mesh(folders / "labelled", out, folders / "scene", voxel=0.08 * unit, quantile=0.5, meters_per_unit=unit,
             added_places=0, quiet=True).run()  # fmt: skip
        bounds.append(trimesh.load(out / "mesh.ply").bounds)
    assert np.allclose(10 * bounds[0], bounds[1], rtol=1e-5)


def test_physics_needs_a_unit(folders):
    with pytest.raises(InputError, match="metres-per-unit") as error:
        Mesh(folders / "labelled", folders / "refused", folders / "scene", physics=True).run()
    assert "how large its unit is" in str(error.value)
    assert not (folders / "refused").exists()


@pytest.mark.parametrize(("options", "named"), [
    ({"voxel": 0.0}, "--voxel"), ({"voxel": float("nan")}, "--voxel"), ({"meters_per_unit": -1.0}, "--metres-per-unit"),
    ({"quantile": 1.0}, "--quantile"), ({"added_places": -1}, "--added-places"),
    ({"least_views": 0.0}, "--least-views"), ({"materials": "x.json"}, "--materials"),
])  # fmt: skip
def test_options_out_of_range_are_named(folders, options, named):
    with pytest.raises(InputError, match=named):
        Mesh(folders / "labelled", folders / "refused", folders / "scene", **options).run()


def test_cameras_that_look_elsewhere_are_refused(folders, tmp_path):
    away = cameras(4, (32, 24))
    for camera in away.values():
        camera.viewmat[:3, 3] += 1000.0
    photos = dict.fromkeys(away, np.zeros((24, 32, 3), dtype=np.uint8))
    points = (np.zeros((1, 3), dtype=np.float32), np.zeros((1, 3), dtype=np.uint8))
    write_scene(tmp_path / "scene", away, photos, points, {"train": list(away), "test": []})
    with pytest.raises(InputError, match="no surface"):
        Mesh(folders / "labelled", tmp_path / "out", tmp_path / "scene", added_places=0).run()
    assert not (tmp_path / "out").exists()


def test_voxels_beyond_memory_become_larger_and_the_command_says_so(folders, monkeypatch, capsys):
    monkeypatch.setattr("panoptic_gs.memory.available", lambda: 14 * 2e6)
    out = folders / "coarser"
    Mesh(folders / "labelled", out, folders / "scene", voxel=0.05, quantile=0.5, added_places=1).run()
    info = json.loads((out / "mesh.json").read_text())["info"]
    assert 0.05 < info["voxel"] <= 0.2
    assert f"{info['voxel']:.3g} m are taken" in " ".join(capsys.readouterr().out.split())


def test_voxels_beyond_memory_are_refused(folders):
    with pytest.raises(InputError, match="larger voxels"):
        Mesh(folders / "labelled", folders / "refused", folders / "scene", voxel=0.0002).run()


def test_what_is_there_is_not_replaced_unasked(folders):
    (folders / "taken").mkdir()
    (folders / "taken" / "mine.txt").write_text("mine")
    with pytest.raises(InputError, match="content"):
        Mesh(folders / "labelled", folders / "taken", folders / "scene").run()
    assert (folders / "taken" / "mine.txt").read_text() == "mine"
