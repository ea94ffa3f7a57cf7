# SPDX-License-Identifier: Apache-2.0
"""Labels that are still there in glTF, in a PLY for editors, beside SPZ files, and after another program reordered."""

import json
import shutil
import struct
import subprocess
import zipfile
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from plyfile import PlyData

from panoptic_gs import InputError, Splats, export
from panoptic_gs.cli.main import main
from panoptic_gs.export.matching import match_positions
from panoptic_gs.objects.table import ObjectTable
from panoptic_gs.splats import read_splats
from panoptic_gs.uplift import LabelledScene, save_labelled_scene

UP = np.array([0.0, 0.0, 1.0])


@pytest.fixture(scope="module")
def scene(furnished: LabelledScene) -> LabelledScene:
    """Some Gaussians of the furnished room, of uneven shapes and with harmonics; one object was given a name."""
    index = torch.arange(0, len(furnished.splats), 15)
    g = torch.Generator().manual_seed(0)
    count = len(index)
    part = furnished.splats.subset(index)
    splats = Splats(
        part.means + 0.004 * torch.randn(count, 3, generator=g), torch.randn(count, 4, generator=g),
        0.01 + 0.05 * torch.rand(count, 3, generator=g), 0.05 + 0.9 * torch.rand(count, generator=g),
        torch.cat([part.sh, 0.2 * torch.randn(count, 8, 3, generator=g)], dim=1),
    )  # fmt: skip
    segments = [replace(s, name="Großmutters Tasse ☕") if s.id == 3 else s for s in furnished.segments]
    return furnished._replace(splats=splats, labels=furnished.labels.subset(index)).with_segments(segments)


@pytest.fixture(scope="module")
def placed(scene: LabelledScene) -> list[export.PlacedObject]:
    return export.placed_objects(ObjectTable(scene), UP)


def glb(path: Path) -> tuple[dict[str, Any], bytes]:
    """JSON and binary, by the words of the glTF specification."""
    content = path.read_bytes()
    magic, version, length, size, kind = struct.unpack_from("<4sIII4s", content)
    assert (magic, version, length, kind) == (b"glTF", 2, len(content), b"JSON")
    binary, tag = struct.unpack_from("<I4s", content, 20 + size)
    assert (binary, tag) == (length - 28 - size, b"BIN\0")
    return json.loads(content[20 : 20 + size]), content[28 + size :]


def view(document: dict[str, Any], binary: bytes, number: int) -> bytes:
    entry = document["bufferViews"][number]
    return binary[entry["byteOffset"] : entry["byteOffset"] + entry["byteLength"]]


def attribute(document: dict[str, Any], binary: bytes, primitive: dict[str, Any], name: str) -> np.ndarray:
    accessor = document["accessors"][primitive["attributes"][name]]
    values = np.frombuffer(view(document, binary, accessor["bufferView"]), "<f4")
    return values.reshape(accessor["count"], -1)


def texts(document: dict[str, Any], binary: bytes, column: dict[str, int]) -> list[str]:
    offsets = np.frombuffer(view(document, binary, column["stringOffsets"]), "<u4")
    values = view(document, binary, column["values"])
    return [values[a:b].decode() for a, b in pairwise(offsets)]


