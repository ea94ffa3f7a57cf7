# SPDX-License-Identifier: Apache-2.0
"""The one door to the compiled module; it mirrors ``cpp/``.

Typed functions over contiguous CPU tensors, checked here: nothing in the compiled module knows torch, tensors cross as
DLPack. Functions ending in ``_gradient`` are the vector-Jacobian products of those without;
:mod:`panoptic_gs.rasterize` ties them into autograd. Device kernels are in :mod:`panoptic_gs.kernels.cuda`.
"""

import torch  # noqa: F401  first: built with CUDA, the module takes CUDA's library from torch

from panoptic_gs import _kernels
from panoptic_gs._kernels import PixelState, View  # pyright: ignore[reportMissingImports] (built by CMake, installed elsewhere)
from panoptic_gs.kernels.core import (
    active_isa,
    checked,
    give_back_frame,
    give_back_memory,
    multiply_add,
    num_threads,
    one_torch_thread,
    require_cuda,
)
from panoptic_gs.kernels.image import ssim
from panoptic_gs.kernels.merge import add_overlaps
from panoptic_gs.kernels.mesh import VoxelVolume, count_free
from panoptic_gs.kernels.rasterize import (
    PaintGradient,
    count_pairs,
    find_crossings,
    harmonics,
    harmonics_gradient,
    paint,
    paint_gradient,
    project_gradient,
)
from panoptic_gs.kernels.sparse import multiply_sparse, transpose_sparse
from panoptic_gs.kernels.uplift import VoteStore, add_feature_votes, blending_weights, render_panoptic
from panoptic_gs.kernels.view import ALPHA_MAX, TILE_SIZE, Projection, project, view_of

__all__ = [
    "ALPHA_MAX",
    "TILE_SIZE",
    "PaintGradient",
    "PixelState",
    "Projection",
    "View",
    "VoteStore",
    "VoxelVolume",
    "_kernels",
    "active_isa",
    "add_feature_votes",
    "add_overlaps",
    "blending_weights",
    "checked",
    "count_free",
    "count_pairs",
    "find_crossings",
    "give_back_frame",
    "give_back_memory",
    "harmonics",
    "harmonics_gradient",
    "multiply_add",
    "multiply_sparse",
    "num_threads",
    "one_torch_thread",
    "paint",
    "paint_gradient",
    "project",
    "project_gradient",
    "render_panoptic",
    "require_cuda",
    "ssim",
    "transpose_sparse",
    "view_of",
]
