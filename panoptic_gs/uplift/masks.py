# SPDX-License-Identifier: Apache-2.0
"""Votes with a label of its own for every mask of every view: the sparse matrix Gaussians × masks."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor
from typing_extensions import Unpack

from panoptic_gs.backends import Blending, BlendingKeywords, as_on
from panoptic_gs.camera import Camera
from panoptic_gs.errors import InputError
from panoptic_gs.splats import Splats
from panoptic_gs.sums import ViewSum, arrays_of_others
from panoptic_gs.uplift.sparse import SparseMatrix, side_by_side
from panoptic_gs.uplift.votes import LabelVotes

VOTE_QUANTUM = 2.0**-34
"""The unit of :class:`LabelVotes`' sums."""


@dataclass(frozen=True, eq=False)
class MaskWeights:
    r"""How much of each Gaussian each mask shows.

    With the blending weight :math:`w_i(n,u)` of Gaussian i at pixel u of view n and a mask m of that view,

    .. math:: v_i(n,m) = \sum_{u \in m} w_i(n,u), \qquad V_i(n) = \sum_u w_i(n,u)

    where the second sum takes pixels of no mask, too. Masks of all views are numbered one after another, M in all.
    """

    votes: SparseMatrix  # [N, M]: v_i(n, m)
    seen: SparseMatrix  # [N, V]: V_i(n)
    view: Tensor  # [M] int64: the view of a mask, counted as they were added
    mask: Tensor  # [M] int64: its id in the view's map, or its index in the view's stack

    @cached_property
    def shares(self) -> SparseMatrix:  # [N, M]
        """The part of what view n sees of Gaussian i that lies in mask m: v_i(n, m) / V_i(n)."""
        _, views = self.seen.shape
        keys = self.seen.rows() * views + self.seen.column
        wanted = self.votes.rows() * views + self.view[self.votes.column.long()]
        total = self.seen.weight[torch.searchsorted(keys, wanted)].clamp_min(VOTE_QUANTUM)
        return SparseMatrix(self.votes.indptr, self.votes.column, self.votes.weight / total, self.votes.num_columns)