@pytest.mark.parametrize("node_each", [False, True])
def test_gltf_says_of_each_gaussian_whose_it_is(
    node_each: bool, scene: LabelledScene, placed: list[export.PlacedObject], tmp_path: Path
) -> None:
    export.write_gaussian_gltf(tmp_path / "s.glb", scene, placed, UP, "antialiased", node_each=node_each)
    document, binary = glb(tmp_path / "s.glb")
    metadata = document["extensions"]["EXT_structural_metadata"]
    table = metadata["propertyTables"][0]
    assert set(table["properties"]) == set(metadata["schema"]["classes"][table["class"]]["properties"])
    columns = table["properties"]
    ids = np.frombuffer(view(document, binary, columns["id"]["values"]), "<u4")
    names, categories = (texts(document, binary, columns[name]) for name in ("name", "category"))
    assert table["count"] == len(ids) == len(placed)
    assert dict(zip(ids.tolist(), names))[3] == "Großmutters Tasse ☕"
    assert dict(zip(ids.tolist(), categories)) == {entry.id: entry.object.category.name for entry in placed}
    known = dict(zip(map(tuple, scene.splats.means.tolist()), scene.labels.best()[0].tolist()))
    count = 0
    for mesh in document["meshes"]:
        primitive = mesh["primitives"][0]
        feature = attribute(document, binary, primitive, "_FEATURE_ID_0")[:, 0].astype(int)
        for position, number in zip(attribute(document, binary, primitive, "POSITION").tolist(), feature):
            assert ids[number] == known[tuple(position)]
        declared = primitive["extensions"]["EXT_mesh_features"]["featureIds"][0]
        assert declared["featureCount"] == len(set(feature))
        count += len(feature)
    assert count == len(scene.splats)
    nodes = [node["name"] for node in document["nodes"]]
    assert len(nodes) == (len(placed) + 1 if node_each else 2)
    root = document["nodes"][document["scenes"][0]["nodes"][0]]
    np.testing.assert_allclose(np.reshape(root["matrix"], (4, 4)).T @ [*UP, 0], [0, 1, 0, 0], atol=1e-12)
    assert all(entry["byteOffset"] % 8 == 0 for entry in document["bufferViews"])


