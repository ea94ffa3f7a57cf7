# SPDX-License-Identifier: Apache-2.0
"""Uplifting and label rendering on a GPU: times, ratios to gsplat, and what share of the device's limits they take."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from benchmarks.speed.timing import Times, interleaved
from benchmarks.speed.uplift import voronoi
from benchmarks.speed.workloads import Workload
from panoptic_gs import Camera, Splats, kernels
from panoptic_gs.backends import Blending
from panoptic_gs.backends.cuda import tile_lists
from panoptic_gs.backends.cuda_sums import SLOTS, DeviceFeatures, DeviceVotes
from panoptic_gs.kernels import cuda as cuda_kernels
from panoptic_gs.kernels.cuda import TILE_SIZE, TileLists, VoteSlots
from panoptic_gs.uplift import LabelVotes, render_panoptic

LABELS = (200, 2000)
ONE_HOT = 200
"""Labels accumulated by differentiating a rasterization of as many channels."""
FEATURES = 64

FORWARD = "RGB forward"
GOALS = {
    **{f"uplift labels, {num} labels": ("at most", 1.3) for num in LABELS},
    **{f"render panoptic, {num} labels": ("at most", 2.0) for num in LABELS},
    f"one-hot gradient, {ONE_HOT} labels": ("at least", 20.0),
}
"""Of the rows' ratios."""

Rasterization = Callable[..., tuple[Tensor, Tensor, dict[str, Any]]]


@dataclass(frozen=True)
class Limits:
    """What the device was measured to do."""

    copy_bytes_per_s: float
    """Device to device, bytes read and written."""
    atomics_per_s: float
    """Additions of 64 bits at scattered addresses."""


@dataclass(frozen=True)
class Work:
    """What a kernel has to do at least."""

    atomics: int
    """Additions to sums in memory."""
    bytes: int
    """Read and written once: lists, Gaussians, maps, and the sums that are added to."""


def device_rows(
    workload: str, times: Mapping[str, Times], work: Mapping[str, Work], limits: Limits
) -> list[dict[str, Any]]:
    """Rows of the report: ratios to the forward pass where there is one, shares of the limits where work is known."""
    rows = []
    forward, one_hot = times.get(FORWARD), f"one-hot gradient, {ONE_HOT} labels"
    for name, taken in times.items():
        row: dict[str, Any] = {
            "workload": workload, "name": name, "median_ms": taken.median, "least_ms": taken.least,
        }  # fmt: skip
        base = f"uplift labels, {ONE_HOT} labels" if name == one_hot else FORWARD
        if forward is not None and name != FORWARD and base in times:
            row["ratio"], row["ratio_to"] = taken.median / times[base].median, base
            if name in GOALS:
                sense, bound = GOALS[name]
                met = row["ratio"] <= bound if sense == "at most" else row["ratio"] >= bound
                row["goal"], row["goal_met"] = f"{sense} {bound:g}", met
        if name in work:
            seconds = 1e-3 * taken.median
            row["atomics"], row["bytes"] = work[name].atomics, work[name].bytes
            row["share_of_atomics"] = work[name].atomics / seconds / limits.atomics_per_s
            row["share_of_copy"] = work[name].bytes / seconds / limits.copy_bytes_per_s
        rows.append(row)
    return rows


