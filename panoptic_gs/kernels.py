# SPDX-License-Identifier: Apache-2.0
"""The compiled module's host kernels: typed functions over contiguous CPU tensors, checked here.

Nothing in the compiled module knows torch; tensors cross as DLPack. Functions ending in ``_gradient`` are the
vector-Jacobian products of those without; :mod:`panoptic_gs.rasterize` ties them into autograd.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from panoptic_gs import _kernels
from panoptic_gs._kernels import PixelState, View  # pyright: ignore[reportMissingImports] (built by CMake, installed elsewhere)
from panoptic_gs.errors import InputError

TILE_SIZE: int = _kernels.tile_size
"""Pixels a side of the host kernels' tiles. No result depends on it."""


def active_isa() -> str:
    """The instruction set in use: ``avx512``, ``avx2`` or ``baseline``, or what PANOPTIC_GS_ISA names."""
    return _kernels.active_isa()


def num_threads() -> int:
    """Threads that the kernels use: PANOPTIC_GS_NUM_THREADS from the environment, else as many as torch.

    torch's own threads spin for a while after each operation (unless OMP_WAIT_POLICY=PASSIVE was set before it was
    imported), at the cost of whoever needs the cores then. On few cores ``torch.set_num_threads(1)`` with
    PANOPTIC_GS_NUM_THREADS set to the number of cores avoids that.
    """
    return int(os.environ.get("PANOPTIC_GS_NUM_THREADS") or 0) or torch.get_num_threads()


def multiply_add(rounds: int) -> float:
    """Multiply and add in registers on every thread, nothing else; the number of operations done, for benchmarks."""
    return _kernels.multiply_add(rounds, num_threads())


def checked(name: str, tensor: Tensor, shape: Sequence[int | None], dtype: torch.dtype = torch.float32) -> Tensor:
    """``tensor`` detached and contiguous, if it is a CPU tensor of this dtype and shape (``None``: any size).

    Raises:
        InputError: naming ``name``.
    """
    if tensor.device.type != "cpu":
        raise InputError(name, f"a tensor on {tensor.device}", "a CPU tensor", "Move it with .cpu().")
    if tensor.dtype != dtype:
        raise InputError(name, str(tensor.dtype), str(dtype), f"Convert it with .to({dtype}).")
    if tensor.ndim != len(shape) or any(want is not None and have != want for have, want in zip(tensor.shape, shape)):
        wanted = ", ".join("*" if size is None else str(size) for size in shape)
        raise InputError(name, f"shape {list(tensor.shape)}", f"[{wanted}]", "Check the other arguments' sizes too.")
    return tensor.detach().contiguous()


class Projection(NamedTuple):
    """Gaussians on one image plane; zeros where culled."""

    view: View
    """Depth-sorted and distributed into tiles; for the traversals."""
    radii: Tensor  # [N, 2] int32, pixels
    means2d: Tensor  # [N, 2] pixels
    depths: Tensor  # [N]
    conics: Tensor  # [N, 3]: xx, xy, yy of the inverse covariance
    compensations: Tensor | None  # [N], antialiased only


def project(
    means: Tensor,  # [N, 3]
    quats: Tensor,  # [N, 4] wxyz, normalised here
    scales: Tensor,  # [N, 3]
    opacities: Tensor,  # [N]
    viewmat: Tensor,  # [4, 4] world to camera
    K: Tensor,  # [3, 3]
    width: int,
    height: int,
    *,
    near_plane: float = 0.01,
    far_plane: float = 1e10,
    radius_clip: float = 0.0,
    eps2d: float = 0.3,
    antialiased: bool = False,
) -> Projection:
    """Project Gaussians into one pinhole camera, sort them by depth, and find the tiles that each reaches.

    Raises:
        InputError: shapes or dtypes that do not fit, NaN or infinite Gaussians.
    """
    count = means.shape[0]
    inputs = _gaussians(means, quats, scales, opacities)
    radii = torch.empty(count, 2, dtype=torch.int32)
    means2d, depths, conics = torch.empty(count, 2), torch.empty(count), torch.empty(count, 3)
    compensations = torch.empty(count) if antialiased else None
    view = _kernels.project(
        *inputs, checked("viewmat", viewmat, (4, 4)), checked("K", K, (3, 3)), width, height, near_plane, far_plane,
        radius_clip, eps2d, antialiased, num_threads(), radii, means2d, depths, conics, compensations,
    )  # fmt: skip
    if view.invalid:
        _name_invalid(dict(zip(("means", "quats", "scales", "opacities"), inputs)))
    return Projection(view, radii, means2d, depths, conics, compensations)


