# SPDX-License-Identifier: Apache-2.0
"""The blending weights of a view as a sparse matrix: with fixed geometry, rendering is a product with it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from typing_extensions import Unpack

from panoptic_gs import kernels
from panoptic_gs.backends import Blending, BlendingKeywords, as_on
from panoptic_gs.backends.host import view_of
from panoptic_gs.camera import Camera
from panoptic_gs.errors import InputError
from panoptic_gs.splats import Splats
from panoptic_gs.uplift.sparse import SparseMatrix


@dataclass(frozen=True, eq=False)
class ViewWeights:
    r"""The weights :math:`w_i(n,u) = α_i(u) T_i(u)` of a view n, sparse: a row a pixel, a column a Gaussian it sees.

    They are computed as in the forward pass, and no number of threads changes a bit. While the Gaussians stay where
    they are, ``matrix @ values`` renders any values of the seen Gaussians at the pixels, and its gradient is the
    product with the transpose: labels, features and queries are trained without blending again. A row holds its
    Gaussians in order of depth, nearest first, and sums to the pixel's accumulated alpha.

    >>> import torch
    >>> from panoptic_gs import Camera, Splats, rasterization
    >>> splats = Splats(torch.randn(50, 3), torch.randn(50, 4), torch.full((50, 3), 0.1), torch.full((50,), 0.7),
    ...                 torch.zeros(50, 1, 3))
    >>> camera = Camera.look_at((0.0, -3.0, 0.0), (0.0, 0.0, 0.0), (0.0, 0.0, 1.0), 0.8, 40, 30)
    >>> weights = ViewWeights.of(splats, camera, pixels=torch.tensor([15 * 40 + 20, 15 * 40 + 22]))
    >>> logits = torch.zeros(50, 6, requires_grad=True)
    >>> for step in range(3):
    ...     image = weights.matrix @ logits[weights.gaussians].softmax(-1)  # [2, 6]
    ...     loss = -image[:, 1].clamp_min(1e-6).log().mean()
    ...     (gradient,) = torch.autograd.grad(loss, logits)
    ...     logits.data -= gradient
    >>> image.shape
    torch.Size([2, 6])
    """

    matrix: SparseMatrix  # [P, G]
    gaussians: Tensor  # [G] int64: the index in the scene that a column stands for, ascending
    pixels: Tensor  # [P] int64: row · width + column of each row's pixel
    num_gaussians: int  # N, of the scene
    width: int
    height: int

    @classmethod
    def of(
        cls,
        splats: Splats,
        camera: Camera,
        pixels: Tensor | np.ndarray | None = None,
        **blending: Unpack[BlendingKeywords],
    ) -> ViewWeights:
        """The weights of one view, in one pass over its blended pairs.

        Args:
            splats: N Gaussians. CUDA tensors are copied: the weights are computed on the host, where the result is.
            camera: the view.
            pixels: ``[P]`` integers, row · width + column: the pixels to have rows, in this order, any pixel any number
                of times; None: all of them, row by row. What no pixel asks for is not blended.
            blending: as for :class:`~panoptic_gs.LabelVotes`.

        Raises:
            InputError: pixels that are not integers of the image.
        """
        rules = as_on(splats.means.device, Blending(**blending))
        view = view_of(splats.to(torch.device("cpu")), camera, rules)
        size = camera.width * camera.height
        if pixels is None:
            indptr, gaussians, column, weight = kernels.blending_weights(view, None, size)
            matrix, chosen = SparseMatrix(indptr, column, weight, len(gaussians)), torch.arange(size)
        else:
            chosen = _pixels_of(pixels, camera)
            distinct, row = torch.unique(chosen, return_inverse=True)
            repeated = len(distinct) < len(chosen)
            asked = distinct if repeated else chosen
            row_of = torch.full((size,), -1, dtype=torch.int32)
            row_of[asked] = torch.arange(len(asked), dtype=torch.int32)
            row_of = row_of.view(camera.height, camera.width)
            indptr, gaussians, column, weight = kernels.blending_weights(view, row_of, len(asked))
            matrix = SparseMatrix(indptr, column, weight, len(gaussians))
            matrix = matrix.take_rows(row) if repeated else matrix
        return cls(matrix, gaussians, chosen, len(splats), camera.width, camera.height)

    @property
    def accumulation(self) -> Tensor:  # [P]
        """The alpha of each pixel: the sum of its weights."""
        return self.matrix @ torch.ones(self.matrix.num_columns)


def _pixels_of(pixels: Tensor | np.ndarray, camera: Camera) -> Tensor:
    chosen = torch.as_tensor(pixels).detach().cpu()
    size = camera.width * camera.height
    if chosen.ndim != 1 or chosen.dtype.is_floating_point or chosen.dtype == torch.bool:
        raise InputError("pixels", f"{chosen.dtype} of shape {list(chosen.shape)}", "integers [P]",
                         "Pass row · width + column of each; of a mask, mask.flatten().nonzero()[:, 0].")  # fmt: skip
    chosen = chosen.long()
    if len(chosen) and not 0 <= int(chosen.min()) <= int(chosen.max()) < size:
        raise InputError("pixels", f"numbers from {int(chosen.min())} to {int(chosen.max())}",
                         f"0 to {size - 1}, row · width + column of {camera.width}×{camera.height} pixels",
                         "Check that they were drawn for this camera's size.")  # fmt: skip
    return chosen
