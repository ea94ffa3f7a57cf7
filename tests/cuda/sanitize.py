# SPDX-License-Identifier: Apache-2.0
"""Every device kernel on a small scene, to be watched: ``compute-sanitizer python sanitize.py``."""

from __future__ import annotations

import torch
from cuda_scenes import host_lists, label_scene

from panoptic_gs import kernels
from panoptic_gs.backends.cuda_sums import DeviceFeatures, DeviceVotes
from panoptic_gs.kernels import cuda as cuda_kernels


def run(device: torch.device, count: int) -> None:
    """Votes with and without weights, with an overflow that is collected again, features, rendering, atomics."""
    splats, cameras, maps = label_scene(1, count, 12, 37, 20)
    noise = torch.arange(1, 37 * 20 + 1).reshape(20, 37).int()
    features, weights = torch.rand(20, 37, 40).to(device), torch.rand(20, 37).to(device)
    votes, sums = DeviceVotes(count, device, capacity=64), DeviceFeatures(count, 40, device)
    counted = kernels.VoteStore(count)
    for camera, labels in zip(cameras, maps):
        host = host_lists(splats, camera)
        lists = host.to(device)
        votes.add(lists, labels.to(device), None)
        votes.add(lists, noise.to(device), weights)
        sums.add(lists, features, None)
        sums.add(lists, features, weights)
        votes.drain(counted)
        indptr, label, weight, _, _ = counted.shares(void_too=True)
        known, rank = torch.unique(label, return_inverse=True)
        cuda_kernels.render_panoptic(lists, indptr.to(device), rank.int().to(device), weight.to(device), len(known))
    cuda_kernels.atomic_adds(torch.zeros(64, dtype=torch.int64, device=device), 1000, 4)


if __name__ == "__main__":
    run(torch.device("cuda", 0), 200)
    torch.cuda.synchronize()
    print("done")
