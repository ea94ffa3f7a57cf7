# SPDX-License-Identifier: Apache-2.0
"""``rasterization()``: gsplat's signature, and the way to what draws on the tensors' device."""

from __future__ import annotations

from typing import Any, get_args

from torch import Tensor

from panoptic_gs.backends import Blending, RasterizeMode, RasterJob, RenderMode, backend_of
from panoptic_gs.errors import InputError


def rasterization(
    means: Tensor,  # [N, 3]
    quats: Tensor,  # [N, 4] wxyz
    scales: Tensor,  # [N, 3]
    opacities: Tensor,  # [N]
    colors: Tensor,  # [(C,) N, D] or [(C,) N, K, 3]
    viewmats: Tensor,  # [C, 4, 4]
    Ks: Tensor,  # [C, 3, 3]
    width: int,
    height: int,
    near_plane: float = 0.01,
    far_plane: float = 1e10,
    radius_clip: float = 0.0,
    eps2d: float = 0.3,
    sh_degree: int | None = None,
    packed: bool = True,
    tile_size: int = 16,
    backgrounds: Tensor | None = None,  # [C, D] or [C, D + E]
    render_mode: RenderMode = "RGB",
    sparse_grad: bool = False,
    absgrad: bool = False,
    rasterize_mode: RasterizeMode = "classic",
    channel_chunk: int = 32,
    *,
    extra_signals: Tensor | None = None,  # [(C,) N, E]
    alpha_max: float | None = None,
    **others: Any,
) -> tuple[Tensor, Tensor, dict[str, Any]]:
    """Render 3D Gaussians into a batch of pinhole cameras, differentiably.

    The signature and the meaning are gsplat's. CPU tensors go through the kernels of this package, CUDA tensors through
    gsplat itself (1.4 to 1.6). With w_i = α_i Π_{j<i} (1 − α_j) over the Gaussians of a pixel in order of depth, the
    image is Σ w_i c_i plus what is left of the background.

    Args:
        means: centres in the world.
        quats: rotations, normalised here.
        scales: standard deviations along the axes.
        opacities: 0 … 1.
        colors: D channels a Gaussian, or with ``sh_degree`` spherical harmonics, K ≥ (sh_degree + 1)² of them.
        viewmats: world to camera, x right, y down, z forward.
        Ks: intrinsics in pixels, without skew.
        width: of the images.
        height: of the images.
        near_plane: Gaussians whose depth is less are left out.
        far_plane: Gaussians whose depth is greater are left out.
        radius_clip: Gaussians whose radii in pixels are both not larger are left out.
        eps2d: added to the diagonal of each 2D covariance, pixels².
        sh_degree: degree to evaluate, 0 … 3; ``None``: ``colors`` are colours.
        packed: ``meta`` holds rows of visible Gaussians only, ``[nnz, ...]``, instead of ``[C, N, ...]``.
        tile_size: for gsplat; the host's tiles are its own and no result depends on them.
        backgrounds: colour behind everything. Depth has none; extra signals get 0 unless it has D + E channels.
        render_mode: ``RGB``: colours; ``D``: Σ w z; ``ED``: Σ w z / Σ w; with ``+`` the depth is the last channel.
        sparse_grad: gsplat's sparse gradients (CUDA only).
        absgrad: after ``backward``, ``meta["means2d"].absgrad`` holds the sums of absolute values.
        rasterize_mode: ``antialiased`` scales opacities by √(det Σ / det(Σ + εI)).
        channel_chunk: for gsplat until 1.5; the host renders any number of channels.
        extra_signals: E more channels a Gaussian that do not depend on the view, rendered in the same pass into
            ``meta["render_extra_signals"]``, as in gsplat 1.6, with every version and on the CPU.
        alpha_max: the most that one Gaussian covers of a pixel; ``None``: 0.999 on the CPU, and what gsplat has on
            CUDA, where another number is refused.
        others: gsplat's other arguments; on the host, only with their defaults.

    Returns:
        ``render_colors [C, H, W, X]``, X = D (+ 1) channels; ``render_alphas [C, H, W, 1]``; ``meta``, a dict with
        ``means2d`` (``retain_grad`` it for its gradient), ``radii``, ``depths``, ``conics``, ``opacities``,
        ``gaussian_ids`` and ``camera_ids`` (``None`` unless packed), ``width``, ``height``, ``n_cameras`` as
        ``gsplat.strategy`` reads them, and with ``extra_signals`` ``render_extra_signals [C, H, W, E]``. Radii are
        ``[..., 2]``, or ``[...]`` where gsplat older than 1.5 is installed.

    Raises:
        InputError: sizes or types that do not fit, NaN or infinite values, an argument that the host or the installed
            gsplat does not support; CUDA tensors without gsplat.

    Example:
        Fit the colours of two Gaussians to a picture:

        >>> import torch
        >>> means, quats = torch.tensor([[-0.2, 0.0, 2.0], [0.2, 0.0, 2.0]]), torch.tensor([[1.0, 0, 0, 0]] * 2)
        >>> scales, opacities = torch.full((2, 3), 0.1), torch.tensor([0.9, 0.9])
        >>> K = torch.tensor([[[30.0, 0, 16], [0, 30, 12], [0, 0, 1]]])
        >>> colors = torch.full((2, 3), 0.5, requires_grad=True)
        >>> target = torch.zeros(1, 24, 32, 3)
        >>> target[:, :, :16, 0] = target[:, :, 16:, 2] = 1.0
        >>> optimizer = torch.optim.Adam([colors], lr=0.1)
        >>> for _ in range(50):
        ...     image, alpha, _ = rasterization(means, quats, scales, opacities, colors, torch.eye(4)[None], K, 32, 24)
        ...     loss = (image - target * alpha).square().sum()
        ...     optimizer.zero_grad()
        ...     loss.backward()
        ...     optimizer.step()
        >>> colors.argmax(1).tolist()
        [0, 2]
    """
    if render_mode not in get_args(RenderMode):
        raise InputError("render_mode", repr(render_mode), " or ".join(map(repr, get_args(RenderMode))),
                         "Pass one of these.")  # fmt: skip
    blending = Blending(near_plane, far_plane, radius_clip, eps2d, rasterize_mode, alpha_max)
    others = {"tile_size": tile_size, "sparse_grad": sparse_grad, "channel_chunk": channel_chunk, **others}
    job = RasterJob(
        means, quats, scales, opacities, colors, viewmats, Ks, width, height, blending, sh_degree, packed, backgrounds,
        render_mode, absgrad, extra_signals, others,
    )  # fmt: skip
    return backend_of(means.device).rasterize(job)
