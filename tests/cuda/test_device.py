# SPDX-License-Identifier: Apache-2.0
"""The device kernels on a GPU, through gsplat's tile lists, held to the host kernels."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "uplift"))
from brute_force import blobs, random_camera, random_splats

from panoptic_gs import kernels
from panoptic_gs.uplift import LabelVotes, render_panoptic, uplift_labels

if not torch.cuda.is_available():
    pytest.skip("no GPU", allow_module_level=True)
pytest.importorskip("gsplat")
if not kernels._kernels.with_cuda:
    pytest.skip("panoptic_gs was built without CUDA", allow_module_level=True)


def scene(seed: int, num: int, count: int = 2000):
    splats = random_splats(seed, count, scale=0.08)
    cameras = [random_camera(10 * seed + view, 173, 121) for view in range(3)]
    ids = np.sort(np.random.default_rng(seed).choice(2**31 - 1, size=num, replace=False))
    return splats, cameras, [blobs(view, 173, 121, ids) for view in range(3)]


@pytest.mark.parametrize("num", [2, 60])
@pytest.mark.parametrize("mode", ["classic", "antialiased"])
def test_labels_agree_with_the_host(num, mode):
    splats, cameras, maps = scene(1, num)
    host = uplift_labels(splats, zip(cameras, maps), rasterize_mode=mode)
    device = uplift_labels(splats.to("cuda"), zip(cameras, maps), rasterize_mode=mode)
    assert device.device.type == "cuda"
    torch.testing.assert_close(device.total.cpu(), host.total, rtol=1e-2, atol=1e-2)
    best, other = host.best(), device.to("cpu").best()
    clear = (best[1] > 0.55) & (host.total > 0.1)
    assert (best[0] == other[0])[clear].float().mean() > 0.999
    assert (best[1] - other[1]).abs()[clear].mean() < 1e-3


def test_two_runs_agree_bit_for_bit():
    splats, cameras, maps = scene(2, 40)
    splats = splats.to("cuda")
    runs = []
    for order in ((0, 1, 2), (2, 0, 1)):
        votes = LabelVotes(len(splats))
        for view in order:
            votes.add(splats, cameras[view], torch.from_numpy(maps[view]).cuda())
        runs.append(votes.finish())
    for name in ("indptr", "label", "weight", "total", "void"):
        assert torch.equal(getattr(runs[0], name), getattr(runs[1], name))


def test_rendered_labels_agree_with_the_host():
    splats, cameras, maps = scene(3, 30)
    labels = uplift_labels(splats, zip(cameras, maps))
    for camera in cameras:
        host = render_panoptic(splats, labels, camera)
        device = render_panoptic(splats.to("cuda"), labels.to("cuda"), camera)
        assert (device.ids.cpu() == host.ids).float().mean() > 0.995
        assert (device.confidence.cpu() - host.confidence).abs().mean() < 1e-3
        assert (device.accumulation.cpu() - host.accumulation).abs().mean() < 1e-3
