# SPDX-License-Identifier: Apache-2.0
"""The one door to gsplat: which versions, what each means, and what they lack.

Read for this: gsplat 1.4.0 and 1.5.3 as released, and its main branch of August 2026, which is to be 1.6 (pull requests
889 for ``extra_signals`` and 1048 for ``spherical_harmonics`` by view matrices; ``gsplat/cuda/_constants.py``). That
branch still calls itself 1.5.3, so what differs there is asked of signatures and constants, not of the version.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import math
import re
from importlib import metadata
from typing import Any

import torch
from torch import Tensor

from panoptic_gs.backends.backend import RasterJob
from panoptic_gs.backends.blending import Blending
from panoptic_gs.camera import Camera
from panoptic_gs.errors import InputError
from panoptic_gs.kernels.cuda import TILE_SIZE, TileLists
from panoptic_gs.splats import Splats

OLDEST, BELOW = (1, 4), (1, 7)
TRIED = "a version from 1.4 to 1.6"
"""Versions that were read and tried; ``pyproject.toml`` has the same bounds."""

INSTALL = "Run `pip install 'gsplat>=1.4,<1.7'`, or pass CPU tensors."

ALPHA_MAX_BEFORE_1_6 = 0.999
"""The clamp that gsplat's kernels hold as a literal until 1.5; later ones name it ``MAX_ALPHA``."""

_USED = {
    "rasterization": {
        "means", "quats", "scales", "opacities", "colors", "viewmats", "Ks", "width", "height", "near_plane",
        "far_plane", "radius_clip", "eps2d", "sh_degree", "packed", "backgrounds", "render_mode", "absgrad",
        "rasterize_mode",
    },
    "fully_fused_projection": {
        "means", "covars", "quats", "scales", "viewmats", "Ks", "width", "height", "eps2d", "near_plane", "far_plane",
        "radius_clip", "packed", "calc_compensations",
    },
    "isect_tiles": {"means2d", "radii", "depths", "tile_size", "tile_width", "tile_height", "packed"},
    "isect_offset_encode": {"isect_ids", "tile_width", "tile_height"},
    "spherical_harmonics": {"coeffs"},
}  # fmt: skip
"""The functions that are called, and the parameters that they must have."""

_DEFAULTS = {"tile_size": 16, "sparse_grad": False, "channel_chunk": 32, "extra_signals_sh_degree": None}
"""Arguments that some versions lack, with the values that mean the same as leaving them out."""


def radii_per_axis() -> bool:
    """Whether the installed gsplat's strategies expect ``radii [..., 2]``, as from 1.5 on; so too where there is none.

    Imports nothing.
    """
    version = _installed_version()
    return version is None or version >= (1, 5)


@functools.cache
def _installed_version() -> tuple[int, int] | None:
    try:
        return _parsed(metadata.version("gsplat"))
    except metadata.PackageNotFoundError:
        return None


def _parsed(version: str) -> tuple[int, int]:
    match = re.match(r"(\d+)\.(\d+)", version)
    return (int(match[1]), int(match[2])) if match else (0, 0)


@functools.cache
def load() -> Gsplat:
    """The installed gsplat, checked.

    Raises:
        InputError: there is none, it is of a version that nobody tried, or it lacks what is called.
    """
    try:
        module = importlib.import_module("gsplat")
    except ImportError as error:
        raise InputError("gsplat", "no gsplat installed", "gsplat 1.4, 1.5 or 1.6 for CUDA tensors",
                         "Run `pip install 'panoptic-gs[cuda]'`, or pass CPU tensors.") from error  # fmt: skip
    return Gsplat(module)


