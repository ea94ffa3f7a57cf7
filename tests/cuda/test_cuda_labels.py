# SPDX-License-Identifier: Apache-2.0
"""The label votes' device kernel, held to the host's; see conftest.py for where it runs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from cuda_scenes import label_scene, random_camera, random_splats

from panoptic_gs import InputError, kernels
from panoptic_gs.backends.cuda_sums import SLOTS, DeviceVotes
from panoptic_gs.kernels import cuda as cuda_kernels
from panoptic_gs.kernels.cuda import TileLists
from panoptic_gs.uplift import GaussianLabels, LabelVotes, uplift_labels


def drained(votes: DeviceVotes, count: int) -> GaussianLabels:
    store = kernels.VoteStore(count)
    votes.drain(store)
    return GaussianLabels(*store.shares(void_too=True))


def weights_of(labels: GaussianLabels, known: torch.Tensor) -> torch.Tensor:
    """Blending weight ``[N, labels]`` of each label but void, where pixels may differ that are not sure."""
    rank = torch.searchsorted(known, labels.label).int()
    compact = GaussianLabels(labels.indptr, rank, labels.weight, labels.total, labels.void)
    return (compact.to_dense(len(known)) * labels.total[:, None])[:, known != 0]


def assert_same(first: GaussianLabels, second: GaussianLabels) -> None:
    for name in ("indptr", "label", "weight", "total", "void"):
        assert torch.equal(getattr(first, name), getattr(second, name)), name


@pytest.mark.parametrize(
    ("count", "num", "size", "mode"),
    [
        (50, 2, (53, 37), "classic"),
        (150, 25, (33, 16), "classic"),
        (300, 3, (16, 16), "classic"),
        (9, 4, (1, 1), "classic"),
        (80, 12, (40, 24), "antialiased"),
    ],
)
@pytest.mark.parametrize("weighted", [False, True])
def test_votes_agree_with_the_host(machine, lists_of, count, num, size, mode, weighted):
    splats, cameras, maps = label_scene(1, count, num, *size, antialiased=mode == "antialiased")
    generator = torch.Generator().manual_seed(0)
    factors = [torch.rand(size[1], size[0], generator=generator) * 3 if weighted else None for _ in cameras]
    votes = DeviceVotes(count, machine.device)
    for camera, labels, factor in zip(cameras, maps, factors):
        lists = lists_of(splats, camera, mode == "antialiased")
        votes.add(lists, labels.to(machine.device), None if factor is None else factor.to(machine.device))
    result = drained(votes, count)
    host = uplift_labels(splats, zip(cameras, maps), factors, void="label", rasterize_mode=mode)
    known = torch.unique(torch.cat([labels.flatten() for labels in maps]))
    torch.testing.assert_close(weights_of(result, known), weights_of(host, known), rtol=1e-3, atol=1e-5)


def test_void_is_kept_apart(machine, lists_of):
    splats, cameras, maps = label_scene(7, 60, 3)
    maps = [torch.where(torch.arange(53) < 20, 0, labels).int() for labels in maps]
    votes, abstaining = DeviceVotes(60, machine.device), LabelVotes(60)
    for camera, labels in zip(cameras, maps):
        votes.add(lists_of(splats, camera), labels.to(machine.device), None)
        abstaining.add(splats, camera, labels)
    store = kernels.VoteStore(60)
    votes.drain(store)
    result, host = GaussianLabels(*store.shares(void_too=False)), abstaining.finish()
    assert (result.label != 0).all()
    assert (host.void > 0).any()
    torch.testing.assert_close(result.void, host.void, rtol=1e-2, atol=1e-2)
    torch.testing.assert_close(result.total, host.total, rtol=1e-2, atol=1e-2)


def test_a_pixel_of_weight_zero_takes_no_part(machine, lists_of):
    splats, cameras, _ = label_scene(8, 40, 2)
    labels = torch.where(torch.arange(53) < 26, 70000, 80000).int().expand(37, 53).contiguous()
    weights = (labels == 80000).float()
    votes = DeviceVotes(40, machine.device)
    votes.add(lists_of(splats, cameras[0]), labels.to(machine.device), weights.to(machine.device))
    assert torch.unique(drained(votes, 40).label).tolist() == [80000]
    assert not (votes.slots.labels == 70000).any()


def test_a_label_for_every_pixel_overflows_and_loses_nothing(machine, lists_of):
    splats, cameras, _ = label_scene(2, 40, 2)
    noise = [torch.arange(1, 53 * 37 + 1).reshape(37, 53).int() * (view + 1) for view in range(2)]
    results = []
    for capacity in (10**6, 5000, 0):
        votes = DeviceVotes(40, machine.device, capacity)
        for camera, labels in zip(cameras, noise):
            votes.add(lists_of(splats, camera), labels.to(machine.device), None)
        results.append(drained(votes, 40))
    for result in results[1:]:
        assert_same(result, results[0])
    assert int(results[0].indptr.diff().max()) > 50 * SLOTS
    host = uplift_labels(splats, zip(cameras, noise))
    torch.testing.assert_close(results[0].total, host.total, rtol=1e-3, atol=1e-4)


def test_a_long_overflow_is_summed_up_and_stays_exact(machine, lists_of):
    splats, cameras, _ = label_scene(2, 40, 2)
    noise = (torch.arange(53 * 37) // 40 % 40 + 70000).reshape(37, 53).int()
    views = [(lists_of(splats, camera), noise.roll(shift, 1).to(machine.device)) for camera in cameras
             for shift in range(0, 9, 3)]  # fmt: skip
    small, large = DeviceVotes(40, machine.device, 1000), DeviceVotes(40, machine.device, 10**6)
    for votes in (small, large):
        for lists, labels in views:
            votes.add(lists, labels, None)
    pairs = 40 * 40
    assert_same(drained(small, 40), drained(large, 40))
    assert len(small.slots.overflow_keys) < len(views) * pairs


def test_the_maps_may_change_once_a_view_is_added(machine, lists_of):
    splats, cameras, _ = label_scene(2, 40, 2)
    noise = torch.arange(1, 53 * 37 + 1).reshape(37, 53).int()
    results = []
    for capacity, overwrite in ((10**6, False), (0, True)):
        votes = DeviceVotes(40, machine.device, capacity)
        labels = noise.to(machine.device, copy=True)
        weights = torch.full((37, 53), 0.5, device=machine.device)
        votes.add(lists_of(splats, cameras[0]), labels, weights)
        if overwrite:
            labels.fill_(3)
            weights.zero_()
        results.append(drained(votes, 40))
    assert_same(*results)


def test_no_order_of_blocks_and_warps_changes_a_bit(emulated, lists_of):
    splats, cameras, maps = label_scene(3, 80, 12)
    results = []
    for seed in range(3):
        emulated.seed = seed
        votes = DeviceVotes(80, emulated.device)
        for view in (0, 1) if seed else (1, 0):
            votes.add(lists_of(splats, cameras[view]), maps[view], None)
        results.append(drained(votes, 80))
    for other in results[1:]:
        assert_same(other, results[0])


def test_runs_agree_bit_for_bit(machine, lists_of):
    splats, cameras, maps = label_scene(3, 80, 12)
    results = []
    for order in ((0, 1), (1, 0), (0, 1)):
        votes = DeviceVotes(80, machine.device)
        for view in order:
            votes.add(lists_of(splats, cameras[view]), maps[view].to(machine.device), None)
        results.append(drained(votes, 80))
    for other in results[1:]:
        assert_same(other, results[0])


def test_votes_add_up_over_drains(machine, lists_of):
    splats, cameras, maps = label_scene(4, 60, 9)
    at_once, in_steps = DeviceVotes(60, machine.device), DeviceVotes(60, machine.device)
    store = kernels.VoteStore(60)
    for camera, labels in zip(cameras, maps):
        at_once.add(lists_of(splats, camera), labels.to(machine.device), None)
        in_steps.add(lists_of(splats, camera), labels.to(machine.device), None)
        in_steps.drain(store)
    assert_same(GaussianLabels(*store.shares(void_too=True)), drained(at_once, 60))


@pytest.mark.parametrize("count", [0, 5])
def test_a_view_of_nothing_adds_nothing(machine, lists_of, count):
    splats = random_splats(5, count)
    splats.opacities.zero_()
    camera = random_camera(5, 40, 20)
    votes = DeviceVotes(count, machine.device)
    votes.add(lists_of(splats, camera), torch.ones(20, 40, dtype=torch.int32, device=machine.device), None)
    assert len(drained(votes, count).label) == 0


def one_gaussian(device: torch.device, opacity: float = 0.5) -> TileLists:
    """A broad Gaussian in the last of six tiles, with the other five empty; the last is cut by the image's edges."""
    tensors = (
        torch.tensor([[0, 0, 0], [0, 0, 0]], dtype=torch.int32), torch.tensor([0], dtype=torch.int32),
        torch.tensor([[36.5, 20.5]]), torch.tensor([[0.02, 0.005, 0.03]]), torch.tensor([opacity]),
    )  # fmt: skip
    return TileLists(40, 24, *(tensor.to(device) for tensor in tensors))


