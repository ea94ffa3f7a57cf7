# SPDX-License-Identifier: Apache-2.0
"""Reading Gaussians from the PLY files that trainers and editors write, and saying what a file is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from panoptic_gs.errors import InputError
from panoptic_gs.ply import PlyHeader, point_colors, read_header, read_ply
from panoptic_gs.splats.compressed import PACKED, unpack
from panoptic_gs.splats.gaussians import MIP_COMMENT, RasterizeMode, Splats
from panoptic_gs.splats.harmonics import SH_C0

MOST_UNUSABLE = 0.05
"""A file with a larger share of NaN is of a training that diverged, and refused."""
_EXPECTED = "a PLY of 3D Gaussians with x y z, opacity, scale and rot"
_COUNTS_OF_REST = {0: 0, 9: 1, 24: 2, 45: 3, 72: 4}
_FLATNESS = 1e-3  # thickness of a 2D Gaussian read as a 3D one, in its smaller scale
_ANCHORS = ("neural anchors of Scaffold-GS or Octree-GS", "Export the Gaussians of a view, or train without anchors.")
_MOVING = ("Gaussians that move in time", "Export the Gaussians of one moment.")
_OTHER_KINDS = {"f_offset_0": _ANCHORS, "f_anchor_feat_0": _ANCHORS, "trbf_center": _MOVING, "motion_0": _MOVING}


@dataclass(frozen=True, eq=False)
class SplatFile:
    """Gaussians of a file and what is to be said of it.

    Args:
        splats: those that can be used, in the file's order.
        rows: ``[N]`` int64, the row of each in the file.
        notes: sentences for people: what was left out or read as something else.
        rasterize_mode: how they were trained, where the file says so.
        has_colors: whether the file has colours; else they are grey.
    """

    splats: Splats
    rows: Tensor
    notes: tuple[str, ...] = ()
    rasterize_mode: RasterizeMode | None = None
    has_colors: bool = True


def read_splats(path: Path | str, rows: Tensor | None = None, *, strict: bool = False) -> SplatFile:
    """Read a PLY of Gaussians, text or binary.

    Understood are the layout of Kerbl et al. 2023 (as gsplat, nerfstudio, Brush and others write it, with spherical
    harmonics of degree 0 to 4 or plain red, green, blue), ``filter_3D`` of Mip-Splatting and Gaussian Opacity Fields,
    2D Gaussians, and SuperSplat's compressed layout. Rows of zeros, and a few with NaN, are left out.

    Args:
        path: the file.
        rows: numbers ``[M]`` of the Gaussians to take; the others are not brought into memory. All by default.
        strict: refuse a file with Gaussians that have to be left out.

    Raises:
        InputError: no such file, no PLY, truncated, something else than Gaussians, many NaN, nothing that can be used.
    """
    header = read_header(path, _EXPECTED)
    elements = read_ply(path, _EXPECTED)
    if "vertex" not in elements:
        found = ", ".join(element.name for element in header.elements) or "nothing"
        raise InputError(path, f"a PLY of {found}", _EXPECTED, "Export Gaussians (ns-export gaussian-splat).")
    chosen = None if rows is None else rows.numpy()
    vertices = elements["vertex"].data
    names = vertices.dtype.names or ()
    notes: list[str] = []
    colors: np.ndarray | None = None
    if set(PACKED) & set(names):
        columns = unpack(path, elements, chosen)
        notes.append("SuperSplat's compressed layout: positions, rotations, scales and colours are quantised")
    else:
        taken = vertices if chosen is None else vertices[chosen]
        _require_gaussians(path, names, has_faces="face" in elements)
        columns = _float_columns(path, taken)
        if "f_dc_0" not in columns:
            colors = point_colors(path, taken)
    scales, opacities, more = _filtered(columns, *_scales(path, columns, notes))
    notes += more
    sh = _colors(path, columns, colors, notes)
    means = _stack(columns, *"xyz")
    quats = _stack(columns, *(f"rot_{i}" for i in range(4)))
    kept = _usable(
        path, columns, (means, quats, scales, opacities[:, None], sh.reshape(len(sh), 3 * sh.shape[1])), notes, strict
    )
    index = np.flatnonzero(kept)
    used = [torch.from_numpy(np.ascontiguousarray(v[index])) for v in (means, quats, scales, opacities, sh)]
    try:
        splats = Splats(*used)
    except InputError as error:
        raise error.inside(path) from error
    row = index if chosen is None else chosen[index]
    return SplatFile(
        splats,
        torch.from_numpy(np.asarray(row, dtype=np.int64)),
        tuple(notes),
        _mode_of(header),
        colors is not None or "f_dc_0" in columns,
    )


def rasterize_mode_of(path: Path | str) -> RasterizeMode | None:
    """How the Gaussians of a PLY were trained, where its header says so.

    Raises:
        InputError: no such file, no PLY.
    """
    return _mode_of(read_header(path, _EXPECTED))


def _mode_of(header: PlyHeader) -> RasterizeMode | None:
    mip = MIP_COMMENT.lower() in (comment.lower() for comment in header.comments)
    return "antialiased" if mip else None


def _require_gaussians(path: Path | str, names: tuple[str, ...], *, has_faces: bool) -> None:
    for name, (kind, mend) in _OTHER_KINDS.items():
        if name in names:
            raise InputError(path, kind, _EXPECTED, mend)
    needed = ("x", "y", "z", "opacity", "scale_0", *(f"rot_{i}" for i in range(4)))
    missing = [name for name in needed if name not in names]
    if not missing:
        return
    mend = "Export Gaussians (ns-export gaussian-splat), not a point cloud or a mesh."
    if not set(names) & {"opacity", "scale_0", "rot_0"}:
        kind = "a mesh" if has_faces else "a point cloud"
        raise InputError(path, f"{kind} ({' '.join(names)}): no property {', '.join(missing)}", _EXPECTED, mend)
    raise InputError(path, f"no property {', '.join(missing)}", _EXPECTED, mend)


def _float_columns(path: Path | str, vertices: np.ndarray) -> dict[str, np.ndarray]:
    """The properties that say something of a Gaussian, copied as float32, so that the file may go."""
    wanted = ("f_dc_", "f_rest_", "scale_", "rot_")
    columns = {}
    for name in vertices.dtype.names or ():
        if name not in ("x", "y", "z", "opacity", "filter_3D") and not name.startswith(wanted):
            continue
        if vertices.dtype[name].kind != "f":
            raise InputError(
                path,
                f"the property {name} as {'a list' if vertices.dtype[name].kind == 'O' else 'integers'}",
                "floating-point numbers",
                "Export the file again without quantisation.",
            )
        with np.errstate(over="ignore"):
            columns[name] = vertices[name].astype(np.float32)
    return columns


def _stack(columns: Mapping[str, np.ndarray], *names: str) -> np.ndarray:
    return np.stack([columns[name] for name in names], axis=-1)


def _numbered(path: Path | str, columns: Mapping[str, np.ndarray], prefix: str) -> int:
    """How many properties ``prefix0`` … there are, without a gap.

    Raises:
        InputError: one is missing or has another ending than its number.
    """
    found = [name for name in columns if name.startswith(prefix)]
    wrong = sorted(set(found) - {f"{prefix}{i}" for i in range(len(found))})
    if wrong:
        raise InputError(
            path,
            f"the property {wrong[0]} among {len(found)} {prefix.rstrip('_')} properties",
            f"{prefix}0 to {prefix}{len(found) - 1}",
            "Export the file again; its header may be damaged.",
        )
    return len(found)


def _scales(path: Path | str, columns: Mapping[str, np.ndarray], notes: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Linear scales ``[N, 3]`` and opacities ``[N]`` in 0 … 1; infinite logits are 0 and 1."""
    if _numbered(path, columns, "rot_") != 4:
        raise InputError(path, "more than four rot properties", "quaternions rot_0 to rot_3", "Export the file again.")
    count = _numbered(path, columns, "scale_")
    if count > 3:
        raise InputError(path, f"{count} scale properties", "scale_0 to scale_2", "Export the file again.")
    with np.errstate(over="ignore"):
        scales = np.exp(_stack(columns, *(f"scale_{i}" for i in range(count))))
    if count == 2:
        scales = np.concatenate([scales, _FLATNESS * scales.min(axis=1, keepdims=True)], axis=1)
        notes.append("2D Gaussians (scale_0 and scale_1 only): read as flat 3D ones")
    elif count == 1:
        scales = np.repeat(scales, 3, axis=1)
        notes.append("one scale a Gaussian: read as balls")
    return scales.astype(np.float32), torch.from_numpy(columns["opacity"]).sigmoid().numpy()


