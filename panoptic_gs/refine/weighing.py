# SPDX-License-Identifier: Apache-2.0
"""Votes weighed view by view: a view is one witness, however many pixels it has of a Gaussian."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from typing_extensions import Unpack

from panoptic_gs import kernels
from panoptic_gs.backends import BlendingKeywords
from panoptic_gs.camera import Camera
from panoptic_gs.errors import InputError
from panoptic_gs.processes import ALONE, Processes
from panoptic_gs.refine.leave_one_out import VotePairs, labels_of_store
from panoptic_gs.refine.overlooked import MISSED, Said
from panoptic_gs.refine.uniting import PartEvidence
from panoptic_gs.splats import Splats
from panoptic_gs.sums import ViewSum, blocks_of_all, sum_over_processes
from panoptic_gs.uplift import GaussianLabels, LabelVotes
from panoptic_gs.uplift.maps import Map, Weights, weighted_views

SHARPNESS = 2.0
"""Power of the shares that a Gaussian's labels have in one view, and of those that they have in all of them."""
GROWTH = 0.75
"""A view says as much of a Gaussian as this power of the blending weight that it has there."""
WORD_MEMORY = 1 << 28
"""Bytes for what single views say, until all are heard. Views beyond it are blended again."""
_WORTH_KEEPING = 0.25
"""Where less of what views say fits than this share, nothing of it is kept: all views are blended again."""
_UNITS = 1 << 34


def weigh(view: VotePairs, void: float = 0.0) -> VotePairs:
    r"""What one view says of each Gaussian.

    .. math:: v_i[l] = \Bigl(\sum_k w_i[k]\Bigr)^{γ} \frac{w_i[l]^p}{\sum_k w_i[k]^p}

    with :math:`w_i[l]` the view's votes, p = :data:`SHARPNESS` and γ = :data:`GROWTH`. The errors of one mask are one
    error, not as many as it has pixels, so what a view says grows slower than its pixels; and where an outline runs
    through a Gaussian, its lesser side says nothing of other views.

    Args:
        view: votes of one view, pairs that ascend.
        void: what a word for void counts, 0 … 1; 0 leaves void pixels out from the start.

    Returns:
        Rounded to whole units again, so that sums over views do not depend on their order.
    """
    voting = view.label >= (0 if void else 1)
    key, gaussian = view.key[voting], view.gaussian[voting]
    weight = view.units[voting] / _UNITS
    row = np.cumsum(np.diff(gaussian, prepend=-1) > 0) - 1  # sums of what is seen alone take less than of all
    total = np.bincount(row, weight)[row]
    share = (weight / total) ** SHARPNESS
    share /= np.bincount(row, share)[row]
    counts = np.where(key & 0xFFFFFFFF == 0, void, 1.0)
    units = np.rint(counts * share * total**GROWTH * _UNITS).astype(np.int64)
    return VotePairs(key[units > 0], units[units > 0])


class Word(NamedTuple):
    """What one view says of Gaussians."""

    pairs: VotePairs
    """Its votes."""
    own: VotePairs
    """The same weighed (:func:`weigh`)."""
    gaussian: np.ndarray  # [G] int64, ascending: those that it sees
    total: np.ndarray  # [G] int64: their blending weight
    void: np.ndarray  # [G] int64: the part of it on void pixels

    @property
    def num_bytes(self) -> int:
        """Memory that it takes."""
        return self.pairs.num_bytes + self.own.num_bytes + 3 * self.gaussian.nbytes