def measure(workload: Workload, device: str, repeat: int, rasterization: Rasterization | None) -> list[dict[str, Any]]:
    """Time everything on one view of the workload.

    Args:
        workload: the Gaussians and the view.
        device: where to run; anything but ``"cuda"`` is for trying out the benchmark itself.
        repeat: timed calls of each row.
        rasterization: gsplat's, or None where it is missing: then only the kernels are timed, on the host's tile lists.
    """
    colors = workload.colors.to(device)
    splats = Splats(workload.means, workload.quats, workload.scales, workload.opacities, workload.colors[:, None]).to(
        device
    )
    camera = Camera(workload.viewmat, workload.K, workload.width, workload.height).to(device)
    maps = {
        num: torch.from_numpy(voronoi(num, workload.width, workload.height)).to(device)
        for num in sorted({*LABELS, ONE_HOT})
    }
    features = torch.rand(workload.height, workload.width, FEATURES, generator=torch.Generator().manual_seed(0))
    features = features.to(device)
    one_hot = torch.nn.functional.one_hot(maps[ONE_HOT].long() - 1, ONE_HOT).float()
    lists = host_lists(workload, device) if rasterization is None else tile_lists(splats, camera, Blending())
    calls = {**_kernel_calls(lists, maps, features), **_label_rendering(lists, maps)}
    if rasterization is not None:
        calls = {
            FORWARD: lambda: _rendered(rasterization, splats, colors, camera),
            "projection and tile lists": lambda: tile_lists(splats, camera, Blending()),
            **_whole_calls(splats, camera, maps, features),
            f"one-hot gradient, {ONE_HOT} labels": lambda: one_hot_gradient(rasterization, splats, camera, one_hot),
            **calls,
        }
    times = interleaved(calls, repeat, device)
    return device_rows(workload.name, times, _work(lists, maps, features), limits(device, len(workload)))


def _whole_calls(
    splats: Splats, camera: Camera, maps: Mapping[int, Tensor], features: Tensor
) -> dict[str, Callable[[], object]]:
    """From splats and a map to sums or pixels: projection and sorting included, as in the forward pass."""
    calls: dict[str, Callable[[], object]] = {}
    for num in LABELS:
        votes = LabelVotes(len(splats))
        votes.add(splats, camera, maps[num])
        labels = votes.finish().to(splats.means.device)
        calls[f"uplift labels, {num} labels"] = lambda v=votes, m=maps[num]: v.add(splats, camera, m)
        calls[f"render panoptic, {num} labels"] = lambda g=labels: render_panoptic(splats, g, camera)
    sums = DeviceFeatures(len(splats), FEATURES, splats.means.device)
    calls[f"uplift {FEATURES} features"] = lambda: sums.add(tile_lists(splats, camera, Blending()), features, None)
    return calls


def _kernel_calls(lists: TileLists, maps: Mapping[int, Tensor], features: Tensor) -> dict[str, Callable[[], object]]:
    """The voting kernels alone, on lists that are there."""
    count, device = len(lists.opacities), lists.opacities.device

    def vote(label_map: Tensor, slots: VoteSlots) -> None:
        slots.overflow_count.zero_()
        cuda_kernels.add_label_votes(lists, label_map, None, slots)

    calls: dict[str, Callable[[], object]] = {}
    for num in LABELS:
        slots = DeviceVotes(count, device).slots
        calls[f"label votes kernel, {num} labels"] = lambda m=maps[num], s=slots: vote(m, s)
    sums = DeviceFeatures(count, FEATURES, device)
    calls[f"feature votes kernel, {FEATURES} features"] = lambda: sums.add(lists, features, None)
    return calls


def _label_rendering(lists: TileLists, maps: Mapping[int, Tensor]) -> dict[str, Callable[[], object]]:
    calls: dict[str, Callable[[], object]] = {}
    for num in LABELS:
        count, device = len(lists.opacities), lists.opacities.device
        votes, store = DeviceVotes(count, device), kernels.VoteStore(count)
        votes.add(lists, maps[num], None)
        votes.drain(store)
        indptr, label, weight, _, _ = store.shares(void_too=False)
        known, rank = torch.unique(label, return_inverse=True)
        arguments = (indptr.to(device), rank.int().to(device), weight.to(device), len(known))
        calls[f"panoptic kernel, {num} labels"] = lambda a=arguments: cuda_kernels.render_panoptic(lists, *a)
    return calls


def _rendered(rasterization: Rasterization, splats: Splats, colors: Tensor, camera: Camera) -> Tensor:
    return rasterization(
        splats.means, splats.quats, splats.scales, splats.opacities, colors, camera.viewmat[None], camera.K[None],
        camera.width, camera.height, packed=False,
    )[0]  # fmt: skip


