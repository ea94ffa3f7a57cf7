# SPDX-License-Identifier: Apache-2.0
"""What all views but one say of each Gaussian: votes are integer sums, so a view is taken out by subtraction."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from typing_extensions import Unpack

from panoptic_gs.backends import BlendingKeywords
from panoptic_gs.camera import Camera
from panoptic_gs.errors import InputError
from panoptic_gs.splats import Splats
from panoptic_gs.uplift import GaussianLabels, LabelVotes
from panoptic_gs.uplift.maps import Map, Weights, weighted_views

VIEW_MEMORY = 1 << 30
"""Bytes for the votes of single views. Those of views beyond it are not kept, but counted again when asked for."""
_UNIT = 2.0**-34


class VotePairs(NamedTuple):
    """Votes as pairs of Gaussian and label, ascending."""

    key: np.ndarray  # [n] int64: Gaussian · 2³² + label
    units: np.ndarray  # [n] int64, in units of 2⁻³⁴

    @classmethod
    def of(cls, votes: LabelVotes) -> VotePairs:
        """The pairs of any votes."""
        state = votes.state_dict()
        gaussian = torch.repeat_interleave(torch.arange(votes.num_gaussians), state["indptr"].diff())
        return cls(((gaussian << 32) | state["label"]).numpy(), state["sum"].numpy())

    @property
    def gaussian(self) -> np.ndarray:  # [n] int64
        """The Gaussian of each pair."""
        return self.key >> 32

    @property
    def label(self) -> np.ndarray:  # [n] int64
        """The label of each pair, 0 = void."""
        return self.key & 0xFFFFFFFF

    @property
    def num_bytes(self) -> int:
        """Memory that the pairs take."""
        return self.key.nbytes + self.units.nbytes


class LeaveOneOut:
    """The votes of views, from which those of any one view can be taken out again.

    ``without(n)`` has the very bits that uplifting all other views gives (:class:`~panoptic_gs.LabelVotes` is a sum of
    integers), at the cost of a subtraction.

    Args:
        splats: N Gaussians.
        views: camera and label map ``[H, W]`` of each view.
        weights: factors of the votes, as for :func:`~panoptic_gs.uplift_labels`.
        blending: as for :class:`~panoptic_gs.LabelVotes`.
    """

    def __init__(
        self,
        splats: Splats,
        views: Iterable[tuple[Camera, Map]],
        weights: Weights = None,
        **blending: Unpack[BlendingKeywords],
    ) -> None:
        self._count = len(splats)
        total = LabelVotes(self._count, **blending)
        self._kept: list[VotePairs | None] = []
        memory = 0
        for camera, label_map, factors in weighted_views(views, weights):
            if memory < VIEW_MEMORY:
                votes = LabelVotes(self._count, **blending)
                votes.add(splats, camera, label_map, factors)
                pairs = VotePairs.of(votes)
                memory += pairs.num_bytes
                self._kept.append(pairs)
                total.merge(votes)
            else:
                total.add(splats, camera, label_map, factors)
                self._kept.append(None)
        self._blending = blending
        self.votes = total
        """The votes of all views."""
        self._all = VotePairs.of(total)

    def __len__(self) -> int:
        return len(self._kept)

    def pairs_of(self, number: int, splats: Splats, view: tuple[Camera, Map], factors: Map | None = None) -> VotePairs:
        """The votes of one view, kept or counted again; ``view`` and ``factors`` are those that it was added with."""
        kept = self._kept[number]
        if kept is not None:
            return kept
        votes = LabelVotes(self._count, **self._blending)
        votes.add(splats, *view, factors)
        return VotePairs.of(votes)

    def without(self, own: VotePairs) -> VotePairs:
        """The votes of all other views for the Gaussians that a view sees; pairs that no other view has are left out.

        Args:
            own: the view's own votes, from :meth:`pairs_of`.

        Raises:
            InputError: votes that are not among these.
        """
        seen = np.zeros(self._count, dtype=bool)
        seen[own.gaussian] = True
        among = seen[self._all.gaussian]
        key, units = self._all.key[among], self._all.units[among]
        place = np.searchsorted(key, own.key)
        known = place < len(key)
        if not known.all() or (key[place] != own.key).any() or (units[place] < own.units).any():
            raise InputError("view", "votes that were never added", "a view of these sums",
                             "Pass the camera, map and weights that the view was added with.")  # fmt: skip
        units[place] -= own.units
        left = units > 0
        return VotePairs(key[left], units[left])

    def labels(self, pairs: VotePairs, power: float = 1.0) -> GaussianLabels:
        """Pairs as the label distribution of each Gaussian, void left out, on the CPU.

        Args:
            pairs: any of these Gaussians.
            power: of the shares, which then sum to one again; above 1 the strongest label gains.
        """
        total = self._weight(pairs)
        void = self._weight(VotePairs(pairs.key[pairs.label == 0], pairs.units[pairs.label == 0]))
        voting = pairs.label > 0
        gaussian, label, units = pairs.gaussian[voting], pairs.label[voting], pairs.units[voting]
        weight = units / np.bincount(gaussian, units.astype(np.float64), self._count)[gaussian]
        if power != 1.0:
            weight = weight**power
            weight /= np.bincount(gaussian, weight, self._count)[gaussian]
        indptr = np.concatenate([[0], np.bincount(gaussian, minlength=self._count).cumsum()])
        return GaussianLabels.from_kernel(
            torch.from_numpy(indptr.astype(np.int64)), torch.from_numpy(label.astype(np.int32)),
            torch.from_numpy(weight.astype(np.float32)), total, void,
        )  # fmt: skip

    def _weight(self, pairs: VotePairs) -> Tensor:  # [N] float32
        units = np.bincount(pairs.gaussian, pairs.units.astype(np.float64), self._count)
        return torch.from_numpy((units * _UNIT).astype(np.float32))