def _filtered(
    columns: Mapping[str, np.ndarray], scales: np.ndarray, opacities: np.ndarray
) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Scales and opacities after Mip-Splatting's 3D smoothing filter, where the file keeps it apart.

    .. math:: s' = \\sqrt{s^2 + f^2}, \\qquad α' = α \\sqrt{\\prod_k s_k^2 / \\prod_k s'^2_k}

    Source: Yu et al. 2024, "Mip-Splatting: Alias-free 3D Gaussian Splatting", Eq. 9.
    """
    if "filter_3D" not in columns:
        return scales, opacities, []
    widened = np.sqrt(scales.astype(np.float64) ** 2 + columns["filter_3D"].astype(np.float64)[:, None] ** 2)
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = np.where(widened > 0, scales / widened, 1.0).prod(axis=1)
    return (
        widened.astype(np.float32),
        (opacities * ratio).astype(np.float32),
        ["filter_3D of Mip-Splatting was applied to scales and opacities"],
    )


def _colors(
    path: Path | str, columns: Mapping[str, np.ndarray], plain: np.ndarray | None, notes: list[str]
) -> np.ndarray:
    """Spherical harmonics ``[N, K, 3]``."""
    count = len(columns["x"])
    if "f_dc_0" not in columns and plain is not None:
        notes.append("plain colours (red, green, blue), without spherical harmonics")
        return ((plain.astype(np.float32) / 255 - 0.5) / SH_C0)[:, None, :]
    channels = _numbered(path, columns, "f_dc_")
    rest = _numbered(path, columns, "f_rest_")
    if channels == 0 and rest == 0:
        notes.append("no colours: they are grey")
        return np.zeros((count, 1, 3), np.float32)
    if channels != 3 or rest not in _COUNTS_OF_REST:
        found = f"{channels} f_dc properties" if channels != 3 else f"{rest} f_rest properties"
        raise InputError(
            path, found, "f_dc_0 to f_dc_2, and f_rest of 0, 9, 24, 45 or 72 properties",
            "Export the file again; labels need no colours, so f_dc and f_rest may be left out altogether.",
        )  # fmt: skip
    sh = _stack(columns, "f_dc_0", "f_dc_1", "f_dc_2")[:, None, :]
    if rest:
        values = _stack(columns, *(f"f_rest_{i}" for i in range(rest))).reshape(count, 3, rest // 3)
        sh = np.concatenate([sh, values.transpose(0, 2, 1)[:, :15]], axis=1)
    if _COUNTS_OF_REST[rest] == 4:
        notes.append("spherical harmonics of degree 4: those above degree 3 were left out")
    return np.ascontiguousarray(sh)


def _usable(
    path: Path | str,
    columns: Mapping[str, np.ndarray],
    values: tuple[np.ndarray, ...],
    notes: list[str],
    strict: bool,
) -> np.ndarray:
    """Which rows ``[N]`` are Gaussians.

    Raises:
        InputError: none, too many that are not, or any that is not where the reading is strict.
    """
    means, quats, *_ = values
    count = len(means)
    blank = np.ones(count, dtype=bool)
    for name, column in columns.items():
        if not name.startswith("rot_") and name != "filter_3D":
            blank &= column == 0
    broken = ~np.all([np.isfinite(v).all(axis=1) for v in values], axis=0)
    broken |= ~(np.abs(quats).max(axis=1, initial=0) > 0)
    broken &= ~blank
    faults = [(int(blank.sum()), "filled with zeros"), (int(broken.sum()), "with NaN, infinity or without a rotation")]
    said = [f"{number:,} of {count:,} Gaussians {what}" for number, what in faults if number]
    kept = ~(blank | broken)
    if said and (strict or faults[1][0] > MOST_UNUSABLE * count or not kept.any()):
        raise InputError(
            path,
            " and ".join(said),
            "Gaussians that can be drawn" if strict else f"at most {MOST_UNUSABLE:.0%} that cannot be drawn",
            "Remove these Gaussians; diverged trainings leave NaN, buffers that were written whole leave zeros.",
        )
    notes += [f"dropped {sentence}" for sentence in said]
    return kept
