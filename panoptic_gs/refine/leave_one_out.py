# SPDX-License-Identifier: Apache-2.0
"""What all views but one say of each Gaussian: votes are integer sums, so a view is taken out by subtraction."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from typing_extensions import Unpack

from panoptic_gs import kernels
from panoptic_gs.backends import BlendingKeywords
from panoptic_gs.camera import Camera
from panoptic_gs.errors import InputError
from panoptic_gs.splats import Splats
from panoptic_gs.uplift import GaussianLabels, LabelVotes
from panoptic_gs.uplift.maps import Map, Weights, weighted_views

VIEW_MEMORY = 1 << 30
"""Bytes for the votes of single views. Those of views beyond it are not kept, but counted again when asked for."""
_UNIT = 2.0**-34
_ROWS = 1 << 18


class VotePairs(NamedTuple):
    """Votes as pairs of Gaussian and label, ascending."""

    key: np.ndarray  # [n] int64: Gaussian · 2³² + label
    units: np.ndarray  # [n] int64, in units of 2⁻³⁴

    @classmethod
    def of(cls, votes: LabelVotes) -> VotePairs:
        """The pairs of any votes."""
        return cls(*(values.numpy() for values in votes.pairs()))

    @classmethod
    def of_rows(cls, indptr: Tensor, label: Tensor, units: Tensor) -> VotePairs:
        """The pairs of sparse rows ``indptr [N + 1]``, ``label [n]``, ``units [n]``."""
        key, rows = np.empty(len(label), np.int64), indptr.numpy()
        for first in range(0, len(rows) - 1, _ROWS):  # of millions of Gaussians, a view sees few
            starts = rows[first : first + _ROWS + 1]
            gaussian = np.arange(first, first + len(starts) - 1, dtype=np.int64) << 32
            within = slice(starts[0], starts[-1])
            np.bitwise_or(np.repeat(gaussian, np.diff(starts)), label.numpy()[within], out=key[within])
        return cls(key, units.numpy())

    @classmethod
    def of_block(cls, rows: Tensor) -> VotePairs:
        """The pairs of rows ``[n, 2]`` int64 of key and units."""
        return cls(rows[:, 0].numpy().copy(), rows[:, 1].numpy().copy())

    @property
    def gaussian(self) -> np.ndarray:  # [n] int64
        """The Gaussian of each pair."""
        return self.key >> 32

    @property
    def label(self) -> np.ndarray:  # [n] int64
        """The label of each pair, 0 = void."""
        return self.key & 0xFFFFFFFF

    def tensors(self) -> tuple[Tensor, Tensor, Tensor]:
        """Gaussian ``[n]`` int64, label ``[n]`` int32 and units ``[n]`` int64."""
        parts = self.gaussian, self.label.astype(np.int32), self.units
        return torch.from_numpy(parts[0]), torch.from_numpy(parts[1]), torch.from_numpy(parts[2])

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
        total = kernels.VoteStore(self._count)
        self._kept: list[VotePairs | None] = []
        memory = 0
        for camera, label_map, factors in weighted_views(views, weights):
            votes = LabelVotes(self._count, **blending)
            votes.add(splats, camera, label_map, factors)
            pairs = VotePairs.of(votes)
            total.add_sums(*pairs.tensors())
            self._kept.append(pairs if memory < VIEW_MEMORY else None)
            memory += pairs.num_bytes
        self._blending = blending
        self._all = VotePairs(*(values.numpy() for values in total.pairs()))
        self._gaussian_of_all = self._all.gaussian

    @property
    def votes(self) -> VotePairs:
        """The votes of all views."""
        return self._all

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
        among = seen[self._gaussian_of_all]
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
        indptr = np.searchsorted(pairs.key, np.arange(self._count + 1, dtype=np.int64) << 32)
        _, label, units = pairs.tensors()
        return labels_of_rows(torch.from_numpy(indptr), label, units, power)


def labels_of_rows(
    indptr: Tensor, label: Tensor, units: Tensor, power: float = 1.0, *, void_too: bool = False
) -> GaussianLabels:
    """Votes of N Gaussians as the label distribution of each, on the CPU.

    Args:
        indptr, label, units: sparse rows ``[N + 1]``, ``[n]``, ``[n]`` of whole units, labels ascending in a row.
        power: of the shares, which then sum to one again; above 1 the strongest label gains.
        void_too: whether void is a label of its own.
    """

    def blocks() -> Iterator[VotePairs]:  # what is made on the way takes several times the result
        for first in range(0, len(indptr) - 1, _ROWS):
            rows = indptr[first : first + _ROWS + 1]
            within = slice(int(rows[0]), int(rows[-1]))
            pairs = VotePairs.of_rows(rows - rows[0], label[within], units[within])
            yield pairs._replace(key=pairs.key + (first << 32))

    return _labels_of(blocks(), len(indptr) - 1, len(label), power, void_too)


def labels_of_store(store: kernels.VoteStore, power: float = 1.0, *, void_too: bool = False) -> GaussianLabels:
    """As :func:`labels_of_rows`, of a store's votes, which are unpacked a block at a time."""
    pairs = (VotePairs.of_block(block) for block in store.blocks())
    return _labels_of(pairs, store.num_gaussians, store.num_pairs(void_too), power, void_too)