class MaskVotes(ViewSum):
    """Collects :class:`MaskWeights` view by view.

    Each view is a pass of :class:`LabelVotes` over its blended pairs, on the splats' device, so the sums are exact
    integers until they are read: neither threads nor runs change a bit, and another order of views only orders columns
    otherwise. Masks may overlap: pixels that lie in the same masks vote together, and then for each of these masks.

    Args:
        num_gaussians: N, the number of Gaussians.
        blending: as for :class:`~panoptic_gs.LabelVotes`.

    >>> import torch
    >>> from panoptic_gs import Camera, Splats
    >>> splats = Splats(torch.zeros(1, 3), torch.tensor([[1.0, 0, 0, 0]]), torch.full((1, 3), 0.5), torch.ones(1) * 0.8,
    ...                 torch.zeros(1, 1, 3))
    >>> camera = Camera.look_at((0.0, -3.0, 0.0), (0.0, 0.0, 0.0), (0.0, 0.0, 1.0), 0.8, 40, 30)
    >>> masks = torch.zeros(2, 30, 40, dtype=torch.bool)
    >>> masks[0] = True        # everything,
    >>> masks[1, :, :20] = True  # and its left half
    >>> votes = MaskVotes(1)
    >>> votes.add(splats, camera, masks)
    >>> weights = votes.finish()
    >>> weights.shares.to_dense()
    tensor([[1.0000, 0.5000]])
    """

    def __init__(self, num_gaussians: int, **blending: Unpack[BlendingKeywords]) -> None:
        self.num_gaussians = num_gaussians
        self.blending = Blending(**blending)
        self._views: list[_ViewMasks] = []

    @property
    def num_views(self) -> int:
        """The number of views that were added."""
        return len(self._views)

    @property
    def num_bytes(self) -> int:
        """Memory that the sums take."""
        return sum(view.num_bytes for view in self._views)

    def add(
        self,
        splats: Splats,
        camera: Camera,
        masks: np.ndarray | Tensor,
        weights: np.ndarray | Tensor | None = None,
    ) -> None:
        """Add the masks of one view.

        Args:
            splats: the N Gaussians.
            camera: where the masks were seen from.
            masks: ``[H, W]`` integers, each number but 0 a mask; or ``[M, H, W]`` booleans, which may overlap.
            weights: ``[H, W]`` factors for each pixel's votes, 0 or more; ones if not given.

        Raises:
            InputError: sizes that do not fit, ids or weights out of range.
        """
        self.blending = as_on(splats.means.device, self.blending)
        votes = LabelVotes(self.num_gaussians, **asdict(self.blending))
        if masks.ndim == 3:
            regions, members = _regions_of(camera, masks)
            votes.add(splats, camera, regions, weights)
            names = torch.arange(members.num_columns)
        else:
            votes.add(splats, camera, masks, weights)
            names = torch.from_numpy(np.unique(torch.as_tensor(masks).cpu().numpy()).astype(np.int64))
            names = names[names != 0]
            members = None
        self.blending = votes.blending  # views on other devices are blended alike
        sums = votes.state_dict()
        self._views.append(_view_masks(sums["indptr"], sums["label"].long(), sums["sum"], names, members))

    def merge(self, other: MaskVotes) -> MaskVotes:
        """Add the views of ``other`` behind those that are here.

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
        self._views.extend(other._views)
        return self

    def all_reduce(self, group: Any = None) -> MaskVotes:
        """Give every process of a ``torch.distributed`` group the views of all, in order of ranks; all call this.

        Returns:
            These votes.
        """
        # A process without views does not know yet how alpha is clamped.
        own = {"alpha_max": np.array([self.blending.alpha_max or 0.0]), "views": np.array([len(self._views)])}
        for number, view in enumerate(self._views):
            own |= {f"{number}.{name}": getattr(view, name).numpy() for name in _ViewMasks.tensors()}
        parts = list(arrays_of_others(own, group))
        parts.insert(torch.distributed.get_rank(group), own)
        self._views = []
        for arrays in parts:
            part = self.empty()
            part.blending = replace(self.blending, alpha_max=float(arrays["alpha_max"][0]) or None)
            for number in range(int(arrays["views"][0])):
                tensors = {name: torch.from_numpy(arrays[f"{number}.{name}"]) for name in _ViewMasks.tensors()}
                part._views.append(_ViewMasks(**tensors))
            self.merge(part)
        return self

    def empty(self) -> MaskVotes:
        """Votes of no views for the same Gaussians, blended alike."""
        return MaskVotes(self.num_gaussians, **asdict(self.blending))

    def finish(self) -> MaskWeights:
        """The matrices over all views, on the CPU; more views can be added afterwards."""
        names = [view.names for view in self._views]
        numbers = [torch.full((len(own),), number) for number, own in enumerate(names)]
        nothing = [torch.zeros(0, dtype=torch.int64)]
        return MaskWeights(
            side_by_side([view.votes(self.num_gaussians) for view in self._views], self.num_gaussians),
            side_by_side([view.seen(self.num_gaussians) for view in self._views], self.num_gaussians),
            torch.cat(numbers or nothing),
            torch.cat(names or nothing),
        )


@dataclass(frozen=True)
class _ViewMasks:
    """One view's sums, of the Gaussians that it sees alone."""

    gaussians: Tensor  # [S] int64, ascending
    total: Tensor  # [S] float32: V_i(n)
    lengths: Tensor  # [S] int64: entries of each
    column: Tensor  # [nnz] int32
    weight: Tensor  # [nnz] float32
    names: Tensor  # [M] int64: what a column is called

    @property
    def num_bytes(self) -> int:
        return sum(getattr(self, name).nbytes for name in self.tensors())

    @classmethod
    def tensors(cls) -> tuple[str, ...]:
        return tuple(field.name for field in fields(cls))

    def votes(self, num_gaussians: int) -> SparseMatrix:
        return SparseMatrix(self._indptr(num_gaussians, self.lengths), self.column, self.weight, len(self.names))

    def seen(self, num_gaussians: int) -> SparseMatrix:
        ones = torch.ones(len(self.gaussians), dtype=torch.int64)
        column = torch.zeros(len(self.gaussians), dtype=torch.int32)
        return SparseMatrix(self._indptr(num_gaussians, ones), column, self.total, 1)

    def _indptr(self, num_gaussians: int, lengths: Tensor) -> Tensor:
        indptr = torch.zeros(num_gaussians + 1, dtype=torch.int64)
        indptr[self.gaussians + 1] = lengths
        return indptr.cumsum_(0)


