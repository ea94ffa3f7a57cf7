# SPDX-License-Identifier: Apache-2.0
"""Labels that lean on those of the nearest alike Gaussians."""

from __future__ import annotations

import numpy as np
import torch
from scipy import sparse
from scipy.spatial import KDTree

from panoptic_gs.splats import SH_C0, Splats
from panoptic_gs.uplift import GaussianLabels

NEIGHBOURS = 8
"""How many of a Gaussian's nearest are asked."""
COLOR_WIDTH = 0.1
"""Colours 0 … 1 that differ by this much are alike by exp(−½)."""
OWN_SHARE = 0.5
"""What a Gaussian's own labels count beside those of its neighbours."""
_ROWS = 1 << 16  # Gaussians at a time, so that memory does not grow with their number times that of their neighbours


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
    colors = splats.sh.detach()[at_known, 0].double().cpu().numpy() * SH_C0
    names, column = np.unique(labels.label.cpu().numpy(), return_inverse=True)
    rows = sparse.csr_array(
        (labels.weight.cpu().numpy(), column.astype(np.int32), labels.indptr.cpu().numpy()), (len(labels), len(names))
    )[known]
    near, distance = _nearest(points)
    reach = np.maximum(distance[:, -1], np.finfo(np.float32).tiny)
    mixed = []
    for first in range(0, len(known), _ROWS):
        block = slice(first, first + _ROWS)
        at = near[block]
        exponent = distance[block].astype(np.float64) ** 2 / (2 * reach[block, None].astype(np.float64) * reach[at])
        exponent += ((colors[block, None] - colors[at]) ** 2).sum(2) / (2 * COLOR_WIDTH**2)
        weight = np.exp(-exponent)
        total = weight.sum(1, keepdims=True)
        weight = np.divide(weight, total, out=np.zeros_like(weight), where=total > 1e-30).astype(np.float32)
        indptr = np.arange(0, at.size + 1, NEIGHBOURS)
        theirs = sparse.csr_array((weight.ravel(), at.ravel(), indptr), (len(at), len(known))) @ rows
        mixed.append(_raised(own * rows[block] + (1 - own) * theirs, power))
    found = sparse.vstack(mixed, format="csr")
    length = np.zeros(len(labels), dtype=np.int64)
    length[known] = np.diff(found.indptr)
    indptr = np.concatenate([[0], length.cumsum()])
    tensors = (indptr, names[found.indices].astype(np.int32), found.data.astype(np.float32))
    made = (torch.from_numpy(values).to(labels.device) for values in tensors)
    return GaussianLabels.from_kernel(*made, labels.total, labels.void)


def _nearest(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The nearest others of each point, ``[N, NEIGHBOURS]`` int32, and how far they are, float32, ascending."""
    near = np.empty((len(points), NEIGHBOURS), dtype=np.int32)
    distance = np.empty((len(points), NEIGHBOURS), dtype=np.float32)
    tree = KDTree(points)
    for first in range(0, len(points), _ROWS):
        block = slice(first, first + _ROWS)
        far, others = tree.query(points[block], NEIGHBOURS + 1, workers=torch.get_num_threads())
        # a point is its own nearest; among points in one place it may be none of them, so the last one goes
        own = others == np.arange(first, first + len(others))[:, None]
        own[~own.any(1), -1] = True
        near[block], distance[block] = others[~own].reshape(-1, NEIGHBOURS), far[~own].reshape(-1, NEIGHBOURS)
    return near, distance


def _raised(shares: sparse.csr_array, power: float) -> sparse.csr_array:
    """Rows to a power, summing to one, labels ascending; shares that no renderer would see are left out."""
    shares.sort_indices()
    row = np.repeat(np.arange(shares.shape[0]), np.diff(shares.indptr))
    data = shares.data.astype(np.float64)
    data /= np.bincount(row, data, shares.shape[0])[row]
    data **= power
    data /= np.bincount(row, data, shares.shape[0])[row]
    kept = data >= 1e-4
    data, column, row = data[kept], shares.indices[kept], row[kept]
    data /= np.bincount(row, data, shares.shape[0])[row]
    indptr = np.concatenate([[0], np.bincount(row, minlength=shares.shape[0]).cumsum()])
    return sparse.csr_array((data, column, indptr), shares.shape)