def _labels_of(blocks: Iterable[VotePairs], count: int, most: int, power: float, void_too: bool) -> GaussianLabels:
    """Labels of votes that come in blocks, all pairs of a Gaussian in one; ``most``: pairs of labels in all of them."""
    indptr, totals, voids = np.zeros(count + 1, np.int64), np.zeros(count, np.float32), np.zeros(count, np.float32)
    labels, weights = np.empty(most, np.int32), np.empty(most, np.float32)
    first = entry = 0
    for pairs in blocks:
        if not len(pairs.key):
            continue
        last = int(pairs.key[-1] >> 32) + 1
        pairs = pairs._replace(key=pairs.key - (first << 32))
        lengths, label, weight, total, void = _distribution(pairs, last - first, power, void_too)
        indptr[first + 1 : last + 1] = entry + lengths.cumsum(dtype=np.int64)
        totals[first:last], voids[first:last] = total, void
        labels[entry : entry + len(label)], weights[entry : entry + len(label)] = label, weight
        first, entry = last, entry + len(label)
    indptr[first + 1 :] = entry
    made = indptr, labels[:entry], weights[:entry], totals, voids
    return GaussianLabels.from_kernel(*map(torch.from_numpy, made))


def concatenated(parts: list[tuple[np.ndarray, ...]]) -> list[np.ndarray]:
    """Each of the arrays that all parts have, of all parts as one; ``parts`` are used up, and none is there twice."""
    fields = [list(field) for field in zip(*parts)]
    parts.clear()
    joined = []
    for field in fields:
        joined.append(np.concatenate(field))
        field.clear()
    return joined


def _distribution(pairs: VotePairs, count: int, power: float, void_too: bool) -> tuple[np.ndarray, ...]:
    """How many labels each of ``count`` Gaussians has, the labels, their shares, the whole weight and that of void."""
    gaussian, voting, units = pairs.gaussian, pairs.key & 0xFFFFFFFF > 0, pairs.units.astype(np.float64)
    total = np.bincount(gaussian, units, count)
    void = np.bincount(gaussian[~voting], units[~voting], count)
    voting |= void_too
    gaussian, label, units = gaussian[voting], pairs.label[voting], units[voting]
    voted = np.bincount(gaussian, units, count)
    weight = units / voted[gaussian]
    if power != 1.0:
        weight **= power
        weight /= np.bincount(gaussian, weight, count)[gaussian]
    return (np.bincount(gaussian, minlength=count).astype(np.int32), label.astype(np.int32), weight.astype(np.float32),
            (total * _UNIT).astype(np.float32), (void * _UNIT).astype(np.float32))  # fmt: skip