def one_hot_gradient(rasterization: Rasterization, splats: Splats, camera: Camera, one_hot: Tensor) -> Tensor:
    """The votes ``[N, L]`` for a map ``[H, W, L]`` as the gradient of a rasterization of L channels."""
    channels = torch.zeros(len(splats), one_hot.shape[2], device=one_hot.device, requires_grad=True)
    image = _rendered(rasterization, splats, channels, camera)[0]
    return torch.autograd.grad(image, channels, one_hot)[0]


def _work(lists: TileLists, maps: Mapping[int, Tensor], features: Tensor) -> dict[str, Work]:
    """What the kernels do, counted by a run of them."""
    read = 4 * lists.offsets.numel() + len(lists.flatten_ids) * (4 + 4 * (2 + 3 + 1))
    pixels = lists.width * lists.height
    work = {}
    for num in LABELS:
        votes = int(cuda_kernels.count_label_votes(lists, maps[num]))
        # A vote reads a slot's label, reads its sum and writes it.
        work[f"label votes kernel, {num} labels"] = Work(votes, read + 4 * pixels + votes * (4 + 8 + 8))
    pairs = int(cuda_kernels.count_label_votes(lists, torch.zeros_like(maps[LABELS[0]])))
    sums = pairs * (FEATURES + 1)
    work[f"feature votes kernel, {FEATURES} features"] = Work(
        sums, read + features.nbytes + sums * 16 + len(lists.opacities) * FEATURES * (8 + 8 + 4 + 4)
    )
    return work


def limits(device: str, num_gaussians: int) -> Limits:
    """Measure the device: copying 1 GiB, and atomics scattered over as many sums as the Gaussians have."""
    size = 1 << 30 if device == "cuda" else 1 << 20
    source, target = (torch.zeros(size, dtype=torch.uint8, device=device) for _ in range(2))
    num_counters = 1 << (max(num_gaussians * SLOTS, 2) - 1).bit_length()
    counters = torch.zeros(num_counters, dtype=torch.int64, device=device)
    threads, rounds = (1 << 20, 32) if device == "cuda" else (256, 2)
    times = interleaved(
        {
            "copy": lambda: target.copy_(source),
            "atomics": lambda: cuda_kernels.atomic_adds(counters, threads, rounds),
        },
        9,
        device,
    )
    return Limits(2 * size / (1e-3 * times["copy"].least), threads * rounds / (1e-3 * times["atomics"].least))


def host_lists(workload: Workload, device: str) -> TileLists:
    """Tile lists of the host's projection: what gsplat would make, for where it is not installed."""
    projected = kernels.project(
        workload.means, workload.quats, workload.scales, workload.opacities, workload.viewmat, workload.K,
        workload.width, workload.height,
    )  # fmt: skip
    columns, rows = -(-workload.width // TILE_SIZE), -(-workload.height // TILE_SIZE)
    seen = (projected.radii > 0).all(dim=1).nonzero()[:, 0]
    mean, radius = projected.means2d[seen], projected.radii[seen]
    last = torch.tensor([columns, rows])
    first = torch.minimum(((mean - radius) / TILE_SIZE).floor().long().clamp_min(0), last)
    end = torch.minimum(((mean + radius) / TILE_SIZE).ceil().long().clamp_min(0), last)
    width = end[:, 0] - first[:, 0]
    counts = width * (end[:, 1] - first[:, 1])
    owner = torch.repeat_interleave(torch.arange(len(seen)), counts)
    number = torch.arange(len(owner)) - torch.repeat_interleave(counts.cumsum(0) - counts, counts)
    x, y = first[owner, 0] + number % width[owner], first[owner, 1] + number // width[owner]
    tile = y * columns + x
    order = torch.argsort(projected.depths[seen][owner], stable=True)
    order = order[torch.argsort(tile[order], stable=True)]
    offsets = torch.searchsorted(tile[order], torch.arange(rows * columns)).int().reshape(rows, columns)
    sorted_ids = seen[owner[order]].int()
    return TileLists(
        workload.width, workload.height, offsets, sorted_ids, projected.means2d, projected.conics,
        workload.opacities.contiguous(),
    ).to(device)  # fmt: skip
