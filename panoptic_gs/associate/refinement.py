# SPDX-License-Identifier: Apache-2.0
# scipy has no types: what is inferred of its sparse matrices is wrong.
# pyright: reportOptionalSubscript=false, reportAttributeAccessIssue=false, reportArgumentType=false, reportCallIssue=false
"""Masks assigned to the objects that the other views render in their place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from panoptic_gs.associate.evidence import ViewEvidence
from panoptic_gs.progress import Progress, silent

CONTAINED = 0.5
"""A mask shows an object that fills at least this share of it."""
ACCEPT = 0.25
"""So it does where the overlap of the two is at least this."""
BLURRED = 0.1
"""Or at least this where neither overlaps another one nearly as much: Gaussians blur what is small in a view."""
DISTINCT = 1.5
"""How many times the overlap with the second object that with the first one is there."""
COVERED = 0.5
"""A mask that covers at least this share of what a view sees of each of several objects is fused of them."""
FUSED_SHARE = 0.12
"""An object that fills a smaller share of a mask is not one of those that it is fused of."""

VOID = 0.2
"""A pixel under no mask says this share of what one under a mask says."""
ROUNDS = 2
"""How often masks are assigned by the votes of the other views."""


@dataclass(frozen=True, eq=False)
class Assignment:
    """What the masks of a view show.

    ``objects[m]`` lists the objects of mask m: none where it abstains, several where it is fused of them.
    """

    objects: tuple[tuple[int, ...], ...]
    contained: np.ndarray  # [M], the share of the mask that its objects fill
    overlap: np.ndarray  # [M], intersection over union with them

    @property
    def single(self) -> np.ndarray:
        """The object ``[M]`` of each mask, −1 where it has none or several."""
        return np.array([of[0] if len(of) == 1 else -1 for of in self.objects], np.int64)


def _said(view: ViewEvidence) -> np.ndarray:
    """How much a view says about each of its Gaussians ``[K]``."""
    return (1 - VOID) * view.labelled + VOID * view.total


class ObjectVotes:
    """The votes of all views for objects, from which the part of one view can be taken out.

    Args:
        views: the evidence.
        own: for each view, the votes ``[K, O]`` of its masks for objects.
        num_gaussians: N.
    """

    def __init__(self, views: Sequence[ViewEvidence], own: Sequence[sparse.csr_matrix], num_gaussians: int) -> None:
        self.views, self.own = views, own
        self.said = np.zeros(num_gaussians)
        rows, columns, data = [], [], []
        for view, votes in zip(views, own):
            self.said[view.gaussians] += _said(view)
            entries = votes.tocoo()
            rows.append(view.gaussians[entries.row])
            columns.append(entries.col)
            data.append(entries.data)
        shape = (num_gaussians, own[0].shape[1])
        self.votes = sparse.csr_matrix(
            (np.concatenate(data), (np.concatenate(rows), np.concatenate(columns))), shape, dtype=np.float32
        )

    def elsewhere(self, number: int) -> tuple[sparse.csr_matrix, np.ndarray]:
        """p_i(o) ``[K, O]``, object o's share in what the *other* views say, and which Gaussians they see at all."""
        view = self.views[number]
        left = self.said[view.gaussians] - _said(view)
        seen = left > 1e-3 * np.maximum(_said(view), 1e-6)
        weight = np.where(seen, 1 / np.where(seen, left, 1), 0).astype(np.float32)
        share = (self.votes[view.gaussians] - self.own[number]).multiply(weight[:, None]).tocsr()
        np.clip(share.data, 0, 1, out=share.data)
        return share, seen


