# SPDX-License-Identifier: Apache-2.0
"""Attention, the spatial prior, and queries that come and go with their optimizer's moments."""

import numpy as np
import pytest
import torch
from ball_scenes import BALL, FLOOR, balls
from scipy.spatial.transform import Rotation

from panoptic_gs import rasterization
from panoptic_gs.associate.attention import attention
from panoptic_gs.associate.learned import Learning
from panoptic_gs.associate.learned_options import LearnedOptions
from panoptic_gs.associate.queries import FEATURES, InstanceQueries, quadratic_terms
from panoptic_gs.associate.token_dynamics import CONTESTED, TokenCensus, without_duplicates
from panoptic_gs.optimizers import Adam
from panoptic_gs.uplift import ViewWeights


def some_queries(count=5, seed=0):
    generator = torch.Generator().manual_seed(seed)
    queries = InstanceQueries(torch.randn(count, 3, generator=generator), 0.5, generator)
    for parameter in queries.parameters():
        parameter.data += 0.3 * torch.randn(parameter.shape, generator=generator)
    return queries, torch.randn(40, 3, generator=generator), torch.randn(40, FEATURES, generator=generator)


def test_the_prior_is_a_gaussian_over_its_peak():
    queries, points, _ = some_queries()
    found = queries.log_prior(quadratic_terms(points), 1e-3).detach()
    for q in range(len(queries)):
        turn = Rotation.from_quat(queries.quats[q].detach().numpy(), scalar_first=True).as_matrix()
        covariance = turn @ np.diag(np.exp(2 * queries.log_scales[q].detach().numpy())) @ turn.T
        away = points.numpy() - queries.centers[q].detach().numpy()
        expected = -0.5 * np.einsum("ni,ij,nj->n", away, np.linalg.inv(covariance), away)
        np.testing.assert_allclose(found[:, q], expected, rtol=2e-4, atol=2e-4)


def test_no_query_is_thinner_than_allowed():
    queries, points, _ = some_queries()
    queries.log_scales.data.fill_(-20.0)
    found = queries.log_prior(quadratic_terms(points), 0.5).detach()
    expected = -0.5 * torch.cdist(points, queries.centers.detach()).square() / 0.25
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)


def test_gradients_of_attention_are_those_of_its_definition():
    queries, points, features = some_queries()
    queries = queries.double()
    terms = quadratic_terms(points).double()
    features = features.double().requires_grad_()
    names = ("centers", "quats", "log_scales", "features")

    def gradients(value):
        return torch.autograd.grad((value * weight).sum(), [features, *(getattr(queries, n) for n in names)])

    weight = torch.randn(40, 5, dtype=torch.float64)
    plain = (features @ queries.features.T).sigmoid() * queries.log_prior(terms, 0.05).exp()
    torch.testing.assert_close(attention(queries, features, terms), plain)
    for found, expected in zip(gradients(attention(queries, features, terms)), gradients(plain)):
        torch.testing.assert_close(found, expected)


def test_a_literal_softmax_is_bounded_by_the_number_of_queries():
    queries, points, features = some_queries(20)
    terms = quadratic_terms(points)
    literal = attention(queries, features, terms, masks="softmax", temperature=1.0)
    torch.testing.assert_close(literal.sum(1), torch.ones(40))
    assert literal.max() <= np.e / (np.e + 19)
    queries.log_scales.data.fill_(-3.0)
    own = quadratic_terms(queries.centers.detach())
    sharp = attention(queries, 0 * queries.features.detach(), own, masks="softmax", temperature=0.05)
    assert sharp.diagonal().min() > 0.9
    without = attention(queries, features, terms, prior=False)
    torch.testing.assert_close(without, (features @ queries.features.T).sigmoid())