class Gsplat:
    """gsplat as this package calls it, whatever its version.

    Args:
        module: ``gsplat``, or what stands in for it.

    Raises:
        InputError: a version that nobody tried, or functions without the parameters that are passed.
    """

    def __init__(self, module: Any) -> None:
        self.module = module
        self.version = str(getattr(module, "__version__", "of unknown version"))
        if not OLDEST <= _parsed(self.version) < BELOW:
            raise InputError("gsplat", f"gsplat {self.version}", TRIED, INSTALL)
        self._parameters = {name: _parameters(module, name) for name in _USED}
        for name, used in _USED.items():
            missing = sorted(used - self._parameters[name])
            if missing:
                found = f"gsplat {self.version}, whose {name} has no {', '.join(missing)}"
                raise InputError("gsplat", found, TRIED, INSTALL)

    def part(self, name: str) -> Any:
        """A module of the package, by its name in it.

        Raises:
            ImportError: it has none of this name.
        """
        return importlib.import_module(f"{self.module.__name__}.{name}")

    @functools.cached_property
    def alpha_max(self) -> float:
        """The most that one Gaussian covers of a pixel.

        Raises:
            InputError: it does not say.
        """
        try:
            return float(self.part("cuda._constants").MAX_ALPHA)
        except (ImportError, AttributeError):
            if _parsed(self.version) < (1, 6):
                return ALPHA_MAX_BEFORE_1_6
        raise InputError("gsplat", f"gsplat {self.version}, which does not name MAX_ALPHA", TRIED, INSTALL)

    @property
    def renders_extra_signals(self) -> bool:
        """Whether ``rasterization`` has ``extra_signals``."""
        return "extra_signals" in self._parameters["rasterization"]

    def rasterization(self, job: RasterJob) -> tuple[Tensor, Tensor, dict[str, Any]]:
        """What :func:`~panoptic_gs.rasterization` promises.

        Raises:
            InputError: an argument that this version lacks, or an ``alpha_max`` that is not its own.
        """
        blending = job.blending
        if blending.alpha_max is not None and not math.isclose(blending.alpha_max, self.alpha_max, rel_tol=1e-6):
            expected = f"{self.alpha_max}, as gsplat {self.version} has it"
            raise InputError("alpha_max", repr(blending.alpha_max), expected,
                             "Leave it out, or pass CPU tensors.")  # fmt: skip
        given = {
            "means": job.means, "quats": job.quats, "scales": job.scales, "opacities": job.opacities,
            "viewmats": job.viewmats, "Ks": job.Ks, "width": job.width, "height": job.height,
            "near_plane": blending.near_plane, "far_plane": blending.far_plane, "radius_clip": blending.radius_clip,
            "eps2d": blending.eps2d, "packed": job.packed, "absgrad": job.absgrad,
            "rasterize_mode": blending.rasterize_mode, **self._known(job.others),
        }  # fmt: skip
        colors, degree = job.colors, job.sh_degree
        native = self.renders_extra_signals
        if degree is not None and (colors.ndim == 4 if native else job.extra_signals is not None):
            # From 1.6 on coefficients are the same for all cameras; until then harmonics know no channels beside them.
            colors, degree = self.seen_colors(job.means, job.viewmats, colors, degree), None
        if job.extra_signals is None:
            return self.module.rasterization(
                colors=colors, sh_degree=degree, backgrounds=_behind(job, colors), render_mode=job.render_mode, **given
            )
        if native:
            return self.module.rasterization(
                colors=colors, sh_degree=degree, backgrounds=_behind(job, colors), render_mode=job.render_mode,
                extra_signals=job.extra_signals, **given,
            )  # fmt: skip
        return self._with_signals(job, colors, given)

    def _with_signals(self, job: RasterJob, colors: Tensor, given: dict[str, Any]) -> Any:
        """Extra signals as more colours, in the same pass."""
        signals, cameras = job.extra_signals, job.viewmats.shape[0]
        assert signals is not None
        if job.render_mode.startswith("RGB"):
            own, mode, backgrounds = colors.shape[-1], job.render_mode, _behind(job, colors)
            parts = [colors, signals]
            if any(part.ndim == 3 for part in parts):
                parts = [part if part.ndim == 3 else part.expand(cameras, -1, -1) for part in parts]
            colors = torch.cat(parts, dim=-1)
        else:
            own, mode, backgrounds, colors = 0, f"RGB+{job.render_mode}", None, signals
        image, alpha, meta = self.module.rasterization(
            colors=colors, sh_degree=None, backgrounds=backgrounds, render_mode=mode, **given
        )
        first, extra, depth = image.split([own, signals.shape[-1], image.shape[-1] - own - signals.shape[-1]], dim=-1)
        return torch.cat([first, depth], dim=-1), alpha, {**meta, "render_extra_signals": extra}

    def _known(self, others: Any) -> dict[str, Any]:
        known = self._parameters["rasterization"]
        for name, value in others.items():
            if name in known or (name in _DEFAULTS and value == _DEFAULTS[name]):
                continue
            if name in _DEFAULTS:
                raise InputError(name, repr(value), f"nothing: gsplat {self.version} has no such argument",
                                 "Leave it out, or install another version of gsplat.")  # fmt: skip
            raise TypeError(f"rasterization() of gsplat {self.version} got an unexpected keyword argument '{name}'")
        # What is as by default is left to gsplat: 1.6 chooses the size of tiles by the renderer.
        return {name: value for name, value in others.items() if name not in _DEFAULTS or value != _DEFAULTS[name]}

    def seen_colors(self, means: Tensor, viewmats: Tensor, coeffs: Tensor, degree: int) -> Tensor:  # [C, N, 3]
        """Spherical harmonics ``[(C,) N, K, 3]`` as ``rasterization`` evaluates them: plus 0.5, at least 0."""
        by_views = "viewmats" in self._parameters["spherical_harmonics"]
        centres = torch.linalg.inv(viewmats)[:, :3, 3]
        colors = []
        for c, centre in enumerate(centres):
            own = coeffs if coeffs.ndim == 3 else coeffs[c]
            if by_views:
                colors.append(self.module.spherical_harmonics(degree, means, viewmats[c : c + 1], own)[0])
            else:
                colors.append(self.module.spherical_harmonics(degree, means - centre, own))
        return torch.clamp_min(torch.stack(colors) + 0.5, 0.0)

    def tile_lists(self, splats: Splats, camera: Camera, blending: Blending) -> TileLists:
        """The splats projected into the camera and sorted by tile and depth, on their device.

        gsplat 1.5 has radii for each axis where 1.4 has one, and bounds a Gaussian by its opacity if it is told that,
        as its own ``rasterization`` does; ``isect_tiles`` and ``isect_offset_encode`` take these arguments in all.
        """
        device, opacities = splats.means.device, splats.opacities.detach()
        bounded = "opacities" in self._parameters["fully_fused_projection"]
        radii, means2d, depths, conics, compensations = self.module.fully_fused_projection(
            splats.means.detach(),
            None,
            splats.quats.detach(),
            splats.scales.detach(),
            camera.viewmat.to(device)[None],
            camera.K.to(device)[None],
            camera.width,
            camera.height,
            eps2d=blending.eps2d,
            near_plane=blending.near_plane,
            far_plane=blending.far_plane,
            radius_clip=blending.radius_clip,
            packed=False,
            calc_compensations=blending.antialiased,
            **({"opacities": opacities} if bounded else {}),
        )
        # Lists may be blended once more later (DeviceVotes), so they share no memory with what the caller may change.
        opacities = opacities.clone() if compensations is None else opacities * compensations[0]
        columns, rows = math.ceil(camera.width / TILE_SIZE), math.ceil(camera.height / TILE_SIZE)
        _, keys, flatten_ids = self.module.isect_tiles(means2d, radii, depths, TILE_SIZE, columns, rows, packed=False)
        offsets = self.module.isect_offset_encode(keys, 1, columns, rows)[0]
        return TileLists(
            camera.width,
            camera.height,
            offsets.int().contiguous(),
            flatten_ids.int().contiguous(),
            means2d[0].contiguous(),
            conics[0].contiguous(),
            opacities.contiguous(),
            self.alpha_max if blending.alpha_max is None else blending.alpha_max,
        )


def _parameters(module: Any, name: str) -> set[str]:
    function = getattr(module, name, None)
    return set() if function is None else set(inspect.signature(function).parameters)


def _behind(job: RasterJob, colors: Tensor) -> Tensor | None:
    """Backgrounds of colours and extra signals: none behind depth, 0 behind signals that are given none."""
    if job.backgrounds is None or not job.render_mode.startswith("RGB"):
        return None
    if job.extra_signals is None:
        return job.backgrounds
    channels = 3 if job.sh_degree is not None else colors.shape[-1]
    if job.backgrounds.shape[-1] == channels:
        return torch.nn.functional.pad(job.backgrounds, (0, job.extra_signals.shape[-1]))
    return job.backgrounds
