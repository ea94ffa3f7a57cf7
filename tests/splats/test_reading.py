# SPDX-License-Identifier: Apache-2.0
"""PLY files of other programs: what each holds by its own documentation, and what is refused by name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from plyfile import PlyData, PlyElement

from panoptic_gs import InputError, Splats
from panoptic_gs.export.sog_objects import write_sog
from panoptic_gs.export.spz_objects import write_spz
from panoptic_gs.ply import count_vertices, read_header
from panoptic_gs.splats import SH_C0, antimatter, read_splats
from panoptic_gs.splats.harmonics import basis

DATA = Path(__file__).parent / "data"
Columns = dict[str, np.ndarray]


def columns(count: int = 40, rest: int = 0) -> Columns:
    """A 3DGS PLY's properties."""
    generator = np.random.default_rng(0)
    names = ["x", "y", "z", "f_dc_0", "f_dc_1", "f_dc_2", *(f"f_rest_{i}" for i in range(rest)), "opacity",
             "scale_0", "scale_1", "scale_2", "rot_0", "rot_1", "rot_2", "rot_3"]  # fmt: skip
    return {name: generator.normal(size=count) for name in names}


def write(path: Path, values: Columns, dtype: str = "f4", text: bool = False, order: str = "<") -> Path:
    vertices = np.empty(
        len(values["x"]), dtype=[(n, v.dtype if v.dtype.kind in "iu" else dtype) for n, v in values.items()]
    )
    for name, column in values.items():
        vertices[name] = column
    PlyData([PlyElement.describe(vertices, "vertex")], text=text, byte_order=order).write(str(path))
    return path


def same(one: Splats, other: Splats, tolerance: float = 0.0) -> None:
    for name in ("means", "quats", "scales", "opacities", "sh"):
        torch.testing.assert_close(getattr(one, name), getattr(other, name), atol=tolerance, rtol=tolerance)


def test_compressed_files_are_what_their_own_reader_makes_of_them() -> None:
    """Both files are by @playcanvas/splat-transform 2: one compressed, and that one decompressed again."""
    read = read_splats(DATA / "supersplat.compressed.ply")
    same(read.splats, read_splats(DATA / "supersplat.ply").splats)
    assert len(read.splats) == 300
    assert read.splats.sh_degree == 1
    assert "compressed" in read.notes[0]
    some = torch.tensor([3, 270, 299])
    same(read_splats(DATA / "supersplat.compressed.ply", some).splats, read.splats.subset(some))


def test_a_compressed_file_with_too_few_chunks_is_refused(tmp_path: Path) -> None:
    ply = PlyData.read(str(DATA / "supersplat.compressed.ply"))
    chunks = PlyElement.describe(np.array(ply["chunk"].data[:1]), "chunk")
    PlyData([chunks, PlyElement.describe(np.array(ply["vertex"].data), "vertex")]).write(str(tmp_path / "c.ply"))
    with pytest.raises(InputError, match="compressed layout with 1 chunks"):
        read_splats(tmp_path / "c.ply")
    PlyData([PlyElement.describe(np.array(ply["vertex"].data), "vertex")]).write(str(tmp_path / "c.ply"))
    with pytest.raises(InputError, match="compressed layout with no min_x"):
        read_splats(tmp_path / "c.ply")


@pytest.mark.parametrize(("dtype", "text", "order"), [("f8", False, "<"), ("f4", False, ">"), ("f8", True, "<")])
def test_types_and_byte_orders_make_no_difference(dtype: str, text: bool, order: str, tmp_path: Path) -> None:
    usual = read_splats(write(tmp_path / "usual.ply", columns(rest=9)))
    assert not usual.notes
    same(read_splats(write(tmp_path / "other.ply", columns(rest=9), dtype, text, order)).splats, usual.splats, 1e-6)