def test_gltf_comes_back_in_the_axes_that_it_was_written_from(
    scene: LabelledScene, placed: list[export.PlacedObject], tmp_path: Path
) -> None:
    for up in (UP, np.array([0.0, -1.0, 0.0]), np.array([0.3, 0.5, -0.8])):
        export.write_gaussian_gltf(tmp_path / "s.glb", scene, placed, up, "antialiased")
        read = read_splats(tmp_path / "s.glb")
        assert read.rasterize_mode == "antialiased"
        torch.testing.assert_close(read.splats.means, scene.splats.means, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(read.splats.scales, scene.splats.scales, atol=1e-6, rtol=1e-5)
        torch.testing.assert_close(read.splats.opacities, scene.splats.opacities, atol=1e-6, rtol=1e-5)
        torch.testing.assert_close(read.splats.sh, scene.splats.sh, atol=1e-4, rtol=1e-4)


def test_gaussians_without_a_label_are_no_feature(scene: LabelledScene, tmp_path: Path) -> None:
    placed = export.placed_objects(ObjectTable(scene), UP)[:2]  # as if the others had none
    export.write_gaussian_gltf(tmp_path / "s.glb", scene, placed, UP, node_each=True)
    document, binary = glb(tmp_path / "s.glb")
    mesh = next(m for m in document["meshes"] if m["name"] == "unlabelled")
    feature = attribute(document, binary, mesh["primitives"][0], "_FEATURE_ID_0")
    assert (feature == len(placed)).all()
    assert "EXT_mesh_features" not in mesh["primitives"][0]["extensions"]


def test_usd_has_a_prim_for_each_object_with_its_labels(
    scene: LabelledScene, placed: list[export.PlacedObject], tmp_path: Path
) -> None:
    pytest.importorskip("pxr")
    from pxr import Usd, UsdGeom, UsdSemantics

    up = np.array([0.0, -1.0, 0.2])
    export.write_gaussian_usd(tmp_path / "s.usdc", scene, placed, up, 0.5, "antialiased")
    assert [file.name for file in tmp_path.iterdir()] == ["s.usdc"]
    stage = Usd.Stage.Open(str(tmp_path / "s.usdc"))
    assert (UsdGeom.GetStageUpAxis(stage), UsdGeom.GetStageMetersPerUnit(stage)) == ("Z", 1.0)
    categories, count = {}, 0
    for prim in stage.Traverse():
        if prim.GetTypeName() == "ParticleField3DGaussianSplat":
            label = lambda kind, prim=prim: list(UsdSemantics.LabelsAPI(prim, kind).GetLabelsAttr().Get())
            categories[int(label("instance")[0])] = label("class")[0]
            count += len(prim.GetAttribute("positions").Get())
            if label("instance") == ["3"]:
                assert prim.GetCustomDataByKey("panoptic_gs")["name"] == "Großmutters Tasse ☕"
    assert categories == {entry.id: entry.object.category.name for entry in placed}
    assert count == len(scene.splats)
    root = UsdGeom.Xformable(stage.GetDefaultPrim()).GetLocalTransformation()
    np.testing.assert_allclose(root.TransformDir(tuple(up / np.linalg.norm(up))), (0, 0, 0.5), atol=1e-9)
    read = read_splats(tmp_path / "s.usdc")
    assert read.rasterize_mode == "antialiased"
    nearest = torch.cdist(scene.splats.means, read.splats.means).argmin(dim=1)
    back = read.splats.subset(nearest)
    torch.testing.assert_close(back.means, scene.splats.means, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(back.scales, scene.splats.scales, atol=1e-6, rtol=1e-5)
    assert (back.quats * scene.splats.quats).sum(dim=1).abs().min() > 0.99999
    torch.testing.assert_close(back.sh, scene.splats.sh, atol=1e-4, rtol=1e-4)


def test_a_ply_for_editors_has_ids_and_their_dictionary(
    scene: LabelledScene, placed: list[export.PlacedObject], tmp_path: Path
) -> None:
    export.write_labelled_ply(tmp_path / "labelled.ply", scene, placed)
    vertex = PlyData.read(str(tmp_path / "labelled.ply"))["vertex"]
    document = json.loads((tmp_path / "labelled.json").read_text())
    np.testing.assert_array_equal(vertex["instance_id"], scene.labels.best()[0].numpy())
    for segment in scene.segments:
        own = vertex["class_id"][vertex["instance_id"] == segment.id]
        assert (own == segment.category_id).all()
        entry = document["instance_id"][str(segment.id)]
        assert entry["class_id"] == segment.category_id
        assert document["class_id"][str(segment.category_id)]["name"] == entry["category"]
        assert entry["gaussians"] == len(own)
    assert document["instance_id"]["3"]["name"] == "Großmutters Tasse ☕"


def test_spz_files_hold_each_object_within_their_quantisation(
    scene: LabelledScene, placed: list[export.PlacedObject], tmp_path: Path
) -> None:
    export.write_spz_objects(tmp_path, scene, placed, "antialiased")
    index = json.loads((tmp_path / "index.json").read_text())
    assert {entry["id"]: entry["name"] for entry in index["objects"]} == {e.id: e.object.name for e in placed}
    for entry, own in zip(index["objects"], placed):
        read = read_splats(tmp_path / entry["file"])
        expected = scene.splats.subset(torch.from_numpy(own.members))
        assert read.rasterize_mode == "antialiased"
        assert (read.splats.means - expected.means).abs().max() <= 2**-13 + 1e-6
        assert (read.splats.scales.log() - expected.scales.log()).abs().max() <= 1 / 32 + 1e-5
        assert (read.splats.quats * expected.quats).sum(dim=1).abs().min() > 0.99999
        assert (read.splats.opacities - expected.opacities).abs().max() <= 0.5 / 255 + 1e-6
        assert (read.splats.sh[:, 0] - expected.sh[:, 0]).abs().max() <= 0.5 / 255 / 0.15 + 1e-5
        assert (read.splats.sh[:, 1:] - expected.sh[:, 1:]).abs().max() <= 1 / 16 + 1e-5


def test_spz_far_from_the_origin_loses_digits_or_is_refused(scene: LabelledScene, tmp_path: Path) -> None:
    far = scene.splats.transformed(torch.tensor([[1.0, 0, 0, 50_000], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]))
    export.write_spz(tmp_path / "far.spz", far)
    assert (read_splats(tmp_path / "far.spz").splats.means - far.means).abs().max() <= 2**-8 + 1e-3
    farther = scene.splats.transformed(torch.tensor([[1.0, 0, 0, 1e6], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]))
    with pytest.raises(InputError, match="524,288 units"):
        export.write_spz(tmp_path / "farther.spz", farther)
    assert not (tmp_path / "farther.spz").exists()


def test_sog_comes_back_to_within_its_steps(
    scene: LabelledScene, placed: list[export.PlacedObject], tmp_path: Path
) -> None:
    files = export.write_sog_objects(tmp_path / "sog", scene, placed, "antialiased")
    index = json.loads((tmp_path / "sog" / "index.json").read_text())
    assert [entry["file"] for entry in index["objects"]] == [file.name for file in files]
    assert sum(entry["gaussians"] for entry in index["objects"]) == len(scene.splats)
    assert {e["id"]: e["name"] for e in index["objects"]}[3] == "Großmutters Tasse ☕"
    for entry, file in zip(placed, files):
        read, expected = read_splats(file), scene.splats.subset(torch.from_numpy(entry.members))
        assert read.rasterize_mode == "antialiased"
        span = (expected.means.abs().log1p() * expected.means.sign()).aminmax(dim=0)
        step = (span.max - span.min) / 65535 * (1 + expected.means.abs().amax(dim=0))
        assert ((read.splats.means - expected.means).abs() <= step + 1e-6).all()
        assert (read.splats.quats * expected.quats).sum(dim=1).abs().min() > 0.9999
        assert (read.splats.opacities - expected.opacities).abs().max() <= 0.5 / 255 + 1e-6
        assert (read.splats.scales / expected.scales).log().abs().max() <= 0.02
        for degrees in (slice(0, 1), slice(1, None)):
            spread = expected.sh[:, degrees].max() - expected.sh[:, degrees].min()
            assert (read.splats.sh[:, degrees] - expected.sh[:, degrees]).abs().max() <= 0.02 * spread + 1e-6


def test_a_palette_of_harmonics_stands_for_more_rows_than_it_has(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    count = 6000
    kinds = torch.randn(30, 15, 3, generator=generator)
    sh = torch.cat([torch.randn(count, 1, 3, generator=generator), kinds.repeat(count // 30, 1, 1)], dim=1)
    splats = Splats(torch.randn(count, 3, generator=generator), torch.nn.functional.normalize(
        torch.randn(count, 4, generator=generator), dim=1), torch.rand(count, 3, generator=generator) + 0.1,
        torch.rand(count, generator=generator), sh)  # fmt: skip
    export.write_sog(tmp_path / "s.sog", splats)
    back = read_splats(tmp_path / "s.sog").splats
    assert (back.sh[:, 1:] - sh[:, 1:]).abs().max() < 0.05  # the codebook's steps
    assert (back.quats * splats.quats).sum(dim=1).abs().min() > 0.9999


def test_usdz_is_a_package_of_the_same_stage(
    scene: LabelledScene, placed: list[export.PlacedObject], tmp_path: Path
) -> None:
    pytest.importorskip("pxr")
    from pxr import Usd, UsdGeom

    export.write_gaussian_usd(tmp_path / "s.usdz", scene, placed, UP, 0.5, "classic")
    assert [file.name for file in tmp_path.iterdir()] == ["s.usdz"]
    with zipfile.ZipFile(tmp_path / "s.usdz") as package:
        assert package.namelist() == ["s.usdc"]
        assert package.infolist()[0].compress_type == zipfile.ZIP_STORED
    stage = Usd.Stage.Open(str(tmp_path / "s.usdz"))
    assert UsdGeom.GetStageMetersPerUnit(stage) == 1.0
    kinds = [prim.GetTypeName() for prim in stage.Traverse()]
    assert kinds.count("ParticleField3DGaussianSplat") == len(placed)
    read = read_splats(tmp_path / "s.usdz")
    assert read.rasterize_mode == "classic"
    assert len(read.splats) == len(scene.splats)


def test_labels_are_found_again_after_reordering(scene: LabelledScene, tmp_path: Path) -> None:
    order = torch.randperm(len(scene.splats), generator=torch.Generator().manual_seed(1))
    ids = scene.labels.best()[0].numpy()
    scene.splats.subset(order).save_ply(tmp_path / "reordered.ply")
    matched = export.write_matched_labels(tmp_path / "m.npz", scene, tmp_path / "reordered.ply")
    assert (matched.exact, matched.nearest, matched.unmatched, matched.shared) == (len(order), 0, 0, 0)
    stored = np.load(tmp_path / "m.npz")
    np.testing.assert_array_equal(stored["row"], order.numpy())
    np.testing.assert_array_equal(stored["segment_id"], ids[order.numpy()])
    export.write_spz(tmp_path / "quantised.spz", scene.splats.subset(order))
    quantised = export.write_matched_labels(tmp_path / "q.npz", scene, tmp_path / "quantised.spz")
    assert quantised.exact < quantised.nearest
    assert quantised.unmatched == 0
    np.testing.assert_array_equal(np.load(tmp_path / "q.npz")["segment_id"], ids[order.numpy()])
    turned = scene.splats.transformed(torch.diag(torch.tensor([1.0, -1, -1, 1]))).transformed(
        torch.tensor([[1.0, 0, 0, 90], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    )
    turned.save_ply(tmp_path / "turned.ply")
    with pytest.raises(InputError, match="no Gaussian within"):
        export.write_matched_labels(tmp_path / "t.npz", scene, tmp_path / "turned.ply")
    assert not (tmp_path / "t.npz").exists()


def test_what_does_not_match_is_counted() -> None:
    own = np.array([[0.0, 0, 0], [1, 0, 0], [2, 0, 0]])
    other = np.array([[2.0, 0, 0], [0.2, 0, 0], [0.1, 0, 0], [1.6, 9, 0]])
    matched = match_positions(own, other)
    assert matched.rows.tolist() == [2, 0, 0, -1]
    assert (matched.exact, matched.nearest, matched.unmatched, matched.shared) == (1, 2, 1, 2)
    assert match_positions(own, other, 0.0).rows.tolist() == [2, -1, -1, -1]


def test_the_command_writes_them_where_they_are_named(scene: LabelledScene, tmp_path: Path) -> None:
    save_labelled_scene(tmp_path / "labelled", scene.splats, scene.labels, scene.labelling)
    save_labelled_scene(tmp_path / "other", scene.splats, scene.labels, scene.labelling)
    call = ["export", str(tmp_path / "labelled"), "--out", str(tmp_path / "out"), "--quiet", "--overwrite"]
    main([*call, "--format", "glb", "ply", "spz", "sog", "match", "--match", str(tmp_path / "other" / "splats.ply")])
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "splats.glb", "labelled.ply", "labelled.json", "spz", "sog", "matched.npz", "matched.json", "export.json",
    }  # fmt: skip
    report = json.loads((tmp_path / "out" / "matched.json").read_text())
    assert report["exact"] == len(scene.splats)
    assert any(entry.get("name") == "Großmutters Tasse ☕" for entry in report["labelling"]["segments"])
    for wrong in (["--formats", "match"], ["--match", "x.ply"], ["--node-each"]):
        with pytest.raises(SystemExit) as ended:
            main([*call, *wrong])
        assert ended.value.code == 2


def test_other_programs_select_and_read_them(
    scene: LabelledScene, placed: list[export.PlacedObject], tmp_path: Path
) -> None:
    tool = shutil.which("splat-transform")
    if tool is None:
        pytest.skip("needs splat-transform on the PATH")
    run = lambda *words: subprocess.run([tool, "-q", "-w", "-g", "cpu", *map(str, words)], check=True)
    export.write_labelled_ply(tmp_path / "labelled.ply", scene, placed)
    cup = next(entry for entry in placed if entry.id == 3)
    expected = scene.splats.subset(torch.from_numpy(cup.members))
    run(tmp_path / "labelled.ply", "-V", "instance_id,eq,3", tmp_path / "cup.ply")
    torch.testing.assert_close(read_splats(tmp_path / "cup.ply").splats.means, expected.means)
    export.write_spz_objects(tmp_path / "spz", scene, [cup])
    run(next((tmp_path / "spz").glob("*.spz")), tmp_path / "back.ply")
    back = read_splats(tmp_path / "back.ply").splats
    assert (back.means - expected.means).abs().max() <= 2**-13 + 1e-6
    assert (back.quats * expected.quats).sum(dim=1).abs().min() > 0.99999
    assert (back.sh[:, 1:] - expected.sh[:, 1:]).abs().max() <= 1 / 16 + 1e-5
    export.write_sog_objects(tmp_path / "sog", scene, [cup], "classic")
    run(next((tmp_path / "sog").glob("*.sog")), tmp_path / "back_of_sog.ply")
    back, ours = (
        read_splats(path).splats for path in (tmp_path / "back_of_sog.ply", *(tmp_path / "sog").glob("*.sog"))
    )
    for name in ("means", "scales", "opacities", "sh"):
        torch.testing.assert_close(getattr(back, name), getattr(ours, name), atol=2e-3, rtol=2e-3)
    assert (back.quats * ours.quats).sum(dim=1).abs().min() > 0.99999
    run(tmp_path / "labelled.ply", "-M", tmp_path / "morton.ply")
    matched = export.write_matched_labels(tmp_path / "m.npz", scene, tmp_path / "morton.ply")
    assert matched.exact == len(scene.splats)
