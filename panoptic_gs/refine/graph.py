# SPDX-License-Identifier: Apache-2.0
"""A graph of neighbouring Gaussians, and diffusion over it (Marrie et al., LUDVIG, Section 3.3)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from scipy.spatial import KDTree
from torch import Tensor

from panoptic_gs.errors import InputError
from panoptic_gs.splats import SH_C0, Splats
from panoptic_gs.uplift import SparseMatrix

ROWS = 1 << 16
"""Points whose neighbours are sought together, so that memory does not grow with all of them."""


def neighbour_graph(
    splats: Splats,
    neighbours: int = 12,
    *,
    color_width: float | None = 0.2,
    normal_power: float = 0.0,
    features: Tensor | None = None,
    feature_width: float = 1.0,
) -> SparseMatrix:
    r"""The Gaussians' nearest neighbours, each edge as strong as its ends are alike.

    .. math:: A_{ij} = \exp\Bigl(-\frac{|x_i - x_j|^2}{2 σ_i σ_j} - \frac{|c_i - c_j|^2}{2 σ_c^2}
              - \frac{|f_i - f_j|^2}{2 σ_f^2}\Bigr) \, |n_i · n_j|^p

    for j among the nearest neighbours of i, or i among those of j; :math:`σ_i` is the distance from i to its farthest
    chosen neighbour, :math:`n_i` its shortest axis. So the matrix is symmetric, with an empty diagonal. Neither threads
    nor runs change a bit of it.

    Args:
        splats: N Gaussians; tensors on CUDA are copied to the host.
        neighbours: how many of each, at least 1; fewer where there are fewer Gaussians.
        color_width: σ_c of the colours 0 … 1 that are the same from all sides; None: colours do not count.
        normal_power: p; 0: normals do not count.
        features: ``[N, D]``, say from :func:`~panoptic_gs.uplift_features`; None: none.
        feature_width: σ_f.

    Returns:
        ``[N, N]`` on the CPU, columns ascending in a row.

    Raises:
        InputError: numbers out of range, features of another number of Gaussians.
    """
    count = len(splats)
    if neighbours < 1:
        raise InputError("neighbours", str(neighbours), "1 or more", "Choose a larger number.")
    for name, width in (("color_width", color_width), ("feature_width", feature_width)):
        if width is not None and not width > 0:
            raise InputError(name, f"{width:g}", "a number above 0", "Choose a larger width.")
    if features is not None and (features.ndim != 2 or len(features) != count):
        raise InputError("features", f"shape {list(features.shape)}", f"[{count}, D]", "Uplift them for these splats.")
    if count < 2:
        return SparseMatrix(torch.zeros(count + 1, dtype=torch.int64), torch.zeros(0, dtype=torch.int32),
                            torch.zeros(0), count)  # fmt: skip
    points = splats.means.detach().double().cpu().numpy()
    first, second, reach = _pairs(points, min(neighbours, count - 1))
    distance = ((points[first] - points[second]) ** 2).sum(1)
    scale = np.maximum(reach[first] * reach[second], np.finfo(np.float64).tiny)
    exponent = distance / (2 * scale)
    if color_width is not None:
        colors = splats.sh[:, 0].detach().double().cpu().numpy() * SH_C0
        exponent += ((colors[first] - colors[second]) ** 2).sum(1) / (2 * color_width**2)
    if features is not None:
        values = features.detach().double().cpu().numpy()
        exponent += ((values[first] - values[second]) ** 2).sum(1) / (2 * feature_width**2)
    weight = np.exp(-exponent)
    if normal_power > 0:
        normals = _normals(splats)
        weight *= np.abs((normals[first] * normals[second]).sum(1)) ** normal_power
    both = np.concatenate([first, second]), np.concatenate([second, first])
    order = np.lexsort((both[1], both[0]))
    indptr = np.concatenate([[0], np.bincount(both[0], minlength=count).cumsum()])
    return SparseMatrix(
        torch.from_numpy(indptr.astype(np.int64)), torch.from_numpy(both[1][order].astype(np.int32)),
        torch.from_numpy(np.concatenate([weight, weight])[order].astype(np.float32)), count,
    )  # fmt: skip


def diffuse(values: Tensor, graph: SparseMatrix, steps: int = 10, keep: float = 0.2) -> Tensor:
    r"""Let values flow to alike neighbours.

    .. math:: g_{t+1} = κ\, g_0 + (1 - κ)\, D^{-1} A\, g_t, \qquad D_{ii} = \sum_j A_{ij}

    A Gaussian without edges keeps its value. Rows that sum to one, as labels do, sum to one afterwards where all of
    their neighbours' do.

    Args:
        values: ``[N, D]`` or ``[N]`` float32 on the CPU: label shares (``GaussianLabels.to_dense``), or features.
        graph: ``[N, N]``, from :func:`neighbour_graph` or any with weights of at least 0.
        steps: how often; 0 changes nothing.
        keep: κ, how much of the first values stays, 0 … 1.

    Raises:
        InputError: another number of rows, ``steps`` or ``keep`` out of range.
    """
    if steps < 0 or not 0 <= keep <= 1:
        raise InputError("steps, keep", f"{steps}, {keep:g}", "0 or more steps, keep from 0 to 1", "Change them.")
    if graph.shape != (len(values), len(values)):
        raise InputError("graph", f"shape {list(graph.shape)}", f"[{len(values)}, {len(values)}]",
                         "Make it of the Gaussians that the values are of.")  # fmt: skip
    degree = graph @ torch.ones(len(values))
    alone = degree <= 0
    share = (1 - keep) / torch.where(alone, torch.ones_like(degree), degree)
    shape = (len(values),) + (1,) * (values.ndim - 1)
    flowing = values
    for _ in range(steps):
        flowing = torch.where(alone.view(shape), values, keep * values + share.view(shape) * (graph @ flowing))
    return flowing


def nearest_others(points: np.ndarray, count: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The ``count`` nearest others of each point and how far they are, ascending: ``[B, count]`` each, block by block.

    Neither threads nor runs change a bit.
    """
    tree = KDTree(points)
    for first in range(0, len(points), ROWS):
        # One more than asked for, as a point is its own nearest; among points in one place, it may be none of them.
        found = tree.query(points[first : first + ROWS], count + 1, workers=torch.get_num_threads())
        distance, near = (np.asarray(values) for values in found)
        own = near == np.arange(first, first + len(near))[:, None]
        own[~own.any(1), -1] = True
        yield near[~own].reshape(-1, count), distance[~own].reshape(-1, count)


