# SPDX-License-Identifier: Apache-2.0
"""Rasterization of CPU tensors by the host kernels: the checks of arguments, one pass, gsplat's ``meta``."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from panoptic_gs import kernels
from panoptic_gs.backends import gsplat
from panoptic_gs.backends.backend import RasterJob
from panoptic_gs.backends.blending import Blending
from panoptic_gs.backends.host_autograd import (
    Harmonics,
    Paint,
    Project,
    ProjectionSettings,
    TakeRows,
    take_rows,
)
from panoptic_gs.errors import InputError

MOST_HARMONICS = 3
"""Highest degree of spherical harmonics on the host."""


def rasterize(job: RasterJob) -> tuple[Tensor, Tensor, dict[str, Any]]:
    """See :func:`~panoptic_gs.rasterization`."""
    _refuse_unsupported(**job.others)
    count, cameras = job.means.shape[0], job.viewmats.shape[0]
    _require_cameras(job.viewmats, job.Ks, cameras, job.width, job.height)
    _require_colors(job, count, cameras)

    radii, means2d, depths, conics, compensations, views = Project.apply(
        job.means,
        job.quats,
        job.scales,
        job.opacities,
        job.viewmats,
        job.Ks,
        ProjectionSettings(job.width, job.height, **projected_as(job.blending)),
    )
    opacities = job.opacities.expand(cameras, count)
    if compensations is not None:
        opacities = opacities * compensations
    sources, colors, depth = [], 0, 0
    if job.render_mode.startswith("RGB"):
        seen = job.colors
        if job.sh_degree is not None:
            centres = torch.linalg.inv(job.viewmats)[:, :3, 3]
            seen = Harmonics.apply(job.sh_degree, job.means, centres, job.colors, radii)
        sources.append(seen)
        colors = seen.shape[-1]
    if job.render_mode != "RGB":
        sources.append(depths[..., None])
        depth = 1
    if job.extra_signals is not None:
        sources.append(job.extra_signals)
    backgrounds = _widened(job, cameras, colors, depth)

    rows = camera_ids = gaussian_ids = None
    per_row = {"means2d": means2d, "depths": depths, "conics": conics, "opacities": opacities}
    seen_radii = radii
    if job.packed:
        camera_ids, gaussian_ids = _visible(views)
        rows = gaussian_ids if cameras == 1 else camera_ids * count + gaussian_ids
        per_row = {name: TakeRows.apply(values.flatten(0, 1), rows) for name, values in per_row.items()}
        seen_radii = take_rows(radii.flatten(0, 1), rows)
    inputs = (*per_row.values(), *sources) if backgrounds is None else (*per_row.values(), backgrounds, *sources)
    keep_state = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in inputs)
    widths = [colors + depth] + ([] if job.extra_signals is None else [job.extra_signals.shape[-1]])
    image, *extra, alpha = Paint.apply(
        per_row["means2d"], per_row["conics"], per_row["opacities"], backgrounds, views, rows, job.absgrad, keep_state,
        widths, *sources,
    )  # fmt: skip
    if job.render_mode in ("ED", "RGB+ED"):
        image = torch.cat([image[..., :-1], image[..., -1:] / alpha.clamp(min=1e-10)], dim=-1)
    meta = {
        **per_row,
        "radii": seen_radii if gsplat.radii_per_axis() else _greater(seen_radii),
        "batch_ids": None if gaussian_ids is None else torch.zeros_like(gaussian_ids),
        "camera_ids": camera_ids,
        "gaussian_ids": gaussian_ids,
        "width": job.width,
        "height": job.height,
        "n_cameras": cameras,
        "n_batches": 1,
        "tile_size": kernels.TILE_SIZE,
        "views": views,
    }
    if extra:
        meta["render_extra_signals"] = extra[0]
    return image, alpha, meta


def projected_as(blending: Blending) -> dict[str, Any]:
    """The keyword arguments of the kernels' projection."""
    return {
        "near_plane": blending.near_plane, "far_plane": blending.far_plane, "radius_clip": blending.radius_clip,
        "eps2d": blending.eps2d, "antialiased": blending.antialiased,
        "alpha_max": kernels.ALPHA_MAX if blending.alpha_max is None else blending.alpha_max,
    }  # fmt: skip


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


_DEFAULTS = {
    "sparse_grad": False, "extra_signals_sh_degree": None,
    "distributed": False, "camera_model": "pinhole", "segmented": False, "covars": None,
    "with_ut": False, "with_eval3d": False, "radial_coeffs": None, "tangential_coeffs": None,
    "thin_prism_coeffs": None, "ftheta_coeffs": None, "viewmats_rs": None,
}  # fmt: skip


_WITHOUT_EFFECT = ("tile_size", "channel_chunk")
"""How gsplat divides the work; no result depends on it, and the host divides it its own way."""


def _refuse_unsupported(**arguments: Any) -> None:
    for name, value in arguments.items():
        if name in _WITHOUT_EFFECT:
            continue
        if name == "rolling_shutter" and getattr(value, "name", value) in ("GLOBAL", None):
            continue
        if name not in _DEFAULTS and name != "rolling_shutter":
            raise TypeError(f"rasterization() got an unexpected keyword argument '{name}'")
        default = _DEFAULTS.get(name)
        if value is not default and value != default:
            raise InputError(name, repr(value), repr(default),
                             "The CPU kernels do not support it; render on a GPU, or leave it out.")  # fmt: skip


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


def _require_colors(job: RasterJob, count: int, cameras: int) -> None:
    colors, degree, extra = job.colors, job.sh_degree, job.extra_signals
    per_camera = colors.ndim == (3 if degree is None else 4)
    leading = (cameras, count) if per_camera else (count,)
    if degree is None:
        kernels.checked("colors", colors, (*leading, None))
        if colors.shape[-1] == 0:
            raise InputError("colors", "0 channels", "at least one", "Pass [N, D] with D ≥ 1.")
    else:
        kernels.checked("colors", colors, (*leading, None, 3))
        if not 0 <= degree <= MOST_HARMONICS:
            raise InputError("sh_degree", str(degree), f"0 … {MOST_HARMONICS}", "Use a lower degree.")
        if colors.shape[-2] < (degree + 1) ** 2:
            raise InputError("colors", f"{colors.shape[-2]} spherical harmonics",
                             f"at least {(degree + 1) ** 2} for degree {degree}",
                             "Lower sh_degree or pass more coefficients.")  # fmt: skip
    if extra is not None:
        kernels.checked("extra_signals", extra, ((cameras, count) if extra.ndim == 3 else (count,)) + (None,))


def _widened(job: RasterJob, cameras: int, colors: int, depth: int) -> Tensor | None:
    """Backgrounds for colours, depth and extra signals: none behind depth, 0 behind signals that are given none."""
    if job.backgrounds is None or colors == 0:
        return None
    kernels.checked("backgrounds", job.backgrounds, (cameras, None))
    given, extras = job.backgrounds.shape[-1], 0 if job.extra_signals is None else job.extra_signals.shape[-1]
    if given not in (colors, colors + extras):
        raise InputError("backgrounds", f"{given} channels", f"{colors}, as the colours"
                         + (f", or {colors + extras} with the extra signals" if extras else ""),
                         "Pass one number a channel.")  # fmt: skip
    if given == colors:
        return torch.nn.functional.pad(job.backgrounds, (0, depth + extras)) if depth + extras else job.backgrounds
    behind, signals = job.backgrounds.split([colors, extras], dim=-1)
    return torch.cat([behind, behind.new_zeros(cameras, depth), signals], dim=-1)
