# SPDX-License-Identifier: Apache-2.0
"""The way from splats to labels through gsplat's tile lists, held to the host kernels."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
from cuda_scenes import blobs, label_scene, random_camera, random_splats

from panoptic_gs import InputError, kernels
from panoptic_gs.backends import Blending
from panoptic_gs.backends import gsplat as door
from panoptic_gs.backends.cuda import tile_lists
from panoptic_gs.backends.cuda_sums import DeviceVotes
from panoptic_gs.uplift import LabelVotes, render_panoptic, uplift_features, uplift_labels

on_a_gpu = pytest.mark.skipif(
    not torch.cuda.is_available() or not kernels._kernels.with_cuda, reason="no GPU, or built without CUDA"
)


def scene(seed: int, num: int, count: int = 2000):
    splats = random_splats(seed, count, scale=0.08)
    cameras = [random_camera(10 * seed + view, 173, 121) for view in range(3)]
    ids = np.sort(np.random.default_rng(seed).choice(2**31 - 1, size=num, replace=False))
    return splats, cameras, [blobs(view, 173, 121, ids) for view in range(3)]


class Gsplat14:
    """gsplat 1.4's functions for one camera, in torch: the package's own reference where it has one."""

    __version__ = "1.4.0"

    def __init__(self) -> None:
        self.seen: list[str] = []

    def fully_fused_projection(
        self, means, covars, quats, scales, viewmats, Ks, width, height, eps2d=0.3, near_plane=0.01, far_plane=1e10,
        radius_clip=0.0, packed=False, sparse_grad=False, calc_compensations=False, camera_model="pinhole",
    ):  # fmt: skip
        assert covars is None
        assert not packed
        projected = kernels.project(
            means, quats, scales, torch.ones(len(means)), viewmats[0], Ks[0], width, height, near_plane=near_plane,
            far_plane=far_plane, radius_clip=radius_clip, eps2d=eps2d, antialiased=calc_compensations,
        )  # fmt: skip
        self.seen.append("projection")
        radii = projected.radii.amax(dim=1) * (projected.radii > 0).all(dim=1)
        compensations = None if projected.compensations is None else projected.compensations[None]
        return radii[None], projected.means2d[None], projected.depths[None], projected.conics[None], compensations

    def rasterization(
        self, means, quats, scales, opacities, colors, viewmats, Ks, width, height, near_plane=0.01, far_plane=1e10,
        radius_clip=0.0, eps2d=0.3, sh_degree=None, packed=True, tile_size=16, backgrounds=None, render_mode="RGB",
        sparse_grad=False, absgrad=False, rasterize_mode="classic", channel_chunk=32, distributed=False,
        camera_model="pinhole", covars=None,
    ):  # fmt: skip
        raise AssertionError("lists need no picture")

    def spherical_harmonics(self, degrees_to_use, dirs, coeffs, masks=None):
        raise AssertionError("lists need no colours")

    def isect_tiles(
        self, means2d, radii, depths, tile_size, tile_width, tile_height, sort=True, packed=False, n_cameras=None,
        camera_ids=None, gaussian_ids=None,
    ):  # fmt: skip
        reference = pytest.importorskip("gsplat.cuda._torch_impl")
        assert sort
        assert not packed
        if door.radii_per_axis():  # so the installed one wants them
            radii = radii[..., None].expand(*radii.shape, 2)
        return reference._isect_tiles(means2d, radii, depths, tile_size, tile_width, tile_height)

    def isect_offset_encode(self, isect_ids, n_cameras, tile_width, tile_height):
        from gsplat.cuda._torch_impl import _isect_offset_encode

        return _isect_offset_encode(isect_ids, n_cameras, tile_width, tile_height)


class Gsplat15(Gsplat14):
    """The same with 1.5's parameters and its radii for each axis."""

    __version__ = "1.5.3"

    def fully_fused_projection(
        self, means, covars, quats, scales, viewmats, Ks, width, height, eps2d=0.3, near_plane=0.01, far_plane=1e10,
        radius_clip=0.0, packed=False, sparse_grad=False, calc_compensations=False, camera_model="pinhole",
        opacities=None,
    ):  # fmt: skip
        assert opacities is not None
        radii, *rest = super().fully_fused_projection(
            means, covars, quats, scales, viewmats, Ks, width, height, eps2d, near_plane, far_plane, radius_clip,
            packed, sparse_grad, calc_compensations, camera_model,
        )  # fmt: skip
        return radii[..., None].expand(-1, -1, 2), *rest

    def isect_tiles(
        self, means2d, radii, depths, tile_size, tile_width, tile_height, sort=True, segmented=False, packed=False,
        n_images=None, image_ids=None, gaussian_ids=None,
    ):  # fmt: skip
        assert not segmented
        return super().isect_tiles(means2d, radii.amax(dim=-1), depths, tile_size, tile_width, tile_height, sort,
                                   packed)  # fmt: skip