def _view_masks(indptr: Tensor, label: Tensor, sums: Tensor, names: Tensor, members: SparseMatrix | None) -> _ViewMasks:
    """From sums by label; ``members [R + 1, M]`` are the masks of each region where labels are regions."""
    gaussians = indptr.diff().nonzero()[:, 0]
    row = torch.repeat_interleave(torch.arange(len(gaussians)), indptr.diff()[gaussians])
    total = torch.zeros(len(gaussians), dtype=torch.int64).index_add_(0, row, sums)
    if members is None:
        inside = label != 0
        row, sums = row[inside], sums[inside]
        column = torch.searchsorted(names, label[inside])
    else:
        lengths = members.indptr.diff()[label]
        column = members.take_rows(label).column.long()
        row, sums = torch.repeat_interleave(row, lengths), torch.repeat_interleave(sums, lengths)
        # Several regions of a mask: their sums are one.
        pair, place = torch.unique(row * max(len(names), 1) + column, return_inverse=True)
        sums = torch.zeros(len(pair), dtype=torch.int64).index_add_(0, place, sums)
        row, column = pair // max(len(names), 1), pair % max(len(names), 1)
    return _ViewMasks(
        gaussians,
        _as_float(total),
        torch.bincount(row, minlength=len(gaussians)),
        column.int(),
        _as_float(sums),
        names,
    )


def _as_float(units: Tensor) -> Tensor:
    return (units.double() * VOTE_QUANTUM).float()


def _regions_of(camera: Camera, masks: np.ndarray | Tensor) -> tuple[np.ndarray, SparseMatrix]:
    """Pixels by the masks that they lie in: regions ``[H, W]``, 0 for no mask, and ``[R + 1, M]``, the masks of each.

    Raises:
        InputError: not booleans of the camera's size.
    """
    stack = torch.as_tensor(masks).cpu().numpy()
    size = (camera.height, camera.width)
    if stack.dtype != bool or stack.shape[1:] != size:
        raise InputError(
            "masks", f"{stack.dtype} of shape {list(stack.shape)}",
            f"booleans [M, {size[0]}, {size[1]}] as its camera says, or an integer map [{size[0]}, {size[1]}]",
            "Resample masks by nearest neighbour, and compare them with a threshold.",
        )  # fmt: skip
    count = len(stack)
    packed = np.packbits(stack.reshape(count, size[0] * size[1]), axis=0)  # [⌈M / 8⌉, H · W]
    # A run of pixels in the same masks is looked at once.
    starts = np.ones(packed.shape[1], dtype=bool)
    starts[1:] = (packed[:, 1:] != packed[:, :-1]).any(axis=0)
    of_runs = np.ascontiguousarray(packed[:, starts].T)  # [runs, bytes]
    nowhere = np.zeros((1, of_runs.shape[1]), dtype=np.uint8)  # sorts first, so that it is region 0
    distinct, region = np.unique(np.concatenate([nowhere, of_runs]), axis=0, return_inverse=True)
    regions = region.reshape(-1)[1:][np.cumsum(starts) - 1].reshape(size)
    inside = np.unpackbits(distinct, axis=1, count=count)
    rows, columns = inside.nonzero()
    indptr = np.concatenate([[0], np.bincount(rows, minlength=len(distinct)).cumsum()])
    members = SparseMatrix(
        torch.from_numpy(indptr.astype(np.int64)),
        torch.from_numpy(columns.astype(np.int32)),
        torch.ones(len(columns)),
        count,
    )
    return regions.astype(np.int32), members
