# SPDX-License-Identifier: Apache-2.0
"""Parts of one object become one label, and two objects stay two."""

import json

import numpy as np
import pytest
import torch
from scipy.spatial import KDTree
from small_rooms import CATEGORIES, NASTY, NEAR, SEGMENTS
from staged_room import halves, renamed, staged

from panoptic_gs import kernels
from panoptic_gs.camera import Camera
from panoptic_gs.cli.main import main
from panoptic_gs.labelling import Labelling, Segment
from panoptic_gs.refine import Doubt, label_gaussians, uniting, weighing
from panoptic_gs.refine.disagreement import said_of
from panoptic_gs.refine.leave_one_out import VotePairs
from panoptic_gs.refine.overlooked import Said
from panoptic_gs.refine.uniting import PartEvidence, sentences, touching, united
from panoptic_gs.scene import Scene
from panoptic_gs.splats import Splats
from panoptic_gs.uplift import GaussianLabels

SPARE = 50
CLASS = {s.id: s.category_id for s in SEGMENTS}
LABELLING = Labelling(CATEGORIES, (*SEGMENTS, Segment(SPARE, CLASS[NASTY])), "planted")
VIEWS = 24


@pytest.fixture(scope="module")
def room():
    splats, cameras, maps = staged(VIEWS)
    return splats, cameras, maps, halves(splats, cameras, maps, NASTY, SPARE)


def cut_apart(room, whole: set[int]) -> list[np.ndarray]:
    """Maps in which the thing is in halves, but for some views."""
    return [m if k in whole else np.where(half, SPARE, m) for k, (m, half) in enumerate(zip(room[2], room[3]))]


def label(room, maps, **options) -> tuple[GaussianLabels, list[Doubt]]:
    told: list[Doubt] = []
    views = list(zip(room[1], maps))
    return label_gaussians("weighed", room[0], views, None, LABELLING, on_united=told.extend, **options), told


def present(labels: GaussianLabels) -> set[int]:
    return set(labels.best()[0].unique().tolist()) & {NASTY, SPARE}


def test_halves_that_every_third_view_shows_whole_are_one(room):
    maps = cut_apart(room, set(range(0, VIEWS, 3)))
    labels, told = label(room, maps)
    assert [set(doubt.segments) for doubt in told] == [{NASTY, SPARE}]
    assert len(present(labels)) == 1
    apart, nothing = label(room, maps, unite=False)
    assert present(apart) == {NASTY, SPARE}
    assert nothing == []
    true = label(room, room[2])[0]
    mine = true.best()[0] == NASTY
    assert (labels.best()[0][mine] == present(labels).pop()).float().mean() > 0.98
    assert "are one" in sentences(told, LABELLING)[0]
    # Order of views changes no bit.
    turned = label_gaussians("weighed", room[0], list(zip(room[1], maps))[::-1], None, LABELLING)
    assert all(torch.equal(value, turned.tensors()[name]) for name, value in labels.tensors().items())


def test_a_run_of_neighbouring_views_is_one_error(room):
    labels, told = label(room, cut_apart(room, set(range(8))))
    assert told == []
    assert present(labels) == {NASTY, SPARE}


def test_of_objects_that_single_views_take_for_another_nothing_is_asked(monkeypatch):
    """Each of many objects is taken for some other once; what all views say of all objects fills the memory."""
    count = 200
    meaning = Labelling(CATEGORIES, tuple(Segment(i, CLASS[NASTY]) for i in range(1, count + 1)), "many")
    evidence, rng, asked = PartEvidence(np.arange(1, count + 1)), np.random.default_rng(0), []
    camera = Camera.look_at((0.0, -3.0, 0.0), (0.0, 0.0, 0.0), (0.0, 0.0, 1.0), 0.8, 40, 30)
    for number in range(8):
        taken_for = np.arange(1, count + 1)
        taken_for[number * 20 : number * 20 + 20] = rng.permutation(count)[:20] + 1
        if number % 2:
            taken_for[count - 1] = 1
        evidence.add(number, camera, VotePairs((np.arange(count) << 32) | taken_for, np.full(count, 1 << 34)))
    monkeypatch.setattr(uniting, "said_of", lambda rows: asked.append(rows) or said_of(rows))
    found = evidence.pairs(meaning)
    assert [doubt.segments for doubt in found] == [(count, 1)]
    assert {int(thing) for rows in asked for thing in rows[:, 0]} == {1, count}


