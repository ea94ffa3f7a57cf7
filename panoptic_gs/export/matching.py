# SPDX-License-Identifier: Apache-2.0
"""Labels for the same Gaussians in another order: each is found again by its position."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.spatial import KDTree

from panoptic_gs.errors import InputError
from panoptic_gs.files import write_arrays
from panoptic_gs.splats import read_splats
from panoptic_gs.uplift import LabelledScene

_SPACINGS = 0.5  # a quantised position is nearer to its own than this share of the usual distance between neighbours


@dataclass(frozen=True, eq=False)
class Matched:
    """Which Gaussian of a labelled scene each row of another file is.

    Args:
        rows: ``[M]`` int64 numbers in the labelled scene; −1 where none is near.
        exact: how many lie where theirs does, bit for bit.
        nearest: how many have theirs within the tolerance.
        tolerance: largest distance of a match, in the scene's units.
        shared: how many have theirs in common with another row.
    """

    rows: np.ndarray
    exact: int
    nearest: int
    tolerance: float
    shared: int

    @property
    def unmatched(self) -> int:
        """How many are none."""
        return len(self.rows) - self.exact - self.nearest

    def report(self) -> dict[str, float]:
        """Counts and tolerance, for JSON."""
        return {"gaussians": len(self.rows), "exact": self.exact, "nearest": self.nearest,
                "unmatched": self.unmatched, "shared": self.shared, "tolerance": self.tolerance}  # fmt: skip


def match_positions(own: np.ndarray, other: np.ndarray, tolerance: float | None = None) -> Matched:
    """Find each of ``other [M, 3]`` among ``own [N, 3]``.

    Args:
        own: positions of the labelled Gaussians.
        other: positions of another file, reordered, thinned or quantised.
        tolerance: largest distance of a match; by default half the median distance between neighbours.
    """
    own, other = np.asarray(own, np.float64), np.asarray(other, np.float64)
    tree = KDTree(own)
    if tolerance is None:
        sample = own[np.linspace(0, len(own) - 1, min(len(own), 20_000)).round().astype(int)]
        spacings = tree.query(sample, k=2)[0][:, 1] if len(own) > 1 else np.zeros(1)
        tolerance = _SPACINGS * float(np.median(spacings))
    distance, found = tree.query(other)
    rows = np.where(distance <= tolerance, found, -1)
    exact = int((distance == 0).sum())
    taken = rows[rows >= 0]
    shared = int((np.bincount(taken, minlength=1)[taken] > 1).sum()) if len(taken) else 0
    return Matched(rows, exact, len(taken) - exact, tolerance, shared)


def write_matched_labels(path: Path, scene: LabelledScene, file: Path, tolerance: float | None = None) -> Matched:
    """Write the labels of ``file``'s Gaussians in its order: ``segment_id``, ``category_id``, ``confidence``, ``row``.

    Rows that a reader leaves out (zeros, NaN) and rows without a match have segment and category 0 and row −1.

    Raises:
        InputError: the file cannot be read, or none of its Gaussians lies where one of the scene's does.
    """
    read = read_splats(file)
    matched = match_positions(scene.splats.means.numpy(), read.splats.means.numpy(), tolerance)
    if not (matched.rows >= 0).any():
        raise InputError(
            file, f"no Gaussian within {matched.tolerance:g} of one of the scene's", "the same Gaussians in any order",
            "Give a file that was made of this scene and not turned, or a larger --tolerance.",
        )  # fmt: skip
    best, share = (values.numpy() for values in scene.labels.best())
    ids = np.where(matched.rows >= 0, best[matched.rows], 0)
    of_file = read.rows.numpy()
    count = int(of_file.max()) + 1
    columns = {"segment_id": ids.astype(np.int32), "category_id": scene.labelling.category_of()[ids].astype(np.int32),
               "confidence": np.where(matched.rows >= 0, share[matched.rows], 0).astype(np.float32),
               "row": matched.rows.astype(np.int64)}  # fmt: skip
    whole = {name: np.full(count, -1 if name == "row" else 0, values.dtype) for name, values in columns.items()}
    for name, values in columns.items():
        whole[name][of_file] = values
    write_arrays(path, **whole)
    return matched
