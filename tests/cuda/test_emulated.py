# SPDX-License-Identifier: Apache-2.0
"""The device kernels, run on the host, held to the host kernels."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "uplift"))
from brute_force import blend, blobs, random_camera, random_splats

from panoptic_gs import kernels
from panoptic_gs.uplift import GaussianLabels, LabelVotes, render_panoptic, uplift_labels
from panoptic_gs.uplift.device import DeviceVotes

CPU = torch.device("cpu")


def drained(votes: DeviceVotes, count: int) -> GaussianLabels:
    store = kernels.VoteStore(count)
    votes.drain(store)
    return GaussianLabels(*store.shares(void_too=True))


def sure_maps(splats, cameras, maps) -> list[torch.Tensor]:
    """The maps with 0 where a float32 comparison in blending could go either way."""
    return [torch.from_numpy(np.where(blend(splats, camera).uncertain, 0, labels)).int()
            for camera, labels in zip(cameras, maps)]  # fmt: skip


def scene(seed: int, count: int, num: int, width: int = 53, height: int = 37):
    splats = random_splats(seed, count)
    cameras = [random_camera(10 * seed + view, width, height) for view in range(2)]
    ids = np.sort(np.random.default_rng(seed).choice(2**31 - 1, size=num, replace=False))
    return splats, cameras, sure_maps(splats, cameras, [blobs(view, width, height, ids) for view in range(2)])


@pytest.mark.parametrize(
    ("count", "num", "size"), [(50, 2, (53, 37)), (150, 25, (33, 16)), (300, 3, (16, 16)), (9, 4, (1, 1))]
)
@pytest.mark.parametrize("weighted", [False, True])
def test_votes_agree_with_the_host(emulated, lists_of, count, num, size, weighted):
    splats, cameras, maps = scene(1, count, num, *size)
    factors = [torch.rand(size[1], size[0], generator=torch.Generator().manual_seed(v)) * 3 if weighted else None
               for v in range(2)]  # fmt: skip
    votes = DeviceVotes(count, CPU)
    for camera, labels, factor in zip(cameras, maps, factors):
        votes.add(lists_of(splats, camera), labels, factor)
    known, names = torch.unique(torch.cat([labels.flatten() for labels in maps]), return_inverse=True)
    result = drained(votes, count)
    host = uplift_labels(splats, zip(cameras, maps), factors, void="label")
    compact = [GaussianLabels(g.indptr, torch.searchsorted(known, g.label).int(), g.weight, g.total, g.void)
               for g in (result, host)]  # fmt: skip
    assert names.numel()
    # Void holds the pixels that may differ; leave its column and so the normalisation out.
    dense = [(g.to_dense(len(known)) * g.total[:, None])[:, known != 0] for g in compact]
    torch.testing.assert_close(dense[0], dense[1], rtol=1e-3, atol=1e-5)


def test_a_label_for_every_pixel_overflows_and_loses_nothing(emulated, lists_of):
    splats, cameras, _ = scene(2, 40, 2)
    noise = [torch.arange(1, 53 * 37 + 1).reshape(37, 53).int() * (view + 1) for view in range(2)]
    wanted = None
    for capacity in (10**6, 5000, 1, 0):
        votes = DeviceVotes(40, CPU, capacity)
        for camera, labels in zip(cameras, noise):
            votes.add(lists_of(splats, camera), labels, None)
        result = drained(votes, 40)
        wanted = wanted or result
        for name in ("indptr", "label", "weight", "total"):
            assert torch.equal(getattr(result, name), getattr(wanted, name))
    host = uplift_labels(splats, zip(cameras, noise))
    torch.testing.assert_close(wanted.total, host.total, rtol=1e-3, atol=1e-4)


def test_no_order_of_blocks_and_warps_changes_a_bit(emulated, lists_of):
    splats, cameras, maps = scene(3, 80, 12)
    results = []
    for seed in range(3):
        emulated.seed = seed
        votes = DeviceVotes(80, CPU)
        for view in (0, 1) if seed else (1, 0):
            votes.add(lists_of(splats, cameras[view]), maps[view], None)
        results.append(drained(votes, 80))
    for other in results[1:]:
        assert all(
            torch.equal(getattr(other, name), getattr(results[0], name)) for name in ("label", "weight", "total")
        )


def test_votes_add_up_over_drains(emulated, lists_of):
    splats, cameras, maps = scene(4, 60, 9)
    at_once, in_steps = DeviceVotes(60, CPU), DeviceVotes(60, CPU)
    store = kernels.VoteStore(60)
    for camera, labels in zip(cameras, maps):
        at_once.add(lists_of(splats, camera), labels, None)
        in_steps.add(lists_of(splats, camera), labels, None)
        in_steps.drain(store)
    wanted = drained(at_once, 60)
    assert torch.equal(GaussianLabels(*store.shares(void_too=True)).weight, wanted.weight)


@pytest.mark.parametrize(("count", "num", "most"), [(60, 3, 2), (120, 70, 4), (60, 2, 1)])
def test_rendered_labels_agree_with_the_host(emulated, lists_of, count, num, most):
    splats, cameras, _ = scene(5, count, 2)
    generator = np.random.default_rng(0)
    rows = [np.sort(generator.choice(num, size=generator.integers(0, most + 1), replace=False)) for _ in range(count)]
    weight = np.concatenate([generator.random(len(row)) for row in rows])
    labels = GaussianLabels(
        torch.tensor(np.cumsum([0, *map(len, rows)])), torch.tensor(np.concatenate(rows).astype(np.int32)) * 10**7 + 5,
        torch.tensor(weight).float(), torch.ones(count), torch.zeros(count),
    )  # fmt: skip
    known, rank = labels.ranks
    for camera in cameras:
        winners, confidence, accumulation = emulated.cuda_render_panoptic(
            lists_of(splats, camera), labels.indptr, rank, labels.weight, len(known)
        )
        ids = torch.cat([torch.zeros(1, dtype=torch.int64), known.long()])[winners.long() + 1]
        host = render_panoptic(splats, labels, camera)
        sure = torch.from_numpy(~blend(splats, camera).uncertain)
        assert (ids == host.ids)[sure].float().mean() > 0.998  # near ties may fall to either side
        torch.testing.assert_close(confidence[sure], host.confidence[sure], rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(accumulation[sure], host.accumulation[sure], rtol=1e-3, atol=1e-4)


def test_more_labels_than_a_window_holds(emulated, lists_of):
    count = 70
    splats, cameras, _ = scene(6, count, 2)
    names = torch.arange(count).int()
    labels = GaussianLabels(torch.arange(count + 1), names, torch.ones(count), torch.ones(count), torch.zeros(count))
    spread = names * 1000  # ranks far apart, over three windows of 32768
    winners, _, _ = emulated.cuda_render_panoptic(
        lists_of(splats, cameras[0]), labels.indptr, spread, labels.weight, 70000
    )
    host = render_panoptic(splats, labels, cameras[0])
    ids = torch.where(winners < 0, 0, winners // 1000)
    sure = torch.from_numpy(~blend(splats, cameras[0]).uncertain)
    assert (ids == host.ids)[sure].float().mean() > 0.998


def test_cuda_tensors_meet_a_clear_error_without_cuda(monkeypatch):
    monkeypatch.setattr(kernels._kernels, "with_cuda", False)
    with pytest.raises(Exception, match="built without CUDA"):
        kernels.require_cuda()
    assert LabelVotes(3).num_gaussians == 3
