# SPDX-License-Identifier: Apache-2.0
"""``rasterization()``: the checks, and the way to the host kernels or to gsplat."""

from __future__ import annotations

import functools
from importlib import metadata
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from panoptic_gs import kernels
from panoptic_gs.errors import InputError
from panoptic_gs.rasterize import device
from panoptic_gs.rasterize.host import Harmonics, Paint, Project, ProjectionSettings, TakeRows, take_rows

RenderMode = Literal["RGB", "D", "ED", "RGB+D", "RGB+ED"]
MOST_HARMONICS = 3
"""Highest degree of spherical harmonics on the host."""


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
    rasterize_mode: Literal["classic", "antialiased"] = "classic",
    channel_chunk: int = 32,
    *,
    extra_colors: Tensor | None = None,  # [(C,) N, E]
    **others: Any,
) -> tuple[Tensor, Tensor, dict[str, Any]]:
    """Render 3D Gaussians into a batch of pinhole cameras, differentiably.

    The signature and the meaning are gsplat's. CPU tensors go through the kernels of this package, CUDA tensors through
    gsplat itself (1.4 or 1.5). With w_i = α_i Π_{j<i} (1 − α_j) over the Gaussians of a pixel in order of depth, the
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
        backgrounds: colour behind everything. Depth has none; extra channels get 0 unless it has D + E channels.
        render_mode: ``RGB``: colours; ``D``: Σ w z; ``ED``: Σ w z / Σ w; with ``+`` the depth is the last channel.
        sparse_grad: gsplat's sparse gradients (CUDA only).
        absgrad: after ``backward``, ``meta["means2d"].absgrad`` holds the sums of absolute values.
        rasterize_mode: ``antialiased`` scales opacities by √(det Σ / det(Σ + εI)).
        channel_chunk: for gsplat; the host renders any number of channels.
        extra_colors: E more channels a Gaussian that do not depend on the view, rendered in the same pass after the
            colours and before the depth. Not in gsplat.
        others: gsplat's other arguments; on the host, only with their defaults.

    Returns:
        ``render_colors [C, H, W, X]``, X = D + E (+ 1) channels; ``render_alphas [C, H, W, 1]``; ``meta``, a dict with
        ``means2d`` (``retain_grad`` it for its gradient), ``radii``, ``depths``, ``conics``, ``opacities``,
        ``gaussian_ids`` and ``camera_ids`` (``None`` unless packed), ``width``, ``height``, ``n_cameras`` as
        ``gsplat.strategy`` reads them. Radii are ``[..., 2]``, or ``[...]`` where gsplat older than 1.5 is installed.

    Raises:
        InputError: sizes or types that do not fit, NaN or infinite values, an argument that the host does not support;
            CUDA tensors without gsplat.
    """
    if means.device.type == "cuda":
        return device.rasterization(
            means, quats, scales, opacities, colors, viewmats, Ks, width, height, extra_colors=extra_colors,
            near_plane=near_plane, far_plane=far_plane, radius_clip=radius_clip, eps2d=eps2d, sh_degree=sh_degree,
            packed=packed, tile_size=tile_size, backgrounds=backgrounds, render_mode=render_mode,
            sparse_grad=sparse_grad, absgrad=absgrad, rasterize_mode=rasterize_mode, channel_chunk=channel_chunk,
            **others,
        )  # fmt: skip
    _refuse_unsupported(sparse_grad=sparse_grad, **others)
    _require_choice("render_mode", render_mode, ("RGB", "D", "ED", "RGB+D", "RGB+ED"))
    _require_choice("rasterize_mode", rasterize_mode, ("classic", "antialiased"))
    count, cameras = means.shape[0], viewmats.shape[0]
    _require_cameras(viewmats, Ks, cameras, width, height)
    _require_colors(colors, sh_degree, extra_colors, count, cameras)

    settings = ProjectionSettings(
        width, height, near_plane, far_plane, radius_clip, eps2d, rasterize_mode == "antialiased"
    )
    radii, means2d, depths, conics, compensations, views = Project.apply(
        means, quats, scales, opacities, viewmats, Ks, settings
    )
    rendered_opacities = opacities.expand(cameras, count)
    if compensations is not None:
        rendered_opacities = rendered_opacities * compensations
    sources = []
    if render_mode.startswith("RGB"):
        if sh_degree is not None:
            centres = torch.linalg.inv(viewmats)[:, :3, 3]
            colors = Harmonics.apply(sh_degree, means, centres, colors, radii)
        sources.append(colors)
        if extra_colors is not None:
            sources.append(extra_colors)
    if render_mode != "RGB":
        sources.append(depths[..., None])
    channels = sum(source.shape[-1] for source in sources)
    backgrounds = _widened(backgrounds, render_mode, cameras, channels, extra_colors)

    rows = camera_ids = gaussian_ids = None
    per_row = {"means2d": means2d, "depths": depths, "conics": conics, "opacities": rendered_opacities}
    seen_radii = radii
    if packed:
        camera_ids, gaussian_ids = _visible(views)
        rows = gaussian_ids if cameras == 1 else camera_ids * count + gaussian_ids
        per_row = {name: TakeRows.apply(values.flatten(0, 1), rows) for name, values in per_row.items()}
        seen_radii = take_rows(radii.flatten(0, 1), rows)
    inputs = (*per_row.values(), *sources) if backgrounds is None else (*per_row.values(), backgrounds, *sources)
    keep_state = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in inputs)
    image, alpha = Paint.apply(
        per_row["means2d"], per_row["conics"], per_row["opacities"], backgrounds, views, rows, absgrad, keep_state,
        *sources,
    )  # fmt: skip
    if render_mode in ("ED", "RGB+ED"):
        image = torch.cat([image[..., :-1], image[..., -1:] / alpha.clamp(min=1e-10)], dim=-1)
    meta = {
        **per_row,
        "radii": seen_radii if _radii_per_axis() else _greater(seen_radii),
        "batch_ids": None if gaussian_ids is None else torch.zeros_like(gaussian_ids),
        "camera_ids": camera_ids,
        "gaussian_ids": gaussian_ids,
        "width": width,
        "height": height,
        "n_cameras": cameras,
        "n_batches": 1,
        "tile_size": kernels.TILE_SIZE,
        "views": views,
    }
    return image, alpha, meta


