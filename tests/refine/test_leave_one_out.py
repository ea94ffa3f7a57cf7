# SPDX-License-Identifier: Apache-2.0
"""Taking a view out of the votes gives the bits that never adding it gives."""

import numpy as np
import pytest
import torch
from staged_room import staged

from panoptic_gs import InputError, LabelVotes, uplift_labels
from panoptic_gs.refine import LeaveOneOut, leave_one_out


@pytest.mark.parametrize("memory", [1 << 30, 0])
def test_without_a_view_is_the_uplift_of_all_others(memory, monkeypatch):
    monkeypatch.setattr(leave_one_out, "VIEW_MEMORY", memory)
    splats, cameras, maps = staged(5)
    maps[1][:20] = 0
    factors = [np.random.default_rng(k).random(m.shape).astype(np.float32) for k, m in enumerate(maps)]
    evidence = LeaveOneOut(splats, list(zip(cameras, maps)), factors)
    for number in range(5):
        others = [k for k in range(5) if k != number]
        expected = uplift_labels(splats, [(cameras[k], maps[k]) for k in others], [factors[k] for k in others])
        own = evidence.pairs_of(number, splats, (cameras[number], maps[number]), factors[number])
        left = evidence.labels(evidence.without(own))
        seen = torch.zeros(len(splats), dtype=torch.bool)
        seen[torch.from_numpy(own.gaussian)] = True
        assert seen.any()
        theirs, ours = expected.subset(seen), left.subset(seen)
        assert torch.equal(ours.indptr, theirs.indptr)
        assert torch.equal(ours.label, theirs.label)
        torch.testing.assert_close(ours.weight, theirs.weight, rtol=2e-7, atol=0)
        torch.testing.assert_close(ours.total, theirs.total, rtol=2e-7, atol=0)
        torch.testing.assert_close(ours.void, theirs.void, rtol=2e-7, atol=0)
        again = LeaveOneOut(splats, [(cameras[k], maps[k]) for k in others], [factors[k] for k in others])
        counted = again.without(own._replace(key=own.key[:0], units=own.units[:0]))
        assert len(counted.key) == 0
        votes = LabelVotes(len(splats))
        for k in others:
            votes.add(splats, cameras[k], maps[k], factors[k])
        state = votes.state_dict()
        rows = torch.repeat_interleave(torch.arange(len(splats)), state["indptr"].diff())
        assert np.array_equal(again.votes.key, (rows << 32 | state["label"]).numpy())
        assert np.array_equal(again.votes.units, state["sum"].numpy())
        inside = seen[rows]
        key = (rows[inside] << 32 | state["label"][inside]).numpy()
        pairs = evidence.without(own)
        assert np.array_equal(pairs.key, key)
        assert np.array_equal(pairs.units, state["sum"][inside].numpy())


def test_votes_that_were_never_added_are_refused():
    splats, cameras, maps = staged(3)
    evidence = LeaveOneOut(splats, list(zip(cameras[:2], maps[:2])))
    stranger = LeaveOneOut(splats, [(cameras[2], maps[2] + 100)])
    own = stranger.pairs_of(0, splats, (cameras[2], maps[2] + 100))
    with pytest.raises(InputError, match="never added"):
        evidence.without(own)


def test_a_power_sharpens_and_keeps_rows_at_one():
    splats, cameras, maps = staged(3)
    evidence = LeaveOneOut(splats, list(zip(cameras, maps)))
    own = evidence.pairs_of(0, splats, (cameras[0], maps[0]))
    plain, sharp = (evidence.labels(evidence.without(own), power) for power in (1.0, 3.0))
    rows = torch.zeros(len(splats)).index_add(0, sharp.rows(), sharp.weight)
    assert torch.allclose(rows[rows > 0], torch.ones(int((rows > 0).sum())))
    assert torch.equal(plain.best()[0], sharp.best()[0])
    assert (sharp.best()[1] >= plain.best()[1] - 1e-6).all()
    assert (sharp.best()[1] > plain.best()[1] + 0.01).any()
