# SPDX-License-Identifier: Apache-2.0
"""The Gaussians that training starts from, and how many of them the cameras see."""

from __future__ import annotations

import torch
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.models.splatfacto import RGB2SH, num_sh_bases, random_quat_tensor
from scipy.spatial import KDTree
from torch import Tensor

INITIAL_OPACITY = 0.1


def initial_parameters(points: Tensor, colors: Tensor | None, sh_degree: int) -> dict[str, Tensor]:
    """Parameters of round Gaussians at ``points``, as large as the distance to their neighbours (Kerbl et al. 2023).

    Args:
        points: ``[N, 3]``.
        colors: ``[N, 3]`` uint8, grey where None.
        sh_degree: degree of the spherical harmonics; 0 keeps plain colours behind a sigmoid, as splatfacto does.

    Returns:
        ``means``, ``scales`` (logarithms), ``quats``, ``features_dc``, ``features_rest``, ``opacities`` (logits).
    """
    count = len(points)
    rgb = torch.full((count, 3), 0.5) if colors is None else colors.float() / 255
    features_dc = RGB2SH(rgb) if sh_degree > 0 else torch.logit(rgb, eps=1e-10)
    return {
        "means": points.float().clone(),
        "scales": _neighbour_distance(points).log()[:, None].repeat(1, 3),
        "quats": random_quat_tensor(count),
        "features_dc": features_dc,
        "features_rest": torch.zeros(count, num_sh_bases(sh_degree) - 1, 3),
        "opacities": torch.logit(torch.full((count, 1), INITIAL_OPACITY)),
    }


def _neighbour_distance(points: Tensor, neighbours: int = 3) -> Tensor:
    """The mean distance ``[N]`` of each point to its nearest neighbours, above zero also for repeated points."""
    positions = points.numpy()
    known = min(neighbours, len(positions) - 1)
    if known == 0:
        return torch.full((1,), 0.1)
    distances = torch.from_numpy(KDTree(positions).query(positions, k=known + 1, workers=-1)[0][:, 1:]).float()
    mean = distances.mean(dim=1)
    return mean.clamp_min(max(1e-7, 1e-3 * float(mean.median())))


def count_visible(points: Tensor, cameras: Cameras, near: float = 0.01) -> int:
    """How many of ``points [N, 3]`` project into at least one of the cameras."""
    visible = torch.zeros(len(points), dtype=torch.bool)
    for pose, K, width, height in zip(
        cameras.camera_to_worlds.cpu(),
        cameras.get_intrinsics_matrices().cpu(),
        cameras.width.cpu(),
        cameras.height.cpu(),
    ):
        seen = (points - pose[:, 3]) @ pose[:, :3]  # OpenGL axes: x right, y up, z back
        depth = -seen[:, 2]
        safe = depth.clamp_min(near)
        column = K[0, 0] * seen[:, 0] / safe + K[0, 2]
        row = -K[1, 1] * seen[:, 1] / safe + K[1, 2]
        visible |= (depth > near) & (column >= 0) & (column < width) & (row >= 0) & (row < height)
    return int(visible.sum())