def test_empty_and_cut_tiles_against_the_closed_form(machine):
    labels = torch.full((24, 40), 9, dtype=torch.int32)
    labels[20:] = 2**31 - 1
    votes = DeviceVotes(1, machine.device)
    votes.add(one_gaussian(machine.device), labels.to(machine.device), None)
    result = drained(votes, 1)
    y, x = np.mgrid[16:24, 32:40] + 0.5
    dx, dy = x - 36.5, y - 20.5
    alpha = 0.5 * np.exp(-0.5 * (0.02 * dx**2 + 2 * 0.005 * dx * dy + 0.03 * dy**2))
    assert result.label.tolist() == [9, 2**31 - 1]
    expected = [alpha[:4].sum(), alpha[4:].sum()]
    np.testing.assert_allclose(result.weight.numpy() * float(result.total), expected, rtol=1e-5)


def test_votes_are_counted_as_they_reach_memory(machine):
    labels = torch.full((24, 40), 9, dtype=torch.int32)
    assert int(cuda_kernels.count_label_votes(one_gaussian(machine.device), labels.to(machine.device))) == 1
    labels[20:] = 5  # each warp of 8 x 4 pixels has one label
    assert int(cuda_kernels.count_label_votes(one_gaussian(machine.device), labels.to(machine.device))) == 2
    labels[17, 33:35] = torch.tensor([6, 7])  # two more in one warp
    assert int(cuda_kernels.count_label_votes(one_gaussian(machine.device), labels.to(machine.device))) == 4