def project_gradient(
    means: Tensor,
    quats: Tensor,
    scales: Tensor,
    opacities: Tensor,
    viewmat: Tensor,
    K: Tensor,
    width: int,
    height: int,
    *,
    eps2d: float,
    radii: Tensor,  # [N, 2] int32
    v_means2d: Tensor,  # [N, 2]
    v_depths: Tensor | None,  # [N]
    v_conics: Tensor,  # [N, 3]
    v_compensations: Tensor | None,  # [N]
    out: tuple[Tensor, Tensor, Tensor],  # gradients of means, quats, scales
    v_viewmat: Tensor | None,  # [3, 4], added to
    accumulate: bool = False,
) -> None:
    """Write (or add to) ``out`` the gradients through :func:`project`."""
    count = means.shape[0]
    _kernels.project_gradient(
        *_gaussians(means, quats, scales, opacities), checked("viewmat", viewmat, (4, 4)), checked("K", K, (3, 3)),
        width, height, eps2d, num_threads(), checked("radii", radii, (count, 2), torch.int32),
        checked("v_means2d", v_means2d, (count, 2)), _optional("v_depths", v_depths, (count,)),
        checked("v_conics", v_conics, (count, 3)), _optional("v_compensations", v_compensations, (count,)),
        accumulate, *out, v_viewmat,
    )  # fmt: skip


def paint(
    view: View,
    colors: Sequence[Tensor],  # each [N, D_i]
    background: Tensor | None = None,  # [D], D = sum of D_i
    keep_state: bool = False,
) -> tuple[Tensor, Tensor, PixelState | None]:
    """Blend colours front to back: image ``[H, W, D]`` with the sources' channels side by side, and alpha ``[H, W]``.

    ``keep_state`` keeps what :func:`paint_gradient` needs, 8 bytes a pixel.
    """
    sources = [checked("colors", color, (view.count, None)) for color in colors]
    channels = sum(source.shape[1] for source in sources)
    image, alpha = torch.empty(view.height, view.width, channels), torch.empty(view.height, view.width)
    state = _kernels.paint(
        view, sources, _optional("background", background, (channels,)), num_threads(), image, alpha,
        keep_state,
    )  # fmt: skip
    return image, alpha, state


def count_pairs(view: View) -> tuple[int, int]:
    """(Gaussian, pixel) pairs of a view: those evaluated, whole 8 × 8 blocks at a time, and those blended."""
    return _kernels.count_pairs(view, num_threads())


class PaintGradient(NamedTuple):
    """Gradients through :func:`paint`, zero where culled."""

    means2d: Tensor  # [N, 2]
    means2d_abs: Tensor | None  # [N, 2]: sums of absolute values over pixels
    conics: Tensor  # [N, 3]
    opacities: Tensor  # [N], of the opacities after compensation


