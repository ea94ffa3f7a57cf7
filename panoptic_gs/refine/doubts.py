# SPDX-License-Identifier: Apache-2.0
"""What a person should look at: objects that may be two, pairs that may be one, classes in dispute."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from scipy import ndimage
from typing_extensions import Unpack

from panoptic_gs.backends import BlendingKeywords
from panoptic_gs.camera import Camera
from panoptic_gs.labelling import Labelling
from panoptic_gs.refine.disagreement import PART, Doubt, Owners, disagreements
from panoptic_gs.refine.leave_one_out import VotePairs
from panoptic_gs.refine.weighing import uplift_weighed
from panoptic_gs.splats import Splats
from panoptic_gs.uplift import LabelVotes
from panoptic_gs.uplift.maps import Map, Weights, weighted_views

CELL = 0.1
"""Pieces of an object lie apart by cells without it, of this share of its diagonal."""


def find_doubts(
    splats: Splats,
    views: Iterable[tuple[Camera, Map]],
    labelling: Labelling,
    weights: Weights = None,
    **blending: Unpack[BlendingKeywords],
) -> list[Doubt]:
    """What a person should look at before trusting the labels, the most doubtful first of each kind.

    A Gaussian belongs to its strongest label (:func:`uplift_weighed`, all views heard). Then each view is asked what it
    says of each object's Gaussians, by those that lie wholly under one label there. Stuff is in doubt only as what a
    thing is taken for.

    Args:
        splats, views, weights, blending: as for :func:`~panoptic_gs.uplift_labels`.
        labelling: what the labels are.

    Raises:
        InputError: as :func:`~panoptic_gs.uplift_labels`.
    """
    views = list(views)
    weights = list(weights) if isinstance(weights, Iterator) else weights
    count = len(splats)
    labels = uplift_weighed(splats, views, weights, missed=0, **blending)
    owner, weight = labels.best()[0].cpu().numpy(), (labels.total - labels.void).cpu().numpy()
    owners, said = Owners(owner), []
    for camera, ids, factors in weighted_views(views, weights):
        votes = LabelVotes(count, **blending)
        votes.add(splats, camera, ids, factors)
        said.append(owners.said(VotePairs.of(votes)))
    things = {s.id for s in labelling.segments if labelling.is_thing[s.category_id]}
    found = disagreements(said, owners.present, labelling)
    points = splats.means.detach().cpu().numpy()
    for thing in sorted(things):
        mine = owner == thing
        largest = _largest_piece(points[mine], weight[mine].astype(np.float64)) if mine.sum() > 1 else 1.0
        if largest <= 1 - PART:
            found.append(Doubt("in pieces", (thing,), (), largest))
    order = ("may be one", "may be two", "class in dispute", "in pieces")
    return sorted(found, key=lambda doubt: (order.index(doubt.kind), -doubt.share, doubt.segments))


def _largest_piece(points: np.ndarray, weight: np.ndarray) -> float:
    """Share of the weight in the largest piece, of pieces that have at least :data:`PART` of it; 1 of one piece."""
    order = np.argsort(points, axis=0)
    low, high = np.empty(3), np.empty(3)
    for axis in range(3):  # without the lightest hundredth at either end: strays
        passed = weight[order[:, axis]].cumsum() / weight.sum()
        first, last = np.searchsorted(passed, [0.01, 0.99])
        low[axis], high[axis] = points[order[first, axis], axis], points[order[min(last, len(points) - 1), axis], axis]
    cell = CELL * float(np.linalg.norm(high - low))
    if cell <= 0:
        return 1.0
    inside = ((points >= low - cell) & (points <= high + cell)).all(1)
    places = np.floor((points[inside] - low) / cell).astype(np.int64) + 2
    grid = np.zeros(places.max(0) + 2)
    np.add.at(grid, tuple(places.T), weight[inside])
    solid = grid > 1e-3 * weight.sum()
    pieces = np.zeros(grid.shape, dtype=np.int32)
    ndimage.label(solid, structure=np.ones((3, 3, 3)), output=pieces)
    sizes = np.bincount(pieces.ravel(), grid.ravel())[1:] / weight.sum()
    large = sizes[sizes >= PART]
    return float(large.max() / large.sum()) if len(large) > 1 else 1.0
