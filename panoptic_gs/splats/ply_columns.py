# SPDX-License-Identifier: Apache-2.0
"""Gaussians of a PLY, in the layout of Kerbl et al. 2023 and its kin, or SuperSplat's compressed one."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from panoptic_gs.errors import InputError
from panoptic_gs.ply import PlyHeader, point_colors, read_header, read_ply
from panoptic_gs.splats.columns import DECODED, PLAIN, SplatColumns, require_memory
from panoptic_gs.splats.compressed import PACKED, unpack
from panoptic_gs.splats.gaussians import MIP_COMMENT, RasterizeMode

EXPECTED = "a PLY of 3D Gaussians with x y z, opacity, scale and rot"
_ANCHORS = ("neural anchors of Scaffold-GS or Octree-GS", "Export the Gaussians of a view, or train without anchors.")
_MOVING = ("Gaussians that move in time", "Export the Gaussians of one moment.")
_OTHER_KINDS = {"f_offset_0": _ANCHORS, "f_anchor_feat_0": _ANCHORS, "trbf_center": _MOVING, "motion_0": _MOVING}


def read(path: Path | str, rows: np.ndarray | None = None) -> SplatColumns:
    """The Gaussians of a PLY, text or binary.

    Args:
        path: the file.
        rows: numbers ``[M]`` of those to take; the others are not brought into memory. All by default.

    Raises:
        InputError: no such file, no PLY, truncated, something else than Gaussians, more than the memory holds.
    """
    header = read_header(path, EXPECTED)
    elements = read_ply(path, EXPECTED)
    if "vertex" not in elements:
        found = ", ".join(element.name for element in header.elements) or "nothing"
        raise InputError(path, f"a PLY of {found}", EXPECTED, "Export Gaussians (ns-export gaussian-splat).")
    vertices = elements["vertex"].data
    names = vertices.dtype.names or ()
    packed = set(PACKED) & set(names)
    rest = 45 if "sh" in elements else sum(name.startswith("f_rest_") for name in names)
    require_memory(path, len(vertices if rows is None else rows), rest, DECODED if packed else PLAIN)
    if packed:
        note = "SuperSplat's compressed layout: positions, rotations, scales and colours are quantised"
        return SplatColumns(unpack(path, elements, rows), (note,), _mode_of(header))
    taken = vertices if rows is None else vertices[rows]
    _require_gaussians(path, names, has_faces="face" in elements)
    columns = _float_columns(path, taken)
    plain = None if "f_dc_0" in columns else point_colors(path, taken)
    return SplatColumns(columns, (), _mode_of(header), plain)


def rasterize_mode_of(path: Path | str) -> RasterizeMode | None:
    """How the Gaussians of a PLY were trained, where its header says so.

    Raises:
        InputError: no such file, no PLY.
    """
    return _mode_of(read_header(path, EXPECTED))


def _mode_of(header: PlyHeader) -> RasterizeMode | None:
    mip = MIP_COMMENT.lower() in (comment.lower() for comment in header.comments)
    return "antialiased" if mip else None


def _require_gaussians(path: Path | str, names: tuple[str, ...], *, has_faces: bool) -> None:
    for name, (kind, mend) in _OTHER_KINDS.items():
        if name in names:
            raise InputError(path, kind, EXPECTED, mend)
    needed = ("x", "y", "z", "opacity", "scale_0", *(f"rot_{i}" for i in range(4)))
    missing = [name for name in needed if name not in names]
    if not missing:
        return
    mend = "Export Gaussians (ns-export gaussian-splat), not a point cloud or a mesh."
    if not set(names) & {"opacity", "scale_0", "rot_0"}:
        kind = "a mesh" if has_faces else "a point cloud"
        raise InputError(path, f"{kind} ({' '.join(names)}): no property {', '.join(missing)}", EXPECTED, mend)
    raise InputError(path, f"no property {', '.join(missing)}", EXPECTED, mend)


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