def paint_gradient(
    view: View,
    state: PixelState,
    colors: Sequence[Tensor],  # each [N, D_i]
    background: Tensor | None,  # [D]
    v_image: Tensor,  # [H, W, D]
    v_alpha: Tensor | None,  # [H, W]
    *,
    absgrad: bool,
    v_colors: Sequence[Tensor],  # each [N, D_i], written
    accumulate: Sequence[bool],  # which of them are added to instead
) -> PaintGradient:
    """The gradients through :func:`paint`; the colours' go into ``v_colors``."""
    count = view.count
    sources = [checked("colors", color, (count, None)) for color in colors]
    channels = sum(source.shape[1] for source in sources)
    out = PaintGradient(
        torch.empty(count, 2), torch.empty(count, 2) if absgrad else None, torch.empty(count, 3), torch.empty(count)
    )
    _kernels.paint_gradient(
        view, state, sources, _optional("background", background, (channels,)),
        checked("v_image", v_image, (view.height, view.width, channels)),
        _optional("v_alpha", v_alpha, (view.height, view.width)), num_threads(), *out, list(v_colors),
        list(accumulate),
    )  # fmt: skip
    return out


def harmonics(
    degree: int,
    means: Tensor,  # [N, 3]
    centre: Tensor,  # [3], of the camera
    coeffs: Tensor,  # [N, K, 3]
    radii: Tensor,  # [N, 2] int32
) -> Tensor:  # [N, 3]
    """Colours of Gaussians seen from ``centre``: spherical harmonics + 0.5, at least 0; 0 where culled."""
    count = means.shape[0]
    colors = torch.empty(count, 3)
    _kernels.harmonics(
        degree, checked("means", means, (count, 3)), checked("centre", centre, (3,)),
        checked("coeffs", coeffs, (count, None, 3)), checked("radii", radii, (count, 2), torch.int32),
        num_threads(), colors,
    )  # fmt: skip
    return colors


def harmonics_gradient(
    degree: int,
    means: Tensor,
    centre: Tensor,
    coeffs: Tensor,
    radii: Tensor,
    colors: Tensor,  # [N, 3], what harmonics gave
    v_colors: Tensor,  # [N, 3]
    *,
    v_coeffs: Tensor,  # [N, K, 3], written, or added to
    accumulate_coeffs: bool,
    v_means: Tensor,  # [N, 3], written, or added to
    accumulate: bool,
    v_centre: Tensor,  # [3], added to
) -> None:
    """Write (or add) the gradients through :func:`harmonics`."""
    count = means.shape[0]
    _kernels.harmonics_gradient(
        degree, checked("means", means, (count, 3)), checked("centre", centre, (3,)),
        checked("coeffs", coeffs, (count, None, 3)), checked("radii", radii, (count, 2), torch.int32),
        checked("colors", colors, (count, 3)), checked("v_colors", v_colors, (count, 3)), num_threads(),
        accumulate_coeffs, v_coeffs, accumulate, v_means, v_centre,
    )  # fmt: skip


class _Similarity(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor) -> Tensor:
        value, ctx.slopes = _kernels.similarity(x, y, ctx.needs_input_grad[0], num_threads())
        ctx.save_for_backward(x, y)
        return torch.tensor(value)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Any) -> tuple[Tensor | None, None]:
        x, y = ctx.saved_tensors
        v_x = torch.empty(x.shape)
        _kernels.similarity_gradient(x, y, ctx.slopes, float(grads[0]), num_threads(), v_x)
        return v_x, None


def ssim(rendered: Tensor, target: Tensor) -> Tensor:  # [H, W, C] each -> []
    """Mean SSIM with an 11×11 Gaussian window, σ = 1.5, where the window fits; differentiable in ``rendered`` alone.

    The same number as :func:`panoptic_gs.losses.structural_similarity`, fused; values in 0 … 1.

    Raises:
        InputError: not two float32 CPU images of one size, at least 11×11 pixels.
    """
    target = checked("target", target, (None, None, None))
    checked("rendered", rendered, target.shape)
    if min(target.shape[:2]) < 11:
        raise InputError("rendered", f"{target.shape[1]}×{target.shape[0]} pixels", "at least 11×11",
                         "Render larger images or leave SSIM out.")  # fmt: skip
    return _Similarity.apply(rendered.contiguous(), target)