def assign(view: ViewEvidence, thing: np.ndarray, share: sparse.csr_matrix, seen: np.ndarray) -> Assignment:
    """What each mask of a view shows, by objects as they would be rendered, without rendering them.

    I(m, o) = Σ_i v_i(n, m) p_i(o) is what mask m and object o have in common, |m| = Σ_i v_i(n, m) over the Gaussians
    that ``seen`` tells, R(o) = Σ_i V_i(n) p_i(o) what the view shows of the object. Several masks may show one object:
    networks cut things to pieces.

    Args:
        view: the evidence.
        thing: ``[M]``, whether the mask is of a thing; others are left out.
        share: p ``[K, O]``.
        seen: ``[K]``.
    """
    both = (view.votes.T @ share).toarray()
    mask = view.votes.T @ seen.astype(np.float32)
    shown = np.asarray(share.T @ view.labelled).ravel()
    contained = both / np.maximum(mask, 1e-9)[:, None]
    covered = both / np.maximum(share.T @ view.total, 1e-9)[None]
    iou = both / np.maximum(mask[:, None] + shown[None] - both, 1e-9)
    objects: list[tuple[int, ...]] = []
    quality, overlap = np.zeros(len(thing)), np.zeros(len(thing))
    alone = _each_others_best(iou * thing[:, None])
    for m in range(len(thing)):
        if not both.shape[1]:
            objects.append(())
            continue
        best = int(contained[m].argmax())
        quality[m], overlap[m] = contained[m, best], iou[m, best]
        if not thing[m] or mask[m] <= 0:
            objects.append(())
            continue
        several = np.flatnonzero((covered[m] >= COVERED) & (contained[m] >= FUSED_SHARE))
        if len(several) > 1:
            together = both[m, several].sum()
            quality[m] = together / mask[m]
            overlap[m] = together / (mask[m] + shown[several].sum() - together)
            objects.append(tuple(several.tolist()) if quality[m] >= CONTAINED else ())
        elif contained[m, best] >= CONTAINED or iou[m, best] >= ACCEPT:
            objects.append((best,))
        elif alone[m] >= 0:
            best = int(alone[m])
            quality[m], overlap[m] = contained[m, best], iou[m, best]
            objects.append((best,))
        else:
            objects.append(())
    return Assignment(tuple(objects), quality, overlap)


def _each_others_best(iou: np.ndarray) -> np.ndarray:
    """The object ``[M]`` that each mask overlaps most by far and that overlaps no mask more, −1 for none."""
    result = np.full(len(iou), -1)
    if not iou.size:
        return result
    best, rows = iou.argmax(axis=1), np.arange(len(iou))
    first = iou[rows, best]
    second = np.partition(iou, -2, axis=1)[:, -2] if iou.shape[1] > 1 else np.zeros(len(iou))
    chosen = (first >= BLURRED) & (first >= DISTINCT * second) & (iou.argmax(axis=0)[best] == rows)
    result[chosen] = best[chosen]
    return result


def votes_of(view: ViewEvidence, assignment: Assignment, share: sparse.csr_matrix) -> sparse.csr_matrix:
    """A view's votes ``[K, O]`` for objects; those of a mask that is fused are divided as the other views know them."""
    single = assignment.single
    kept = np.flatnonzero(single >= 0)
    shape = (view.votes.shape[1], share.shape[1])
    votes = view.votes @ sparse.csr_matrix((np.ones(len(kept), np.float32), (kept, single[kept])), shape)
    for m, of in enumerate(assignment.objects):
        if len(of) > 1:
            among = share[:, list(of)].toarray()
            total = among.sum(axis=1, keepdims=True)
            among = np.divide(among, total, out=np.zeros_like(among), where=total > 0)
            among *= view.votes[:, [m]].toarray()
            place = sparse.csr_matrix((np.ones(len(of), np.float32), (np.arange(len(of)), of)), (len(of), shape[1]))
            votes = votes + sparse.csr_matrix(among) @ place
    return votes.tocsr()


def refine(
    views: Sequence[ViewEvidence],
    things: Sequence[np.ndarray],
    objects: np.ndarray,
    num_gaussians: int,
    rounds: int = ROUNDS,
    progress: Progress = silent,
) -> tuple[list[Assignment], ObjectVotes]:
    """Assign masks to objects and let them vote for what Gaussians are, in turn.

    Args:
        views: the evidence.
        things: ``[M]`` of each view.
        objects: ``[N]``, the object of each Gaussian to begin with, −1 for none.
        num_gaussians: N.
        rounds: how often masks are assigned by the votes of the other views.
        progress: called while it works.
    """
    count = int(objects.max()) + 1
    assignments, own = [], []
    for view, thing in zip(views, things):
        of = objects[view.gaussians]
        rows = np.flatnonzero(of >= 0)
        share = sparse.csr_matrix((np.ones(len(rows), np.float32), (rows, of[rows])), (len(of), count))
        assignments.append(assign(view, thing, share, np.ones(len(of), bool)))
        own.append(votes_of(view, assignments[-1], share))
    votes = ObjectVotes(views, own, num_gaussians)
    for done in range(rounds):
        progress("Refining objects", done, rounds)
        assignments, own = [], []
        for number, (view, thing) in enumerate(zip(views, things)):
            share, seen = votes.elsewhere(number)
            assignments.append(assign(view, thing, share, seen))
            own.append(votes_of(view, assignments[-1], share))
        votes = ObjectVotes(views, own, num_gaussians)
    progress("Refining objects", rounds, rounds)
    return assignments, votes
