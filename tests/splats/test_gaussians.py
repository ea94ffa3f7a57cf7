# SPDX-License-Identifier: Apache-2.0
import math

import numpy as np
import pytest
import torch
from plyfile import PlyData

from panoptic_gs import InputError, Splats
from panoptic_gs.splats import SH_C0


def random_splats(count: int = 20, degree: int = 3) -> Splats:
    generator = torch.Generator().manual_seed(0)
    return Splats(
        torch.randn(count, 3, generator=generator),
        torch.randn(count, 4, generator=generator),
        torch.rand(count, 3, generator=generator) + 0.01,
        torch.rand(count, generator=generator),
        torch.randn(count, (degree + 1) ** 2, 3, generator=generator),
    )


def test_moving_and_selecting_keep_every_bit():
    splats = random_splats(2000)
    index = torch.randperm(2000)[:900]
    for name in ("means", "quats", "scales", "opacities", "sh"):
        assert torch.equal(getattr(splats.to("cpu"), name), getattr(splats, name))
        assert torch.equal(getattr(splats.subset(index), name), getattr(splats, name)[index])


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_a_saved_ply_reads_back_the_same(degree, tmp_path):
    splats = random_splats(degree=degree)
    splats.save_ply(tmp_path / "splats.ply")
    back = Splats.load_ply(tmp_path / "splats.ply")
    assert back.sh_degree == degree
    for name in ("means", "quats", "scales", "opacities", "sh"):
        torch.testing.assert_close(getattr(back, name), getattr(splats, name), atol=2e-6, rtol=2e-6)


def test_the_ply_is_the_inria_layout(tmp_path):
    splats = random_splats()
    splats.save_ply(tmp_path / "splats.ply", extra={"segment_id": np.arange(20, dtype=np.int32)})
    vertex = PlyData.read(tmp_path / "splats.ply")["vertex"]
    names = [p.name for p in vertex.properties]
    assert names[:9] == ["x", "y", "z", "nx", "ny", "nz", "f_dc_0", "f_dc_1", "f_dc_2"]
    assert names[9:54] == [f"f_rest_{i}" for i in range(45)]
    assert names[54:] == ["opacity", *(f"scale_{i}" for i in range(3)), *(f"rot_{i}" for i in range(4)), "segment_id"]
    # Channel-major: the first 15 are red's.
    np.testing.assert_allclose(vertex["f_rest_16"], splats.sh[:, 2, 1].numpy())
    np.testing.assert_allclose(vertex["opacity"], torch.logit(splats.opacities.double()).numpy(), rtol=1e-5)
    np.testing.assert_allclose(vertex["scale_1"], splats.scales[:, 1].log().numpy(), rtol=1e-5)
    assert vertex["segment_id"].dtype == np.int32


def test_public_files_in_several_layouts_are_read(shared_data):
    three = Splats.load_ply(shared_data / "splats" / "test-splat.3-points-from-train.ply")
    assert (len(three), three.sh_degree) == (3, 3)
    # The same three Gaussians in the 32-byte .splat format: position, scale (float32), RGBA, rotation (uint8).
    raw = np.fromfile(shared_data / "splats" / "test-splat.3-points-from-train.splat", dtype=np.uint8).reshape(-1, 32)
    vectors = raw[:, :24].copy().view(np.float32)
    # That format keeps its own order.
    order = [int(np.abs(vectors[:, :3] - mean.numpy()).sum(1).argmin()) for mean in three.means]
    assert sorted(order) == [0, 1, 2]
    np.testing.assert_allclose(vectors[order, :3], three.means.numpy(), atol=1e-5)
    np.testing.assert_allclose(vectors[order, 3:], three.scales.numpy(), rtol=1e-4)
    np.testing.assert_allclose(raw[order, 27] / 255, three.opacities.numpy(), atol=1 / 255)
    colors = (0.5 + SH_C0 * three.sh[:, 0]).clamp(0, 1).numpy()
    np.testing.assert_allclose(raw[order, 24:27] / 255, colors, atol=1.5 / 255)
    assert Splats.load_ply(shared_data / "splats" / "donut_fused.ply").sh_degree == 0
    assert len(Splats.load_ply(shared_data / "splats" / "pc_short.ply")) == 100


def test_unusable_gaussians_are_refused():
    good = random_splats(3, 0)

    def changed(**tensors):
        return Splats(**{name: tensors.get(name, getattr(good, name)) for name in
                         ("means", "quats", "scales", "opacities", "sh")})  # fmt: skip

    with pytest.raises(InputError, match="NaN or infinite values in 1 of 3"):
        changed(means=good.means.index_fill(0, torch.tensor([1]), math.nan))
    with pytest.raises(InputError, match="opacities outside"):
        changed(opacities=good.opacities + 2)
    with pytest.raises(InputError, match="length zero"):
        changed(quats=torch.zeros(3, 4))
    with pytest.raises(InputError, match=r"Splats\.scales"):
        changed(scales=good.scales[:2])
    with pytest.raises(InputError, match=r"Splats\.sh"):
        changed(sh=torch.zeros(3, 5, 3))
    assert len(Splats(*(getattr(good, n)[:0] for n in ("means", "quats", "scales", "opacities", "sh")))) == 0


def test_unusable_files_are_refused(tmp_path):
    path = tmp_path / "splats.ply"
    with pytest.raises(InputError, match="no such file"):
        Splats.load_ply(path)
    random_splats(degree=1).save_ply(path)
    data = path.read_bytes()
    path.write_bytes(data[:-100])
    with pytest.raises(InputError, match="cannot be read as PLY"):
        Splats.load_ply(path)
    path.write_bytes(b"not a ply at all")
    with pytest.raises(InputError, match="cannot be read as PLY"):
        Splats.load_ply(path)
    path.write_text(
        "ply\nformat ascii 1.0\nelement vertex 1\nproperty float x\nproperty float y\nproperty float z\n"
        "end_header\n0 0 0\n"
    )
    with pytest.raises(InputError, match="no property opacity"):
        Splats.load_ply(path)


def test_a_ply_is_written_block_by_block_as_plyfile_writes_it_whole(tmp_path, monkeypatch):
    splats = Splats(torch.rand(11, 3), torch.rand(11, 4) + 0.1, torch.rand(11, 3), torch.rand(11), torch.rand(11, 4, 3))
    extra = {"segment_id": np.arange(11, dtype=np.int32), "confidence": np.linspace(0, 1, 11, dtype=np.float32)}
    splats.save_ply(tmp_path / "whole.ply", extra, "antialiased")
    monkeypatch.setattr("panoptic_gs.splats.gaussians._WRITTEN", 4)
    splats.save_ply(tmp_path / "blocks.ply", extra, "antialiased")
    PlyData.read(tmp_path / "whole.ply").write(tmp_path / "plyfile.ply")
    written = [(tmp_path / f"{name}.ply").read_bytes() for name in ("whole", "blocks", "plyfile")]
    assert written[0] == written[1] == written[2]
