# SPDX-License-Identifier: Apache-2.0
# scipy has no types: what is inferred of its sparse matrices is wrong.
# pyright: reportOptionalSubscript=false, reportAttributeAccessIssue=false, reportArgumentType=false, reportCallIssue=false
"""Masks that found no object, joined to objects of their own where masks of several views agree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from scipy import sparse
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import squareform

from panoptic_gs.associate.evidence import ViewEvidence
from panoptic_gs.associate.superpoints import spread

LEAST_AREA = 4.0
"""Masks of fewer pixels of the reference image are left out."""
OVERLAP = 0.12
"""Masks that overlap by this much on average are one object: Gaussians blur what is small, so that masks of one bottle
overlap by a tenth to a half, and those of two hardly at all."""
OTHER_CLASS = 0.5
"""The overlap of masks of two classes counts as this much of it."""
LEAST_VIEWS = 2
"""Views that have to show an object."""
RECURS = 0.2
"""And the least share of the views that see as much of it: what a network invents, it invents now and then."""
LEAST_DISSENT = 3
"""Views that have to show one of masks that had another object."""
DISSENTS = 0.3
"""And the least share of the views that see as much of it."""
TAKEN = 0.2
"""Masks of which known objects of their class show more than this are ill-fitting masks of those."""
MOST = 4000
"""Masks that are compared, the largest first."""


def left_over_objects(
    views: Sequence[ViewEvidence], things: Sequence[np.ndarray], objects: Sequence[np.ndarray], share: sparse.csr_matrix
) -> list[np.ndarray]:
    """Objects of masks that abstain, where those of several views agree: patches are too coarse for what is small.

    So are masks asked that dissent: they have an object that is mostly of another class, and a mask of that class shows
    it in the same view. Scissors on a table are no part of it where view after view has a mask of each.

    Of two masks of different views, with s = v / V on Gaussian i: both = Σ_i √(V_i V'_i) s_i s'_i, and each alone
    √(V_i V'_i) s_i over the Gaussians that the other view sees; their overlap is both / (one + other − both). Masks are
    joined by average overlap.

    Args:
        views: the evidence.
        things: ``[M]`` of each view, whether a mask is of a thing.
        objects: ``[M]`` of each view, the object of each mask, −1 where it abstains and −2 where it has several.
        share: ``[N, O]``, each known object's share in what all views say.

    Returns:
        For each view the number of the new object of each mask ``[M]``, from 0, or −1.
    """
    result = [np.full(len(view.ids), -1) for view in views]
    main = _main_classes(views, objects)
    dissent = _dissenting(views, objects, main)
    asked = [
        thing & ((of == -1) | other) & (view.areas >= LEAST_AREA)
        for view, thing, of, other in zip(views, things, objects, dissent)
    ]
    areas = np.concatenate([view.areas[of] for view, of in zip(views, asked)])
    if len(areas) > MOST:
        least = np.sort(areas)[-MOST]
        asked = [of & (view.areas >= least) for view, of in zip(views, asked)]
    rows = [(number, int(m)) for number, of in enumerate(asked) for m in np.flatnonzero(of)]
    if len({number for number, _ in rows}) < LEAST_VIEWS:
        return result
    view_of = np.array([number for number, _ in rows])
    category = np.array([int(views[number].category_ids[m]) for number, m in rows])
    both, alone = _overlaps(views, asked, share.shape[0])
    from_view = alone[:, view_of]
    overlap = both / np.maximum(from_view + from_view.T - both, 1e-9)
    other = np.array([bool(dissent[number][m]) for number, m in rows])
    alike = category[:, None] == category[None]
    overlap *= np.where(alike, 1.0, np.where(other[:, None] | other[None], 0.0, OTHER_CLASS))
    overlap[view_of[:, None] == view_of[None]] = 0  # two masks of a photo are two things
    distance = np.clip(1 - overlap, 0, 1)
    np.fill_diagonal(distance, 0)
    tree = linkage(squareform(distance, checks=False), "average")
    cluster = fcluster(tree, 1 - OVERLAP, "distance") - 1
    kept = np.zeros(int(cluster.max()) + 1, bool)
    for number in range(len(kept)):
        of = cluster == number
        see = int((alone[of].mean(axis=0) >= LEAST_AREA).sum())
        least = max(LEAST_DISSENT, DISSENTS * see) if other[of].any() else max(LEAST_VIEWS, RECURS * see)
        kept[number] = len(set(view_of[of].tolist())) >= least
    kept &= _taken(views, rows, category, cluster, main, share) <= TAKEN
    new = np.where(kept, np.cumsum(kept) - 1, -1)
    for (number, m), of in zip(rows, cluster):
        result[number][m] = new[of]
    return result


def _main_classes(views: Sequence[ViewEvidence], objects: Sequence[np.ndarray]) -> dict[int, int]:
    """Object → the class of most of its masks' pixels."""
    area: dict[int, dict[int, float]] = {}
    for view, of in zip(views, objects):
        for o, c, a in zip(of.tolist(), view.category_ids.tolist(), view.areas.tolist()):
            if o >= 0:
                area.setdefault(o, {})[c] = area.get(o, {}).get(c, 0.0) + a
    return {o: max(sorted(classes), key=classes.__getitem__) for o, classes in area.items()}


def _dissenting(
    views: Sequence[ViewEvidence], objects: Sequence[np.ndarray], main: Mapping[int, int]
) -> list[np.ndarray]:
    """Whether each mask ``[M]`` is of another class than its object, beside a mask of that class in its view."""
    result = []
    for view, of in zip(views, objects):
        pairs = list(zip(of.tolist(), view.category_ids.tolist()))
        shown = {o for o, c in pairs if o >= 0 and c == main[o]}
        result.append(np.array([o in shown and c != main[o] for o, c in pairs], bool))
    return result


def _taken(
    views: Sequence[ViewEvidence],
    rows: Sequence[tuple[int, int]],
    category: np.ndarray,
    cluster: np.ndarray,
    main: Mapping[int, int],
    share: sparse.csr_matrix,
) -> np.ndarray:
    """How much of each cluster of masks the known objects of its masks' class show."""
    of_class: dict[int, np.ndarray] = {}
    weight, taken = np.zeros(int(cluster.max()) + 1), np.zeros(int(cluster.max()) + 1)
    for (number, m), c, of in zip(rows, category.tolist(), cluster):
        if c not in of_class:
            mine = np.array([o for o, kind in main.items() if kind == c], int)
            of_class[c] = np.asarray(share[:, mine].sum(axis=1)).ravel()
        votes = views[number].votes[:, [m]].toarray().ravel()
        weight[of] += votes.sum()
        taken[of] += votes @ of_class[c][views[number].gaussians]
    return taken / np.maximum(weight, 1e-9)


def _overlaps(
    views: Sequence[ViewEvidence], asked: Sequence[np.ndarray], num_gaussians: int
) -> tuple[np.ndarray, np.ndarray]:
    """What masks that are asked about have in common ``[K, K]``, and what each view sees of each ``[K, V]``."""
    shares, roots = [], []
    for view, of in zip(views, asked):
        root = np.sqrt(view.total)
        scaled = sparse.diags(1 / np.maximum(root, 1e-9)) @ view.votes[:, np.flatnonzero(of)]
        shares.append(spread(scaled, view.gaussians, num_gaussians))
        roots.append(spread(sparse.csr_matrix(root[:, None]), view.gaussians, num_gaussians))
    share, root = sparse.hstack(shares, format="csr"), sparse.hstack(roots, format="csr")
    both = (share.T @ share).toarray()
    return both, (share.T @ root).toarray()
