# SPDX-License-Identifier: Apache-2.0
"""Labels that lean on their neighbours', against dense distances and products."""

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist
from test_graph import cloud

from panoptic_gs.refine import lean_on_neighbours
from panoptic_gs.refine.neighbours import COLOR_WIDTH, NEIGHBOURS
from panoptic_gs.splats import SH_C0
from panoptic_gs.uplift import GaussianLabels

COUNT, LABELS = 60, 5


def labels_of(seed: int = 0) -> GaussianLabels:
    """Random rows of one to three labels; every seventh Gaussian has none."""
    rng = np.random.default_rng(seed)
    indptr, label, weight = [0], [], []
    for gaussian in range(COUNT):
        some = np.sort(rng.choice(np.arange(1, LABELS), rng.integers(1, 4), replace=False))
        if gaussian % 7 == 0:
            some = some[:0]
        label += some.tolist()
        weight += rng.dirichlet(np.ones(len(some))).tolist() if len(some) else []
        indptr.append(len(label))
    ones = torch.ones(COUNT)
    return GaussianLabels(torch.tensor(indptr), torch.tensor(label), torch.tensor(weight), ones, 0 * ones)


@pytest.mark.parametrize(("own", "power"), [(0.5, 2.0), (0.2, 1.0), (1.0, 1.0)])
def test_shares_are_those_of_dense_products(own, power):
    splats, labels = cloud(COUNT), labels_of()
    found = lean_on_neighbours(labels, splats, own, power)
    dense = labels.to_dense(LABELS).double().numpy()
    known = np.flatnonzero(dense.sum(1) > 0)
    points = splats.means.double().numpy()[known]
    colors = splats.sh[:, 0].double().numpy()[known] * SH_C0
    distance = cdist(points, points)
    np.fill_diagonal(distance, np.inf)
    near = np.argsort(distance, axis=1)[:, :NEIGHBOURS]
    reach = np.take_along_axis(distance, near, 1)[:, -1]
    alike = np.exp(-(distance**2) / (2 * np.outer(reach, reach)) - cdist(colors, colors) ** 2 / (2 * COLOR_WIDTH**2))
    weight = np.zeros_like(alike)
    np.put_along_axis(weight, near, np.take_along_axis(alike, near, 1), 1)
    mixed = own * dense[known] + (1 - own) * weight @ dense[known] / weight.sum(1, keepdims=True)
    expected = np.zeros_like(dense)
    expected[known] = mixed**power / (mixed**power).sum(1, keepdims=True)
    np.testing.assert_allclose(found.to_dense(LABELS).numpy(), expected, atol=4e-4)
    assert (found.indptr.diff().numpy()[::7] == 0).all()
    GaussianLabels(**found.tensors())  # rows ascend


def test_a_stray_on_a_surface_joins_it_and_another_colour_does_not():
    splats = cloud(COUNT, seed=1)
    splats.sh.zero_()
    labels = GaussianLabels(
        torch.arange(COUNT + 1), torch.where(torch.arange(COUNT) < 2, 4, 1), torch.ones(COUNT), torch.ones(COUNT),
        torch.zeros(COUNT),
    )  # fmt: skip
    splats.means[:2] = splats.means[2:4] + 1e-3
    splats.sh[1] = 4.0
    assert lean_on_neighbours(labels, splats, 0.3).best()[0][:2].tolist() == [1, 4]


def test_threads_change_no_bit_and_few_gaussians_stay_as_they_are():
    splats, labels, before = cloud(COUNT), labels_of(), torch.get_num_threads()
    expected = lean_on_neighbours(labels, splats)
    try:
        torch.set_num_threads(3)
        found = lean_on_neighbours(labels, splats)
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(value, found.tensors()[name]) for name, value in expected.tensors().items())
    rows = torch.arange(5)
    few = labels.subset(rows)
    assert torch.equal(lean_on_neighbours(few, splats.subset(rows)).weight, few.weight)


def test_labels_of_any_size_give_the_same_rows_in_32_bits():
    splats, labels, apart = cloud(COUNT), labels_of(), 1 << 21
    expected = lean_on_neighbours(labels, splats)
    large = GaussianLabels.from_kernel(labels.indptr, labels.label + apart, labels.weight, labels.total, labels.void)
    found = lean_on_neighbours(large, splats)
    assert (expected.label.dtype, found.label.dtype) == (torch.int32, torch.int32)
    assert torch.equal(found.label, expected.label + apart)
    assert torch.equal(found.indptr, expected.indptr)
    assert torch.equal(found.weight, expected.weight)