def test_filter_3d_of_mip_splatting_is_applied(tmp_path: Path) -> None:
    values = columns()
    plain = read_splats(write(tmp_path / "plain.ply", values)).splats
    width = np.abs(np.random.default_rng(1).normal(size=40))
    read = read_splats(write(tmp_path / "mip.ply", values | {"filter_3D": width}))
    assert "filter_3D" in read.notes[0]
    squared = plain.scales.double() ** 2
    wider = squared + torch.from_numpy(width)[:, None] ** 2
    torch.testing.assert_close(read.splats.scales.double(), wider.sqrt(), atol=1e-6, rtol=1e-6)
    covariance = lambda s: torch.linalg.det(torch.diag_embed(s)).sqrt()
    expected = plain.opacities.double() * covariance(squared) / covariance(wider)
    torch.testing.assert_close(read.splats.opacities.double(), expected, atol=1e-6, rtol=1e-5)


def test_rows_of_zeros_and_a_few_with_nan_are_left_out(tmp_path: Path) -> None:
    values = columns(400)
    for column in values.values():
        column[100:300] = 0
    values["rot_0"][100:200] = 1  # some buffers are filled with unit quaternions
    values["opacity"][7], values["f_dc_1"][8], values["scale_2"][9] = np.nan, np.inf, 200.0
    for name in ("rot_0", "rot_1", "rot_2", "rot_3"):
        values[name][10] = 0
    read = read_splats(write(tmp_path / "holes.ply", values))
    assert len(read.splats) == 196
    assert read.rows.tolist() == [*range(7), *range(11, 100), *range(300, 400)]
    assert read.notes == (
        "dropped 200 of 400 Gaussians filled with zeros",
        "dropped 4 of 400 Gaussians with NaN, infinity or without a rotation",
    )
    np.testing.assert_array_equal(read.splats.means.numpy()[:, 0], values["x"].astype(np.float32)[read.rows.numpy()])
    with pytest.raises(InputError, match="200 of 400 Gaussians filled with zeros and 4 of 400"):
        read_splats(tmp_path / "holes.ply", strict=True)
    with pytest.warns(UserWarning, match="dropped 4 of 400"), pytest.warns(UserWarning, match="dropped 200 of 400"):
        assert len(Splats.load_ply(tmp_path / "holes.ply")) == 196
    some = read_splats(tmp_path / "holes.ply", torch.arange(90, 320))
    assert some.rows.tolist() == [*range(90, 100), *range(300, 320)]
    values["x"][:30] = np.nan
    with pytest.raises(InputError, match="with NaN"):
        read_splats(write(tmp_path / "diverged.ply", values))
    with pytest.raises(InputError, match="40 of 40 Gaussians filled with zeros"):
        read_splats(write(tmp_path / "zeros.ply", {name: np.zeros(40) for name in columns()}))


def test_infinite_logits_are_opaque_and_transparent(tmp_path: Path) -> None:
    values = columns()
    values["opacity"][:2] = [np.inf, -np.inf]
    assert read_splats(write(tmp_path / "s.ply", values)).splats.opacities[:2].tolist() == [1, 0]


def test_two_scales_are_flat_gaussians_and_one_is_a_ball(tmp_path: Path) -> None:
    values = columns()
    del values["scale_2"]
    read = read_splats(write(tmp_path / "2d.ply", values))
    assert "2D Gaussians" in read.notes[0]
    assert (read.splats.scales[:, 2] < 0.01 * read.splats.scales[:, :2].amin(dim=1)).all()
    del values["scale_1"]
    read = read_splats(write(tmp_path / "ball.ply", values))
    assert "balls" in read.notes[0]
    assert (read.splats.scales == read.splats.scales[:, :1]).all()


def test_harmonics_of_degree_4_lose_their_last_band(tmp_path: Path) -> None:
    values = columns(rest=72)
    read = read_splats(write(tmp_path / "sh4.ply", values))
    assert "degree 4" in read.notes[0]
    assert read.splats.sh_degree == 3
    np.testing.assert_array_equal(read.splats.sh[:, 15, 1].numpy(), values["f_rest_38"].astype(np.float32))