def _summed(key: np.ndarray, units: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each of ascending keys once, and the sum of its units."""
    first = np.flatnonzero(np.diff(key, prepend=-1))
    return key[first], np.add.reduceat(units, first) if len(first) else units


class WeighedVotes(ViewSum):
    """What views say of Gaussians, each view one witness (:func:`weigh`): a sum over views.

    Args:
        num_gaussians: N.
        void: what void counts as a label of its own; 0: it takes no part.
        blending: as for :class:`~panoptic_gs.LabelVotes`.
    """

    def __init__(self, num_gaussians: int, void: float = 0.0, **blending: Unpack[BlendingKeywords]) -> None:
        self.num_gaussians, self.void = num_gaussians, void
        self._blending = blending
        self._said = kernels.VoteStore(num_gaussians)
        self._total = np.zeros(num_gaussians, dtype=np.int64)
        self._unlabelled = np.zeros(num_gaussians, dtype=np.int64)

    def add(self, splats: Splats, camera: Camera, label_map: Map, weights: Map | None = None) -> None:
        """Add one view; arguments and errors as of :meth:`panoptic_gs.LabelVotes.add`."""
        self.add_word(self.word_of(splats, camera, label_map, weights))

    def word_of(self, splats: Splats, camera: Camera, label_map: Map, weights: Map | None = None) -> Word:
        """What one view says; arguments and errors as of :meth:`add`."""
        votes = LabelVotes(self.num_gaussians, **self._blending)
        votes.add(splats, camera, label_map, weights)
        kernels.give_back_frame(self.num_gaussians)  # before what it says is looked at
        pairs = VotePairs.of(votes)
        del votes
        gaussian, total = _summed(pairs.gaussian, pairs.units)
        _, void = _summed(pairs.gaussian, np.where(pairs.label == 0, pairs.units, 0))
        return Word(pairs, weigh(pairs, self.void), gaussian, total, void)

    def add_word(self, word: Word, said: Said | None = None, missed: float = MISSED) -> None:
        """Add what one view says.

        Args:
            word: from :meth:`word_of`.
            said: what all views say, this one too, from :meth:`said`: the view is not heard on what it missed
                (:meth:`Said.heard`). None: it is heard on everything.
            missed: the share below which it has missed an object.
        """
        self._total[word.gaussian] += word.total
        self._unlabelled[word.gaussian] += word.void
        own = word.own
        if said is not None:
            units = np.rint(own.units * said.heard(word.pairs, own, SHARPNESS, missed)).astype(np.int64)
            own = VotePairs(own.key[units > 0], units[units > 0])
        self._said.add_sums(*own.tensors())

    def said(self) -> Said:
        """What all views so far say of the Gaussians; these sums themselves, so add no view before it was asked."""
        return Said(self._said)

    def merge(self, other: WeighedVotes) -> WeighedVotes:
        """Add what other views say of the same Gaussians.

        Returns:
            This object.

        Raises:
            InputError: the numbers of Gaussians or what void counts differ.
        """
        if (other.num_gaussians, other.void) != (self.num_gaussians, self.void):
            raise InputError("votes", f"votes for {other.num_gaussians} Gaussians, void counting {other.void:g}",
                             f"votes for {self.num_gaussians} Gaussians, void counting {self.void:g}",
                             "Merge votes for the same splats, weighed alike.")  # fmt: skip
        for rows in other._said.blocks():
            self._said.add_sums(*VotePairs.of_block(rows).tensors())
        self._total += other._total
        self._unlabelled += other._unlabelled
        return self

    def all_reduce(self, group: Any = None) -> WeighedVotes:
        """Give every process of a ``torch.distributed`` group what the views of all say; every process calls this.

        Pairs travel packed in blocks. A process holds what it had, the result, and a block.

        Returns:
            This object.
        """
        said = kernels.VoteStore(self.num_gaussians)
        for rows in blocks_of_all(self._said.blocks(), torch.empty(0, 2, dtype=torch.int64), group):
            said.add_sums(*VotePairs.of_block(rows).tensors())
        self._said = said
        for sums in (self._total, self._unlabelled):
            sums[:] = sum_over_processes(torch.from_numpy(sums), group).numpy()
        return self

    def empty(self) -> WeighedVotes:
        """The same of no views."""
        return WeighedVotes(self.num_gaussians, self.void, **self._blending)

    def finish(self) -> GaussianLabels:
        """The label distribution of each Gaussian, on the CPU, its shares squared; ``total`` and ``void`` are plain
        blending weights."""
        labels = labels_of_store(self._said, SHARPNESS, void_too=self.void > 0)
        seen = (torch.from_numpy((units / _UNITS).astype(np.float32)) for units in (self._total, self._unlabelled))
        return GaussianLabels.from_kernel(labels.indptr, labels.label, labels.weight, *seen)


def uplift_weighed(
    splats: Splats,
    views: Iterable[tuple[Camera, Map]],
    weights: Weights = None,
    void: float = 0.0,
    processes: Processes = ALONE,
    missed: float = MISSED,
    **blending: Unpack[BlendingKeywords],
) -> GaussianLabels:
    """Uplift label maps with the votes of each view weighed (:func:`weigh`), and their shares squared.

    Once all views are heard, they are gone through again: a view that missed an object has no say on it
    (:meth:`Said.heard`).

    Args:
        splats, views, weights, blending: as for :func:`~panoptic_gs.uplift_labels`. Beyond :data:`WORD_MEMORY`, one
            view at a time is in memory; an iterator is kept for the second time.
        void: what void counts as a label of its own; 0: it takes no part.
        processes: that have the other views; each gets the labels of all.
        missed: the share of an object below which a view has missed it; 0: views are gone through once.

    Returns:
        The label distribution of each Gaussian, on the splats' device; ``total`` and ``void`` are plain blending
        weights. On the CPU neither threads nor the order of views change a bit.

    Raises:
        InputError: as :func:`~panoptic_gs.uplift_labels`.
    """
    return weighed_and_parts(splats, views, weights, void, processes, missed, parts=False, **blending)[0]


def weighed_and_parts(
    splats: Splats,
    views: Iterable[tuple[Camera, Map]],
    weights: Weights = None,
    void: float = 0.0,
    processes: Processes = ALONE,
    missed: float = MISSED,
    *,
    parts: bool = True,
    **blending: Unpack[BlendingKeywords],
) -> tuple[GaussianLabels, PartEvidence | None]:
    """As :func:`uplift_weighed`, and what views say of each other's objects; None without ``parts``, and where
    ``missed`` is 0."""
    views = list(views) if isinstance(views, Iterator) else views
    weights = list(weights) if isinstance(weights, Iterator) else weights

    evidence = None
    votes, memory = WeighedVotes(len(splats), void, **blending), 0
    kept: list[Word | None] = []
    for camera, label_map, factors in weighted_views(views, weights):
        word = votes.word_of(splats, camera, label_map, factors)
        votes.add_word(word)
        memory += word.num_bytes
        kept.append(word if memory <= WORD_MEMORY and missed else None)
        if memory * _WORTH_KEEPING > WORD_MEMORY:
            kept = [None] * len(kept)
        word = None
    votes = processes.reduced(votes)
    if missed:
        said = votes.said()
        del votes  # before there are others
        evidence = PartEvidence(said.strongest()) if parts else None
        votes = WeighedVotes(len(splats), void, **blending)
        for index, (camera, label_map, factors) in enumerate(weighted_views(views, weights)):
            known, kept[index] = kept[index], None
            word = known or votes.word_of(splats, camera, label_map, factors)
            votes.add_word(word, said, missed)
            pairs, word = word.pairs, None
            if evidence is not None:
                evidence.add(processes.rank + processes.count * index, camera, pairs)
            del pairs, known
        del said
        votes = processes.reduced(votes)
        evidence = None if evidence is None else processes.reduced(evidence)
    kernels.give_back_memory()  # what follows renders nothing
    labels = votes.finish().to(splats.means.device)
    del votes
    kernels.give_back_memory()
    return labels, evidence
