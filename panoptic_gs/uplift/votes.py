# SPDX-License-Identifier: Apache-2.0
"""Labels from pixels to Gaussians: every blended pixel votes with its blending weight (LUDVIG, Eq. 7)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any, Literal

import torch
from torch import Tensor
from typing_extensions import Unpack

from panoptic_gs import kernels
from panoptic_gs.backends import Blending, BlendingKeywords, LabelSums, as_on, backend_of
from panoptic_gs.camera import Camera
from panoptic_gs.errors import InputError
from panoptic_gs.processes import ALONE, Processes
from panoptic_gs.splats import Splats
from panoptic_gs.sums import ViewSum, rows_of_others
from panoptic_gs.uplift.labels import GaussianLabels
from panoptic_gs.uplift.maps import Map, Weights, label_map_of, pixel_weights_of, weighted_views

Void = Literal["abstain", "label"]


class LabelVotes(ViewSum):
    """The votes of any number of views for the labels of a set of Gaussians.

    A view adds, for each Gaussian i and label l, the sum of α_i·T_i over the pixels of label l, where α_i·T_i is the
    weight that blending gives the Gaussian at that pixel. Sums of one tile are taken in a fixed order, rounded once to
    a multiple of 2⁻³⁴ and added as 64-bit integers. So the result is the same, bit for bit, for any order of views, any
    number of threads, and however the views are split over objects that are merged later. A pair of Gaussian and label
    takes memory from its first vote on, whatever the labels' values; 2²⁹ pixels of full weight fit into one.

    Args:
        num_gaussians: N, the number of Gaussians.
        blending: as in :func:`~panoptic_gs.rasterization`: ``near_plane``, ``far_plane``, ``radius_clip``, ``eps2d``,
            ``rasterize_mode``, ``alpha_max``.

    Example:
        Two Gaussians beside each other, and a view whose left half is object 7:

        >>> from panoptic_gs import Camera, Splats
        >>> K = torch.tensor([[30.0, 0, 16], [0, 30, 12], [0, 0, 1]])
        >>> camera = Camera(torch.eye(4), K, 32, 24)
        >>> splats = Splats(
        ...     torch.tensor([[-0.5, 0.0, 2.0], [0.5, 0.0, 2.0]]), torch.tensor([[1.0, 0, 0, 0]] * 2),
        ...     torch.full((2, 3), 0.1), torch.tensor([0.9, 0.9]), torch.zeros(2, 1, 3))
        >>> label_map = torch.full((24, 32), 9)
        >>> label_map[:, :16] = 7
        >>> votes = LabelVotes(len(splats))
        >>> for view in [(camera, label_map)]:
        ...     votes.add(splats, *view)
        >>> votes.finish().best()[0].tolist()
        [7, 9]
    """

    def __init__(self, num_gaussians: int, **blending: Unpack[BlendingKeywords]) -> None:
        self.blending = Blending(**blending)
        self._sums = LabelSums(kernels.VoteStore(num_gaussians))

    @property
    def num_gaussians(self) -> int:
        """N, the number of Gaussians."""
        return self._sums.store.num_gaussians

    @property
    def num_bytes(self) -> int:
        """Memory that the sums take, on all devices."""
        return self._sums.num_bytes

    def add(self, splats: Splats, camera: Camera, label_map: Map, weights: Map | None = None) -> None:
        """Add the votes of one view.

        Args:
            splats: the N Gaussians.
            camera: where the map was seen from.
            label_map: ``[H, W]`` integers, 0 = void, else any label up to 2³¹−1.
            weights: ``[H, W]`` factors for each pixel's votes, 0 or more; ones if not given.

        Raises:
            InputError: sizes that do not fit, labels or weights out of range.
            OverflowError: a sum leaves its range; what was added before this view stays, this view counts in part.
        """
        if len(splats) != self.num_gaussians:
            raise InputError(
                "splats",
                f"{len(splats)} Gaussians",
                f"{self.num_gaussians}, as the votes were made for",
                "Make a LabelVotes for these splats.",
            )
        device = splats.means.device
        labels = label_map_of(camera, label_map, device)
        factors = None if weights is None else pixel_weights_of(camera, weights, device)
        self.blending = as_on(device, self.blending)  # from the first view on, wherever the others are
        backend_of(device).add_votes(self._sums, splats, camera, self.blending, labels, factors)

    def merge(self, other: LabelVotes) -> LabelVotes:
        """Add the votes of other views for the same Gaussians.

        Returns:
            These votes.

        Raises:
            InputError: the numbers of Gaussians or the rules of blending differ.
        """
        blending = self.blending.joined(other.blending)
        if other.num_gaussians != self.num_gaussians or blending is None:
            raise InputError(
                "votes",
                f"votes for {other.num_gaussians} Gaussians, {other.blending}",
                f"votes for {self.num_gaussians} Gaussians, {self.blending}",
                "Merge votes for the same splats, blended alike.",
            )
        self.blending = blending
        self._sums.store.add_sums(*_pairs(*other._sums.drained().sums()))
        return self

    def all_reduce(self, group: Any = None) -> LabelVotes:
        """Give every process of a ``torch.distributed`` group the votes of all of them; every process calls this.

        Pairs of Gaussian and label travel packed in blocks, each from one process to all others. Besides the result, a
        process holds the pairs that it had before, 12 bytes each, and one block.

        Returns:
            These votes.
        """
        indptr, label, sums = self._sums.drained().sums()

        def packed(first: int, last: int) -> Tensor:
            gaussian = torch.searchsorted(indptr, torch.arange(first, last), right=True) - 1
            return torch.stack([(gaussian << 32) | label[first:last], sums[first:last]], dim=1)

        for rows in rows_of_others(len(label), packed, torch.empty(0, 2, dtype=torch.int64), group):
            pairs, units = rows.unbind(dim=1)
            self._sums.store.add_sums(pairs >> 32, (pairs & 0x7FFFFFFF).int(), units.contiguous())
        return self

    def empty(self) -> LabelVotes:
        """Votes of no views for the same Gaussians, blended alike."""
        return LabelVotes(self.num_gaussians, **asdict(self.blending))

    def finish(self, void: Void = "abstain") -> GaussianLabels:
        """The label distribution of each Gaussian, on the CPU; more views can be added afterwards.

        Args:
            void: ``"abstain"`` leaves pixels of label 0 out of the distribution; ``"label"`` treats void as a label
                (the paper's literal Z). Their weight is reported in ``GaussianLabels.void`` either way.
        """
        if void not in ("abstain", "label"):
            raise InputError("void", repr(void), "'abstain' or 'label'", "Choose how void pixels count.")
        return GaussianLabels.from_kernel(*self._sums.drained().shares(void_too=void == "label"))

    def pairs(self) -> tuple[Tensor, Tensor]:
        """The votes as pairs, ascending: ``key [nnz]`` int64, Gaussian · 2³² + label, and ``sum [nnz]`` int64 in units
        of 2⁻³⁴."""
        return self._sums.drained().pairs()

    def state_dict(self) -> dict[str, Tensor]:
        """The votes as tensors: ``indptr [N + 1]``, ``label [nnz]``, ``sum [nnz]`` in units of 2⁻³⁴."""
        indptr, label, sums = self._sums.drained().sums()
        return {"indptr": indptr, "label": label, "sum": sums}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Replace the votes by those of a :meth:`state_dict` for the same number of Gaussians.

        Raises:
            InputError: it was made for another number of Gaussians.
        """
        if len(state["indptr"]) != self.num_gaussians + 1:
            raise InputError(
                "state",
                f"votes for {len(state['indptr']) - 1} Gaussians",
                f"{self.num_gaussians}",
                "Resume with the splats that the votes were made for.",
            )
        self._sums = LabelSums(kernels.VoteStore(self.num_gaussians))
        self._sums.store.add_sums(*_pairs(state["indptr"], state["label"], state["sum"]))


def _pairs(indptr: Tensor, label: Tensor, sums: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    gaussian = torch.repeat_interleave(torch.arange(len(indptr) - 1), indptr.cpu().diff())
    return gaussian, label.cpu(), sums.cpu()


def uplift_labels(
    splats: Splats,
    views: Iterable[tuple[Camera, Map]],
    weights: Weights = None,
    void: Void = "abstain",
    processes: Processes = ALONE,
    **blending: Unpack[BlendingKeywords],
) -> GaussianLabels:
    r"""Uplift label maps to Gaussians (LUDVIG, Eq. 7).

    .. math:: g_i[l] = \sum_{(n,u):\,label(n,u)=l} w_i(n,u) / Z_i, \qquad Z_i = \sum_{(n,u)} w_i(n,u)

    with :math:`w_i(n,u) = α_i(u) T_i(u)` the blending weight of Gaussian i at pixel u of view n. The cost of a view
    does not grow with the number of labels, colours are never evaluated, and one view at a time is in memory. See
    :class:`LabelVotes` for exactness.

    Args:
        splats: the Gaussians.
        views: yields the camera and the label map ``[H, W]`` (integers, 0 = void) of each view.
        weights: factors ``[H, W]`` for the votes of each view's pixels: one map (or None) for each view, in order, or a
            mapping from the view's position.
        void: ``"abstain"`` (void pixels take no part) or ``"label"`` (the literal Z).
        processes: that have the other views; each gets the labels of all.
        blending: as for :class:`LabelVotes`.

    Raises:
        InputError: maps that do not fit their cameras, labels or weights out of range, fewer or more weights than
            views.
    """
    votes = LabelVotes(len(splats), **blending)
    for camera, label_map, factors in weighted_views(views, weights):
        votes.add(splats, camera, label_map, factors)
    return processes.reduced(votes).finish(void).to(splats.means.device)
