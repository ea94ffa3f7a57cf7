# SPDX-License-Identifier: Apache-2.0
"""Rendered labels against the dense one-hot render, and back from a clean uplift."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from brute_force import blend, blobs, random_camera, random_splats
from hypothesis import given, settings
from hypothesis import strategies as st

from panoptic_gs import Camera, InputError, Splats, rasterization
from panoptic_gs.uplift import GaussianLabels, render_panoptic, uplift_labels


def random_labels(seed: int, count: int, ids: np.ndarray, most: int = 4) -> GaussianLabels:
    generator = np.random.default_rng(seed)
    most = min(most, len(ids))
    rows = [np.sort(generator.choice(ids, size=generator.integers(0, most + 1), replace=False)) for _ in range(count)]
    weight = [generator.random(len(row)) + 0.01 for row in rows]
    return GaussianLabels(
        torch.tensor(np.cumsum([0, *map(len, rows)])),
        torch.tensor(np.concatenate(rows).astype(np.int32)),
        torch.tensor(np.concatenate([w / max(w.sum(), 1e-9) for w in weight]), dtype=torch.float32),
        torch.ones(count),
        torch.zeros(count),
    )


def close_calls(sums: np.ndarray, margin: float) -> np.ndarray:
    """Pixels whose best two sums ``[L, H, W]`` differ by no more than ``margin``."""
    best = np.sort(sums, axis=0)
    return best[-1] - best[-2] <= margin if len(sums) > 1 else np.zeros(sums.shape[1:], dtype=bool)


@pytest.mark.parametrize("mode", ["classic", "antialiased"])
@pytest.mark.parametrize(
    ("count", "num", "size"), [(60, 3, (37, 53)), (200, 90, (33, 16)), (1, 2, (1, 1)), (0, 2, (5, 5))]
)
def test_ids_are_the_argmax_of_the_brute_force_sums(mode, count, num, size):
    splats = random_splats(1, count) if count else Splats(*(torch.zeros(0, *s) for s in ((3,), (4,), (3,), (), (1, 3))))
    camera = random_camera(1, size[1], size[0])
    labels = random_labels(1, count, np.arange(1, num + 1)) if count else uplift_labels(splats, [])
    blended = blend(splats, camera, antialiased=mode == "antialiased")
    g = labels.to_dense(num + 1).double().numpy()
    sums = np.einsum("nhw,nl->lhw", blended.weights, g)
    result = render_panoptic(splats, labels, camera, rasterize_mode=mode)
    assert result.ids.dtype == torch.int64
    sure = ~blended.uncertain & ~(close_calls(sums[1:], 1e-4) & (sums[1:].max(axis=0) > 0))
    expected = np.where(sums.max(axis=0) > 0, sums.argmax(axis=0), 0)
    assert np.array_equal(result.ids.numpy()[sure], expected[sure])
    opaque = blended.weights.sum(axis=0)
    share = np.divide(sums.max(axis=0), opaque, out=np.zeros_like(opaque), where=opaque > 0)
    assert np.abs(result.accumulation.numpy() - opaque)[~blended.uncertain].max(initial=0) < 1e-4
    assert np.abs(result.confidence.numpy() - share)[~blended.uncertain].max(initial=0) < 1e-3


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 40), st.booleans())
def test_equal_to_rasterizing_one_channel_for_each_label(seed, num, huge):
    names = np.sort(np.random.default_rng(seed).choice(2**31 - 1 if huge else 1000, size=num, replace=False)) + 0
    splats, camera = random_splats(seed, 90), random_camera(seed, 41, 29)
    labels = random_labels(seed, 90, names, most=5)
    compact = GaussianLabels(labels.indptr, torch.from_numpy(np.searchsorted(names, labels.label.numpy())).int(),
                             labels.weight, labels.total, labels.void)  # fmt: skip
    channels, alphas, _ = rasterization(
        splats.means, splats.quats, splats.scales, splats.opacities, compact.to_dense(num), camera.viewmat[None],
        camera.K[None], camera.width, camera.height,
    )  # fmt: skip
    best, winner = channels[0].max(dim=-1)
    result = render_panoptic(splats, labels, camera)
    expected = torch.where(best > 0, torch.from_numpy(names)[winner], 0)
    sure = torch.from_numpy(~close_calls(channels[0].permute(2, 0, 1).numpy(), 1e-6)) | (best == 0)
    assert torch.equal(result.ids[sure], expected[sure])
    torch.testing.assert_close(result.accumulation, alphas[0, ..., 0])
    torch.testing.assert_close(result.confidence, best / alphas[0, ..., 0].clamp_min(1e-12), rtol=1e-4, atol=1e-5)


def test_the_smallest_of_equal_labels_wins():
    splats, camera = random_splats(2, 40), random_camera(2, 30, 20)
    pairs = torch.tensor([[90, 12345]] * 40).flatten().int()
    labels = GaussianLabels(torch.arange(0, 81, 2), pairs, torch.full((80,), 0.5), torch.ones(40), torch.zeros(40))
    result = render_panoptic(splats, labels, camera)
    assert set(result.ids.unique().tolist()) <= {0, 90}
    assert torch.equal(result.ids == 90, result.accumulation > 0)


def test_unlabelled_gaussians_cover_but_do_not_vote():
    camera = Camera.look_at((0.0, 0.0, -3.0), (0.0, 0.0, 0.0), (0.0, 1.0, 0.0), 0.5, 8, 8)
    far = torch.tensor([[0.0, 0.0, 0.0], [0.0, 0.0, 0.5]])
    splats = Splats(far, torch.tensor([[1.0, 0, 0, 0]] * 2), torch.full((2, 3), 5.0), torch.tensor([0.75, 0.8]),
                    torch.zeros(2, 1, 3))  # fmt: skip
    rows = torch.tensor([0, 0, 1])
    labels = GaussianLabels(rows, torch.tensor([7]).int(), torch.ones(1), torch.ones(2), torch.zeros(2))
    result = render_panoptic(splats, labels, camera)
    assert (result.ids == 7).all()
    torch.testing.assert_close(result.confidence[4, 4], torch.tensor(0.2 / 0.95), atol=1e-3, rtol=0)
    nothing = render_panoptic(splats, uplift_labels(splats, []), camera)
    assert (nothing.ids == 0).all()
    assert (nothing.confidence == 0).all()
    assert (nothing.accumulation > 0.9).all()


def test_clean_labels_come_back_from_the_gaussians():
    # A wall of small opaque Gaussians, one for each pixel of the first view.
    rows, columns = np.mgrid[:48, :64]
    truth = blobs(5, 64, 48, np.array([3, 17, 2000, 2**31 - 1]))
    means = np.stack([(columns - 31.5) / 32, (rows - 23.5) / 32, np.zeros((48, 64))], axis=-1).reshape(-1, 3)
    count = len(means)
    splats = Splats(torch.tensor(means, dtype=torch.float32), torch.tensor([[1.0, 0, 0, 0]] * count),
                    torch.full((count, 3), 0.005), torch.full((count,), 0.98), torch.zeros(count, 1, 3))  # fmt: skip
    K = torch.tensor([[96.0, 0, 32], [0, 96.0, 24], [0, 0, 1]])
    viewmat = torch.eye(4)
    viewmat[2, 3] = 3.0
    camera = Camera(viewmat, K, 64, 48)
    labels = uplift_labels(splats, [(camera, truth)], eps2d=0.01)
    ids, confidence = labels.best()
    assert np.array_equal(ids.numpy(), truth.ravel())
    assert (confidence == 1).all()
    assert np.array_equal(render_panoptic(splats, labels, camera, eps2d=0.01).ids.numpy(), truth)
    viewmat[0, 3] = 2 * 3 / 96  # two pixels to the right
    again = render_panoptic(splats, labels, Camera(viewmat, K, 64, 48), eps2d=0.01).ids.numpy()
    assert np.array_equal(again[:, 2:], truth[:, :-2])


def test_labels_of_another_scene_are_refused():
    splats, camera = random_splats(3, 10), random_camera(3, 8, 8)
    with pytest.raises(InputError, match="another scene"):
        render_panoptic(splats, uplift_labels(random_splats(3, 11), []), camera)


@pytest.mark.parametrize("threads", [1, 3])
def test_threads_do_not_change_a_bit(threads):
    splats, camera = random_splats(4, 300), random_camera(4, 90, 70)
    labels = random_labels(4, 300, np.arange(1, 30))
    expected = render_panoptic(splats, labels, camera)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        assert all(torch.equal(a, b) for a, b in zip(render_panoptic(splats, labels, camera), expected))
    finally:
        torch.set_num_threads(before)
