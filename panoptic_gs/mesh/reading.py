# SPDX-License-Identifier: Apache-2.0
"""Reading back what ``panoptic-gs mesh`` wrote."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from panoptic_gs.errors import InputError
from panoptic_gs.files import read_json
from panoptic_gs.mesh.surface import LabelledMesh
from panoptic_gs.ply import point_colors, read_header, read_ply

_EXPECTED = "mesh.ply and mesh.json as 'panoptic-gs mesh' writes them"
_MEND = "Make it again with 'panoptic-gs mesh'."
_NAMES = ("x", "y", "z", "red", "green", "blue", "segment_id", "confidence", "weight")
_FACES = "vertex_indices"
_LARGEST_ID = (1 << 24) - 1


def read_mesh(folder: Path) -> LabelledMesh:
    """The whole surface of a panoptic mesh, in units of the scene that it was made of.

    Args:
        folder: with ``mesh.ply`` and ``mesh.json``.

    Raises:
        InputError: not such a folder, truncated, NaN, faces of vertices that are not there.
    """
    info = read_json(folder / "mesh.json")
    unit = info.get("info", {}).get("meters_per_world_unit") if isinstance(info, dict) else None
    if isinstance(unit, bool) or not isinstance(unit, int | float) or not (unit > 0 and math.isfinite(unit)):
        raise InputError(folder / "mesh.json", f"a unit of {unit!r} metres", "info.meters_per_world_unit", _MEND)
    file = folder / "mesh.ply"
    header = read_header(file, _EXPECTED).element("face")
    if header is None or _FACES not in header.properties:
        raise InputError(file, f"no faces with {_FACES}", _EXPECTED, _MEND)
    elements = read_ply(file, _EXPECTED, {"face": {_FACES: 3}})
    if "vertex" not in elements:
        raise InputError(file, "no vertices", _EXPECTED, _MEND)
    vertices, faces = elements["vertex"].data, np.array(elements["face"].data[_FACES], dtype=np.int64).reshape(-1, 3)
    names = vertices.dtype.names or ()
    missing = [name for name in _NAMES if name not in names or vertices.dtype[name].kind == "O"]
    if missing:
        raise InputError(file, f"vertices without {', '.join(missing)}", _EXPECTED, _MEND)
    points = np.stack([vertices[name].astype(np.float64) for name in "xyz"], axis=-1) / unit
    floats = [vertices[name].astype(np.float32) for name in ("confidence", "weight")]
    if not (np.isfinite(points).all() and all(np.isfinite(values).all() for values in floats)):
        raise InputError(file, "NaN or infinite values", "finite ones", _MEND)
    segment = vertices["segment_id"].astype(np.int64)
    if len(segment) and not (segment.min() >= 0 and segment.max() <= _LARGEST_ID):
        raise InputError(file, "segment ids out of range", f"0 to {_LARGEST_ID}", _MEND)
    if len(faces) and not (faces.min() >= 0 and faces.max() < len(points)):
        raise InputError(file, "faces of vertices that are not there", f"0 to {len(points) - 1}", _MEND)
    color = point_colors(file, vertices)
    assert color is not None  # red, green and blue are there
    return LabelledMesh(points, faces.astype(np.int32), color, segment.astype(np.int32), *floats)