def test_halves_that_two_views_show_whole_stay_two(room):
    labels, told = label(room, cut_apart(room, {0, 12}))
    assert told == []
    assert present(labels) == {NASTY, SPARE}


def test_things_of_different_classes_stay_two(room):
    other = next(c.id for c in CATEGORIES if c.isthing and c.id != CLASS[NASTY])
    meaning = Labelling(CATEGORIES, (*SEGMENTS, Segment(SPARE, other)), "planted")
    maps = cut_apart(room, set(range(0, VIEWS, 3)))
    told: list[Doubt] = []
    labels = label_gaussians("weighed", room[0], list(zip(room[1], maps)), None, meaning, on_united=told.extend)
    assert told == []
    assert present(labels) == {NASTY, SPARE}


def test_a_thing_that_takes_the_label_of_one_elsewhere_stays_itself(room):
    maps = [renamed(m, NEAR, NASTY) if k % 3 == 0 else m for k, m in enumerate(room[2])]
    meaning = Labelling(
        CATEGORIES, tuple(Segment(s.id, CLASS[NASTY]) if s.id == NEAR else s for s in SEGMENTS), "planted"
    )
    told: list[Doubt] = []
    labels = label_gaussians("weighed", room[0], list(zip(room[1], maps)), None, meaning, on_united=told.extend)
    assert told == []
    assert {NEAR, NASTY} <= set(labels.best()[0].unique().tolist())


def test_nothing_is_gathered_of_parts_where_nobody_unites(room, monkeypatch):
    expected = label(room, room[2], unite=False)[0]

    class Refused(Exception):
        pass

    def refuse(owner: np.ndarray) -> PartEvidence:
        raise Refused

    monkeypatch.setattr(weighing, "PartEvidence", refuse)
    views = list(zip(room[1], room[2]))
    for found in (label(room, room[2], unite=False)[0], label_gaussians("weighed", room[0], views)):
        for name, tensor in expected.tensors().items():
            assert torch.equal(tensor, found.tensors()[name]), name
    with pytest.raises(Refused):
        label(room, room[2])


def test_the_command_unites_says_so_and_can_be_told_not_to(tmp_path, capsys):
    main(["synth", str(tmp_path / "room"), "--views", "20", "--width", "80", "--height", "60", "--seed", "4",
          "--noise", "parts"])  # fmt: skip
    scene = Scene.load(tmp_path / "room")
    assert scene.points is not None
    points = scene.points[0][::3]
    size = torch.from_numpy(KDTree(points).query(points, k=4)[0][:, 1:].mean(1).clip(0.005, 0.2)).float()
    Splats(torch.from_numpy(points), torch.tensor([[1.0, 0, 0, 0]]).repeat(len(points), 1),
           size[:, None].repeat(1, 3) * 0.5, torch.full((len(points),), 0.99), torch.zeros(len(points), 1, 3),
           ).save_ply(tmp_path / "splats.ply")  # fmt: skip
    truth, split = scene.load_panoptic("panoptic_gt"), scene.load_panoptic("panoptic")
    found = {}
    for name, options in (("one", []), ("apart", ["--no-unite"])):
        capsys.readouterr()
        main(["uplift", str(tmp_path / "splats.ply"), str(tmp_path / "room"), "--out", str(tmp_path / name),
              "--json", str(tmp_path / f"{name}.json"), *options])  # fmt: skip
        told = json.loads((tmp_path / f"{name}.json").read_text())["united"]
        assert ("are one" in capsys.readouterr().out) == bool(told)
        found[name] = told
    assert found["apart"] == []
    assert len(found["one"]) >= 3
    # Each pair lies on one true object.
    predicted, true = (np.concatenate([m.maps[f.stem].ravel() for f in scene.split("train")]) for m in (split, truth))
    for first, second in found["one"]:
        owners = {np.bincount(true[predicted == part]).argmax() for part in (first, second)}
        assert len(owners) == 1


