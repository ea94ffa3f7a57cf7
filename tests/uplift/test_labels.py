# SPDX-License-Identifier: Apache-2.0
"""Sparse labels of Gaussians against their dense form; files."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from brute_force import random_splats
from hypothesis import given, settings
from hypothesis import strategies as st
from plyfile import PlyData
from safetensors.torch import load_file, save_file

from panoptic_gs import Category, InputError, PanopticScene, Segment, Splats
from panoptic_gs.uplift import GaussianLabels, load_labelled_scene, save_labelled_scene


def from_dense(dense: np.ndarray) -> GaussianLabels:
    rows, columns = np.nonzero(dense)
    indptr = np.concatenate([[0], np.cumsum((dense > 0).sum(axis=1))])
    count = len(dense)
    return GaussianLabels(torch.tensor(indptr), torch.tensor(columns.astype(np.int32)),
                          torch.tensor(dense[rows, columns], dtype=torch.float32), torch.arange(count).float(),
                          torch.arange(count).float() / 2)  # fmt: skip


def random_dense(seed: int, count: int = 20, num: int = 7) -> np.ndarray:
    generator = np.random.default_rng(seed)
    return (generator.integers(0, 4, size=(count, num)) * (generator.random((count, num)) < 0.4)).astype(np.float32)


@settings(deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 12), st.integers(1, 9))
def test_sparse_and_dense_agree(seed, count, num):
    dense = random_dense(seed, count, num)
    labels = from_dense(dense)
    assert len(labels) == count
    assert np.array_equal(labels.to_dense(num).numpy(), dense)
    assert np.array_equal(labels.rows().numpy(), np.nonzero(dense)[0])
    segment, share = labels.best()
    assert np.array_equal(segment.numpy(), dense.argmax(axis=1) * (dense.max(axis=1) > 0))
    assert np.array_equal(share.numpy(), dense.max(axis=1))


@settings(deadline=None)
@given(st.integers(0, 10**6), st.data())
def test_subset_selects_rows(seed, data):
    dense = random_dense(seed)
    labels = from_dense(dense)
    mask = np.array(data.draw(st.lists(st.booleans(), min_size=20, max_size=20)))
    index = np.array(data.draw(st.lists(st.integers(0, 19), max_size=30)), dtype=np.int64)
    for chosen in (mask, index):
        part = labels.subset(torch.from_numpy(chosen))
        assert np.array_equal(part.to_dense(7).numpy(), dense[chosen])
        assert np.array_equal(part.total.numpy(), np.arange(20.0)[chosen])


def test_files_keep_every_bit(tmp_path):
    labels = from_dense(random_dense(3))
    labels.save(tmp_path / "labels.safetensors")
    again = GaussianLabels.load(tmp_path / "labels.safetensors")
    assert all(torch.equal(getattr(again, name), getattr(labels, name)) for name in load_file(
        tmp_path / "labels.safetensors"))  # fmt: skip
    assert set(load_file(tmp_path / "labels.safetensors")) == {"indptr", "label", "weight", "total", "void"}


def test_damaged_files_are_named(tmp_path):
    file = tmp_path / "labels.safetensors"
    with pytest.raises(InputError, match="no such file"):
        GaussianLabels.load(file)
    from_dense(random_dense(3)).save(file)
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match=r"labels\.safetensors"):
        GaussianLabels.load(file)
    file.write_bytes(content)
    tensors = load_file(file)
    save_file({name: value for name, value in tensors.items() if name != "void"}, file)
    with pytest.raises(InputError, match="void"):
        GaussianLabels.load(file)
    damaged = {
        "indptr": tensors["indptr"][:-1],
        "label": tensors["label"].flip(0),
        "weight": tensors["weight"][1:],
        "total": tensors["total"][1:],
    }
    for name, value in damaged.items():
        save_file(tensors | {name: value.clone()}, file)
        with pytest.raises(InputError, match=name):
            GaussianLabels.load(file)


def test_too_few_columns_are_refused():
    with pytest.raises(InputError, match="at least"):
        from_dense(np.eye(5, dtype=np.float32)).to_dense(4)


def panoptic() -> PanopticScene:
    return PanopticScene([Category(4, "chair", True, (1, 2, 3)), Category(9, "wall", False)],
                         [Segment(2, 4, 0.5), Segment(3, 4), Segment(6, 9)], {}, source="a test")  # fmt: skip


def test_a_labelled_scene_comes_back_and_opens_as_ply(tmp_path):
    dense = random_dense(5)
    dense[:, [0, 1, 4, 5]] = 0
    labels, splats, scene = from_dense(dense), random_splats(5, 20), panoptic()
    save_labelled_scene(tmp_path / "out", splats, labels, scene)
    again = load_labelled_scene(tmp_path / "out")
    assert torch.equal(again.labels.to_dense(7), labels.to_dense(7))
    assert again.segments == scene.segments
    assert again.categories == scene.categories
    torch.testing.assert_close(again.splats.means, splats.means)
    vertices = PlyData.read(str(tmp_path / "out" / "splats.ply"))["vertex"]
    segment, share = labels.best()
    assert np.array_equal(vertices["segment_id"], segment.numpy())
    assert np.array_equal(vertices["category_id"], np.array([0, 0, 4, 4, 0, 0, 9])[segment.numpy()])
    assert np.array_equal(vertices["confidence"], share.numpy())
    assert isinstance(Splats.load_ply(tmp_path / "out" / "splats.ply"), Splats)


def test_labels_that_fit_nothing_are_refused(tmp_path):
    dense = random_dense(5)
    with pytest.raises(InputError, match="no segment"):
        save_labelled_scene(tmp_path / "a", random_splats(5, 20), from_dense(dense), panoptic())
    with pytest.raises(InputError, match="another scene"):
        save_labelled_scene(tmp_path / "b", random_splats(5, 19), from_dense(dense), panoptic())
    assert not list(tmp_path.iterdir())
    dense[:, [0, 1, 4, 5]] = 0
    save_labelled_scene(tmp_path / "c", random_splats(5, 20), from_dense(dense), panoptic())
    from_dense(dense[:7]).save(tmp_path / "c" / "labels.safetensors")
    with pytest.raises(InputError, match="7 Gaussians"):
        load_labelled_scene(tmp_path / "c")
