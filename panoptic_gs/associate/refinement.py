# SPDX-License-Identifier: Apache-2.0
# scipy has no types: what is inferred of its sparse matrices is wrong.
# pyright: reportOptionalSubscript=false, reportAttributeAccessIssue=false, reportArgumentType=false, reportCallIssue=false
"""Masks assigned to the objects that the other views render in their place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import sparse
from scipy.optimize import linear_sum_assignment

from panoptic_gs.associate.evidence import ViewEvidence
from panoptic_gs.associate.left_over import left_over_objects
from panoptic_gs.associate.reunion import reunite
from panoptic_gs.progress import Progress, silent

CONTAINED = 0.5
"""A mask shows an object that fills at least this share of it."""
ACCEPT = 0.25
"""So it does where the overlap of the two is at least this."""
BLURRED = 0.05
"""Or at least this where the two are partners, one to one: Gaussians blur what is small in a view."""
DISTINCT = 1.5
"""How many times the overlap with any object that is no other mask's partner that with the partner is there."""
LEAST_CLEAR = 2
"""Views that have to show an object clearly before it is the partner of a mask that merely overlaps it."""
RIVAL = 0.5
"""A mask shows its partner in place of the object that fills most of it where it shows at least this share as much."""
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

    def known(self, count: int) -> np.ndarray:
        """Which of ``count`` objects some mask shows clearly, and alone."""
        clear = (self.contained >= CONTAINED) | (self.overlap >= ACCEPT)
        return np.bincount(self.single[clear & (self.single >= 0)], minlength=count) > 0

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

    def shares(self) -> sparse.csr_matrix:
        """Each object's share ``[N, O]`` in what all views say."""
        scale = np.divide(1, self.said, out=np.zeros_like(self.said), where=self.said > 0)
        return (sparse.diags(scale) @ self.votes).tocsr()

    def elsewhere(self, number: int) -> tuple[sparse.csr_matrix, np.ndarray]:
        """p_i(o) ``[K, O]``, object o's share in what the *other* views say, and which Gaussians they see at all."""
        view = self.views[number]
        left = self.said[view.gaussians] - _said(view)
        seen = left > 1e-3 * np.maximum(_said(view), 1e-6)
        weight = np.where(seen, 1 / np.where(seen, left, 1), 0).astype(np.float32)
        share = (self.votes[view.gaussians] - self.own[number]).multiply(weight[:, None]).tocsr()
        np.clip(share.data, 0, 1, out=share.data)
        return share, seen


def assign(
    view: ViewEvidence,
    thing: np.ndarray,
    share: sparse.csr_matrix,
    seen: np.ndarray,
    known: np.ndarray | None = None,
) -> Assignment:
    """What each mask of a view shows, by objects as they would be rendered, without rendering them.

    I(m, o) = Σ_i v_i(n, m) p_i(o) is what mask m and object o have in common, |m| = Σ_i v_i(n, m) over the Gaussians
    that ``seen`` tells, R(o) = Σ_i V_i(n) p_i(o) what the view shows of the object. Several masks may show one object:
    networks cut things to pieces. But where many small things stand before each other, most of a mask may be blurred
    outlines of its neighbours, which have masks of their own: masks and objects are matched one to one, too, and a mask
    goes to its partner unless another object clearly fills more of it.

    Args:
        view: the evidence.
        thing: ``[M]``, whether the mask is of a thing; others are left out.
        share: p ``[K, O]``.
        seen: ``[K]``.
        known: ``[O]``, the objects that some mask shows clearly, by default all; the others are not given masks that
            merely overlap them.
    """
    known = np.ones(share.shape[1], bool) if known is None else known
    both = (view.votes.T @ share).toarray()
    mask = view.votes.T @ seen.astype(np.float32)
    shown = np.asarray(share.T @ view.labelled).ravel()
    contained = both / np.maximum(mask, 1e-9)[:, None]
    covered = both / np.maximum(share.T @ view.total, 1e-9)[None]
    iou = both / np.maximum(mask[:, None] + shown[None] - both, 1e-9)
    objects: list[tuple[int, ...]] = []
    quality, overlap = np.zeros(len(thing)), np.zeros(len(thing))
    partner = _partners(iou * thing[:, None])
    free = np.setdiff1d(np.arange(iou.shape[1]), partner)
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
        else:
            other = int(partner[m])
            shows = contained[m, best] >= CONTAINED or iou[m, best] >= ACCEPT
            if other >= 0 and shows:
                if min(iou[m, other] / iou[m, best], contained[m, other] / contained[m, best]) >= RIVAL:
                    best = other
            elif other >= 0 and known[other]:
                best, shows = other, iou[m, other] >= DISTINCT * iou[m, free].max(initial=0)
            quality[m], overlap[m] = contained[m, best], iou[m, best]
            objects.append((best,) if shows else ())
    return Assignment(tuple(objects), quality, overlap)


