# SPDX-License-Identifier: Apache-2.0
"""Objects that a view missed: what it says of them is not heard."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from panoptic_gs.label_maps import numbered
from panoptic_gs.refine.leave_one_out import VotePairs

MISSED = 0.5
"""A view has missed an object of which it shows less than this share under the object's label."""
_UNIT = 2.0**-34


class Said:
    """What all views say of the Gaussians, from which any one view is taken out by subtraction.

    Args:
        indptr, label, units: sparse rows ``[N + 1]``, ``[n]``, ``[n]`` of whole units, labels ascending in a row.
    """

    def __init__(self, indptr: Tensor, label: Tensor, units: Tensor) -> None:
        self._indptr, self._units = indptr.numpy(), units.numpy()
        self._names, self._label = numbered(label.numpy())

    def strongest(self) -> np.ndarray:
        """The label of which most is said of each Gaussian, ``[N]`` int64, the lowest of equals; 0 of unseen ones."""
        length = np.diff(self._indptr)
        seen = np.flatnonzero(length > 0)
        best = np.zeros(len(length), dtype=np.int64)
        if len(seen):
            most = np.repeat(np.maximum.reduceat(self._units, self._indptr[seen]), length[seen])
            place = np.flatnonzero(self._units == most)
            row = np.repeat(seen, length[seen])[place]
            first = np.diff(row, prepend=-1) > 0
            best[row[first]] = self._names[self._label[place[first]]]
        return best

    def heard(self, view: VotePairs, own: VotePairs, power: float, missed: float = MISSED) -> np.ndarray:
        r"""How much of what a view says is heard: less where it missed what all others see.

        A network errs in whole masks: an object is missed in one view, or swallowed by its neighbour, or takes its
        label. With :math:`g_i[k]` the share that all *other* views give to label k of Gaussian i (each to a power, then
        normalised), and :math:`w_i[l]` the votes of the view, it has missed object k where

        .. math:: \sum_i w_i[k]\, g_i[k] < τ \sum_i \sum_l w_i[l]\, g_i[k]

        and its word for label l of Gaussian i counts :math:`1 - \sum_{k \ne l,\,k\ \mathrm{missed}} g_i[k]`. An outline
        that is off never makes an object missed; and a view that alone shows an object is heard, since what lies around
        it is shown elsewhere in the same view, so not missed.

        Args:
            view: votes of the view, pairs that ascend.
            own: what it says (:func:`~panoptic_gs.refine.weighing.weigh`), which is part of these sums; its pairs are
                among the view's.
            power: of the shares.
            missed: τ; 0: all is heard.

        Returns:
            ``[n]`` float64 factors 0 … 1 of own's pairs.
        """
        speaks = own.gaussian
        new = np.diff(speaks, prepend=-1) > 0
        seen, own_row = speaks[new], new.cumsum() - 1
        first, length = self._indptr[seen], self._indptr[seen + 1] - self._indptr[seen]
        place = np.arange(length.sum()) + np.repeat(first - (length.cumsum() - length), length)
        row, label, units = np.repeat(np.arange(len(seen)), length), self._label[place], self._units[place]
        own_label = np.searchsorted(self._names, own.label)
        span = len(self._names)
        mine = np.searchsorted(row * span + label, own_row * span + own_label)
        units[mine] -= own.units

        share = (units * _UNIT) ** power
        total = np.bincount(row, share, len(seen))[row]
        share = np.divide(share, total, out=np.zeros_like(share), where=total > 0)
        weight = view.units[np.searchsorted(view.key, own.key)] * _UNIT
        agreed = share[mine]
        shown = np.bincount(own_label, weight * agreed, span)
        there = np.bincount(label, share * np.bincount(own_row, weight, len(seen))[row], span)
        lost = (shown < missed * there) & (self._names > 0)
        blamed = np.bincount(row, np.where(lost[label], share, 0.0), len(seen))[own_row]
        return np.clip(1.0 - (blamed - np.where(lost[own_label], agreed, 0.0)), 0.0, 1.0)
