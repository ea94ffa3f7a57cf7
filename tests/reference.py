# SPDX-License-Identifier: Apache-2.0
"""Gaussian splatting by brute force, in plain torch: every Gaussian at every pixel, in depth order, no tiles.

Written from the rules of image formation alone, in the dtype of its inputs: float64 in the tests. Autograd of it
is the oracle for gradients. `blending_weights` gives w_i(u) for other traversals of the same pairs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

ALPHA_MIN = 1.0 / 255.0
ALPHA_MAX = 0.999
TRANSMITTANCE_MIN = 1e-4


@dataclass
class Projected:
    """Visible Gaussians of one view, by depth, ties by index."""

    ids: Tensor  # [M] index in the scene
    means2d: Tensor  # [M, 2]
    covariances: Tensor  # [M, 2, 2], low-pass included
    depths: Tensor  # [M]
    opacities: Tensor  # [M], compensated when antialiased


@dataclass
class Weights:
    """Blending weights of one view and how far each pixel is from the rules' thresholds."""

    projected: Projected
    weights: Tensor  # [M, H, W]
    transmittance: Tensor  # [H, W], behind the last blended Gaussian
    safe: Tensor  # [H, W] bool: no decision at this pixel is close


def rotation_of(quats: Tensor) -> Tensor:  # [N, 3, 3]
    w, x, y, z = torch.nn.functional.normalize(quats, dim=-1).unbind(-1)
    rows = [
        torch.stack([1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)], -1),
        torch.stack([2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)], -1),
        torch.stack([2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)], -1),
    ]
    return torch.stack(rows, -2)


def project(
    means: Tensor,
    quats: Tensor,
    scales: Tensor,
    opacities: Tensor,
    viewmat: Tensor,
    K: Tensor,
    width: int,
    height: int,
    *,
    near_plane: float = 0.01,
    far_plane: float = 1e10,
    radius_clip: float = 0.0,
    eps2d: float = 0.3,
    antialiased: bool = False,
) -> Projected:
    in_front = (means @ viewmat[2, :3] + viewmat[2, 3]).detach()
    ids = ((in_front >= near_plane) & (in_front <= far_plane)).nonzero()[:, 0]
    rotation, translation = viewmat[:3, :3], viewmat[:3, 3]
    x, y, z = (means[ids] @ rotation.T + translation).unbind(-1)
    half = rotation_of(quats[ids]) * scales[ids, None, :]
    covariance = rotation @ (half @ half.mT) @ rotation.T
    fx, fy, cx, cy = K[0, 0], K[1, 1], K[0, 2], K[1, 2]
    margin_x, margin_y = 0.3 * 0.5 * width / fx, 0.3 * 0.5 * height / fy
    tx = z * torch.clamp(x / z, -(cx / fx + margin_x), (width - cx) / fx + margin_x)
    ty = z * torch.clamp(y / z, -(cy / fy + margin_y), (height - cy) / fy + margin_y)
    zero = torch.zeros_like(z)
    jacobian = torch.stack(
        [torch.stack([fx / z, zero, -fx * tx / z**2], -1), torch.stack([zero, fy / z, -fy * ty / z**2], -1)], -2
    )
    sharp = jacobian @ covariance @ jacobian.mT
    blurred = sharp + eps2d * torch.eye(2, dtype=means.dtype)
    means2d = torch.stack([fx * x / z + cx, fy * y / z + cy], -1)
    rendered = opacities[ids]
    if antialiased:
        rendered = rendered * torch.sqrt(torch.clamp(torch.det(sharp) / torch.det(blurred), min=0.0))

    with torch.no_grad():
        visible = rendered >= ALPHA_MIN
        extent = torch.sqrt(2 * torch.log(rendered.clamp(min=ALPHA_MIN) / ALPHA_MIN)).clamp(max=3.33)
        radii = torch.ceil(extent[:, None] * torch.sqrt(torch.diagonal(blurred, dim1=-2, dim2=-1)))
        visible &= ~(radii <= radius_clip).all(-1)
        size = torch.tensor([width, height], dtype=means.dtype)
        visible &= ((means2d + radii > 0) & (means2d - radii < size)).all(-1)
        chosen = visible.nonzero()[:, 0]
        order = chosen[torch.sort(z[chosen].float(), stable=True).indices]
    return Projected(ids[order], means2d[order], blurred[order], z[order], rendered[order])


