# SPDX-License-Identifier: Apache-2.0
"""gsplat 1.4.0, 1.5.3 and what is to be 1.6, by signature and meaning, in torch on the CPU.

1.4.0 and 1.5.3 as released; 1.6 as on gsplat's main branch of August 2026 (Apache-2.0; ``gsplat/rendering.py``,
``gsplat/cuda/_wrapper.py``, ``gsplat/cuda/_constants.py``, pull requests 889 and 1048). Parameters are those of the
originals up to the last that anybody here could pass, in their order; what the originals assert is asserted. Pictures
are those of the brute-force reference.
"""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import reference


def _render(means, quats, scales, opacities, colors, viewmats, Ks, width, height, **options):
    """Colours that are evaluated already, in float64."""
    tensors = (means, quats, scales, opacities, colors, viewmats, Ks)
    named = {name: value.double() if torch.is_tensor(value) else value for name, value in options.items()}
    image, alpha, _ = reference.rasterization(*(tensor.double() for tensor in tensors), width, height, **named)
    return image.float(), alpha.float()


def _harmonics(degree, directions, coeffs):
    """Without 0.5 and the clamp, which ``rasterization`` adds."""
    shifted = coeffs.clone()
    shifted[..., 0, :] += 1e3  # so that the reference's clamp at 0 does not act
    return reference.harmonics(degree, directions, shifted) - 0.5 - 1e3 * 0.28209479177387814


def _seen(degree, means, viewmats, colors):
    views = []
    for c, centre in enumerate(torch.linalg.inv(viewmats)[:, :3, 3]):
        own = colors if colors.ndim == 3 else colors[c]
        views.append(reference.harmonics(degree, means - centre, own))
    return torch.stack(views)


class Gsplat14(ModuleType):
    """1.4.0."""

    __version__ = "1.4.0"

    def __init__(self) -> None:
        super().__init__("gsplat")

    def rasterization(
        self, means, quats, scales, opacities, colors, viewmats, Ks, width, height, near_plane=0.01, far_plane=1e10,
        radius_clip=0.0, eps2d=0.3, sh_degree=None, packed=True, tile_size=16, backgrounds=None, render_mode="RGB",
        sparse_grad=False, absgrad=False, rasterize_mode="classic", channel_chunk=32, distributed=False,
        camera_model="pinhole", covars=None,
    ):  # fmt: skip
        count, cameras = len(means), len(viewmats)
        if sh_degree is not None:
            assert colors.shape[-1] == 3
            assert colors.shape[:-2] in ((count,), (cameras, count))
            colors = _seen(sh_degree, means, viewmats, colors)
        else:
            assert colors.shape[:-1] in ((count,), (cameras, count))
        if backgrounds is not None:
            assert backgrounds.shape == (cameras, colors.shape[-1])
        image, alpha = _render(
            means, quats, scales, opacities, colors, viewmats, Ks, width, height, near_plane=near_plane,
            far_plane=far_plane, radius_clip=radius_clip, eps2d=eps2d, backgrounds=backgrounds,
            render_mode=render_mode, rasterize_mode=rasterize_mode,
        )  # fmt: skip
        return image, alpha, {"n_cameras": cameras, "packed": packed, "absgrad": absgrad}

    def fully_fused_projection(
        self, means, covars, quats, scales, viewmats, Ks, width, height, eps2d=0.3, near_plane=0.01, far_plane=1e10,
        radius_clip=0.0, packed=False, sparse_grad=False, calc_compensations=False, camera_model="pinhole",
    ):  # fmt: skip
        raise NotImplementedError

    def isect_tiles(
        self, means2d, radii, depths, tile_size, tile_width, tile_height, sort=True, packed=False, n_cameras=None,
        camera_ids=None, gaussian_ids=None,
    ):  # fmt: skip
        raise NotImplementedError

    def isect_offset_encode(self, isect_ids, n_cameras, tile_width, tile_height):
        raise NotImplementedError

    def spherical_harmonics(self, degrees_to_use, dirs, coeffs, masks=None):
        assert dirs.shape[:-1] == coeffs.shape[:-2], (dirs.shape, coeffs.shape)
        assert coeffs.shape[-1] == 3
        return _harmonics(degrees_to_use, dirs, coeffs)


class Gsplat153(Gsplat14):
    """1.5.3: more arguments, none gone."""

    __version__ = "1.5.3"

    def rasterization(
        self, means, quats, scales, opacities, colors, viewmats, Ks, width, height, near_plane=0.01, far_plane=1e10,
        radius_clip=0.0, eps2d=0.3, sh_degree=None, packed=True, tile_size=16, backgrounds=None, render_mode="RGB",
        sparse_grad=False, absgrad=False, rasterize_mode="classic", channel_chunk=32, distributed=False,
        camera_model="pinhole", segmented=False, covars=None, with_ut=False, with_eval3d=False,
    ):  # fmt: skip
        return super().rasterization(
            means, quats, scales, opacities, colors, viewmats, Ks, width, height, near_plane, far_plane, radius_clip,
            eps2d, sh_degree, packed, tile_size, backgrounds, render_mode, sparse_grad, absgrad, rasterize_mode,
        )  # fmt: skip

    def fully_fused_projection(
        self, means, covars, quats, scales, viewmats, Ks, width, height, eps2d=0.3, near_plane=0.01, far_plane=1e10,
        radius_clip=0.0, packed=False, sparse_grad=False, calc_compensations=False, camera_model="pinhole",
        opacities=None,
    ):  # fmt: skip
        raise NotImplementedError

    def isect_tiles(
        self, means2d, radii, depths, tile_size, tile_width, tile_height, sort=True, segmented=False, packed=False,
        n_images=None, image_ids=None, gaussian_ids=None,
    ):  # fmt: skip
        raise NotImplementedError

    def isect_offset_encode(self, isect_ids, n_images, tile_width, tile_height):
        raise NotImplementedError


