# SPDX-License-Identifier: Apache-2.0
"""The host kernels as autograd functions: projection, spherical harmonics, painting."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from panoptic_gs import kernels


@dataclass(frozen=True)
class ProjectionSettings:
    """How Gaussians reach the image plane; names and meaning are gsplat's."""

    width: int
    height: int
    near_plane: float
    far_plane: float
    radius_clip: float
    eps2d: float
    antialiased: bool
    alpha_max: float


class Project(torch.autograd.Function):
    """Gaussians ``[N]`` and cameras ``[C]`` to ``radii, means2d, depths, conics, compensations`` ``[C, N, ...]``."""

    @staticmethod
    def forward(
        ctx: Any,
        means: Tensor,
        quats: Tensor,
        scales: Tensor,
        opacities: Tensor,
        viewmats: Tensor,
        Ks: Tensor,
        settings: ProjectionSettings,
    ) -> tuple[Any, ...]:
        cameras = [
            kernels.project(
                means, quats, scales, opacities, viewmat, K, settings.width, settings.height,
                near_plane=settings.near_plane, far_plane=settings.far_plane, radius_clip=settings.radius_clip,
                eps2d=settings.eps2d, antialiased=settings.antialiased, alpha_max=settings.alpha_max,
            )
            for viewmat, K in zip(viewmats, Ks)
        ]  # fmt: skip
        radii, means2d, depths, conics = (
            _stack([getattr(camera, field) for camera in cameras]) for field in ("radii", "means2d", "depths", "conics")
        )
        compensations = (
            _stack([camera.compensations for camera in cameras if camera.compensations is not None])
            if settings.antialiased
            else None
        )
        ctx.settings = settings
        ctx.set_materialize_grads(False)
        ctx.mark_non_differentiable(radii)
        ctx.save_for_backward(means, quats, scales, opacities, viewmats, Ks, radii)
        return radii, means2d, depths, conics, compensations, [camera.view for camera in cameras]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Any) -> tuple[Tensor | None, ...]:
        _, v_means2d, v_depths, v_conics, v_compensations, _ = grads
        means, quats, scales, opacities, viewmats, Ks, radii = ctx.saved_tensors
        cameras, count = radii.shape[:2]
        if v_means2d is None:
            v_means2d = torch.zeros(cameras, count, 2)
        if v_conics is None:
            v_conics = torch.zeros(cameras, count, 3)
        out = (torch.empty(count, 3), torch.empty(count, 4), torch.empty(count, 3))
        v_viewmats = torch.zeros(cameras, 4, 4) if ctx.needs_input_grad[4] else None
        for c in range(cameras):
            v_pose = None if v_viewmats is None else torch.zeros(3, 4)
            kernels.project_gradient(
                means, quats, scales, opacities, viewmats[c], Ks[c], ctx.settings.width, ctx.settings.height,
                eps2d=ctx.settings.eps2d, radii=radii[c], v_means2d=v_means2d[c],
                v_depths=None if v_depths is None else v_depths[c], v_conics=v_conics[c],
                v_compensations=None if v_compensations is None else v_compensations[c],
                out=out, v_viewmat=v_pose, accumulate=c > 0,
            )  # fmt: skip
            if v_viewmats is not None and v_pose is not None:
                v_viewmats[c, :3] = v_pose
        if cameras == 0:
            out = tuple(torch.zeros_like(tensor) for tensor in (means, quats, scales))
        return *out, None, v_viewmats, None, None


class Harmonics(torch.autograd.Function):
    """View-dependent colours ``[C, N, 3]`` from coefficients ``[N, K, 3]`` or ``[C, N, K, 3]``."""

    @staticmethod
    def forward(ctx: Any, degree: int, means: Tensor, centres: Tensor, coeffs: Tensor, radii: Tensor) -> Tensor:
        colors = _stack(
            [
                kernels.harmonics(degree, means, centre, coeffs if coeffs.ndim == 3 else coeffs[c], radii[c])
                for c, centre in enumerate(centres)
            ]
        )
        ctx.degree = degree
        ctx.save_for_backward(means, centres, coeffs, radii, colors)
        return colors

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Any) -> tuple[Tensor | None, ...]:
        means, centres, coeffs, radii, colors = ctx.saved_tensors
        (v_colors,) = grads
        v_means, v_coeffs = torch.empty(means.shape), torch.empty(coeffs.shape)
        v_centres = torch.zeros(centres.shape)
        shared = coeffs.ndim == 3
        for c, centre in enumerate(centres):
            kernels.harmonics_gradient(
                ctx.degree, means, centre, coeffs if shared else coeffs[c], radii[c], colors[c], v_colors[c],
                v_coeffs=v_coeffs if shared else v_coeffs[c], accumulate_coeffs=shared and c > 0,
                v_means=v_means, accumulate=c > 0, v_centre=v_centres[c],
            )  # fmt: skip
        return None, v_means, v_centres, v_coeffs, None


