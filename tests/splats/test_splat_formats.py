# SPDX-License-Identifier: Apache-2.0
"""SPZ, SOG, .splat, glTF and USD hold the same Gaussians as the PLY that they were made from."""

from __future__ import annotations

import json
import shutil
import struct
import subprocess
import sys
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch

from panoptic_gs import InputError, Splats
from panoptic_gs.splats import read_splats, usd
from panoptic_gs.splats.columns import moved

DATA = Path(__file__).parent / "data"
# The files in DATA were made of supersplat.ply by @playcanvas/splat-transform 2.7.1.
TOLERANCES = {"splats.v3.spz": (2e-4, 0.032, 0.004), "splats.v4.spz": (2e-4, 0.032, 0.004),
              "splats.sog": (2e-4, 0.07, 0.004), "splats.glb": (1e-6, 1e-6, 1e-6)}  # fmt: skip


def covariances(splats: Splats) -> torch.Tensor:
    w, x, y, z = splats.quats.double().unbind(-1)
    rows = [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w), 2 * (x * y + z * w),
            1 - 2 * (x * x + z * z), 2 * (y * z - x * w), 2 * (x * z - y * w), 2 * (y * z + x * w),
            1 - 2 * (x * x + y * y)]  # fmt: skip
    half = torch.stack(rows, dim=-1).reshape(-1, 3, 3) * splats.scales.double()[:, None]
    return half @ half.transpose(1, 2)


def in_order_of(splats: Splats, other: Splats) -> Splats:
    """Some formats sort; each Gaussian's nearest is its own."""
    nearest = torch.cdist(other.means.double(), splats.means.double()).argmin(dim=1)
    assert len(set(nearest.tolist())) == len(other)
    return splats.subset(nearest)


def agree(one: Splats, other: Splats, tolerances: tuple[float, float, float], *, same_axes: bool = True) -> None:
    """``same_axes``: the quaternions are the same, not only the ellipsoids."""
    position, log_scale, opacity = tolerances
    span = float(other.means.abs().max())
    assert (one.means - other.means).abs().max() <= position * max(span, 1)
    assert (one.scales.log() - other.scales.log()).abs().max() <= log_scale
    if same_axes:
        assert (one.quats * other.quats).sum(dim=-1).abs().min() >= 0.9995
    assert (one.opacities - other.opacities).abs().max() <= opacity
    relative = (covariances(one) - covariances(other)).flatten(1).norm(dim=1) / covariances(other).flatten(1).norm(
        dim=1
    )
    assert relative.max() <= 3 * log_scale + 0.03


@pytest.fixture(scope="module")
def reference() -> Splats:
    return read_splats(DATA / "supersplat.ply").splats


@pytest.mark.parametrize("name", TOLERANCES)
def test_other_formats_hold_what_the_ply_holds(name: str, reference: Splats) -> None:
    read = read_splats(DATA / name)
    assert read.notes
    splats = in_order_of(read.splats, reference)
    agree(splats, reference, TOLERANCES[name])
    if name.endswith("glb"):
        torch.testing.assert_close(splats.sh, reference.sh)
    else:  # against what the tool itself decodes
        decoded = read_splats(DATA / f"splats.{name.rpartition('.')[2]}.ply").splats
        for part in ("means", "scales", "opacities", "sh"):
            torch.testing.assert_close(getattr(read.splats, part), getattr(decoded, part), atol=1e-6, rtol=1e-5)
    some = torch.tensor([7, 2, 299])
    torch.testing.assert_close(read_splats(DATA / name, some).splats.means, read.splats.means[some])


def test_public_files_of_three_formats_hold_the_same(shared_data: Path) -> None:
    stem = shared_data / "splats" / "test-splat.3-points-from-train"
    reference = read_splats(stem.with_name(stem.name + ".ply")).splats
    for ending in (".spz", ".splat"):
        read = read_splats(stem.with_name(stem.name + ending))
        agree(read.splats, reference, (2e-4, 0.032, 0.004))
        assert (read.splats.sh[:, 0] - reference.sh[:, 0]).abs().max() < 0.02
        assert read.splats.sh_degree == (3 if ending == ".spz" else 0)