class Gsplat16(Gsplat153):
    """1.6: no ``channel_chunk``, extra signals, coefficients shared by all cameras, harmonics by view matrices."""

    __version__ = "1.6.0"

    def rasterization(
        self, means, quats, scales, opacities, colors, viewmats, Ks, width, height, near_plane=0.01, far_plane=1e10,
        radius_clip=0.0, eps2d=0.3, sh_degree=None, packed=True, tile_size=None, backgrounds=None, render_mode="RGB",
        sparse_grad=False, absgrad=False, rasterize_mode="classic", distributed=False, camera_model="pinhole",
        segmented=False, covars=None, with_ut=False, with_eval3d=False, macro_tile=False, return_normals=False,
        global_z_order=True, rays=None, radial_coeffs=None, tangential_coeffs=None, thin_prism_coeffs=None,
        ftheta_coeffs=None, lidar_coeffs=None, external_distortion_coeffs=None, rolling_shutter=None,
        viewmats_rs=None, ut_params=None, extra_signals=None, extra_signals_sh_degree=None, renderer_config=None,
    ):  # fmt: skip
        count, cameras = len(means), len(viewmats)
        assert extra_signals_sh_degree is None
        if sh_degree is not None:
            assert colors.ndim == 3
            assert len(colors) == count
            colors = _seen(sh_degree, means, viewmats, colors)
        has_color, depth = render_mode.startswith("RGB"), 0 if render_mode == "RGB" else 1
        extras = 0 if extra_signals is None else extra_signals.shape[-1]
        channels = colors.shape[-1] if has_color else 0
        if backgrounds is not None:
            assert backgrounds.shape == (cameras, channels + extras)
        if extra_signals is not None:
            parts = [colors, extra_signals] if has_color else [extra_signals]
            parts = [part if part.ndim == 3 else part.expand(cameras, -1, -1) for part in parts]
            colors = torch.cat(parts, dim=-1)
            render_mode = render_mode if has_color else f"RGB+{render_mode}"
        image, alpha = _render(
            means, quats, scales, opacities, colors, viewmats, Ks, width, height, near_plane=near_plane,
            far_plane=far_plane, radius_clip=radius_clip, eps2d=eps2d, backgrounds=backgrounds,
            render_mode=render_mode, rasterize_mode=rasterize_mode,
        )  # fmt: skip
        meta = {"n_cameras": cameras, "packed": packed, "absgrad": absgrad}
        if extra_signals is not None:
            own, meta["render_extra_signals"], last = image.split([channels, extras, depth], dim=-1)
            image = torch.cat([own, last], dim=-1)
        return image, alpha, meta

    def isect_tiles(
        self, means2d, radii, depths, tile_size, tile_width, tile_height, sort=True, segmented=False, packed=False,
        n_images=None, image_ids=None, gaussian_ids=None, conics=None, opacities=None,
    ):  # fmt: skip
        raise NotImplementedError

    def spherical_harmonics(self, degrees_to_use, means, viewmats, coeffs, masks=None):
        assert viewmats.ndim == 3
        assert coeffs.ndim == 3
        assert len(coeffs) == len(means)
        centres = torch.linalg.inv(viewmats)[:, :3, 3]
        return torch.stack([_harmonics(degrees_to_use, means - centre, coeffs) for centre in centres])


class GsplatOnTheWay(Gsplat16):
    """The main branch between 1.5.3 and 1.6, which calls itself 1.5.3: harmonics by directions, coefficients shared."""

    __version__ = "1.5.3"

    def spherical_harmonics(self, degrees_to_use, dirs, coeffs, masks=None):
        assert coeffs.ndim == 3
        assert coeffs.shape[0] == dirs.shape[-2]
        return _harmonics(degrees_to_use, dirs, coeffs)


VERSIONS = (Gsplat14, Gsplat153, GsplatOnTheWay, Gsplat16)


def install(monkeypatch: pytest.MonkeyPatch, version: type[Gsplat14], max_alpha: float | None = None) -> ModuleType:
    """Put a version where ``import gsplat`` finds it, with ``gsplat.cuda._constants`` where ``max_alpha`` is given."""
    module, cuda = version(), ModuleType("gsplat.cuda")
    module.__path__, cuda.__path__ = [], []
    for name in [name for name in sys.modules if name.split(".")[0] == "gsplat"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "gsplat", module)
    monkeypatch.setitem(sys.modules, "gsplat.cuda", cuda)
    if max_alpha is not None:
        constants = ModuleType("gsplat.cuda._constants")
        constants.MAX_ALPHA = max_alpha
        monkeypatch.setitem(sys.modules, "gsplat.cuda._constants", constants)
    return module
