# SPDX-License-Identifier: Apache-2.0
"""Label votes against float64 blending, and the invariants of exact sums."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from brute_force import blend, blobs, random_camera, random_splats, shares
from hypothesis import given, settings
from hypothesis import strategies as st

from panoptic_gs import Camera, InputError, Splats, kernels
from panoptic_gs.uplift import GaussianLabels, LabelVotes, render_panoptic, uplift_labels


def same(a: GaussianLabels, b: GaussianLabels) -> bool:
    names = ("indptr", "label", "weight", "total", "void")
    return all(torch.equal(getattr(a, name), getattr(b, name)) for name in names)


def scene(seed: int, count: int, views: int, width: int = 53, height: int = 37, num: int = 6):
    splats = random_splats(seed, count)
    cameras = [random_camera(100 * seed + view, width, height) for view in range(views)]
    maps = [blobs(seed + view, width, height, np.arange(num)) for view in range(views)]
    return splats, cameras, maps


@pytest.mark.parametrize("void", ["abstain", "label"])
@pytest.mark.parametrize("mode", ["classic", "antialiased"])
@pytest.mark.parametrize(("count", "width", "height"), [(1, 16, 16), (40, 53, 37), (300, 33, 64), (25, 1, 1)])
def test_votes_are_equation_7(void, mode, count, width, height):
    splats, cameras, maps = scene(3, count, 3, width, height)
    blended = [blend(splats, camera, antialiased=mode == "antialiased") for camera in cameras]
    factors = [np.random.default_rng(view).random((height, width)) for view in range(3)]
    for labels, view in zip(maps, blended):
        labels[view.uncertain] = 0  # void pixels do not count in g
    if void == "label":  # but here they do: leave the uncertain ones out by their weight
        for factor, view in zip(factors, blended):
            factor[view.uncertain] = 0
    for weights in (None, factors):
        if void == "label" and weights is None:
            continue
        scale = weights or [np.ones((height, width))] * 3
        every = np.concatenate([(view.weights * s).reshape(count, -1) for view, s in zip(blended, scale)], axis=1)
        expected = shares(every, np.concatenate([m.ravel() for m in maps]), 6, void_is_label=void == "label")
        result = uplift_labels(splats, zip(cameras, maps), weights, void, rasterize_mode=mode)
        torch.testing.assert_close(result.to_dense(6).double(), torch.from_numpy(expected), rtol=1e-3, atol=1e-4)
        on_void = np.concatenate([(m == 0).ravel() for m in maps])
        sure = np.concatenate([~view.uncertain.ravel() for view in blended])
        if sure.all():
            torch.testing.assert_close(result.total.double(), torch.from_numpy(every.sum(axis=1)), rtol=1e-3, atol=1e-5)
            torch.testing.assert_close(result.void.double(), torch.from_numpy(every[:, on_void].sum(axis=1)),
                                       rtol=1e-3, atol=1e-5)  # fmt: skip


def test_noise_with_a_label_for_every_pixel():
    splats, cameras, _ = scene(5, 120, 1)
    blended = blend(splats, cameras[0])
    labels = np.arange(1, 53 * 37 + 1).reshape(37, 53)
    labels[blended.uncertain] = 0
    expected = shares(blended.weights, labels, 53 * 37 + 1)
    result = uplift_labels(splats, [(cameras[0], labels)]).to_dense(53 * 37 + 1)
    torch.testing.assert_close(result.double(), torch.from_numpy(expected), rtol=1e-3, atol=1e-4)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10**6), st.permutations(range(5)), st.integers(0, 5), st.sampled_from([1, 2, 3, 7]))
def test_any_order_split_and_thread_count_give_the_same_bits(seed, order, split, threads):
    splats, cameras, maps = scene(seed, 80, 5)
    expected = uplift_labels(splats, zip(cameras, maps))
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        parts = [LabelVotes(len(splats)), LabelVotes(len(splats))]
        for position, view in enumerate(order):
            parts[position >= split].add(splats, cameras[view], maps[view])
        assert same((parts[0] + parts[1]).finish(), expected)
        parts[0].merge(parts[1])
        assert same(parts[0].finish(), expected)
    finally:
        torch.set_num_threads(before)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10**6), st.lists(st.integers(1, 2**31 - 1), min_size=5, max_size=5, unique=True))
def test_renaming_labels_renames_the_result(seed, names):
    splats, cameras, maps = scene(seed, 60, 2)
    lookup = np.array([0, *names], dtype=np.int64)
    plain = uplift_labels(splats, zip(cameras, maps))
    renamed = uplift_labels(splats, [(camera, lookup[labels]) for camera, labels in zip(cameras, maps)])
    back = np.zeros(len(renamed.label), dtype=np.int32)
    for label, name in enumerate(lookup):
        back[renamed.label.numpy() == name] = label
    rows = renamed.rows().numpy()
    order = np.lexsort((back, rows))
    assert torch.equal(renamed.indptr, plain.indptr)
    assert np.array_equal(back[order], plain.label.numpy())
    assert np.array_equal(renamed.weight.numpy()[order], plain.weight.numpy())


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.int32, np.int64, torch.int64, torch.uint8])
def test_any_integer_type_is_read(dtype):
    splats, cameras, maps = scene(1, 30, 1)
    labels = maps[0].astype(dtype) if isinstance(dtype, type) else torch.from_numpy(maps[0]).to(dtype)
    assert same(uplift_labels(splats, [(cameras[0], labels)]), uplift_labels(splats, [(cameras[0], maps[0])]))


def test_void_everywhere_leaves_no_labels_and_is_reported():
    splats, cameras, maps = scene(2, 30, 1)
    nothing = np.zeros_like(maps[0])
    abstain = uplift_labels(splats, [(cameras[0], nothing)])
    literal = uplift_labels(splats, [(cameras[0], nothing)], void="label")
    assert len(abstain.label) == 0
    assert (abstain.total > 0).any()
    assert torch.equal(abstain.total, abstain.void)
    assert torch.equal(literal.to_dense(1)[:, 0], (literal.total > 0).float())


def test_zero_gaussians_and_a_view_of_nothing():
    camera = Camera.look_at((0.0, 0.0, 3.0), (0.0, 0.0, 9.0), (0.0, 1.0, 0.0), 0.9, 20, 10)  # looks away
    splats = random_splats(0, 10)
    nobody = Splats(torch.zeros(0, 3), torch.zeros(0, 4), torch.zeros(0, 3), torch.zeros(0), torch.zeros(0, 1, 3))
    labels = np.ones((10, 20), dtype=np.int64)
    assert len(uplift_labels(nobody, [(camera, labels)])) == 0
    unseen = uplift_labels(splats, [(camera, labels)])
    assert len(unseen) == 10
    assert float(unseen.total.sum()) == 0
    assert len(uplift_labels(splats, []).label) == 0


def test_pixels_of_weight_zero_take_no_part():
    splats, cameras, maps = scene(4, 50, 1)
    keep = np.random.default_rng(0).random(maps[0].shape) < 0.5
    cut = uplift_labels(splats, [(cameras[0], maps[0])], weights=[keep.astype(np.float32)])
    voided = uplift_labels(splats, [(cameras[0], np.where(keep, maps[0], 0))])
    torch.testing.assert_close(cut.to_dense(6), voided.to_dense(6), rtol=1e-5, atol=1e-6)
    mapping = uplift_labels(splats, [(cameras[0], maps[0])], weights={0: keep.astype(np.float32)})
    assert same(cut, mapping)


def test_votes_resume_from_their_state():
    splats, cameras, maps = scene(6, 50, 4)
    expected = uplift_labels(splats, zip(cameras, maps))
    first, second = LabelVotes(len(splats)), LabelVotes(len(splats))
    for view in (0, 1):
        first.add(splats, cameras[view], maps[view])
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    for view in (2, 3):
        second.add(splats, cameras[view], maps[view])
    assert same(second.finish(), expected)


def test_memory_grows_with_the_labels_that_are_seen_only():
    splats, cameras, maps = scene(7, 4000, 1, 160, 120)
    sizes = []
    for ids in (np.arange(6), np.array([0, 7, 1000, 10**6, 10**9, 2**31 - 1])):
        votes = LabelVotes(len(splats))
        for _ in range(3):
            votes.add(splats, cameras[0], ids[maps[0]])
        pairs = len(votes.state_dict()["label"])
        assert votes.num_bytes <= 12 * pairs + 2 * len(splats) + 4096
        sizes.append(votes.num_bytes)
    assert sizes[1] <= sizes[0] + 3 * pairs  # a label takes up to four bytes


def test_a_view_that_is_added_in_parts_gives_the_same_bits(monkeypatch):
    splats, cameras, _ = scene(10, 3000, 1, 300, 200)
    labels = np.random.default_rng(0).integers(0, 2**31 - 1, (200, 300))  # about a label for each pixel
    expected = uplift_labels(splats, [(cameras[0], labels)])
    monkeypatch.setattr(kernels.uplift, "VOTE_MEMORY", 1)
    assert same(uplift_labels(splats, [(cameras[0], labels)]), expected)


def test_rows_of_any_length_are_kept():
    """Short rows are sorted another way than long ones, and rows of 255 labels or more have longer headers."""
    splats = Splats(torch.tensor([[0.0, 0.0, 0.0]]), torch.tensor([[1.0, 0.0, 0.0, 0.0]]), torch.full((1, 3), 2.0),
                    torch.tensor([0.9]), torch.zeros(1, 1, 3))  # fmt: skip
    camera = Camera.look_at((0.0, 0.0, -3.0), (0.0, 0.0, 0.0), (0.0, -1.0, 0.0), 0.9, 48, 40)
    for num in (1, 2, 15, 16, 17, 127, 128, 129, 254, 255, 256, 257, 1000):
        labels = np.random.default_rng(num).permutation(np.arange(48 * 40) % num).reshape(40, 48) * 1000 + 1
        result = uplift_labels(splats, [(camera, labels)])
        blended = blend(splats, camera)
        every = np.bincount(labels.ravel() // 1000, blended.weights.ravel(), num)
        assert np.array_equal(result.label.numpy(), np.arange(num) * 1000 + 1)
        torch.testing.assert_close(result.weight.double(), torch.from_numpy(every / every.sum()), rtol=1e-4, atol=1e-7)


def sums_of(votes: LabelVotes) -> dict[tuple[int, int], int]:
    state = votes.state_dict()
    gaussian = torch.arange(votes.num_gaussians).repeat_interleave(state["indptr"].diff())
    return dict(zip(zip(gaussian.tolist(), state["label"].tolist()), state["sum"].tolist()))


EDGES = [0, 1, 2**8 - 1, 2**8, 2**15 - 1, 2**15, 2**16 - 1, 2**16, 2**24, 2**31 - 1]


@pytest.mark.parametrize("num", [1, 8, 15, 16, 17, 31, 33, 63, 65, 130, 300])
@pytest.mark.parametrize("names", ["one byte", "two bytes", "first narrow", "wide", "every width"])
def test_views_add_up_label_by_label(num, names):
    """A view that meets rows adds what it leaves on its own, whatever rows have become long or wide on the way."""
    rng = np.random.default_rng(num)
    label_of = {
        "one byte": np.arange(num) % 256,
        "two bytes": rng.permutation(2**15)[:num],
        "first narrow": np.arange(num) + 2**15 - num // 2,
        "wide": 2**31 - 1 - np.arange(num),
        "every width": np.concatenate([EDGES, rng.integers(2**16, 2**31, 300)])[:num],
    }[names]
    splats = random_splats(num, 60)
    together, expected = LabelVotes(len(splats)), {}
    for view in range(4):
        camera = random_camera(view, 70, 50)
        seen = label_of[rng.integers(0, min(num, 1 + (view + 1) * num // 4), (50, 70))]  # more labels in later views
        if view == 2:
            seen[:, :35] = label_of[0]
        together.add(splats, camera, seen)
        alone = LabelVotes(len(splats))
        alone.add(splats, camera, seen)
        for pair, units in sums_of(alone).items():
            expected[pair] = expected.get(pair, 0) + units
    assert sums_of(together) == expected
    assert list(sums_of(together)) == sorted(expected)


@pytest.mark.parametrize("num", [1, 20, 40, 100, 200])
def test_large_sums_keep_every_bit(num):
    """Rows whose sums need more than six bytes meet a view."""
    splats, cameras, _ = scene(8, 40, 1)
    labels = np.random.default_rng(num).integers(0, num, (37, 53))
    alone, votes = LabelVotes(len(splats)), LabelVotes(len(splats))
    alone.add(splats, cameras[0], labels)
    large = torch.from_numpy(np.random.default_rng(0).integers(2**20, 2**62, len(splats) * num))
    label = torch.arange(num, dtype=torch.int32).repeat(len(splats))
    votes.load_state_dict({"indptr": torch.arange(len(splats) + 1) * num, "label": label, "sum": large})
    expected = sums_of(votes)
    votes.add(splats, cameras[0], labels)
    for pair, units in sums_of(alone).items():
        expected[pair] += units
    assert sums_of(votes) == expected


def test_sums_come_in_any_order_and_more_than_once():
    store = kernels.VoteStore(1000)
    rng = np.random.default_rng(0)
    gaussian, label = rng.integers(0, 1000, 5000), rng.integers(0, 9, 5000).astype(np.int32)
    value = rng.integers(0, 2**40, 5000) * (rng.random(5000) < 0.9)
    dense = np.zeros((1000, 9), dtype=np.int64)
    for part in np.split(np.arange(5000), 4):
        store.add_sums(*(torch.from_numpy(values[part]) for values in (gaussian, label, value)))
        np.add.at(dense, (gaussian[part], label[part]), value[part])
        indptr, labels, sums = (values.numpy() for values in store.sums())
        rows, columns = np.nonzero(dense)
        assert np.array_equal(np.repeat(np.arange(1000), np.diff(indptr)), rows)
        assert np.array_equal(labels, columns)
        assert np.array_equal(sums, dense[rows, columns])
        assert np.array_equal(store.shares(void_too=False)[1].numpy(), columns[columns > 0])
        key, units = (values.numpy() for values in store.pairs())
        assert np.array_equal(key, rows << 32 | columns)
        assert np.array_equal(units, sums)


def test_a_sum_beyond_its_range_is_refused():
    splats, cameras, maps = scene(8, 5, 1)
    votes = LabelVotes(5)
    votes.load_state_dict({"indptr": torch.arange(6), "label": torch.full((5,), 3, dtype=torch.int32),
                           "sum": torch.full((5,), 2**63 - 2**20)})  # fmt: skip
    with pytest.raises(OverflowError, match="2\\^29"):
        votes.add(splats, cameras[0], np.full_like(maps[0], 3))


def test_bad_input_is_named():
    splats, cameras, maps = scene(9, 20, 1)
    camera, labels = cameras[0], maps[0]
    with pytest.raises(InputError, match=r"label map.*shape"):
        uplift_labels(splats, [(camera, labels[:-1])])
    with pytest.raises(InputError, match="integers"):
        uplift_labels(splats, [(camera, labels.astype(np.float32))])
    with pytest.raises(InputError, match="-1"):
        uplift_labels(splats, [(camera, labels - 1)])
    with pytest.raises(InputError, match="2147483648"):
        uplift_labels(splats, [(camera, labels + 2**31)])
    with pytest.raises(InputError, match="weights"):
        uplift_labels(splats, [(camera, labels)], weights=[np.full(labels.shape, -1.0)])
    with pytest.raises(InputError, match="weights"):
        uplift_labels(splats, [(camera, labels)], weights=[])
    with pytest.raises(InputError, match="weights"):
        uplift_labels(splats, [(camera, labels)], weights=[None, None])
    with pytest.raises(InputError, match="20 Gaussians"):
        LabelVotes(19).add(splats, camera, labels)
    with pytest.raises(InputError, match="votes"):
        LabelVotes(19).merge(LabelVotes(20))
    with pytest.raises(InputError, match="rasterize_mode"):
        uplift_labels(splats, [(camera, labels)], rasterize_mode="fancy")


@pytest.mark.parametrize("isa", ["baseline", "avx2", "avx512"])
def test_every_instruction_set_adds_up_the_same_votes(isa, monkeypatch):
    splats, cameras, maps = scene(11, 500, 2, 120, 90)
    maps[1] = np.random.default_rng(0).integers(0, 40, maps[1].shape)  # many labels in a block
    expected = uplift_labels(splats, zip(cameras, maps), [None, np.ones(maps[1].shape)]).to_dense(40)
    monkeypatch.setenv("PANOPTIC_GS_ISA", isa)
    try:
        found = uplift_labels(splats, zip(cameras, maps), [None, np.ones(maps[1].shape)])
    except RuntimeError as error:
        pytest.skip(str(error))
    torch.testing.assert_close(found.to_dense(40), expected, rtol=1e-4, atol=1e-5)
    ids, _, _ = render_panoptic(splats, found, cameras[0])
    dense = blend(splats, cameras[0])
    image = np.einsum("nhw,nl->hwl", dense.weights, found.to_dense(40).double().numpy())
    sure = ~dense.uncertain & (np.diff(np.sort(image, axis=-1)[..., -2:], axis=-1)[..., 0] > 1e-4)
    assert sure.mean() > 0.3
    assert np.array_equal(ids.numpy()[sure], image.argmax(-1)[sure])


@pytest.mark.parametrize("read", [lambda store: store.sums(), lambda store: store.shares(void_too=False)])
def test_rows_that_grew_meanwhile_are_not_written_into_less_room(monkeypatch, read):
    """Another thread may add a view after the arrays were made."""
    store = kernels.VoteStore(5)
    pair = (torch.tensor([1]), torch.tensor([7], dtype=torch.int32), torch.tensor([2**34]))
    store.add_sums(*pair)
    rows = store._rows

    def rows_then_another(void_too: bool) -> tuple[torch.Tensor, torch.Tensor]:
        made = rows(void_too)
        store.add_sums(pair[0] + 1, *pair[1:])
        return made

    monkeypatch.setattr(store, "_rows", rows_then_another)
    with pytest.raises(RuntimeError, match="votes were added while they were read out"):
        read(store)
    monkeypatch.undo()
    assert store.sums()[1].tolist() == [7, 7]