def test_only_pairs_side_by_side_touch():
    # Three rods of 40 points along x: 1 and 2 end to end, 3 far off, as 4 would be, which has no Gaussian.
    at = np.stack([np.concatenate([np.arange(40), 40 + np.arange(40), 200 + np.arange(40)]) * 0.1, np.zeros(120),
                   np.zeros(120)], 1)  # fmt: skip
    splats = Splats(torch.from_numpy(at).float(), torch.ones(120, 4), torch.full((120, 3), 0.05), torch.ones(120),
                    torch.zeros(120, 1, 3))  # fmt: skip
    labels = GaussianLabels(torch.arange(121), torch.arange(1, 4).repeat_interleave(40).int(), torch.ones(120),
                            torch.ones(120), torch.zeros(120))  # fmt: skip
    pairs = [Doubt("may be one", segments, (0, 1, 2), 0.3) for segments in ((1, 2), (2, 1), (2, 3), (3, 1), (4, 1))]
    assert [pair.segments for pair in touching(pairs, labels, splats)] == [(1, 2), (2, 1)]
    assert touching([], labels, splats) == []
    # A few of the far rod's carry the label of the near one, and the other way round: still two.
    swapped = torch.arange(1, 4).repeat_interleave(40).int()
    swapped[[0, 1, 2, 3, 4, 5]], swapped[[80, 81, 82, 83, 84, 85]] = 3, 1
    mixed = GaussianLabels(labels.indptr, swapped, labels.weight, labels.total, labels.void)
    assert touching([Doubt("may be one", (1, 3), (0, 1, 2), 0.3)], mixed, splats) == []


def test_united_rows_are_sums_of_columns():
    rng = np.random.default_rng(0)
    dense = rng.random((30, 7)) * (rng.random((30, 7)) < 0.5)
    dense[:, 0] = 0
    dense[4] = 0
    dense /= np.maximum(dense.sum(1, keepdims=True), 1e-9)
    indptr = np.concatenate([[0], (dense > 0).sum(1).cumsum()])
    total = torch.from_numpy(rng.random(30).astype(np.float32))
    labels = GaussianLabels(torch.from_numpy(indptr), torch.from_numpy(np.nonzero(dense)[1].astype(np.int32)),
                            torch.from_numpy(dense[dense > 0].astype(np.float32)), total, torch.zeros(30))  # fmt: skip
    pairs = [Doubt("may be one", segments, (0, 1, 2), 0.3) for segments in ((2, 5), (5, 6))]
    weight = (dense * total.numpy()[:, None]).sum(0)
    leader = max((2, 5, 6), key=lambda name: weight[name])
    pair = max((2, 5), key=lambda name: weight[name])
    expected = dense.copy()
    expected[:, [2, 5, 6]] = 0
    expected[:, pair if weight[[2, 5]].sum() > weight[6] else leader] = dense[:, [2, 5, 6]].sum(1)
    np.testing.assert_allclose(united(labels, pairs).to_dense(7).numpy(), expected, atol=1e-6)
    assert united(labels, []) is labels


def test_the_strongest_label_is_that_of_dense_arrays():
    rng = np.random.default_rng(1)
    dense = rng.integers(0, 4, (50, 6)) * (rng.random((50, 6)) < 0.6)
    dense[7] = 0
    gaussian, label = np.nonzero(dense)
    store = kernels.VoteStore(50)
    store.add_sums(*VotePairs((gaussian.astype(np.int64) << 32) | label,
                              dense[gaussian, label].astype(np.int64)).tensors())  # fmt: skip
    assert Said(store).strongest().tolist() == dense.argmax(1).tolist()
