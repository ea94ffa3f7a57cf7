# SPDX-License-Identifier: Apache-2.0
"""Sums over views: one convention, the same sums whatever the split over objects and processes."""

from __future__ import annotations

import functools
import inspect
import pickle
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import distributed, multiprocessing

sys.path.insert(0, str(Path(__file__).resolve().parent / "uplift"))
from brute_force import blobs, random_camera, random_splats

from panoptic_gs import sums
from panoptic_gs.associate.evidence import MaskEvidence
from panoptic_gs.associate.masks import ViewMasks
from panoptic_gs.labelling import Category, Labelling, Segment
from panoptic_gs.merge import Overlaps
from panoptic_gs.metrics import ContingencyTable, Scorer
from panoptic_gs.refine.leave_one_out import VotePairs
from panoptic_gs.refine.uniting import PartEvidence
from panoptic_gs.sums import ViewSum
from panoptic_gs.uplift import LabelVotes, MaskVotes
from panoptic_gs.uplift.features import FeatureVotes

COUNT, WIDTH, HEIGHT = 90, 53, 37


@functools.cache
def view_of(view: int):
    return random_splats(11, COUNT), random_camera(view, WIDTH, HEIGHT), blobs(view, WIDTH, HEIGHT, np.arange(6))


def label_votes(views) -> LabelVotes:
    votes = LabelVotes(COUNT, rasterize_mode="antialiased")
    for view in views:
        votes.add(*view_of(view))
    return votes


def feature_votes(views) -> FeatureVotes:
    votes = FeatureVotes(COUNT, 4)
    for view in views:
        splats, camera, labels = view_of(view)
        votes.add(splats, camera, np.eye(6)[labels][..., :4])
    return votes


def table(views) -> ContingencyTable:
    result = ContingencyTable()
    for view in views:
        labels = torch.from_numpy(view_of(view)[2])
        result.add(labels, labels, labels.flip(0), labels.flip(0))
    return result


def scorer(views) -> Scorer:
    categories = [Category(1, "wall", False), Category(2, "chair", True)]
    meaning = Labelling(tuple(categories), tuple(Segment(k, 1 + k % 2) for k in range(1, 6)))
    result = Scorer(meaning, meaning, ("strict", "panoptic-lifting", "panopticrecon:0.3"))
    for view in views:
        labels = view_of(view)[2]
        result.add(labels, labels[::-1].copy())
    return result


def overlaps(views) -> Overlaps:
    result = Overlaps(3)
    for view in views:
        result.add(torch.randn(3, 8, 9, generator=torch.Generator().manual_seed(view)))
    return result


def evidence(views) -> MaskEvidence:
    result = MaskEvidence(random_splats(11, COUNT))
    for view in views:
        _, camera, labels = view_of(view)
        result.add(f"{view:04d}", camera, ViewMasks.from_label_map(labels, dict.fromkeys(range(6), 1)))
    return result


def mask_votes(views) -> MaskVotes:
    votes = MaskVotes(COUNT)
    for view in views:
        votes.add(*view_of(view))
    return votes


def part_evidence(views) -> PartEvidence:
    result = PartEvidence(np.arange(COUNT) % 5)
    for view in views:
        splats, camera, labels = view_of(view)
        votes = LabelVotes(COUNT)
        votes.add(splats, camera, labels)
        result.add(view, camera, VotePairs.of(votes))
    return result


