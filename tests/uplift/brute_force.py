# SPDX-License-Identifier: Apache-2.0
"""Blending in float64, written straight from its definition: every Gaussian at every pixel, no tiles."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch

from panoptic_gs.camera import Camera, rotation_from_quaternion
from panoptic_gs.splats import Splats


class Blended(NamedTuple):
    """Weights ``[N, H, W]``, and the pixels ``[H, W]`` where a comparison with a threshold could go either way."""

    weights: np.ndarray
    uncertain: np.ndarray


def blend(splats: Splats, camera: Camera, eps2d: float = 0.3, antialiased: bool = False) -> Blended:
    """The blending weights α_i·T_i of all Gaussians."""
    height, width = camera.height, camera.width
    rows, columns = np.mgrid[:height, :width] + 0.5
    viewmat, K = camera.viewmat.double().numpy(), camera.K.double().numpy()
    fx, fy, cx, cy = K[0, 0], K[1, 1], K[0, 2], K[1, 2]
    means = splats.means.double().numpy() @ viewmat[:3, :3].T + viewmat[:3, 3]
    order = np.lexsort((np.arange(len(splats)), means[:, 2].astype(np.float32)))
    weights = np.zeros((len(splats), height, width))
    transmittance = np.ones((height, width))
    ended = np.zeros((height, width), dtype=bool)
    uncertain = np.zeros((height, width), dtype=bool)
    for i in order:
        x, y, z = means[i]
        opacity = float(splats.opacities[i])
        if z < 0.01:
            continue
        rotation = rotation_from_quaternion(splats.quats[i].double()).numpy()
        half = viewmat[:3, :3] @ rotation @ np.diag(splats.scales[i].double().numpy())
        margin_x, margin_y = 0.3 * 0.5 * width / fx, 0.3 * 0.5 * height / fy
        tx = z * np.clip(x / z, -cx / fx - margin_x, (width - cx) / fx + margin_x)
        ty = z * np.clip(y / z, -cy / fy - margin_y, (height - cy) / fy + margin_y)
        jacobian = np.array([[fx / z, 0, -fx * tx / z**2], [0, fy / z, -fy * ty / z**2]])
        sharp = jacobian @ half @ half.T @ jacobian.T
        covariance = sharp + eps2d * np.eye(2)
        if antialiased:
            opacity *= math.sqrt(max(np.linalg.det(sharp) / np.linalg.det(covariance), 0.0))
        offset = np.stack([columns - (fx * x / z + cx), rows - (fy * y / z + cy)], axis=-1)
        sigma = 0.5 * np.einsum("hwi,ij,hwj->hw", offset, np.linalg.inv(covariance), offset)
        raw = opacity * np.exp(-sigma)
        alpha = np.minimum(raw, 0.999)
        reached = (raw >= 1 / 255) & ~ended
        after = transmittance * (1 - alpha)
        uncertain |= ~ended & (np.abs(raw * 255 - 1) < 1e-3)
        uncertain |= reached & (np.abs(after - 1e-4) < 1e-6)
        ended |= reached & (after <= 1e-4)
        blended = reached & ~ended
        weights[i][blended] = (alpha * transmittance)[blended]
        transmittance = np.where(blended, after, transmittance)
    return Blended(weights, uncertain)


def shares(weights: np.ndarray, labels: np.ndarray, num: int, void_is_label: bool = False) -> np.ndarray:
    """g ``[N, num]`` by Eq. 7 from weights ``[N, pixels]`` and labels ``[pixels]``."""
    sums = weights.reshape(len(weights), -1) @ np.eye(num)[labels.ravel()]
    if not void_is_label:
        sums[:, 0] = 0
    return np.divide(sums, sums.sum(axis=1, keepdims=True), out=np.zeros_like(sums),
                     where=sums.sum(axis=1, keepdims=True) > 0)  # fmt: skip


def random_splats(seed: int, count: int, spread: float = 1.0, scale: float = 0.15) -> Splats:
    """Gaussians around the origin."""
    generator = torch.Generator().manual_seed(seed)
    random = lambda *shape: torch.rand(*shape, generator=generator)
    return Splats(
        (random(count, 3) - 0.5) * 2 * spread,
        torch.randn(count, 4, generator=generator),
        scale * (0.1 + random(count, 3)),
        0.05 + 0.95 * random(count),
        torch.zeros(count, 1, 3),
    )


def random_camera(seed: int, width: int, height: int) -> Camera:
    """A camera that looks at the origin from outside."""
    direction = np.random.default_rng(seed).normal(size=3)
    direction /= np.linalg.norm(direction)
    return Camera.look_at(3 * direction, (0.0, 0.0, 0.0), (0.1, 1.0, 0.2), 0.9, width, height)


def blobs(seed: int, width: int, height: int, labels: np.ndarray) -> np.ndarray:
    """A label map of regions, each of one of ``labels``."""
    generator = np.random.default_rng(seed)
    points = generator.random((2 * len(labels), 2)) * (width, height)
    rows, columns = np.mgrid[:height, :width]
    nearest = ((columns[..., None] - points[:, 0]) ** 2 + (rows[..., None] - points[:, 1]) ** 2).argmin(axis=-1)
    return labels[nearest % len(labels)]
