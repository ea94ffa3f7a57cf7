# SPDX-License-Identifier: Apache-2.0
"""Votes that two processes gathered are those of one."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from brute_force import blobs, random_camera, random_splats
from torch import distributed, multiprocessing

from panoptic_gs.uplift import LabelVotes

CASES = {"uneven": ([0, 1], [2]), "one without views": ([0, 1, 2], [])}


def votes_of(views: list[int]) -> LabelVotes:
    splats = random_splats(11, 90)
    votes = LabelVotes(90, rasterize_mode="antialiased")
    for view in views:
        votes.add(splats, random_camera(view, 53, 37), blobs(view, 53, 37, np.arange(6)))
    return votes


def gather(rank: int, rendezvous: str, folder: str) -> None:
    distributed.init_process_group("gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=2)
    results = {}
    for name, views in CASES.items():
        votes = votes_of(views[rank])
        votes.all_reduce()
        results[name] = votes.state_dict()
    torch.save(results, f"{folder}/{rank}.pt")
    distributed.destroy_process_group()


@pytest.mark.filterwarnings("ignore")
def test_two_processes_get_the_votes_of_one_bit_for_bit(tmp_path):
    multiprocessing.start_processes(gather, (str(tmp_path / "rendezvous"), str(tmp_path)), nprocs=2)
    expected = votes_of([0, 1, 2]).state_dict()
    for rank in range(2):
        for result in torch.load(tmp_path / f"{rank}.pt").values():
            assert result.keys() == expected.keys()
            assert all(torch.equal(result[name], expected[name]) for name in expected)
