# SPDX-License-Identifier: Apache-2.0
"""Objects that a view missed: what it says of them is not heard."""

from __future__ import annotations

import numpy as np
import torch

from panoptic_gs import kernels
from panoptic_gs.refine.leave_one_out import VotePairs

MISSED = 0.5
"""A view has missed an object of which it shows less than this share under the object's label."""
_UNIT = 2.0**-34


class Said:
    """What all views say of the Gaussians, from which any one view is taken out by subtraction.

    Args:
        store: their sums, to which nothing is added while they are asked; they are not copied.
    """

    def __init__(self, store: kernels.VoteStore) -> None:
        self._store, self._names = store, store.labels()

    def strongest(self) -> np.ndarray:
        """The label of which most is said of each Gaussian, ``[N]`` int64, the lowest of equals; 0 of unseen ones."""
        return self._store.strongest().numpy()

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
        weight = view.units[np.searchsorted(view.key, own.key)] * _UNIT
        return self._store.heard(self._names, *own.tensors(), torch.from_numpy(weight), power, missed).numpy()
