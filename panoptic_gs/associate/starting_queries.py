# SPDX-License-Identifier: Apache-2.0
"""Where learned queries begin: on the surfaces that masks show, or at the objects of the closed form."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from panoptic_gs.associate.association import Association
from panoptic_gs.associate.learned_views import LearnedView
from panoptic_gs.associate.queries import InstanceQueries

STD = 0.5
"""Extent of a query at the start, in units of the scene."""
VOXEL = 0.8
"""Of the starting points in a cube of this side one is kept."""
POINTS_OF_MASK = 3
"""Starting points that are drawn of each mask."""


def from_masks(
    views: Mapping[str, LearnedView], points: Tensor, most: int, generator: torch.Generator
) -> InstanceQueries:
    """Random pixels of the masks, lifted by the depth that is blended there (PanopticRecon++).

    Args:
        views: the views.
        points: ``[N, 3]``, the Gaussians, in units of the scene.
        most: how many at most.
        generator: draws pixels and features.
    """
    found: list[Tensor] = []
    for view in views.values():
        alpha = view.matrix @ torch.ones(view.matrix.num_columns)
        place = (view.matrix @ points[view.gaussians]) / alpha.clamp_min(1e-6)[:, None]
        for number in range(len(view.thing_masks)):
            pixels = ((view.mask_of_pixel == number) & (alpha > 0.5)).nonzero()[:, 0]
            drawn = torch.randperm(len(pixels), generator=generator)[:POINTS_OF_MASK]
            found.append(place[pixels[drawn]])
    centers = torch.cat(found) if found else torch.zeros(0, 3)
    cell = (centers / VOXEL).floor().long()
    _, group = torch.unique(cell, dim=0, return_inverse=True)
    first = torch.full((int(group.max()) + 1 if len(group) else 0,), len(group)).scatter_reduce(
        0, group, torch.arange(len(group)), "amin"
    )
    chosen = first[torch.randperm(len(first), generator=generator)[:most]].sort().values
    return InstanceQueries(centers[chosen], STD, generator)


def from_clusters(
    views: Mapping[str, LearnedView], points: Tensor, clusters: Association, generator: torch.Generator
) -> InstanceQueries:
    """One query at each thing of an association: centre and extent of the Gaussians that its masks saw.

    Args:
        views: the views.
        points: ``[N, 3]``, the Gaussians, in units of the scene.
        clusters: what the masks of these views were associated to.
        generator: draws features.
    """
    number_of = {thing.id: number for number, thing in enumerate(clusters.things)}
    votes = torch.zeros(len(number_of), len(points))
    for stem, view in views.items():
        objects = clusters.views[stem].objects[view.thing_masks.numpy()].tolist()
        rows = torch.tensor([number_of.get(int(o), len(number_of)) for o in objects] + [len(number_of)])
        weight = torch.nn.functional.one_hot(rows[view.mask_of_pixel], len(number_of) + 1)[:, :-1].float()
        if weight.shape[1]:
            votes.index_add_(1, view.gaussians, (view.matrix.T @ weight).T.contiguous())
    share = votes / votes.sum(1, keepdim=True).clamp_min(1e-9)
    centers = share @ points
    variance = (share @ points.square() - centers.square()).clamp_min(0).mean(1)
    return InstanceQueries(centers, (2 * variance.sqrt()).clamp_min(STD / 2), generator)