@pytest.mark.parametrize("masks", ["product", "softmax"])
def test_local_attention_equals_global_in_outputs_and_gradients(masks):
    scene = balls([(0.0, 0.0), (1.2, 0.3)])
    given = scene.masks()
    results = []
    for local in (True, False):
        options = LearnedOptions(steps=1, pixels=700, masks=masks, local_attention=local, panoptic_from=0.0)
        learning = Learning(scene.splats, scene.cameras, given, (FLOOR, BALL), options)
        losses = learning.losses("03")
        assert set(losses) >= {"panoptic", "cross_entropy", "semantics", "token_class"}
        sum(losses.values()).backward()
        parts = [learning.features, learning.semantics, *learning.queries.parameters()]
        results.append((losses, [part.grad.clone() for part in parts]))
    (losses, grads), (others, other_grads) = results
    for name, loss in losses.items():
        torch.testing.assert_close(loss, others[name])
    for found, expected in zip(grads, other_grads):
        off = 1e-4 * float(expected.abs().max())  # a processor's order of sums; single entries nearly cancel out
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=max(off, 1e-7))
    assert any(gradient.abs().max() > 0 for gradient in grads)


def test_the_product_with_a_view_is_its_rasterization_and_so_is_the_gradient():
    scene = balls([(0.0, 0.0)])
    splats, camera = scene.splats, scene.cameras["00"]
    generator = torch.Generator().manual_seed(1)
    shares = torch.rand(len(splats), 3, generator=generator, requires_grad=True)
    pull = torch.randn(camera.height, camera.width, 3, generator=generator)
    weights = ViewWeights.of(splats, camera)
    product = (weights.matrix @ shares.index_select(0, weights.gaussians)).view(camera.height, camera.width, 3)
    image, _, _ = rasterization(
        splats.means, splats.quats, splats.scales, splats.opacities, shares, camera.viewmat[None], camera.K[None],
        camera.width, camera.height, packed=False,
    )  # fmt: skip
    torch.testing.assert_close(product, image[0], rtol=1e-4, atol=1e-5)
    (found,) = torch.autograd.grad((product * pull).sum(), shares)
    (expected,) = torch.autograd.grad((image[0] * pull).sum(), shares)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)


def test_clones_and_survivors_keep_their_moments():
    queries, points, features = some_queries()
    optimizer = Adam([{"params": [parameter]} for parameter in queries.parameters()])
    for _ in range(3):
        optimizer.zero_grad()
        attention(queries, features, quadratic_terms(points)).sum().backward()
        optimizer.step()
    before = queries.tensors()
    moments = optimizer.state[queries.centers]["exp_avg"].clone()
    rows = torch.tensor([4, 1, 1])
    queries.select(rows, optimizer)
    for name, value in queries.tensors().items():
        torch.testing.assert_close(value, before[name][rows])
    torch.testing.assert_close(optimizer.state[queries.centers]["exp_avg"], moments[rows])
    optimizer.zero_grad()
    attention(queries, features, quadratic_terms(points)).sum().backward()
    optimizer.step()
    assert (queries.centers != before["centers"][rows]).any()
    assert len(InstanceQueries.from_tensors(queries.tensors())) == 3


def test_of_two_queries_on_one_object_the_smaller_leaves():
    inside = torch.zeros(110, 4, dtype=torch.bool)
    inside[:50, 0] = inside[:40, 1] = inside[60:100, 2] = inside[45:61, 3] = True
    assert without_duplicates(inside, torch.ones(110)).tolist() == [0, 2, 3]
    weight = torch.ones(110)
    weight[:40] = 0.001  # what makes query 1 a part of query 0 is hardly seen
    inside[105:, 1] = True
    assert without_duplicates(inside, weight).tolist() == [0, 1, 2, 3]


def test_queries_that_are_not_taken_are_useless_and_contested_ones_are_cloned():
    census = TokenCensus(3)
    for _ in range(CONTESTED + 1):
        census.add(torch.tensor([0, 2]), torch.tensor([2]))
    assert census.useful().tolist() == [0, 2]
    assert census.cloned().tolist() == [2]
    assert census.cloned().tolist() == []