def _partners(iou: np.ndarray) -> np.ndarray:
    """The object ``[M]`` of each mask, one to one and of the largest overlaps in all, −1 below :data:`BLURRED`."""
    result = np.full(len(iou), -1)
    rows, columns = linear_sum_assignment(iou, maximize=True)
    kept = iou[rows, columns] >= BLURRED
    result[rows[kept]] = columns[kept]
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
    cut: bool = False,
    progress: Progress = silent,
) -> tuple[list[Assignment], ObjectVotes]:
    """Assign masks to objects and let them vote for what Gaussians are, in turn.

    Args:
        views: the evidence.
        things: ``[M]`` of each view.
        objects: ``[N]``, the object of each Gaussian to begin with, −1 for none.
        num_gaussians: N.
        rounds: how often masks are assigned by the votes of the other views.
        cut: whether most masks of the scene are pieces of things.
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
        known = np.sum([of.known(count) for of in assignments], axis=0) >= LEAST_CLEAR
        assignments, votes = _assigned(views, things, votes, known)
    progress("Refining objects", rounds, rounds)
    objects_of = [np.where([len(o) > 1 for o in of.objects], -2, of.single) for of in assignments]
    new = left_over_objects(views, things, objects_of, votes.shares())
    more = max((int(of.max(initial=-1)) for of in new), default=-1) + 1
    if more:
        assignments = [_with_new(of, numbers, count) for of, numbers in zip(assignments, new)]
        own = [
            _moved(own, view, of, np.where(numbers >= 0, count + numbers, -1), count + more)
            for own, view, of, numbers in zip(votes.own, views, objects_of, new)
        ]
        votes = ObjectVotes(views, own, num_gaussians)
    elsewhere = (votes.elsewhere(number)[0] for number in range(len(views)))
    numbers = reunite(views, [of.objects for of in assignments], elsewhere, count + more, cut)
    if numbers is not None:
        table = sparse.csr_matrix((np.ones(len(numbers), np.float32), (np.arange(len(numbers)), numbers)))
        votes = ObjectVotes(views, [(of @ table).tocsr() for of in votes.own], num_gaussians)
    if more or numbers is not None:
        assignments, votes = _assigned(views, things, votes)
    return assignments, votes


def _assigned(
    views: Sequence[ViewEvidence], things: Sequence[np.ndarray], votes: ObjectVotes, known: np.ndarray | None = None
) -> tuple[list[Assignment], ObjectVotes]:
    """Each view's masks assigned by the votes of the others, and what all vote then."""
    assignments, own = [], []
    for number, (view, thing) in enumerate(zip(views, things)):
        share, seen = votes.elsewhere(number)
        assignments.append(assign(view, thing, share, seen, known))
        own.append(votes_of(view, assignments[-1], share))
    return assignments, ObjectVotes(views, own, len(votes.said))


def _moved(
    votes: sparse.csr_matrix, view: ViewEvidence, old: np.ndarray, new: np.ndarray, count: int
) -> sparse.csr_matrix:
    """A view's votes ``[K, count]``, those of some masks moved from object ``old`` (below 0: none) to ``new``."""
    votes = sparse.csr_matrix((votes.data, votes.indices, votes.indptr), (votes.shape[0], count))
    moved = np.flatnonzero(new >= 0)
    for objects, sign in ((old, -1), (new, 1)):
        masks = moved[objects[moved] >= 0]
        shape = (view.votes.shape[1], count)
        votes = votes + view.votes @ sparse.csr_matrix(
            (np.full(len(masks), sign, np.float32), (masks, objects[masks])), shape
        )
    votes = votes.tocsr()
    votes.data = np.maximum(votes.data, 0)  # what rounding left
    votes.eliminate_zeros()
    return votes


def _with_new(assignment: Assignment, numbers: np.ndarray, count: int) -> Assignment:
    """The same, with the new objects of masks that abstained."""
    objects = tuple((count + int(n),) if n >= 0 else of for of, n in zip(assignment.objects, numbers))
    return replace(assignment, objects=objects)
