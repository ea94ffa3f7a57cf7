# SPDX-License-Identifier: Apache-2.0
# scipy has no types: what is inferred of its sparse matrices is wrong.
# pyright: reportOptionalSubscript=false, reportAttributeAccessIssue=false, reportArgumentType=false, reportCallIssue=false
"""What each mask of each view saw: blending weights of Gaussians × masks, collected view by view."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse
from torch import Tensor

from panoptic_gs.associate.masks import ViewMasks
from panoptic_gs.backends import RasterizeMode
from panoptic_gs.camera import Camera
from panoptic_gs.errors import InputError
from panoptic_gs.splats import Splats
from panoptic_gs.sums import ViewSum, arrays_of_others
from panoptic_gs.uplift import LabelVotes

REFERENCE_AREA = 320 * 240
"""Blending weights are sums over pixels; the method's constants are meant for an image of this many."""
LEAST_WEIGHT = 0.05
"""Gaussians with less blending weight in a view are not seen there, in pixels of the reference image."""


@dataclass(frozen=True, eq=False)
class ViewEvidence:
    """A view's masks as weights of Gaussians, in pixels of an image of :data:`REFERENCE_AREA`.

    ``votes[k, m]`` is v_i(n, m) = Σ_{u ∈ m} w_i(n, u) for Gaussian ``gaussians[k]`` = i; ``total[k]`` is V_i(n), void
    pixels included. The rest is a row for each mask.
    """

    gaussians: np.ndarray  # [K] int32, ascending
    total: np.ndarray  # [K] float32
    votes: sparse.csr_matrix  # [K, M] float32
    divided: sparse.csr_matrix  # [K, M] float32, votes where each of k masks that overlap gets 1/√k
    ids: np.ndarray  # [M] int64
    category_ids: np.ndarray  # [M] int64
    scores: np.ndarray  # [M] float32
    areas: np.ndarray  # [M] float64, in pixels of the reference image
    labelled: np.ndarray  # [K] float32, the part of total that lies under some mask

    @property
    def num_bytes(self) -> int:
        """Memory of the arrays."""
        matrices = [self.votes] if self.divided is self.votes else [self.votes, self.divided]
        arrays = [self.gaussians, self.total, self.labelled]
        arrays += [part for matrix in matrices for part in (matrix.data, matrix.indices, matrix.indptr)]
        return sum(array.nbytes for array in arrays)