class Paint(torch.autograd.Function):
    """Images ``[C, H, W, D_i]``, D channels between them, and alpha ``[C, H, W, 1]``, from what was projected.

    The values come from ``views``; ``means2d``, ``conics`` and ``opacities`` are here for their gradients. They are
    ``[C, N, ...]``, or ``[nnz, ...]`` with ``packed``, the index of each row in the flattened ``[C * N]``.
    """

    @staticmethod
    def forward(
        ctx: Any,
        means2d: Tensor,
        conics: Tensor,
        opacities: Tensor,
        backgrounds: Tensor | None,
        views: list[kernels.View],
        packed: Tensor | None,
        absgrad: bool,
        keep_state: bool,
        widths: Sequence[int],  # D_i of the images
        *sources: Tensor,  # each [N, D_s] or [C, N, D_s]
    ) -> tuple[Tensor, ...]:
        painted = [
            kernels.paint(
                view, _of_camera(sources, c), None if backgrounds is None else backgrounds[c], keep_state=keep_state
            )
            for c, view in enumerate(views)
        ]
        image, alpha = _stack([p[0] for p in painted]), _stack([p[1] for p in painted])[..., None]
        ctx.views, ctx.states = views, [p[2] for p in painted]
        ctx.absgrad = absgrad
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(means2d, backgrounds, packed, alpha, *sources)
        ctx.widths = widths
        return (image, alpha) if len(widths) == 1 else (*image.split(widths, -1), alpha)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Any) -> tuple[Tensor | None, ...]:
        *v_images, v_alpha = grads
        means2d, backgrounds, packed, alpha, *sources = ctx.saved_tensors
        v_sources = [torch.empty(source.shape) for source in sources]
        gradients = [
            kernels.paint_gradient(
                view, ctx.states[c], _of_camera(sources, c), None if backgrounds is None else backgrounds[c],
                [(None if v_image is None else v_image[c], width) for v_image, width in zip(v_images, ctx.widths)],
                None if v_alpha is None else v_alpha[c, ..., 0], absgrad=ctx.absgrad,
                v_colors=_of_camera(v_sources, c),
                accumulate=[source.ndim == 2 and c > 0 for source in sources],
            )
            for c, view in enumerate(ctx.views)
        ]  # fmt: skip

        def gather(field: str) -> Tensor:
            dense = _stack([getattr(gradient, field) for gradient in gradients])
            return dense if packed is None else take_rows(dense.flatten(0, 1), packed)

        if ctx.absgrad:
            means2d.absgrad = gather("means2d_abs")  # type: ignore[attr-defined]
        v_backgrounds = None
        if backgrounds is not None and ctx.needs_input_grad[3]:
            v_backgrounds = torch.cat(
                [
                    alpha.new_zeros(len(alpha), width) if v_image is None else ((1.0 - alpha) * v_image).sum((1, 2))
                    for v_image, width in zip(v_images, ctx.widths)
                ],
                dim=-1,
            )
        return (
            gather("means2d"), gather("conics"), gather("opacities"), v_backgrounds, *(None,) * 5, *v_sources,
        )  # fmt: skip


def take_rows(values: Tensor, rows: Tensor) -> Tensor:
    """``values[rows]`` through numpy: torch would wake its threads (see :func:`kernels.num_threads`)."""
    return torch.from_numpy(values.detach().numpy().take(rows.numpy(), axis=0))


class TakeRows(torch.autograd.Function):
    """Distinct rows of a tensor."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, rows: Tensor) -> Tensor:
        ctx.shape, ctx.rows = values.shape, rows
        return take_rows(values, rows)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Any) -> tuple[Tensor, None]:
        dense = np.zeros(ctx.shape, dtype=np.float32)
        dense[ctx.rows.numpy()] = grads[0].numpy()
        return torch.from_numpy(dense), None


def _of_camera(sources: Any, c: int) -> list[Tensor]:
    return [source if source.ndim == 2 else source[c] for source in sources]


def _stack(tensors: list[Tensor]) -> Tensor:
    """``torch.stack`` without the copy for one camera."""
    return tensors[0][None] if len(tensors) == 1 else torch.stack(tensors)