def test_plain_colours_and_none_are_enough_for_labels(tmp_path: Path) -> None:
    values = {name: column for name, column in columns().items() if not name.startswith("f_dc")}
    bare = read_splats(write(tmp_path / "bare.ply", values))
    assert not bare.has_colors
    assert "no colours" in bare.notes[0]
    rgb = np.random.default_rng(2).integers(0, 256, (40, 3)).astype(np.uint8)
    plain = read_splats(write(tmp_path / "rgb.ply", values | dict(zip(("red", "green", "blue"), rgb.T))))
    assert plain.has_colors
    np.testing.assert_array_equal(plain.splats.base_colors(), rgb)
    with pytest.raises(InputError, match="red without green and blue"):
        read_splats(write(tmp_path / "red.ply", values | {"red": rgb[:, 0]}))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"f_rest_x": 0}, "the property f_rest_x"),
        ({"f_rest_1": 0}, "the property f_rest_1 among 1 f_rest"),
        ({"f_rest_0": 0, "f_rest_1": 0}, "2 f_rest properties"),
        ({"f_dc_1": None, "f_dc_2": None}, "1 f_dc properties"),
        ({"f_dc_1": None}, "the property f_dc_2 among 2"),
        ({"rot_4": 0}, "more than four rot"),
        ({"scale_3": 0}, "4 scale properties"),
        ({"opacity": None}, "no property opacity"),
        ({"f_offset_0": 0}, "Scaffold-GS"),
        ({"motion_0": 0}, "move in time"),
        ({"opacity": np.zeros(40, np.uint8)}, "opacity as integers"),
        ({"opacity": None, "scale_0": None, "rot_0": None}, "a point cloud"),
    ],
)
def test_other_files_are_named_for_what_they_are(change: dict, message: str, tmp_path: Path) -> None:
    values = columns()
    for name, column in change.items():
        values.pop(name, None)
        if column is not None:
            values[name] = np.zeros(40) if np.isscalar(column) else column
    with pytest.raises(InputError, match=message):
        read_splats(write(tmp_path / "s.ply", values))


def test_counts_are_held_against_the_size_before_anything_is_allocated(tmp_path: Path) -> None:
    file = write(tmp_path / "s.ply", columns())
    for text in (False, True):
        write(file, columns(), text=text)
        data = file.read_bytes()
        for count in (b"41", b"99999999999", b"18446744073709551616", b"-1", b"4_0", b"nan"):
            file.write_bytes(data.replace(b"vertex 40", b"vertex " + count))
            with pytest.raises(InputError, match="cannot be read as PLY"):
                read_splats(file)
            if count != b"41":  # of a text only the least size is known
                with pytest.raises(InputError, match="cannot be read as PLY"):
                    count_vertices(file)


def test_headers_of_all_kinds_are_read_or_refused(tmp_path: Path) -> None:
    file = tmp_path / "h.ply"
    head = b"ply\r\nformat ascii 1.0\r\ncomment by hand\r\nelement vertex 1\r\nproperty float x\r\nend_header\r\n1\r\n"
    file.write_bytes(head)
    header = read_header(file, "a PLY")
    assert header.comments == ("by hand",)
    assert header.element("vertex").count == 1
    for old, new in ((b"float x", b"float x y"), (b"float", b"half"), (b"ascii", b"hex"), (b"ply\r", b"plx\r"),
                     (b"end_header", b"end"), (b"property float x\r\n", b""),
                     (b"float x", b"float x\r\nproperty float x")):  # fmt: skip
        file.write_bytes(head.replace(old, new))
        with pytest.raises(InputError, match="cannot be read as PLY"):
            read_header(file, "a PLY")


def test_antialiased_gaussians_say_so_in_the_header(tmp_path: Path) -> None:
    splats = read_splats(DATA / "supersplat.ply").splats
    splats.save_ply(tmp_path / "mip.ply", rasterize_mode="antialiased")
    assert b"comment SplatRenderMode: mip\n" in (tmp_path / "mip.ply").read_bytes()
    assert read_splats(tmp_path / "mip.ply").rasterize_mode == "antialiased"
    splats.save_ply(tmp_path / "classic.ply")
    assert read_splats(tmp_path / "classic.ply").rasterize_mode is None