def blending_weights(projected: Projected, width: int, height: int, alpha_max: float = ALPHA_MAX) -> Weights:
    dtype = projected.means2d.dtype
    pixels_y, pixels_x = torch.meshgrid(
        torch.arange(height, dtype=dtype) + 0.5, torch.arange(width, dtype=dtype) + 0.5, indexing="ij"
    )
    pixels = torch.stack([pixels_x, pixels_y], -1)  # [H, W, 2]
    if projected.ids.numel() == 0:
        ones = torch.ones(height, width, dtype=dtype)
        return Weights(projected, torch.zeros(0, height, width, dtype=dtype), ones, ones.bool())
    offset = pixels - projected.means2d[:, None, None, :]
    conics = torch.linalg.inv(projected.covariances)[:, None, None]
    sigma = 0.5 * (offset[..., None, :] @ conics @ offset[..., None])[..., 0, 0]
    unclamped = projected.opacities[:, None, None] * torch.exp(-sigma)
    reached = unclamped >= ALPHA_MIN
    alpha = torch.where(reached, unclamped.clamp(max=alpha_max), 0.0)
    behind = torch.cumprod(1 - alpha, 0)
    blended = reached & (behind > TRANSMITTANCE_MIN)
    before = torch.cat([torch.ones_like(behind[:1]), behind[:-1]])
    weights = torch.where(blended, alpha * before, 0.0)
    transmittance = torch.prod(torch.where(blended, 1 - alpha, 1.0), 0)

    close = ((unclamped / ALPHA_MIN).log().abs() < 1e-3) | ((unclamped / alpha_max).log().abs() < 1e-4)
    close |= reached & ((behind / TRANSMITTANCE_MIN).log().abs() < 1e-2)
    return Weights(projected, weights, transmittance, ~close.any(0))


def harmonics(degree: int, directions: Tensor, coeffs: Tensor) -> Tensor:
    """Colours ``[N, 3]`` from real spherical harmonics ``[N, K, 3]``, + 0.5 and at least 0."""
    x, y, z = torch.nn.functional.normalize(directions, dim=-1).unbind(-1)
    pi = math.pi
    bases = [torch.full_like(x, math.sqrt(1 / (4 * pi)))]
    if degree >= 1:
        c = math.sqrt(3 / (4 * pi))
        bases += [-c * y, c * z, -c * x]
    if degree >= 2:
        c = math.sqrt(15 / (4 * pi))
        zonal = math.sqrt(5 / (16 * pi)) * (3 * z * z - 1)
        bases += [c * x * y, -c * y * z, zonal, -c * x * z, c / 2 * (x * x - y * y)]
    if degree >= 3:
        a, b, c = math.sqrt(35 / (32 * pi)), math.sqrt(105 / (4 * pi)), math.sqrt(21 / (32 * pi))
        bases += [
            -a * y * (3 * x * x - y * y), b * x * y * z, -c * y * (5 * z * z - 1),
            math.sqrt(7 / (16 * pi)) * z * (5 * z * z - 3), -c * x * (5 * z * z - 1), b / 2 * z * (x * x - y * y),
            -a * x * (x * x - 3 * y * y),
        ]  # fmt: skip
    values = torch.stack(bases, -1)
    return torch.clamp_min((values[..., None] * coeffs[:, : len(bases)]).sum(-2) + 0.5, 0.0)


def rasterization(
    means: Tensor,
    quats: Tensor,
    scales: Tensor,
    opacities: Tensor,
    colors: Tensor,  # [(C,) N, D] or [(C,) N, K, 3]
    viewmats: Tensor,
    Ks: Tensor,
    width: int,
    height: int,
    *,
    sh_degree: int | None = None,
    backgrounds: Tensor | None = None,
    render_mode: str = "RGB",
    rasterize_mode: str = "classic",
    extra_signals: Tensor | None = None,
    alpha_max: float = ALPHA_MAX,
    **options: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """Images ``[C, H, W, X]``, alphas ``[C, H, W, 1]``, safe pixels ``[C, H, W]``."""
    images, alphas, safe = [], [], []
    for c, (viewmat, K) in enumerate(zip(viewmats, Ks)):
        projected = project(
            means, quats, scales, opacities, viewmat, K, width, height,
            antialiased=rasterize_mode == "antialiased", **options,
        )  # fmt: skip
        blended = blending_weights(projected, width, height, alpha_max)
        ids = projected.ids
        channels, behind = [], []
        if render_mode.startswith("RGB"):
            own = colors[c] if colors.ndim == (3 if sh_degree is None else 4) else colors
            if sh_degree is None:
                channels.append(own[ids])
            else:
                centre = torch.linalg.inv(viewmat)[:3, 3]
                channels.append(harmonics(sh_degree, means[ids] - centre, own[ids]))
            if extra_signals is not None:
                channels.append((extra_signals[c] if extra_signals.ndim == 3 else extra_signals)[ids])
            if backgrounds is not None:
                behind.append(backgrounds[c])
        if render_mode != "RGB":
            channels.append(projected.depths[:, None])
        values = torch.cat(channels, -1)
        image = torch.einsum("mhw,mc->hwc", blended.weights, values)
        if behind:
            shown = behind[0]
            image[..., : shown.numel()] += blended.transmittance[..., None] * shown
        alpha = (1 - blended.transmittance)[..., None]
        if render_mode.endswith("ED"):
            image = torch.cat([image[..., :-1], image[..., -1:] / alpha.clamp(min=1e-10)], -1)
        images.append(image)
        alphas.append(alpha)
        safe.append(blended.safe)
    return torch.stack(images), torch.stack(alphas), torch.stack(safe)