def content(total: ViewSum) -> dict[str, torch.Tensor]:
    if isinstance(total, LabelVotes):
        return total.state_dict()
    if isinstance(total, PartEvidence):
        return {"rows": total.rows}
    if isinstance(total, FeatureVotes):
        return {"mean": total.finish()}
    if isinstance(total, MaskVotes):
        weights = total.finish()
        return {"votes": weights.votes.to_dense(), "seen": weights.seen.to_dense(), "mask": weights.mask}
    if isinstance(total, ContingencyTable):
        return {"rows": total.rows}
    if isinstance(total, Scorer):
        values = [(score.panoptic.pq, score.miou, score.macc) for score in total.scores().values()]
        tables = {name: total.table(name).rows for name in ("strict", "panoptic-lifting", "panopticrecon:0.3")}
        return {**tables, "means": torch.tensor(values), "views": torch.tensor(total.num_views)}
    if isinstance(total, Overlaps):
        return {"sums": total.sums, "pixels": torch.tensor(total.num_pixels)}
    assert isinstance(total, MaskEvidence)
    return {
        f"{stem}/{name}": torch.from_numpy(
            np.ascontiguousarray(value.toarray() if name in ("votes", "divided") else value)
        )
        for stem, view in total.views.items()
        for name, value in vars(view).items()
    }


def assert_same(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor], exact: bool) -> None:
    assert found.keys() == expected.keys()
    for name in expected:
        tolerance = {"rtol": 0, "atol": 0} if exact else {"rtol": 1e-5, "atol": 1e-6}
        torch.testing.assert_close(found[name], expected[name], equal_nan=True, **tolerance)


KINDS = {
    "votes": label_votes,
    "features": feature_votes,
    "table": table,
    "scorer": scorer,
    "overlaps": overlaps,
    "evidence": evidence,
    "masks": mask_votes,
    "parts": part_evidence,
}
EXACT = {name: name != "features" for name in KINDS}
SPLITS = {"uneven": ([0, 1], [2]), "one without views": ([0, 1, 2], [])}


@pytest.mark.parametrize("kind", KINDS)
def test_merging_changes_and_returns_the_object_and_adding_makes_one(kind):
    make, exact = KINDS[kind], EXACT[kind]
    expected = content(make([0, 1, 2]))
    first, second = make([0, 1]), make([2])
    before, behind = content(make([0, 1])), content(make([2]))
    assert_same(content(first + second), expected, exact)
    assert_same(content(first), before, exact)
    assert first.merge(second) is first
    assert_same(content(first), expected, exact)
    assert_same(content(second), behind, exact)
    assert_same(content(first.empty().merge(make([2]))), behind, exact)


def test_every_sum_over_views_is_a_view_sum():
    for make in KINDS.values():
        kind = type(make([]))
        assert issubclass(kind, ViewSum)
        assert {"add", "merge", "all_reduce", "empty"} <= set(dir(kind))
        assert "group" in inspect.signature(kind.all_reduce).parameters


def reduce(rank: int, rendezvous: str, folder: str) -> None:
    def refuse(*_, **__):
        raise AssertionError("nothing may be pickled on its way to another process")

    distributed.init_process_group("gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=2)
    results = {}
    pickler = pickle.Pickler, pickle.dumps
    distributed.all_gather_object = distributed.broadcast_object_list = refuse
    blocks = sums._blocks_of
    for name, make in KINDS.items():
        for split, views in SPLITS.items():
            # Small blocks, so that rows are in several.
            sums._blocks_of = lambda *given: blocks(*given[:-1], min(given[-1], 100 if given[3].ndim == 2 else 1000))
            total = make(views[rank])
            assert total.all_reduce() is total
            results[f"{name}/{split}"] = content(total)
    assert pickler == (pickle.Pickler, pickle.dumps)
    torch.save(results, f"{folder}/{rank}.pt")
    distributed.destroy_process_group()


@pytest.mark.filterwarnings("ignore")
def test_two_processes_get_the_sums_of_one(tmp_path):
    multiprocessing.start_processes(reduce, (str(tmp_path / "rendezvous"), str(tmp_path)), nprocs=2)
    results = [torch.load(tmp_path / f"{rank}.pt") for rank in range(2)]
    for kind, make in KINDS.items():
        expected = content(make([0, 1, 2]))
        for result in results:
            for split in SPLITS:
                assert_same(result[f"{kind}/{split}"], expected, EXACT[kind])