def legacy_spz(version: int, xyz: np.ndarray, quats: np.ndarray, degree: int = 0, flags: int = 0) -> bytes:
    """SPZ 1 or 2 as its own document lays it out; all else is grey, half transparent and of size one."""
    count = len(xyz)
    if version == 1:
        positions = xyz.astype("<f2").tobytes()
    else:
        positions = b"".join(int(v).to_bytes(3, "little", signed=True) for v in np.round(xyz * 4096).ravel())
    rotations = np.round((quats[:, 1:] + 1) * 127.5).astype(np.uint8).tobytes()
    sh = bytes([192]) * (count * 3 * (0, 3, 8, 15)[degree])
    body = positions + bytes([128]) * count + bytes([128]) * 3 * count + bytes([160]) * 3 * count + rotations + sh
    header = struct.pack("<4sIIBBBB", b"NGSP", version, count, degree, 12, flags, 0)
    packer = zlib.compressobj(wbits=31)
    return packer.compress(header + body) + packer.flush()


@pytest.mark.parametrize("version", [1, 2])
def test_old_versions_of_spz(version: int, tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    xyz = generator.normal(size=(5, 3)) * 3
    quats = generator.normal(size=(5, 4))
    quats *= np.sign(quats[:, :1]) / np.linalg.norm(quats, axis=1, keepdims=True)
    (tmp_path / "old.spz").write_bytes(legacy_spz(version, xyz, quats, degree=1, flags=1))
    read = read_splats(tmp_path / "old.spz")
    np.testing.assert_allclose(read.splats.means.numpy(), xyz * [1, -1, -1], atol=0.01)
    np.testing.assert_allclose((read.splats.quats.numpy() * quats * [1, 1, -1, -1]).sum(axis=1), 1, atol=1e-3)
    assert (read.splats.scales == 1).all()
    assert read.splats.sh[0, 1:, 0].tolist() == [-0.5, -0.5, 0.5]  # y, z, x
    assert read.rasterize_mode == "antialiased"


@pytest.mark.parametrize("ending", ["spz", "sog", "glb"])
def test_cut_and_foreign_files_are_refused_by_name(ending: str, tmp_path: Path) -> None:
    name = {"spz": "splats.v4.spz", "sog": "splats.sog", "glb": "splats.glb"}[ending]
    content = (DATA / name).read_bytes()
    file = tmp_path / f"s.{ending}"
    for size in (0, 1, 12, 30, len(content) // 2, len(content) - 9):
        file.write_bytes(content[:size])
        with pytest.raises(InputError, match=file.name):
            read_splats(file)
    file.write_bytes(b"<html></html>")
    with pytest.raises(InputError, match="does not begin like one"):
        read_splats(file)


def test_versions_that_nobody_knows_are_refused(tmp_path: Path) -> None:
    content = bytearray((DATA / "splats.v4.spz").read_bytes())
    content[4] = 9
    (tmp_path / "s.spz").write_bytes(content)
    with pytest.raises(InputError, match="SPZ of version 9"):
        read_splats(tmp_path / "s.spz")
    content = bytearray((DATA / "splats.glb").read_bytes())
    content[4] = 1
    (tmp_path / "s.glb").write_bytes(content)
    with pytest.raises(InputError, match="GLB of version 1"):
        read_splats(tmp_path / "s.glb")
    for version in (3, "x", None):
        unpacked = unbundled(tmp_path / f"sog-{version}", version=version) if version is not None else None
        if unpacked is not None:
            with pytest.raises(InputError, match="SOG of version"):
                read_splats(unpacked)
    (tmp_path / "s.ksplat").write_bytes(bytes(64))
    with pytest.raises(InputError, match="splat-transform"):
        read_splats(tmp_path / "s.ksplat")


def test_counts_beyond_what_a_file_can_be_worth_are_refused_before_memory_is_taken(tmp_path: Path) -> None:
    content = bytearray((DATA / "splats.v4.spz").read_bytes())
    content[8:12] = struct.pack("<I", 1 << 31)
    (tmp_path / "s.spz").write_bytes(content)
    with pytest.raises(InputError, match="2,147,483,648 Gaussians announced"):
        read_splats(tmp_path / "s.spz")
    with pytest.raises(InputError, match="Gaussians announced"):
        read_splats(unbundled(tmp_path / "sog", count=1 << 30))
    bomb = zlib.compressobj(9, wbits=31)
    header = struct.pack("<4sIIBBBB", b"NGSP", 3, 10_000_000, 0, 12, 0, 0)
    (tmp_path / "b.spz").write_bytes(bomb.compress(header + bytes(200_000_000)) + bomb.flush())
    with pytest.raises(InputError, match="10,000,000 Gaussians announced"):
        read_splats(tmp_path / "b.spz")
    (tmp_path / "none.spz").write_bytes(legacy_spz(2, np.zeros((0, 3)), np.zeros((0, 4))))
    with pytest.raises(InputError, match="no Gaussians"):
        read_splats(tmp_path / "none.spz")


def unbundled(folder: Path, **changed: object) -> Path:
    """The SOG in DATA as a folder, with other entries in its meta.json."""
    with zipfile.ZipFile(DATA / "splats.sog") as bundle:
        bundle.extractall(folder)
    meta = json.loads((folder / "meta.json").read_text())
    (folder / "meta.json").write_text(json.dumps(meta | changed))
    return folder


def test_a_folder_of_sog_and_its_meta_are_the_bundle(tmp_path: Path, reference: Splats) -> None:
    folder = unbundled(tmp_path / "sog")
    bundle = read_splats(DATA / "splats.sog").splats
    for path in (folder, folder / "meta.json"):
        assert torch.equal(read_splats(path).splats.means, bundle.means)
    meta = json.loads((folder / "meta.json").read_text())
    meta["quats"]["files"] = ["../quats.webp"]
    (folder / "meta.json").write_text(json.dumps(meta))
    with pytest.raises(InputError, match="names of files beside it"):
        read_splats(folder)
    (folder / "means_l.webp").unlink()
    with pytest.raises(InputError, match="no readable means_l"):
        read_splats(folder)


def test_sog_of_version_1_has_ranges(tmp_path: Path) -> None:
    folder = unbundled(tmp_path / "sog")
    new = json.loads((folder / "meta.json").read_text())
    old = {
        "means": new["means"] | {"shape": [300, 3]}, "quats": new["quats"],
        "scales": {"files": new["scales"]["files"], "mins": [-5, -5, -5], "maxs": [0, 0, 0]},
        "sh0": {"files": new["sh0"]["files"], "mins": [-1, -1, -1, -4], "maxs": [1, 1, 1, 4]},
        "shN": {"files": new["shN"]["files"], "mins": -0.5, "maxs": 0.5},
    }  # fmt: skip
    (folder / "meta.json").write_text(json.dumps(old))
    read = read_splats(folder).splats
    assert torch.equal(read.means, read_splats(DATA / "splats.sog").splats.means)
    assert read.scales.log().min() >= -5 - 1e-5
    assert read.scales.log().max() <= 1e-5
    assert read.sh[:, 1:].abs().max() <= 0.5
    assert read.opacities.max() <= 1 / (1 + np.exp(-4)) + 1e-6


def splat_rows(count: int = 6) -> np.ndarray:
    rows = np.zeros((count, 32), np.uint8)
    floats = np.random.default_rng(1).uniform(0.1, 2, (count, 6)).astype("<f4")
    rows[:, :24] = floats.view(np.uint8)
    rows[:, 24:28] = (255, 0, 128, 255)
    rows[:, 28:] = (255, 128, 128, 128)
    return rows


def test_splat_files_without_a_header_are_looked_at(tmp_path: Path) -> None:
    rows = splat_rows()
    (tmp_path / "s.splat").write_bytes(rows.tobytes())
    read = read_splats(tmp_path / "s.splat")
    assert len(read.splats) == 6
    assert read.splats.opacities.tolist() == [1.0] * 6
    assert read.splats.base_colors()[0].tolist() == [255, 0, 128]
    (tmp_path / "s.splat").write_bytes(rows.tobytes()[:-1])
    with pytest.raises(InputError, match="a multiple of 32"):
        read_splats(tmp_path / "s.splat")
    (tmp_path / "s.splat").write_bytes(b"")
    with pytest.raises(InputError, match="a multiple of 32"):
        read_splats(tmp_path / "s.splat")
    (tmp_path / "s.splat").write_bytes(np.random.default_rng(0).bytes(3200))
    with pytest.raises(InputError, match="no Gaussians"):
        read_splats(tmp_path / "s.splat")


def gltf_document() -> tuple[dict, bytes]:
    content = (DATA / "splats.glb").read_bytes()
    size = struct.unpack_from("<I", content, 12)[0]
    return json.loads(content[20 : 20 + size]), content[28 + size :]


def written_gltf(folder: Path, document: dict, binary: bytes) -> Path:
    folder.mkdir(exist_ok=True)
    document["buffers"][0]["uri"] = "splats.bin"
    (folder / "splats.bin").write_bytes(binary)
    (folder / "splats.gltf").write_text(json.dumps(document))
    return folder / "splats.gltf"


def test_nodes_of_a_gltf_move_their_gaussians(tmp_path: Path, reference: Splats) -> None:
    document, binary = gltf_document()
    document["asset"]["generator"] = "another program"
    half = np.sqrt(0.5)
    document["nodes"] = [{"children": [1], "rotation": [0, 0, half, half], "scale": [2, 2, 2]},
                         {"mesh": 0, "translation": [1, 2, 3]}]  # fmt: skip
    read = read_splats(written_gltf(tmp_path / "g", document, binary))
    assert "own axes" in read.notes[0]
    similarity = np.diag([2.0, 2.0, 2.0, 1.0]) @ np.array([[0, -1, 0, 0], [1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    shift = np.eye(4)
    shift[:3, 3] = (1, 2, 3)
    # SplatTransform turned the PLY by half a turn about z.
    expected = reference.transformed(torch.from_numpy(similarity @ shift @ np.diag([-1.0, -1, 1, 1])).float())
    agree(read.splats, expected, (1e-5, 1e-5, 1e-6))
    torch.testing.assert_close(read.splats.sh, expected.sh, atol=1e-4, rtol=1e-4)
    document["nodes"][0]["scale"] = [1, 2, 1]
    with pytest.raises(InputError, match="stretches"):
        read_splats(written_gltf(tmp_path / "g", document, binary))
    document["nodes"][0]["scale"] = [1, 1, 1]
    document["nodes"][1]["children"] = [0]
    with pytest.raises(InputError, match="contain themselves"):
        read_splats(written_gltf(tmp_path / "g", document, binary))


def test_drafts_of_gltf_had_logarithmic_scales(tmp_path: Path, reference: Splats) -> None:
    document, binary = gltf_document()
    attributes = document["meshes"][0]["primitives"][0]["attributes"]
    view = document["bufferViews"][document["accessors"][attributes["KHR_gaussian_splatting:SCALE"]]["bufferView"]]
    begin, end = view["byteOffset"], view["byteOffset"] + view["byteLength"]
    logs = np.log(np.frombuffer(binary[begin:end], "<f4")).astype("<f4").tobytes()
    read = read_splats(written_gltf(tmp_path / "g", document, binary[:begin] + logs + binary[end:]))
    assert "drafts" in read.notes[0]
    agree(read.splats, reference, (1e-6, 1e-6, 1e-6))


def test_gltf_that_is_packed_or_incomplete_is_refused_or_unpacked(tmp_path: Path, reference: Splats) -> None:
    document, binary = gltf_document()
    primitive = document["meshes"][0]["primitives"][0]
    document["extensionsRequired"] = ["KHR_draco_mesh_compression"]
    with pytest.raises(InputError, match="KHR_draco_mesh_compression"):
        read_splats(written_gltf(tmp_path / "g", document, binary))
    document["extensionsRequired"] = []
    del primitive["attributes"]["KHR_gaussian_splatting:OPACITY"]
    with pytest.raises(InputError, match="without KHR_gaussian_splatting:OPACITY"):
        read_splats(written_gltf(tmp_path / "g", document, binary))
    packed = (DATA / "splats.v4.spz").read_bytes()
    primitive["extensions"]["KHR_gaussian_splatting"]["extensions"] = {
        "KHR_gaussian_splatting_compression_spz_2": {"bufferView": 0}
    }
    document["bufferViews"] = [{"buffer": 0, "byteLength": len(packed)}]
    document["asset"]["generator"] = "another program"
    read = read_splats(written_gltf(tmp_path / "g", document, packed))
    turned = reference.transformed(torch.diag(torch.tensor([1.0, -1, -1, 1])))
    agree(read.splats, turned, TOLERANCES["splats.v4.spz"], same_axes=False)
    primitive["extensions"] = {}
    with pytest.raises(InputError, match="a glTF without Gaussians"):
        read_splats(written_gltf(tmp_path / "g", document, binary))


def write_usd(path: Path, splats: Splats, degree: int) -> None:
    from pxr import Gf, Usd, UsdGeom, UsdVol, Vt

    stage = Usd.Stage.CreateInMemory()
    UsdGeom.SetStageUpAxis(stage, UsdGeom.Tokens.z)
    prim = UsdVol.ParticleField3DGaussianSplat.Define(stage, "/room").GetPrim()
    triples = lambda values: Vt.Vec3fArray([Gf.Vec3f(*map(float, row)) for row in values])
    prim.GetAttribute("positions").Set(triples(splats.means))
    prim.GetAttribute("scales").Set(triples(splats.scales))
    quats = [Gf.Quatf(float(w), float(x), float(y), float(z)) for w, x, y, z in splats.quats]
    prim.GetAttribute("orientations").Set(Vt.QuatfArray(quats))
    prim.GetAttribute("opacities").Set(Vt.FloatArray([float(v) for v in splats.opacities]))
    prim.GetAttribute("radiance:sphericalHarmonicsDegree").Set(degree)
    prim.GetAttribute("radiance:sphericalHarmonicsCoefficients").Set(triples(splats.sh.reshape(-1, 3)))
    UsdGeom.Xformable(prim).AddTranslateOp().Set((1, 2, 3))
    stage.GetRootLayer().Export(str(path))


@pytest.mark.parametrize("ending", ["usda", "usdc"])
def test_usd_holds_what_was_written_by_its_own_library(ending: str, reference: Splats, tmp_path: Path) -> None:
    pytest.importorskip("pxr")
    write_usd(tmp_path / f"s.{ending}", reference, 1)
    read = read_splats(tmp_path / f"s.{ending}")
    assert "Z up" in read.notes[0]
    torch.testing.assert_close(read.splats.means, reference.means + torch.tensor([1.0, 2, 3]))
    torch.testing.assert_close(read.splats.quats, reference.quats, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(read.splats.scales, reference.scales, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(read.splats.opacities, reference.opacities, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(read.splats.sh, reference.sh)
    content = (tmp_path / f"s.{ending}").read_bytes()
    (tmp_path / f"s.{ending}").write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match=f"s.{ending}"):
        read_splats(tmp_path / f"s.{ending}")


def test_usd_without_its_library_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "s.usda").write_text("#usda 1.0\n")
    monkeypatch.setitem(sys.modules, "pxr", None)
    monkeypatch.setattr(usd.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install 'panoptic-gs\[usd\]'"):
        read_splats(tmp_path / "s.usda")


def test_viewing_gaussians_without_labels_says_how_to_label_them() -> None:
    from panoptic_gs.objects.opening import open_scene

    for name in TOLERANCES:
        with pytest.raises(InputError, match=f"splats without labels.*panoptic-gs uplift .*{name} SCENE"):
            open_scene(DATA / name)


def test_moving_columns_is_moving_splats(reference: Splats) -> None:
    from panoptic_gs.splats import ply_columns

    turn = torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(3)))[0]
    turn = turn * torch.linalg.det(turn)
    matrix = torch.eye(4)
    matrix[:3, :3], matrix[:3, 3] = 1.7 * turn, torch.tensor([0.3, -2.0, 1.0])
    columns = moved(ply_columns.read(DATA / "supersplat.ply").values, matrix.double().numpy())
    expected = reference.transformed(matrix)
    np.testing.assert_allclose(columns["x"], expected.means[:, 0].numpy(), atol=1e-5)
    np.testing.assert_allclose(np.exp(columns["scale_1"]), expected.scales[:, 1].numpy(), rtol=1e-4)
    np.testing.assert_allclose(columns["f_rest_4"], expected.sh[:, 2, 1].numpy(), atol=1e-5)


@pytest.mark.parametrize("ending", ["spz", "sog", "glb"])
def test_uplift_labels_any_format_as_the_ply(ending: str, shared_data: Path, tmp_path: Path) -> None:
    tool = shutil.which("splat-transform")
    if tool is None:
        pytest.skip("needs splat-transform on the PATH")
    from panoptic_gs.cli.main import main
    from panoptic_gs.uplift import load_labelled_scene

    captures = shared_data / "captures"
    file = tmp_path / f"room.{ending}"
    subprocess.run([tool, "-q", "-g", "cpu", str(captures / "room.ply"), str(file)], check=True)
    scenes = []
    for source, name in ((captures / "room.ply", "one"), (file, "two")):
        main(["uplift", str(source), str(captures / "base"), "--out", str(tmp_path / name), "--quiet"])
        scenes.append(load_labelled_scene(tmp_path / name))
    one, two = scenes
    order = torch.cdist(one.splats.means, two.splats.means).argmin(dim=1)
    same = one.labels.best()[0] == two.labels.best()[0][order]
    assert same.float().mean() > 0.995


def test_a_bundle_whose_deflated_bytes_are_damaged_is_refused_by_name(tmp_path: Path) -> None:
    file = tmp_path / "damaged.sog"
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as bundle:
        bundle.writestr("meta.json", json.dumps({"version": 2, "count": 1, "text": "abcdefgh" * 200}))
    content = bytearray(file.read_bytes())
    start = 30 + len("meta.json")
    content[start : start + 8] = b"\xff" * 8  # no block of deflate begins so
    file.write_bytes(content)
    with pytest.raises(InputError, match=r"damaged\.sog"):
        read_splats(file)
