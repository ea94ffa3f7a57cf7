# SPDX-License-Identifier: Apache-2.0
"""Uplifted features against float64 blending and against labels."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from brute_force import blend, blobs, random_camera, random_splats

from panoptic_gs import InputError, kernels
from panoptic_gs.uplift import uplift_features, uplift_labels


@pytest.mark.parametrize("channels", [1, 3, 16, 37, 130])
@pytest.mark.parametrize("memory", [1, 128 << 20])
def test_features_are_the_weighted_average(channels, memory, monkeypatch):
    monkeypatch.setattr(kernels.uplift, "FEATURE_MEMORY", memory)
    splats = random_splats(1, 70)
    cameras = [random_camera(view, 45, 31) for view in range(2)]
    blended = [blend(splats, camera) for camera in cameras]
    generator = np.random.default_rng(0)
    maps = [generator.normal(size=(31, 45, channels)) for _ in cameras]
    factors = [np.where(view.uncertain, 0, generator.random((31, 45))) for view in blended]
    weights = np.concatenate([(v.weights * f).reshape(70, -1) for v, f in zip(blended, factors)], axis=1)
    values = np.concatenate([m.reshape(-1, channels) for m in maps])
    total = weights.sum(axis=1, keepdims=True)
    expected = np.divide(weights @ values, total, out=np.zeros((70, channels)), where=total > 0)
    result = uplift_features(splats, zip(cameras, maps), factors)
    assert result.dtype == torch.float32
    torch.testing.assert_close(result.double(), torch.from_numpy(expected), rtol=1e-3, atol=2e-4)


def test_one_hot_features_are_labels():
    splats, camera = random_splats(2, 200), random_camera(2, 60, 44)
    labels = blobs(2, 60, 44, np.arange(1, 7))
    features = uplift_features(splats, [(camera, np.eye(7)[labels])])
    torch.testing.assert_close(features, uplift_labels(splats, [(camera, labels)]).to_dense(7), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_threads_do_not_change_a_bit(threads):
    splats, camera = random_splats(3, 200), random_camera(3, 60, 44)
    features = torch.randn(44, 60, 20, generator=torch.Generator().manual_seed(0))
    expected = uplift_features(splats, [(camera, features)])
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        assert torch.equal(uplift_features(splats, [(camera, features)]), expected)
    finally:
        torch.set_num_threads(before)


def test_bad_input_is_named():
    splats, camera = random_splats(4, 10), random_camera(4, 8, 6)
    with pytest.raises(InputError, match="no views"):
        uplift_features(splats, [])
    with pytest.raises(InputError, match="feature map"):
        uplift_features(splats, [(camera, np.zeros((8, 6, 3)))])
    with pytest.raises(InputError, match="feature map"):
        uplift_features(splats, [(camera, np.zeros((6, 8, 3))), (camera, np.zeros((6, 8, 4)))])
    with pytest.raises(InputError, match="NaN"):
        uplift_features(splats, [(camera, np.full((6, 8, 3), np.nan))])
    view = (camera, np.zeros((6, 8, 3)))
    with pytest.raises(InputError, match="weights: found 1 maps"):
        uplift_features(splats, [view, view], [None])
    with pytest.raises(InputError, match="weights: found more maps"):
        uplift_features(splats, [view], [None, None])
    with pytest.raises(InputError, match="weights: found a map for view 2"):
        uplift_features(splats, [view], {0: np.ones((6, 8)), 2: np.ones((6, 8))})
