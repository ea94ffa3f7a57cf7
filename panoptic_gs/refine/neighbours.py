# SPDX-License-Identifier: Apache-2.0
"""Labels that lean on those of the nearest alike Gaussians."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from scipy import sparse

from panoptic_gs.label_maps import numbered
from panoptic_gs.refine.graph import ROWS, nearest_others
from panoptic_gs.refine.leave_one_out import concatenated
from panoptic_gs.splats import SH_C0, Splats
from panoptic_gs.uplift import GaussianLabels

NEIGHBOURS = 8
"""How many of a Gaussian's nearest are asked."""
COLOR_WIDTH = 0.1
"""Colours 0 … 1 that differ by this much are alike by exp(−½)."""
OWN_SHARE = 0.5
"""What a Gaussian's own labels count beside those of its neighbours."""
LEAST = 1e-4
"""Shares below this are left out."""
_FEW = 1 << 20  # labels below it are columns of a matrix as they are; others are numbered, in memory of their own


def lean_on_neighbours(
    labels: GaussianLabels, splats: Splats, own: float = OWN_SHARE, power: float = 2.0
) -> GaussianLabels:
    r"""Mix the labels of each Gaussian with those of its nearest, where these look alike.

    .. math:: g'_i ∝ \Bigl(κ\, g_i + (1 - κ) \frac{\sum_j a_{ij}\, g_j}{\sum_j a_{ij}}\Bigr)^p, \qquad
              a_{ij} = \exp\Bigl(-\frac{|x_i - x_j|^2}{2 σ_i σ_j} - \frac{|c_i - c_j|^2}{2 σ_c^2}\Bigr)

    over the :data:`NEIGHBOURS` nearest Gaussians j that have labels, with σ_i the distance to the farthest of those of
    i, and colours c as seen from all sides: one step of LUDVIG's diffusion (Marrie et al., Section 3.3) on the labels
    themselves. Where outlines of masks differ from view to view, neighbours on one surface decide together.

    Args:
        labels: of N Gaussians. Those without labels stay without, and are no neighbours.
        splats: the Gaussians.
        own: κ, 0 … 1; 1 changes nothing but the power.
        power: p, of the mixed shares, which then sum to one.

    Returns:
        Labels on the same device; ``total`` and ``void`` stay. Neither threads nor runs change a bit.
    """
    labels.require_count(len(splats))
    known = np.flatnonzero(labels.indptr.diff().cpu().numpy() > 0)
    if len(known) <= NEIGHBOURS or len(labels.label) == 0:
        return labels
    at_known = torch.from_numpy(known).to(splats.means.device)
    points = splats.means.detach()[at_known].double().cpu().numpy()
    near, distance = _nearest(points)
    del points
    colors = splats.sh.detach()[:, 0].cpu().numpy()
    label = labels.label.cpu().numpy()
    names, column = (None, label) if label.max() < _FEW else numbered(label)
    width = int(label.max()) + 1 if names is None else len(names)
    indptr = labels.indptr.cpu().numpy()
    # The others have no entries. A start of 64 bits would make all columns 64 bits wide.
    starts = np.append(indptr[known], indptr[-1]).astype(sparse.get_index_dtype(maxval=len(label)))
    rows = sparse.csr_array((labels.weight.cpu().numpy(), column, starts), (len(known), width))
    reach = np.maximum(distance[:, -1], np.finfo(np.float32).tiny)
    mixed: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    for first in range(0, len(known), ROWS):
        block = slice(first, first + ROWS)
        at = near[block]
        exponent = distance[block].astype(np.float64) ** 2 / (2 * reach[block, None].astype(np.float64) * reach[at])
        apart = _color(colors[known[block, None]]) - _color(colors[known[at]])
        exponent += (apart**2).sum(2) / (2 * COLOR_WIDTH**2)
        weight = np.exp(-exponent)
        total = weight.sum(1, keepdims=True)
        weight = np.divide(weight, total, out=np.zeros_like(weight), where=total > 1e-30).astype(np.float32)
        offsets = np.arange(0, at.size + 1, NEIGHBOURS, dtype=starts.dtype)
        theirs = sparse.csr_array((weight.ravel(), at.ravel(), offsets), (len(at), len(known))) @ rows
        mixed.append(_raised(own * rows[block] + (1 - own) * theirs, power))
    del near, distance, rows
    counts, columns, weights = concatenated(mixed)
    length = np.zeros(len(labels), dtype=np.int64)
    length[known] = counts
    chosen = (columns if names is None else names[columns]).astype(np.int32, copy=False)
    made = np.concatenate([[0], length.cumsum()]), chosen, weights
    indptr, label, weight = (torch.from_numpy(values).to(labels.device) for values in made)
    return GaussianLabels.from_kernel(indptr, label, weight, labels.total, labels.void)


def _color(harmonics: np.ndarray) -> np.ndarray:
    """Colours without their mean grey, float64."""
    return harmonics.astype(np.float64) * SH_C0


def _nearest(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The nearest others of each point, ``[N, NEIGHBOURS]`` int32, and how far they are, float32, ascending."""
    near = np.empty((len(points), NEIGHBOURS), dtype=np.int32)
    distance = np.empty((len(points), NEIGHBOURS), dtype=np.float32)
    for number, (others, far) in enumerate(nearest_others(points, NEIGHBOURS)):
        block = slice(number * ROWS, (number + 1) * ROWS)
        near[block], distance[block] = others, far
    return near, distance


def _raised(shares: Any, power: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows of a sparse matrix to a power, summing to one, without shares that no renderer would see.

    Returns:
        The number of entries of each row, their columns, ascending in a row, and values.
    """
    shares.sort_indices()
    count = shares.shape[0]
    row, column, data = np.repeat(np.arange(count), np.diff(shares.indptr)), shares.indices, shares.data.astype(float)
    data /= np.bincount(row, data, count)[row]
    data **= power
    data /= np.bincount(row, data, count)[row]
    kept = data >= LEAST
    row, column, data = row[kept], column[kept], data[kept]
    data /= np.bincount(row, data, count)[row]
    return np.bincount(row, minlength=count).astype(np.int32), column, data.astype(np.float32)
