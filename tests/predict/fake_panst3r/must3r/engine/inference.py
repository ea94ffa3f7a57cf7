# SPDX-License-Identifier: Apache-2.0
"""Raw head channels to points and confidence."""

import torch


def activated(raw):
    norm = raw.norm(dim=-1, keepdim=True)
    return raw / norm.clamp(min=1e-12) * torch.expm1(norm)


def deactivated(points):
    norm = points.norm(dim=-1, keepdim=True)
    return points / norm.clamp(min=1e-12) * torch.log1p(norm)


def postprocess(pointmaps, pointmaps_activation):
    assert pointmaps_activation == "norm_exp"
    assert pointmaps.shape[-1] == 7
    return {
        "pts3d": activated(pointmaps[..., :3]),
        "pts3d_local": activated(pointmaps[..., 3:6]),
        "conf": 1 + pointmaps[..., 6].exp(),
    }