def add_overlaps(sums: Tensor, masks: Tensor) -> None:
    """Add to ``sums [Q, Q]`` int64 the minima of all pairs of masks over pixels, in units of 2⁻³⁴.

    ``masks [Q, P]`` are float16 logits before the sigmoid, or float32 probabilities; no NaN.
    """
    sums = checked("sums", sums, (len(masks), len(masks)), torch.int64)
    if masks.dtype == torch.float16:
        logits = checked("masks", masks, (None, None), torch.float16).view(torch.int16)
        _kernels.add_overlaps_of_logits(logits, num_threads(), sums)
    else:
        _kernels.add_overlaps_of_masks(checked("masks", masks, (None, None)), num_threads(), sums)


def view_of(
    means: Tensor,  # [N, 3]
    quats: Tensor,  # [N, 4] wxyz
    scales: Tensor,  # [N, 3]
    opacities: Tensor,  # [N]
    viewmat: Tensor,  # [4, 4] world to camera
    K: Tensor,  # [3, 3]
    width: int,
    height: int,
    *,
    near_plane: float,
    far_plane: float,
    radius_clip: float,
    eps2d: float,
    antialiased: bool,
) -> View:
    """:func:`project` for traversals alone."""
    inputs = _gaussians(means, quats, scales, opacities)
    view = _kernels.project(
        *inputs, checked("viewmat", viewmat, (4, 4)), checked("K", K, (3, 3)), width, height, near_plane, far_plane,
        radius_clip, eps2d, antialiased, num_threads(), None, None, None, None, None,
    )  # fmt: skip
    if view.invalid:
        _name_invalid(dict(zip(("means", "quats", "scales", "opacities"), inputs)))
    return view


VOTE_MEMORY = 32 << 20
"""Bytes for a view's votes that are not yet added to a :class:`VoteStore`; beyond it a view is added in parts."""


class VoteStore:
    """Exact sums of blending weights for pairs (Gaussian, label), sparse, in units of 2⁻³⁴.

    A sum of 2⁶³ units or more raises ``OverflowError``.
    """

    def __init__(self, num_gaussians: int) -> None:
        self._store = _kernels.VoteStore(num_gaussians)

    @property
    def num_gaussians(self) -> int:
        """N, the number of Gaussians."""
        return self._store.num_gaussians

    @property
    def num_bytes(self) -> int:
        """Memory that the sums take."""
        return self._store.num_bytes

    def add_view(self, view: View, labels: Tensor, weights: Tensor | None = None) -> None:
        """Add the blending weights of a view's pixels to the pairs with their labels ``[H, W]`` int32.

        ``weights [H, W]`` multiply them.
        """
        size = (view.height, view.width)
        labels = checked("labels", labels, size, torch.int32)
        self._store.add_view(view, labels, _optional("weights", weights, size), VOTE_MEMORY, num_threads())

    def add_sums(self, gaussian: Tensor, label: Tensor, sums: Tensor) -> None:
        """Add to pairs: ``gaussian [n]`` int64, ``label [n]`` int32, ``sums [n]`` int64."""
        size = (len(gaussian),)
        self._store.add_sums(
            checked("gaussian", gaussian, size, torch.int64),
            checked("label", label, size, torch.int32),
            checked("sums", sums, size, torch.int64),
        )

    def sums(self) -> tuple[Tensor, Tensor, Tensor]:
        """Sparse rows: ``indptr [N + 1]`` int64, ``label [nnz]`` int32 ascending in a row, ``sums [nnz]`` int64."""
        indptr, label = self._rows(void_too=True)
        sums = torch.empty(len(label), dtype=torch.int64)
        self._store.write_sums(num_threads(), indptr, label, sums)
        return indptr, label, sums

    def shares(self, void_too: bool) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Rows normalised to one: ``indptr``, ``label``, ``weight [nnz]``, and ``total [N]``, ``void [N]`` weights.

        Label 0 is in the rows only where ``void_too``.
        """
        indptr, label = self._rows(void_too)
        weight = torch.empty(len(label))
        total, void = torch.empty(self.num_gaussians), torch.empty(self.num_gaussians)
        self._store.write_shares(void_too, num_threads(), indptr, label, weight, total, void)
        return indptr, label, weight, total, void

    def _rows(self, void_too: bool) -> tuple[Tensor, Tensor]:
        """Empty ``indptr [N + 1]`` and ``label [nnz]``."""
        indptr = torch.empty(self.num_gaussians + 1, dtype=torch.int64)
        return indptr, torch.empty(self._store.num_pairs(void_too), dtype=torch.int32)


FEATURE_MEMORY = 128 << 20
"""Bytes for the channels that :func:`add_feature_votes` sums at a time."""


def add_feature_votes(
    view: View,
    sums: Tensor,  # [N, D], added to
    totals: Tensor,  # [N], added to
    features: Tensor,  # [H, W, D]
    weights: Tensor | None = None,  # [H, W]
) -> None:
    """Add blending weight × feature over a view's pixels to ``sums``, and the blending weights to ``totals``."""
    _kernels.add_features(
        view, checked("sums", sums, (view.count, features.shape[-1])), checked("totals", totals, (view.count,)),
        checked("features", features, (view.height, view.width, sums.shape[1])),
        _optional("weights", weights, (view.height, view.width)), FEATURE_MEMORY, num_threads(),
    )  # fmt: skip