def test_a_moved_scene_looks_the_same_from_a_moved_camera() -> None:
    generator = torch.Generator().manual_seed(4)
    splats = Splats(
        torch.randn(30, 3, generator=generator), torch.randn(30, 4, generator=generator),
        torch.rand(30, 3, generator=generator) + 0.1, torch.rand(30, generator=generator),
        torch.randn(30, 16, 3, generator=generator),
    )  # fmt: skip
    rotation = torch.linalg.qr(torch.randn(3, 3, generator=generator, dtype=torch.float64)).Q
    rotation *= torch.linalg.det(rotation)
    similarity = torch.eye(4, dtype=torch.float64)
    similarity[:3, :3], similarity[:3, 3] = 2.5 * rotation, torch.tensor([1.0, -2, 3])
    moved = splats.transformed(similarity)
    torch.testing.assert_close(moved.means.double(), 2.5 * splats.means.double() @ rotation.T + similarity[:3, 3])

    def covariances(s: Splats) -> torch.Tensor:
        from panoptic_gs.camera import rotation_from_quaternion

        turned = rotation_from_quaternion(s.quats.double()) * s.scales.double()[:, None, :]
        return turned @ turned.transpose(1, 2)

    expected = 2.5**2 * rotation @ covariances(splats) @ rotation.T
    torch.testing.assert_close(covariances(moved), expected, atol=1e-5, rtol=1e-5)
    directions = torch.nn.functional.normalize(torch.randn(50, 3, generator=generator, dtype=torch.float64), dim=-1)
    colors = lambda s, d: torch.einsum("dk,nkc->ndc", basis(d), s.sh.double())
    torch.testing.assert_close(colors(moved, directions @ rotation.T), colors(splats, directions), atol=1e-5, rtol=1e-5)
    assert basis(directions)[0, 0] == pytest.approx(SH_C0)
    with pytest.raises(InputError, match="similarity"):
        splats.transformed(torch.diag(torch.tensor([1.0, 2, 1, 1])))
    with pytest.raises(InputError, match="similarity"):
        splats.transformed(torch.diag(torch.tensor([1.0, 1, -1, 1])))
    assert len(splats.subset(torch.arange(0)).transformed(similarity)) == 0


def test_the_captures_that_went_wrong(shared_data: Path) -> None:
    folder = shared_data / "captures" / "ply"
    if not folder.is_dir():
        pytest.skip("no captures beside the repository")
    assert "dropped 1,000 of 6,000" in read_splats(folder / "zero_tail_unit_rot.ply").notes[0]
    assert "filter_3D" in read_splats(folder / "mip_filter3d.ply").notes[0]
    assert len(read_splats(folder / "compressed.ply").splats) == 200


def _in_formats(folder: Path, splats: Splats) -> list[Path]:
    """The same Gaussians as PLY, .splat, SPZ and SOG."""
    files = [folder / f"some.{ending}" for ending in ("ply", "splat", "spz", "sog")]
    splats.save_ply(files[0])
    rows = np.zeros(len(splats), antimatter._ROW)
    rows["position"], rows["scale"], rows["color"] = splats.means.numpy(), splats.scales.numpy(), 128
    rows["rotation"] = ((splats.quats.numpy() * 127) + 128).round().astype(np.uint8)
    rows.tofile(files[1])
    write_spz(files[2], splats)
    write_sog(files[3], splats)
    return files


def test_a_file_that_does_not_fit_into_memory_is_refused_with_its_size(tmp_path, monkeypatch):
    means, quats = torch.rand(3000, 3), torch.rand(3000, 4) + 0.1
    splats = Splats(means, quats, torch.full((3000, 3), 0.1), torch.full((3000,), 0.5), torch.zeros(3000, 1, 3))
    for file in _in_formats(tmp_path, splats):
        for free, fits in ((3000 * 14 * 4 * 4.6, True), (3000 * 14 * 4 * 1.5, False)):
            monkeypatch.setattr("panoptic_gs.memory.available", lambda free=free: free)
            if fits:
                assert len(read_splats(file).splats) == 3000
                continue
            with pytest.raises(InputError, match="3,000 Gaussians, which take about") as error:
                read_splats(file)
            assert str(file) in str(error.value)
    # A few rows of a PLY need little.
    assert len(read_splats(tmp_path / "some.ply", torch.arange(10)).splats) == 10
