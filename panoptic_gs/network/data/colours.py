# SPDX-License-Identifier: Apache-2.0
"""Other lights, cameras and paints for the same views, so that colour alone tells little."""

from __future__ import annotations

import numpy as np

from panoptic_gs.network.data.views import SceneViews


def recoloured(views: SceneViews, rng: np.random.Generator, strength: float = 1.0) -> np.ndarray:
    """Images ``[N, H, W, 3]`` uint8 where segments have other paints, alike in all views, and each view its exposure.

    Args:
        views: with their segments.
        rng: draws the colours.
        strength: 0 leaves the images as they are.
    """
    if strength <= 0:
        return views.images
    images = views.images.astype(np.float32) / 255
    if rng.uniform() < 0.7:
        ids, index = np.unique(views.segments, return_inverse=True)
        paints = np.stack([_paint(rng, strength if rng.uniform() < 0.6 else 0.0) for _ in ids])
        images = np.einsum("nhwij,nhwj->nhwi", paints[index.reshape(views.segments.shape)], images, optimize=True)
    light = np.exp(strength * rng.normal(0, 0.12, 3)) * np.exp(strength * rng.normal(0, 0.15))
    exposure = np.exp(strength * rng.normal(0, 0.05, (len(views), 1, 1, 1)))
    images = np.clip(images * (light * exposure), 0, 1) ** np.exp(strength * rng.normal(0, 0.15))
    images += strength * rng.uniform(0, 0.02) * rng.standard_normal(images.shape, np.float32)
    return np.round(255 * np.clip(images, 0, 1)).astype(np.uint8)


def _paint(rng: np.random.Generator, strength: float) -> np.ndarray:
    """[3, 3]: a turn of the hue around grey, another saturation, another brightness."""
    angle = strength * rng.normal(0, 0.9)
    grey = np.full((3, 3), 1 / 3)
    cross = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / np.sqrt(3)
    turn = np.cos(angle) * np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * grey
    saturation = np.exp(strength * rng.normal(0, 0.3))
    bright = np.exp(strength * rng.normal(0, 0.2))
    return (bright * (grey + saturation * (turn - grey))).astype(np.float32)