def _pairs(points: np.ndarray, neighbours: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Each pair of neighbours once, the smaller index first, ``[E]`` and ``[E]``, and each point's reach ``[N]``."""
    here = np.arange(len(points))[:, None]
    others, distance = (np.concatenate(parts) for parts in zip(*nearest_others(points, neighbours)))
    reach = distance[:, -1]
    ends = np.stack([np.broadcast_to(here, others.shape).ravel(), others.ravel()])
    pairs = np.unique(np.sort(ends, axis=0), axis=1)
    return pairs[0], pairs[1], reach


def _normals(splats: Splats) -> np.ndarray:  # [N, 3]
    """The direction of each Gaussian's shortest axis."""
    w, x, y, z = torch.nn.functional.normalize(splats.quats.detach().double().cpu(), dim=1).unbind(1)
    axes = torch.stack([
        torch.stack([1 - 2 * (y * y + z * z), 2 * (x * y + w * z), 2 * (x * z - w * y)], 1),
        torch.stack([2 * (x * y - w * z), 1 - 2 * (x * x + z * z), 2 * (y * z + w * x)], 1),
        torch.stack([2 * (x * z + w * y), 2 * (y * z - w * x), 1 - 2 * (x * x + y * y)], 1),
    ], 1)  # [N, axis, 3]: columns of the rotation  # fmt: skip
    shortest = splats.scales.detach().cpu().argmin(1)
    return axes[torch.arange(len(axes)), shortest].numpy()
