# SPDX-License-Identifier: Apache-2.0
"""The feature votes' device kernel, held to float64 blending and the host's; see conftest.py for where it runs."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from cuda_scenes import blend, label_scene, random_camera, random_splats

from panoptic_gs import InputError, kernels
from panoptic_gs.backends.cuda_sums import DeviceFeatures
from panoptic_gs.kernels import cuda as cuda_kernels
from panoptic_gs.uplift import uplift_features


def feature_scene(seed: int, count: int, channels: int, width: int = 37, height: int = 20):
    """Gaussians, two cameras, features, and weights that leave out pixels where blending is not sure."""
    splats = random_splats(seed, count)
    cameras = [random_camera(view, width, height) for view in range(2)]
    generator = np.random.default_rng(0)
    maps = [generator.normal(size=(height, width, channels)).astype(np.float32) for _ in cameras]
    factors = [
        np.where(blend(splats, camera).uncertain, 0, 3 * generator.random((height, width))).astype(np.float32)
        for camera in cameras
    ]
    return splats, cameras, maps, factors


def voted(machine, lists_of, splats, cameras, maps, factors) -> DeviceFeatures:
    votes = DeviceFeatures(len(splats), maps[0].shape[2], machine.device)
    for camera, values, factor in zip(cameras, maps, factors):
        votes.add(lists_of(splats, camera), torch.as_tensor(values).to(machine.device),
                  None if factor is None else torch.as_tensor(factor).to(machine.device))  # fmt: skip
    return votes


def average(votes: DeviceFeatures) -> torch.Tensor:
    totals = votes.totals[:, None].cpu()
    return torch.where(totals > 0, votes.sums.cpu() / totals.clamp_min(1e-30), 0.0)


@pytest.mark.parametrize("channels", [1, 3, 32, 37, 130])
def test_features_are_the_weighted_average(machine, lists_of, channels):
    splats, cameras, maps, factors = feature_scene(1, 60, channels)
    weights = np.concatenate(
        [(blend(splats, camera).weights * factor).reshape(60, -1) for camera, factor in zip(cameras, factors)], axis=1
    )
    values = np.concatenate([features.reshape(-1, channels) for features in maps]).astype(np.float64)
    total = weights.sum(axis=1, keepdims=True)
    expected = np.divide(weights @ values, total, out=np.zeros((60, channels)), where=total > 0)
    votes = voted(machine, lists_of, splats, cameras, maps, factors)
    np.testing.assert_allclose(votes.totals.cpu(), total[:, 0], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(average(votes), expected, rtol=1e-3, atol=2e-4)
    host = uplift_features(splats, zip(cameras, maps), factors)
    torch.testing.assert_close(average(votes), host, rtol=1e-3, atol=2e-4)


def test_ones_without_weights_average_to_one(machine, lists_of):
    splats, cameras, maps, _ = feature_scene(2, 100, 5)
    votes = voted(machine, lists_of, splats, cameras, [np.ones_like(values) for values in maps], [None, None])
    seen = votes.totals > 1e-3
    assert seen.any()
    torch.testing.assert_close(average(votes)[seen.cpu()], torch.ones(int(seen.sum()), 5), rtol=1e-5, atol=0)


@pytest.mark.parametrize("exponent", [-100, 0, 60])
def test_features_of_any_size_keep_their_precision(machine, lists_of, exponent):
    splats, cameras, maps, factors = feature_scene(3, 50, 4)
    plain = average(voted(machine, lists_of, splats, cameras, maps, factors))
    scaled = [np.ldexp(values, exponent) for values in maps]
    result = average(voted(machine, lists_of, splats, cameras, scaled, factors))
    torch.testing.assert_close(torch.ldexp(result, torch.tensor(-exponent)), plain, rtol=1e-5, atol=1e-6)


def test_zeros_stay_zero(machine, lists_of):
    splats, cameras, maps, factors = feature_scene(3, 50, 4)
    votes = voted(machine, lists_of, splats, cameras, [np.zeros_like(values) for values in maps], factors)
    assert (votes.sums == 0).all()
    assert (votes.totals > 0).any()


def test_chunks_of_channels_change_no_bit(machine, lists_of, monkeypatch):
    splats, cameras, maps, factors = feature_scene(4, 60, 70)
    expected = voted(machine, lists_of, splats, cameras, maps, factors)
    launches = []
    launch = cuda_kernels._launch
    monkeypatch.setattr(cuda_kernels, "_launch", lambda *given: (launches.append(given), launch(*given)))
    monkeypatch.setattr(kernels.uplift, "FEATURE_MEMORY", 1)
    result = voted(machine, lists_of, splats, cameras, maps, factors)
    assert len(launches) == 2 * 5  # 16 channels at least
    assert torch.equal(result.sums, expected.sums)
    assert torch.equal(result.totals, expected.totals)


def test_no_order_of_blocks_and_warps_changes_a_bit(emulated, lists_of):
    splats, cameras, maps, factors = feature_scene(5, 60, 40)
    expected = voted(emulated, lists_of, splats, cameras, maps, factors)
    for seed in (1, 2):
        emulated.seed = seed
        result = voted(emulated, lists_of, splats, cameras, maps, factors)
        assert torch.equal(result.sums, expected.sums)
        assert torch.equal(result.totals, expected.totals)


def test_runs_agree_bit_for_bit(machine, lists_of):
    splats, cameras, maps, factors = feature_scene(5, 60, 40)
    first, second = (voted(machine, lists_of, splats, cameras, maps, factors) for _ in range(2))
    assert torch.equal(first.sums, second.sums)
    assert torch.equal(first.totals, second.totals)


def test_channels_outside_the_map_are_refused(machine, lists_of):
    splats, cameras, _ = label_scene(6, 5, 2)
    sums = torch.zeros(5, 3, dtype=torch.int64, device=machine.device)
    features, scale = torch.zeros(37, 53, 4, device=machine.device), torch.ones(1, device=machine.device)
    with pytest.raises(InputError, match="channels 2 to 5"):
        cuda_kernels.add_feature_votes(lists_of(splats, cameras[0]), features, None, 2, scale, sums, None)
