# SPDX-License-Identifier: Apache-2.0
"""Labels from pixels to Gaussians: every blended pixel votes with its blending weight (LUDVIG, Eq. 7)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import count, repeat
from typing import Any, Literal, cast

import numpy as np
import torch
from torch import Tensor

from panoptic_gs import kernels
from panoptic_gs.camera import Camera
from panoptic_gs.errors import InputError
from panoptic_gs.splats import Splats
from panoptic_gs.uplift.blending import Blending, label_map_of, pixel_weights_of
from panoptic_gs.uplift.device import DeviceVotes, tile_lists
from panoptic_gs.uplift.labels import GaussianLabels

Void = Literal["abstain", "label"]
Map = np.ndarray | Tensor


class LabelVotes:
    """The votes of any number of views for the labels of a set of Gaussians.

    A view adds, for each Gaussian i and label l, the sum of α_i·T_i over the pixels of label l, where α_i·T_i is the
    weight that blending gives the Gaussian at that pixel. Sums of one tile are taken in a fixed order, rounded once to
    a multiple of 2⁻³⁴ and added as 64-bit integers. So the result is the same, bit for bit, for any order of views, any
    number of threads, and however the views are split over objects that are merged later. A pair of Gaussian and label
    takes memory from its first vote on, whatever the labels' values; 2²⁹ pixels of full weight fit into one.

    Args:
        num_gaussians: N, the number of Gaussians.
        near_plane, far_plane, radius_clip, eps2d, rasterize_mode: as in :func:`~panoptic_gs.rasterization`.
    """

    def __init__(
        self,
        num_gaussians: int,
        *,
        near_plane: float = 0.01,
        far_plane: float = 1e10,
        radius_clip: float = 0.0,
        eps2d: float = 0.3,
        rasterize_mode: str = "classic",
    ) -> None:
        self.blending = Blending(near_plane, far_plane, radius_clip, eps2d, rasterize_mode)
        self._store = kernels.VoteStore(num_gaussians)
        self._on_devices: dict[torch.device, DeviceVotes] = {}

    @property
    def num_gaussians(self) -> int:
        """N, the number of Gaussians."""
        return self._store.num_gaussians

    @property
    def num_bytes(self) -> int:
        """Memory that the sums take, on all devices."""
        return self._store.num_bytes + sum(votes.num_bytes for votes in self._on_devices.values())

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
        if device.type == "cuda":
            if device not in self._on_devices:
                self._on_devices[device] = DeviceVotes(self.num_gaussians, device)
            self._on_devices[device].add(tile_lists(splats, camera, self.blending), labels, factors)
        else:
            self._store.add_view(self.blending.view_of(splats, camera), labels, factors)

    def merge(self, other: LabelVotes) -> None:
        """Add the votes of other views for the same Gaussians.

        Raises:
            InputError: the numbers of Gaussians or the rules of blending differ.
        """
        if other.num_gaussians != self.num_gaussians or other.blending != self.blending:
            raise InputError(
                "votes",
                f"votes for {other.num_gaussians} Gaussians, {other.blending}",
                f"votes for {self.num_gaussians} Gaussians, {self.blending}",
                "Merge votes for the same splats, blended alike.",
            )
        self._store.add_sums(*_pairs(*other._drained().sums()))

    def __add__(self, other: LabelVotes) -> LabelVotes:
        result = self._empty()
        result.merge(self)
        result.merge(other)
        return result

    def all_reduce(self, group: Any = None) -> None:
        """Give every process of a ``torch.distributed`` group the votes of all of them."""
        import torch.distributed as distributed

        gathered: list[Any] = [None] * distributed.get_world_size(group)
        distributed.all_gather_object(gathered, self.state_dict(), group=group)
        for rank, state in enumerate(gathered):
            if rank != distributed.get_rank(group):
                other = self._empty()
                other.load_state_dict(state)
                self.merge(other)

    def finish(self, void: Void = "abstain") -> GaussianLabels:
        """The label distribution of each Gaussian, on the CPU; more views can be added afterwards.

        Args:
            void: ``"abstain"`` leaves pixels of label 0 out of the distribution; ``"label"`` treats void as a label
                (the paper's literal Z). Their weight is reported in ``GaussianLabels.void`` either way.
        """
        if void not in ("abstain", "label"):
            raise InputError("void", repr(void), "'abstain' or 'label'", "Choose how void pixels count.")
        return GaussianLabels.from_kernel(*self._drained().shares(void_too=void == "label"))

    def state_dict(self) -> dict[str, Tensor]:
        """The votes as tensors: ``indptr [N + 1]``, ``label [nnz]``, ``sum [nnz]`` in units of 2⁻³⁴."""
        indptr, label, sums = self._drained().sums()
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
        self._store = kernels.VoteStore(self.num_gaussians)
        self._on_devices.clear()
        self._store.add_sums(*_pairs(state["indptr"], state["label"], state["sum"]))

    def _drained(self) -> kernels.VoteStore:
        for votes in self._on_devices.values():
            votes.drain(self._store)
        return self._store

    def _empty(self) -> LabelVotes:
        b = self.blending
        return LabelVotes(
            self.num_gaussians,
            near_plane=b.near_plane,
            far_plane=b.far_plane,
            radius_clip=b.radius_clip,
            eps2d=b.eps2d,
            rasterize_mode=b.rasterize_mode,
        )


def _pairs(indptr: Tensor, label: Tensor, sums: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    gaussian = torch.repeat_interleave(torch.arange(len(indptr) - 1), indptr.cpu().diff())
    return gaussian, label.cpu(), sums.cpu()


def uplift_labels(
    splats: Splats,
    views: Iterable[tuple[Camera, Map]],
    weights: Iterable[Map | None] | Mapping[int, Map] | None = None,
    void: Void = "abstain",
    *,
    near_plane: float = 0.01,
    far_plane: float = 1e10,
    radius_clip: float = 0.0,
    eps2d: float = 0.3,
    rasterize_mode: str = "classic",
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
        near_plane, far_plane, radius_clip, eps2d, rasterize_mode: as in :func:`~panoptic_gs.rasterization`.

    Raises:
        InputError: maps that do not fit their cameras, labels or weights out of range, fewer or more weights than
            views.
    """
    votes = LabelVotes(len(splats), near_plane=near_plane, far_plane=far_plane, radius_clip=radius_clip, eps2d=eps2d,
                       rasterize_mode=rasterize_mode)  # fmt: skip
    in_order = _in_order(weights)
    for position, (camera, label_map) in enumerate(views):
        try:
            factors = next(in_order)
        except StopIteration:
            raise InputError(
                "weights", f"{position} maps", "one for each view", "Pass None for views without weights."
            ) from None
        votes.add(splats, camera, label_map, factors)
    if weights is not None and not isinstance(weights, Mapping) and next(in_order, in_order) is not in_order:
        raise InputError("weights", "more maps than views", "one for each view", "Check which views are passed.")
    return votes.finish(void).to(splats.means.device)


def _in_order(weights: Iterable[Map | None] | Mapping[int, Map] | None) -> Iterator[Map | None]:
    if weights is None:
        return repeat(None)
    if isinstance(weights, Mapping):
        by_position = cast("Mapping[int, Map]", weights)
        return (by_position.get(position) for position in count())
    return iter(weights)