class MaskEvidence(ViewSum):
    """The evidence of any number of views for the masks of a scene, a sum over views.

    Views are added one by one, in any order, or in several objects that are merged later; the association that comes
    of them is the same, bit for bit. Only one view's photo-sized arrays are in memory at a time; what stays of a view
    is one number for each Gaussian and mask that meet.

    Args:
        splats: the N Gaussians.
        rasterize_mode: how they were trained, ``classic`` or ``antialiased``.
    """

    def __init__(self, splats: Splats, *, rasterize_mode: RasterizeMode = "classic") -> None:
        self.splats = splats
        self.rasterize_mode: RasterizeMode = rasterize_mode
        self._views: dict[str, ViewEvidence] = {}
        LabelVotes(len(splats), rasterize_mode=rasterize_mode)  # checks the mode

    @property
    def num_gaussians(self) -> int:
        """N, the number of Gaussians."""
        return len(self.splats)

    @property
    def views(self) -> dict[str, ViewEvidence]:
        """Image stem → what its masks saw, in the order of names."""
        return dict(sorted(self._views.items()))

    @property
    def num_bytes(self) -> int:
        """Memory that the evidence takes."""
        return sum(view.num_bytes for view in self._views.values())

    def add(self, stem: str, camera: Camera, masks: ViewMasks) -> None:
        """Add one view.

        Args:
            stem: the image's name; each only once.
            camera: where the masks were seen from; of the masks' size.
            masks: what was found there.

        Raises:
            InputError: a view of this name is there already, masks of another size.
        """
        self._require_new([stem])
        votes = LabelVotes(self.num_gaussians, rasterize_mode=self.rasterize_mode)
        votes.add(self.splats, camera, masks.regions + 1)  # void is a label here: its weight counts, too
        state = votes.state_dict()
        self._views[stem] = _evidence(state, camera.width * camera.height, masks)

    def merge(self, other: MaskEvidence) -> MaskEvidence:
        """Add the views of another object.

        Returns:
            This one.

        Raises:
            InputError: it is about other Gaussians, or has views that are here already.
        """
        if (other.num_gaussians, other.rasterize_mode) != (self.num_gaussians, self.rasterize_mode):
            raise InputError(
                "evidence",
                f"evidence for {other.num_gaussians} Gaussians, {other.rasterize_mode}",
                f"evidence for {self.num_gaussians} Gaussians, {self.rasterize_mode}",
                "Merge evidence for the same splats, blended alike.",
            )
        self._require_new(other._views)
        self._views |= other._views
        return self

    def all_reduce(self, group: Any = None) -> MaskEvidence:
        """Give every process of a ``torch.distributed`` group the views of all of them; every process calls this.

        Returns:
            This object.
        """
        for arrays in arrays_of_others(_packed(self._views), group):
            views = _unpacked(arrays)
            self._require_new(views)
            self._views |= views
        return self

    def empty(self) -> MaskEvidence:
        """Evidence of no views for the same Gaussians, blended alike."""
        return MaskEvidence(self.splats, rasterize_mode=self.rasterize_mode)

    def state_dict(self) -> dict[str, Any]:
        """The evidence as plain containers and arrays."""
        return {
            "num_gaussians": self.num_gaussians,
            "views": {stem: dict(vars(view)) for stem, view in self._views.items()},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Replace the views by those of a :meth:`state_dict` for the same number of Gaussians.

        Raises:
            InputError: it was made for another number of Gaussians.
        """
        if state["num_gaussians"] != self.num_gaussians:
            raise InputError(
                "state",
                f"evidence for {state['num_gaussians']} Gaussians",
                f"{self.num_gaussians}",
                "Resume with the splats that the evidence was made for.",
            )
        self._views = {stem: ViewEvidence(**view) for stem, view in state["views"].items()}

    def _require_new(self, stems: Any) -> None:
        for stem in stems:
            if stem in self._views:
                raise InputError(
                    "evidence", f"view '{stem}' twice", "each view once", "Add every image once; names tell them apart."
                )


_ARRAYS = ("gaussians", "total", "ids", "category_ids", "scores", "areas", "labelled")
_MATRICES = ("votes", "divided")
_MATRIX = ("data", "indices", "indptr")


def _packed(views: Mapping[str, ViewEvidence]) -> dict[str, np.ndarray]:
    arrays: dict[str, np.ndarray] = {"stems": np.array(list(views), dtype=np.str_)}
    for number, view in enumerate(views.values()):
        arrays |= {f"{number}.{name}": getattr(view, name) for name in _ARRAYS}
        for matrix in _MATRICES:
            values = getattr(view, matrix)
            arrays |= {f"{number}.{matrix}.{name}": getattr(values, name) for name in _MATRIX}
            arrays[f"{number}.{matrix}.shape"] = np.array(values.shape)
    return arrays


def _unpacked(arrays: Mapping[str, np.ndarray]) -> dict[str, ViewEvidence]:
    views = {}
    for number, stem in enumerate(arrays["stems"].tolist()):
        matrices = {}
        for matrix in _MATRICES:
            values = tuple(arrays[f"{number}.{matrix}.{name}"] for name in _MATRIX)
            matrices[matrix] = sparse.csr_matrix(values, tuple(arrays[f"{number}.{matrix}.shape"]))
        views[stem] = ViewEvidence(**matrices, **{name: arrays[f"{number}.{name}"] for name in _ARRAYS})
    return views


def _evidence(state: Mapping[str, Tensor], pixels: int, masks: ViewMasks) -> ViewEvidence:
    scale = REFERENCE_AREA / pixels
    indptr, label, sums = (state[name].numpy() for name in ("indptr", "label", "sum"))
    seen = np.flatnonzero(np.diff(indptr))
    data = (sums * (2.0**-34 * scale)).astype(np.float32)
    by_region = sparse.csr_matrix(
        (data, label - 1, np.concatenate([[0], indptr[seen + 1]])), (len(seen), masks.membership.shape[0])
    )
    total = np.asarray(by_region.sum(axis=1, dtype=np.float64)).ravel()
    kept = total > LEAST_WEIGHT
    by_region = by_region[kept]
    membership = masks.membership.astype(np.float32)
    votes = (by_region @ membership).tocsr()
    votes.sort_indices()
    divided = votes
    if masks.overlap:
        number = np.maximum(np.asarray(membership.sum(axis=1)).ravel(), 1)
        divided = (by_region @ sparse.diags(1 / np.sqrt(number), dtype=np.float32) @ membership).tocsr()
    void = by_region[:, [0]].toarray()[:, 0]
    return ViewEvidence(
        gaussians=seen[kept].astype(np.int32),
        total=total[kept].astype(np.float32),
        votes=votes,
        divided=divided,
        ids=masks.ids,
        category_ids=masks.category_ids,
        scores=masks.scores,
        areas=masks.areas() * scale,
        labelled=(total[kept] - void).astype(np.float32),
    )