def _visible(views: list[kernels.View]) -> tuple[Tensor, Tensor]:  # [nnz] each
    """Camera and index of every visible Gaussian, camera after camera."""
    ids = [torch.from_numpy(view.visible_ids) for view in views]
    camera_ids = [torch.full_like(of_camera, c) for c, of_camera in enumerate(ids)]
    empty = [torch.zeros(0, dtype=torch.int64)]
    return torch.cat(camera_ids or empty), torch.cat(ids or empty)


def _greater(radii: Tensor) -> Tensor:  # [..., 2] -> [...]
    """The greater of two radii, through numpy: torch would wake its threads (see :func:`kernels.num_threads`)."""
    values = radii.numpy()
    return torch.from_numpy(np.maximum(values[..., 0], values[..., 1]))


@functools.cache
def _radii_per_axis() -> bool:
    """Whether the installed gsplat's strategies expect ``radii [..., 2]``, as from 1.5 on."""
    try:
        major, minor = metadata.version("gsplat").split(".")[:2]
    except metadata.PackageNotFoundError:
        return True
    return (int(major), int("".join(filter(str.isdigit, minor)))) >= (1, 5)


_DEFAULTS = {
    "sparse_grad": False, "distributed": False, "camera_model": "pinhole", "segmented": False, "covars": None,
    "with_ut": False, "with_eval3d": False, "radial_coeffs": None, "tangential_coeffs": None,
    "thin_prism_coeffs": None, "ftheta_coeffs": None, "viewmats_rs": None,
}  # fmt: skip


def _refuse_unsupported(**arguments: Any) -> None:
    for name, value in arguments.items():
        if name == "rolling_shutter" and getattr(value, "name", value) in ("GLOBAL", None):
            continue
        if name not in _DEFAULTS and name != "rolling_shutter":
            raise TypeError(f"rasterization() got an unexpected keyword argument '{name}'")
        default = _DEFAULTS.get(name)
        if value is not default and value != default:
            raise InputError(name, repr(value), repr(default),
                             "The CPU kernels do not support it; render on a GPU, or leave it out.")  # fmt: skip


def _require_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise InputError(name, repr(value), " or ".join(map(repr, choices)), "Pass one of these.")


def _require_cameras(viewmats: Tensor, Ks: Tensor, cameras: int, width: int, height: int) -> None:
    kernels.checked("viewmats", viewmats, (cameras, 4, 4))
    kernels.checked("Ks", Ks, (cameras, 3, 3))
    for name, values in (("viewmats", viewmats), ("Ks", Ks)):
        if not torch.isfinite(values).all():
            raise InputError(name, "NaN or infinity", "finite numbers", "Leave out cameras without a valid pose.")
    if not ((Ks[:, 0, 0] > 0) & (Ks[:, 1, 1] > 0)).all():
        raise InputError("Ks", "a focal length of 0 or less", "positive focal lengths in pixels", "Check fx and fy.")
    for name, size in (("width", width), ("height", height)):
        if int(size) != size or not 1 <= size <= 65536:
            raise InputError(name, repr(size), "1 to 65536 pixels", "Pass the size of the images.")


def _require_colors(colors: Tensor, sh_degree: int | None, extra: Tensor | None, count: int, cameras: int) -> None:
    per_camera = colors.ndim == (3 if sh_degree is None else 4)
    leading = (cameras, count) if per_camera else (count,)
    if sh_degree is None:
        kernels.checked("colors", colors, (*leading, None))
        if colors.shape[-1] == 0:
            raise InputError("colors", "0 channels", "at least one", "Pass [N, D] with D ≥ 1.")
    else:
        kernels.checked("colors", colors, (*leading, None, 3))
        if not 0 <= sh_degree <= MOST_HARMONICS:
            raise InputError("sh_degree", str(sh_degree), f"0 … {MOST_HARMONICS}", "Use a lower degree.")
        if colors.shape[-2] < (sh_degree + 1) ** 2:
            raise InputError("colors", f"{colors.shape[-2]} spherical harmonics",
                             f"at least {(sh_degree + 1) ** 2} for degree {sh_degree}",
                             "Lower sh_degree or pass more coefficients.")  # fmt: skip
    if extra is not None:
        kernels.checked("extra_colors", extra, ((cameras, count) if extra.ndim == 3 else (count,)) + (None,))


def _widened(
    backgrounds: Tensor | None, render_mode: str, cameras: int, channels: int, extra: Tensor | None
) -> Tensor | None:
    """Backgrounds for all rendered channels: none behind depth, 0 behind extra channels that are not given."""
    if backgrounds is None or not render_mode.startswith("RGB"):
        return None
    depth = 0 if render_mode == "RGB" else 1
    extras = 0 if extra is None else extra.shape[-1]
    kernels.checked("backgrounds", backgrounds, (cameras, None))
    given = backgrounds.shape[-1]
    if given not in (channels - depth, channels - depth - extras):
        raise InputError("backgrounds", f"{given} channels", f"{channels - depth - extras}, as the colours"
                         + (f", or {channels - depth} with the extra colours" if extras else ""),
                         "Pass one number a channel.")  # fmt: skip
    return torch.nn.functional.pad(backgrounds, (0, channels - given)) if given < channels else backgrounds