def render_panoptic(
    view: View,
    indptr: Tensor,  # [N + 1] int64
    label: Tensor,  # [nnz] int32
    weight: Tensor,  # [nnz]
) -> tuple[Tensor, Tensor, Tensor]:
    """The label with the largest blended weight ``[H, W]`` int64, its share ``[H, W]``, and the alpha ``[H, W]``."""
    size = (view.height, view.width)
    ids = torch.empty(size, dtype=torch.int64)
    confidence, accumulation = torch.empty(size), torch.empty(size)
    _kernels.render_panoptic(
        view, checked("indptr", indptr, (view.count + 1,), torch.int64), checked("label", label, (None,), torch.int32),
        checked("weight", weight, label.shape), ids, confidence, accumulation, num_threads(),
    )  # fmt: skip
    return ids, confidence, accumulation


def require_cuda() -> None:
    """See that the compiled module has device kernels.

    Raises:
        InputError: it was built without CUDA.
    """
    if not _kernels.with_cuda:
        raise InputError(
            "panoptic_gs", "kernels that were built without CUDA", "a build with CUDA for CUDA tensors",
            "Install again with nvcc on PATH (-C cmake.define.PANOPTIC_GS_CUDA=ON), or pass CPU tensors.",
        )  # fmt: skip


def _gaussians(means: Tensor, quats: Tensor, scales: Tensor, opacities: Tensor) -> tuple[Tensor, ...]:
    count = means.shape[0]
    return (
        checked("means", means, (count, 3)),
        checked("quats", quats, (count, 4)),
        checked("scales", scales, (count, 3)),
        checked("opacities", opacities, (count,)),
    )


def _optional(name: str, tensor: Tensor | None, shape: Sequence[int | None]) -> Tensor | None:
    return None if tensor is None else checked(name, tensor, shape)


def _name_invalid(inputs: dict[str, Tensor]) -> None:
    for name, values in inputs.items():
        bad = ~torch.isfinite(values.flatten(1) if values.ndim > 1 else values[:, None]).all(1)
        if bad.any():
            first = int(bad.nonzero()[0])
            raise InputError(name, f"NaN or infinity in {int(bad.sum())} Gaussians, the first at index {first}",
                             "finite numbers", "Remove these Gaussians, or look for what made them so.")  # fmt: skip
    raise InputError("Gaussians", "numbers whose sum overflows float32", "numbers of a reasonable size",
                     "Rescale the scene.")  # fmt: skip