def test_atomics_of_the_limit_are_all_counted(machine):
    counters = torch.zeros(64, dtype=torch.int64, device=machine.device)
    cuda_kernels.atomic_adds(counters, threads=500, rounds=3)
    assert int(counters.sum()) == 512 * 3
    assert (counters > 0).all()
    with pytest.raises(InputError, match="power of two"):
        cuda_kernels.atomic_adds(counters[:63], threads=500, rounds=3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda lists, labels: (lists, labels[:-1]), "labels"),
        (lambda lists, labels: (lists, labels.long()), "int64"),
        (lambda lists, labels: (lists, labels.mT.contiguous().mT), "contiguous"),
        (lambda lists, labels: (lists._replace(offsets=lists.offsets[:1]), labels), "offsets"),
        (lambda lists, labels: (lists._replace(conics=lists.conics.double()), labels), "float64"),
        (lambda lists, labels: (lists._replace(means2d=lists.means2d.repeat(2, 1)), labels), "means2d"),
        (lambda lists, labels: (lists, labels.to("meta")), "device|on meta"),
    ],
)
def test_arguments_that_do_not_fit_are_named(machine, change, message):
    lists, labels = change(one_gaussian(machine.device), torch.ones(24, 40, dtype=torch.int32, device=machine.device))
    with pytest.raises(InputError, match=message):
        DeviceVotes(1, machine.device).add(lists, labels, None)


def test_cuda_tensors_meet_a_clear_error_without_cuda(monkeypatch):
    monkeypatch.setattr(kernels._kernels, "with_cuda", False)
    with pytest.raises(InputError, match="built without CUDA"):
        cuda_kernels.atomic_adds(torch.zeros(1, dtype=torch.int64), 1, 1)
    assert LabelVotes(3).num_gaussians == 3


@pytest.mark.parametrize("clamp", [0.5, 0.99])
def test_alpha_is_clamped_as_on_the_host(machine, lists_of, clamp):
    splats, cameras, maps = label_scene(21, 150, 6)
    splats = replace(splats, opacities=torch.where(torch.arange(150) % 2 == 0, 1.0, splats.opacities))
    default, clamped = (DeviceVotes(150, machine.device) for _ in "ab")
    store = kernels.VoteStore(150)
    for camera, labels in zip(cameras, maps):
        lists = lists_of(splats, camera)
        default.add(lists, labels.to(machine.device), None)
        clamped.add(lists._replace(alpha_max=clamp), labels.to(machine.device), None)
        view = kernels.view_of(
            splats.means, splats.quats, splats.scales, splats.opacities, camera.viewmat, camera.K, camera.width,
            camera.height, near_plane=0.01, far_plane=1e10, radius_clip=0.0, eps2d=0.3, antialiased=False,
            alpha_max=clamp,
        )  # fmt: skip
        store.add_view(view, labels)
    dense = {}
    for name, votes in (("default", default), ("clamped", clamped)):
        drained = kernels.VoteStore(150)
        votes.drain(drained)
        dense[name] = totals_of(drained)
    expected = totals_of(store)
    error, difference = ((dense[name] - expected).abs().max() for name in ("clamped", "default"))
    assert difference > 1e-2
    assert error < 0.05 * difference


def totals_of(store: kernels.VoteStore) -> torch.Tensor:
    """All weight of each Gaussian."""
    indptr, _, sums = store.sums()
    rows = torch.repeat_interleave(torch.arange(store.num_gaussians), indptr.diff())
    return torch.zeros(store.num_gaussians, dtype=torch.float64).index_add_(0, rows, sums.double() / 2**34)
