# SPDX-License-Identifier: Apache-2.0
"""Depth from point maps, against cameras that look at a known wall."""

import numpy as np
import pytest
import torch

from panoptic_gs.panoptic import Category
from panoptic_gs.predict.crop import crop_to_original
from panoptic_gs.predict.point_depth import depth_of_view, has_depth
from panoptic_gs.raw_predictions import RawImage, RawPredictions

SIZE, PHOTO = (32, 24), (90, 48)
"""Of the network's input, and of the photo, of which it is the middle."""


def predictions(**given: object) -> RawPredictions:
    width, height = SIZE
    x, y = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    z = 2 + x / 16
    local = np.stack([(x - 16) / 20 * z, (y - 12) / 20 * z, z], -1)
    viewmat = np.eye(4)
    angle = 0.3
    viewmat[:3, :3] = [[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]]
    viewmat[:3, 3] = 0.4, -0.2, 1.0
    points = torch.from_numpy((local - viewmat[:3, 3]) @ viewmat[:3, :3]).float()[None]
    confidence = torch.from_numpy(1 + y).float()[None]
    points[0, 3, 4], confidence[0, 3, 5] = float("nan"), 0
    values = {
        "mask_logits": torch.zeros(1, 2, 6, 8, dtype=torch.float16), "class_logits": torch.zeros(2, 1),
        "images": (RawImage("a.jpg", *PHOTO),), "classes": (Category(1, "wall", False),), "network": "test",
        "input_size": SIZE, "points": points, "confidence": confidence,
        "viewmats": torch.from_numpy(viewmat)[None], "Ks": torch.eye(3)[None],
        "to_original": torch.from_numpy(crop_to_original(*PHOTO, SIZE))[None], **given,
    }  # fmt: skip
    return RawPredictions(**values)


def test_depth_lies_where_the_photo_shows_it() -> None:
    depth, confidence = depth_of_view(predictions(), 0)
    assert depth.shape == confidence.shape == (24, 45)  # the photo's shape, a pixel of the network each
    left = 6  # (45 − 32) / 2, rounded down: the crop begins within the seventh column
    assert (depth[:, :left] == 0).all()
    assert (depth[:, -left:] == 0).all()
    x = np.arange(32) + 0.5
    np.testing.assert_allclose(depth[10, left : left + 33].max(), 2 + x[-1] / 16, rtol=1e-5)
    for column in (left + 4, left + 20):
        nearest = np.floor((column + 0.5) * 2 / 2 - 6.5)  # photo pixels of 90 / 45 = 2, a shift of 13, a scale of 2
        assert depth[10, column] == pytest.approx(2 + (nearest + 0.5) / 16, rel=1e-5)
        assert confidence[10, column] == pytest.approx(11.5)


def test_points_that_are_none_have_no_depth() -> None:
    depth, confidence = depth_of_view(predictions(), 0)
    assert np.count_nonzero(depth == 0) == 24 * (45 - 32) + 2
    assert ((depth == 0) == (confidence == 0)).all()
    behind = predictions()
    assert behind.viewmats is not None
    flipped = depth_of_view(
        predictions(viewmats=torch.diag(torch.tensor([1.0, -1, -1, 1])).double()[None] @ behind.viewmats), 0
    )
    assert (flipped[0] == 0).all()


def test_without_cameras_there_is_no_depth() -> None:
    assert has_depth(predictions())
    assert not has_depth(predictions(viewmats=None))
    assert not has_depth(predictions(points=None))
