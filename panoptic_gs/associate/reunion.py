# SPDX-License-Identifier: Apache-2.0
# scipy has no types: what is inferred of its sparse matrices is wrong.
# pyright: reportOptionalSubscript=false, reportAttributeAccessIssue=false, reportArgumentType=false, reportCallIssue=false
"""Objects that are one: views put both under one mask, and none has a mask of each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from scipy import sparse

from panoptic_gs.associate.consensus import SEEN
from panoptic_gs.associate.evidence import ViewEvidence

TOGETHER = 0.6
"""Two objects that are under one mask at least this much, on average, are one where no view has a mask of each."""
TOGETHER_CUT = 0.57
"""And they are one even so in a scene whose masks are cut in general."""
LEAST_VIEWS = 3
"""Views that have to see both."""


def reunite(
    views: Sequence[ViewEvidence],
    objects: Sequence[Sequence[Sequence[int]]],
    shares: Iterable[sparse.csr_matrix],
    count: int,
    cut: bool = False,
) -> np.ndarray | None:
    """Objects that views part in two though each view has one mask of both.

    A partition that reaches around a desk may be two clusters of Gaussians that hardly touch. Two objects of a class
    are one where masks show both of them together by Σ_m min(c_a(m), c_b(m)), c_o(m) the share of what the view sees of
    object o that mask m covers, on average over the views that see both, and no view has a mask of each. Networks
    that cut things to pieces have masks of each, too; there what shows together decides alone.

    Args:
        views: the evidence.
        objects: the objects of each mask of each view, as in :class:`~panoptic_gs.associate.refinement.Assignment`.
        shares: p ``[K, O]`` of each view, what the others say of its Gaussians.
        count: O.
        cut: whether most masks of the scene are pieces of things.

    Returns:
        The new number ``[O]`` of each object, or None where all stay apart.
    """
    seen, together, each = np.zeros((3, count, count), np.float32)
    classes: list[dict[int, float]] = [{} for _ in range(count)]
    for view, of_masks, share in zip(views, objects, shares):
        both = (view.votes.T @ share).toarray()
        shown = np.asarray(share.T @ view.total).ravel()
        visible = np.flatnonzero(shown >= SEEN)
        of = np.full(len(both), -1)
        for m, found in enumerate(of_masks):
            if len(found) == 1:
                of[m] = found[0]
                of_class = classes[found[0]]
                category = int(view.category_ids[m])
                of_class[category] = of_class.get(category, 0.0) + float(view.areas[m])
        place = np.ix_(visible, visible)
        seen[place] += 1
        for covered in np.minimum(both[:, visible] / shown[visible], 1):
            some = np.flatnonzero(covered)
            at = np.ix_(visible[some], visible[some])
            together[at] += np.minimum(covered[some][:, None], covered[some][None])
        own = np.unique(of[of >= 0])
        each[np.ix_(own, own)] += 1
    main = np.array([max(sorted(of), key=of.__getitem__) if of else -1 for of in classes])
    one = (main[:, None] == main[None]) & (main >= 0)[:, None] & (seen >= LEAST_VIEWS)
    whole = (together >= TOGETHER * seen) & (each == 0)
    one &= whole | (together >= TOGETHER_CUT * seen) if cut else whole
    np.fill_diagonal(one, False)
    if not one.any():
        return None
    return sparse.csgraph.connected_components(sparse.csr_matrix(one), directed=False)[1]
