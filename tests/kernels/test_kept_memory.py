# SPDX-License-Identifier: Apache-2.0
"""What kernels keep between calls goes back when it is asked for."""

import re
import sys
from pathlib import Path

import pytest
import torch

from panoptic_gs import Camera, Splats, kernels
from panoptic_gs.uplift import LabelVotes


def resident() -> int:
    """Bytes of this process that are in memory."""
    found = re.search(r"^VmRSS:\s+(\d+) kB", Path("/proc/self/status").read_text(), flags=re.MULTILINE)
    assert found is not None
    return 1024 * int(found[1])


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_frame_of_many_gaussians_leaves_nothing_once_memory_is_given_back():
    count = 400_000
    generator = torch.Generator().manual_seed(0)
    splats = Splats(torch.rand(count, 3, generator=generator), torch.tensor([1.0, 0, 0, 0]).expand(count, 4).clone(),
                    torch.full((count, 3), 0.01), torch.full((count,), 0.5), torch.zeros(count, 1, 3))  # fmt: skip
    camera = Camera.look_at([0.5, 0.5, -1.0], [0.5, 0.5, 0.5], [0.0, 1.0, 0.0], 1.0, 64, 48)
    votes = LabelVotes(count)
    label_map = torch.ones(48, 64, dtype=torch.int32)
    votes.add(splats, camera, label_map)
    kept = resident()
    kernels.give_back_memory()
    left = resident()
    assert kept - left > 16 * count, "at least where and how large each is"
    votes.add(splats, camera, label_map)  # and the next frame finds memory again
    assert votes.finish().best()[0].max() == 1


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_votes_that_grow_view_after_view_leave_nothing_behind():
    """A chunk of a store is as large as its rows; what it had before is not kept beside it."""
    count, views, labels = 12_800, 20, 15
    gaussian = torch.arange(count).repeat_interleave(labels)
    store = kernels.VoteStore(count)
    kernels.give_back_memory()
    before = resident()
    for view in range(views):
        label = torch.arange(view * labels, (view + 1) * labels, dtype=torch.int32).repeat(count)
        store.add_sums(gaussian, label, torch.full((count * labels,), 1 << 34))
    taken = resident() - before
    assert 8 * count * labels * views < store.num_bytes < 1.1 * 8 * count * labels * views
    assert taken < 2 * store.num_bytes, "of which a view's pairs are a half"
    key, sums = store.pairs()
    assert len(key) == count * labels * views
    assert (sums == 1 << 34).all()
