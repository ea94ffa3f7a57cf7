# SPDX-License-Identifier: Apache-2.0
"""The graph of Gaussians against dense distances, and diffusion against dense matrix products."""

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist

from panoptic_gs import InputError, Splats
from panoptic_gs.refine import diffuse, neighbour_graph
from panoptic_gs.splats import SH_C0


def cloud(count: int, seed: int = 0) -> Splats:
    rng = torch.Generator().manual_seed(seed)
    rand = lambda *shape: torch.randn(*shape, generator=rng)
    return Splats(rand(count, 3), rand(count, 4), rand(count, 3).exp() * 0.1, torch.full((count,), 0.7),
                  rand(count, 1, 3) * 0.5)  # fmt: skip


def dense_graph(splats: Splats, neighbours: int, width: float) -> np.ndarray:
    points = splats.means.double().numpy()
    distance = cdist(points, points)
    np.fill_diagonal(distance, np.inf)
    near = np.argsort(distance, axis=1)[:, :neighbours]
    chosen = np.zeros(distance.shape, bool)
    np.put_along_axis(chosen, near, True, 1)
    reach = np.take_along_axis(distance, near, 1)[:, -1]
    colors = splats.sh[:, 0].double().numpy() * SH_C0
    weight = np.exp(-(distance**2) / (2 * np.outer(reach, reach)) - cdist(colors, colors) ** 2 / (2 * width**2))
    return np.where(chosen | chosen.T, weight, 0)


def test_edges_are_those_of_dense_distances():
    splats = cloud(70)
    graph = neighbour_graph(splats, 6, color_width=0.3)
    expected = torch.from_numpy(dense_graph(splats, 6, 0.3)).float()
    torch.testing.assert_close(graph.to_dense(), expected, rtol=1e-5, atol=1e-7)
    assert torch.equal(graph.to_dense(), graph.T.to_dense())


def test_features_and_normals_weaken_edges_between_the_unlike():
    splats = cloud(40)
    features = torch.zeros(40, 2)
    features[20:] = 5
    plain = neighbour_graph(splats, 5).to_dense()
    seen = neighbour_graph(splats, 5, features=features).to_dense()
    across = torch.zeros(40, 40, dtype=torch.bool)
    across[:20, 20:] = across[20:, :20] = True
    assert torch.equal(seen[~across], plain[~across])
    assert (plain[across] > 0).any()
    assert (seen[across] <= plain[across] * np.exp(-24)).all()
    upright, sizes = torch.tensor([[1.0, 0, 0, 0]]).repeat(40, 1), torch.tensor([[0.1, 0.2, 0.3]]).repeat(40, 1)
    flat = Splats(splats.means, upright, sizes, splats.opacities, splats.sh)
    turned = torch.tensor([[1.0, 0, 0, 0]] * 20 + [[0.5**0.5, 0, 0, 0.5**0.5]] * 20)  # a quarter turn about z
    corner = Splats(flat.means, turned, flat.scales, flat.opacities, flat.sh)
    assert torch.equal(neighbour_graph(flat, 5, normal_power=2).to_dense(), plain)
    bent = neighbour_graph(corner, 5, normal_power=2).to_dense()
    assert torch.equal(bent[~across], plain[~across])
    assert bent[across].max() < 1e-10


def test_diffusion_is_repeated_averaging_and_repeats():
    splats = cloud(60)
    graph = neighbour_graph(splats, 4)
    labels = torch.nn.functional.one_hot(torch.arange(60) % 3, 3).float()
    dense = graph.to_dense().double()
    expected = labels.double()
    for _ in range(5):
        expected = 0.3 * labels + 0.7 * (dense / dense.sum(1, keepdim=True)) @ expected
    before = torch.get_num_threads()
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            result = diffuse(labels, neighbour_graph(splats, 4), 5, keep=0.3)
            torch.testing.assert_close(result.double(), expected, rtol=1e-5, atol=1e-6)
            if threads == 1:
                first = result
        assert torch.equal(first, result)
    finally:
        torch.set_num_threads(before)
    torch.testing.assert_close(result.sum(1), torch.ones(60))
    assert torch.equal(diffuse(labels, graph, 0), labels)
    assert torch.equal(diffuse(labels[:, 0], graph, 3), diffuse(labels, graph, 3)[:, 0])


def test_points_in_one_place_and_few_of_them():
    splats = cloud(5)
    splats.means[:4] = 0
    graph = neighbour_graph(splats, 2).to_dense()
    assert torch.isfinite(graph).all()
    assert (graph.diagonal() == 0).all()
    assert (graph[:4].sum(1) > 0).all()
    alone = neighbour_graph(cloud(1), 3)
    assert alone.shape == (1, 1)
    assert torch.equal(diffuse(torch.ones(1, 2), alone), torch.ones(1, 2))
    assert neighbour_graph(cloud(3), 10).to_dense().bool().sum() == 6


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"neighbours": 0}, "neighbours"),
        ({"color_width": 0.0}, "color_width"),
        ({"features": torch.zeros(3, 2)}, "features"),
    ],
)
def test_wrong_arguments_are_named(options, named):
    with pytest.raises(InputError, match=named):
        neighbour_graph(cloud(10), **options)
    with pytest.raises(InputError, match="graph"):
        diffuse(torch.zeros(4, 1), neighbour_graph(cloud(10), 3))