@pytest.mark.parametrize("version", [Gsplat14, Gsplat15])
@pytest.mark.parametrize("mode", ["classic", "antialiased"])
def test_either_gsplat_gives_lists_that_the_kernels_read(emulated, version, mode):
    splats, cameras, maps = label_scene(1, 100, 7, antialiased=mode == "antialiased")
    blending, gsplat = Blending(rasterize_mode=mode), version()
    votes = DeviceVotes(100, emulated.device)
    for camera, labels in zip(cameras, maps):
        votes.add(door.Gsplat(gsplat).tile_lists(splats, camera, blending), labels, None)
    assert gsplat.seen == ["projection"] * 2
    store = kernels.VoteStore(100)
    votes.drain(store)
    indptr, label, weight, total, _ = store.shares(void_too=False)
    host = uplift_labels(splats, zip(cameras, maps), rasterize_mode=mode)
    rows = torch.repeat_interleave(torch.arange(100), indptr.diff())
    known = dict(zip(zip(host.rows().tolist(), host.label.tolist()), (host.weight * host.total[host.rows()]).tolist()))
    found = dict(zip(zip(rows.tolist(), label.tolist()), (weight * total[rows]).tolist()))
    clear = {pair for pair, value in known.items() if value > 0.05 and host.void[pair[0]] < 1e-3}
    assert len(clear) > 100
    assert all(found[pair] == pytest.approx(known[pair], rel=1e-2) for pair in clear)


def test_lists_share_no_memory_with_the_splats(emulated):
    splats, cameras, _ = label_scene(1, 10, 2)
    lists = door.Gsplat(Gsplat14()).tile_lists(splats, cameras[0], Blending())
    assert lists.opacities.data_ptr() != splats.opacities.data_ptr()


def test_a_missing_gsplat_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "gsplat", None)
    door.load.cache_clear()
    monkeypatch.setattr(kernels, "require_cuda", lambda: None)
    splats, cameras, _ = label_scene(1, 10, 2)
    with pytest.raises(InputError, match="no gsplat installed"):
        tile_lists(splats, cameras[0], Blending())


@on_a_gpu
@pytest.mark.parametrize("num", [2, 60])
@pytest.mark.parametrize("mode", ["classic", "antialiased"])
def test_labels_agree_with_the_host(num, mode):
    pytest.importorskip("gsplat")
    splats, cameras, maps = scene(1, num)
    host = uplift_labels(splats, zip(cameras, maps), rasterize_mode=mode)
    device = uplift_labels(splats.to("cuda"), zip(cameras, maps), rasterize_mode=mode)
    assert device.device.type == "cuda"
    # gsplat 1.4 ends a Gaussian at 3 standard deviations, 1.5 and the host at 3.33.
    near = (device.total.cpu() - host.total).abs() <= 1e-2 + 1e-2 * host.total
    assert near.float().mean() > 0.99
    best, other = host.best(), device.to("cpu").best()
    clear = (best[1] > 0.55) & (host.total > 0.1)
    assert (best[0] == other[0])[clear].float().mean() > 0.999
    assert (best[1] - other[1]).abs()[clear].mean() < 1e-3


@on_a_gpu
def test_two_runs_agree_bit_for_bit_in_any_order_and_stream():
    pytest.importorskip("gsplat")
    splats, cameras, maps = scene(2, 40)
    splats = splats.to("cuda")
    runs = []
    for order, stream in (((0, 1, 2), torch.cuda.current_stream()), ((2, 0, 1), torch.cuda.Stream())):
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            votes = LabelVotes(len(splats))
            for view in order:
                votes.add(splats, cameras[view], torch.from_numpy(maps[view]).cuda())
            runs.append(votes.finish())
    for name in ("indptr", "label", "weight", "total", "void"):
        assert torch.equal(getattr(runs[0], name), getattr(runs[1], name))


@on_a_gpu
def test_features_agree_with_the_host():
    pytest.importorskip("gsplat")
    splats, cameras, _ = scene(4, 2)
    maps = [torch.randn(121, 173, 70, generator=torch.Generator().manual_seed(view)) for view in range(3)]
    host = uplift_features(splats, zip(cameras, maps))
    device = uplift_features(splats.to("cuda"), zip(cameras, [values.cuda() for values in maps]))
    seen = uplift_labels(splats, zip(cameras, [np.ones((121, 173), dtype=int)] * 3)).total > 1
    assert (device.cpu() - host)[seen].abs().mean() < 1e-2


@on_a_gpu
def test_rendered_labels_agree_with_the_host():
    pytest.importorskip("gsplat")
    splats, cameras, maps = scene(3, 30)
    labels = uplift_labels(splats, zip(cameras, maps))
    for camera in cameras:
        host = render_panoptic(splats, labels, camera)
        device = render_panoptic(splats.to("cuda"), labels.to("cuda"), camera)
        assert (device.ids.cpu() == host.ids).float().mean() > 0.995
        assert (device.confidence.cpu() - host.confidence).abs().mean() < 1e-3
        assert (device.accumulation.cpu() - host.accumulation).abs().mean() < 1e-3
