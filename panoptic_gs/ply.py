# SPDX-License-Identifier: Apache-2.0
"""PLY files: vertices of any kind, and coloured point clouds."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from plyfile import PlyData, PlyElement, PlyParseError

from panoptic_gs.errors import InputError
from panoptic_gs.replacing import replacing

Points = tuple[np.ndarray, np.ndarray]
"""Positions ``[P, 3]`` float32 in the world and colours ``[P, 3]`` uint8."""


def read_vertices(path: Path | str, expected: str, rows: np.ndarray | None = None) -> np.ndarray:
    """The vertices of a PLY as a structured array; all, or those with the numbers ``rows [M]``.

    Raises:
        InputError: no such file, no PLY, truncated, no vertices.
    """
    mend = "Copy or export the file again; it may be truncated or of another kind."
    try:
        # Mapped into memory, since plyfile reads unmapped files value by value; copied, so that the file may go.
        vertices = PlyData.read(str(path))["vertex"].data
        return np.array(vertices if rows is None else vertices[rows])
    except FileNotFoundError as error:
        raise InputError(path, "no such file", expected, "Check the path.") from error
    except (PlyParseError, KeyError, ValueError, OSError, UnicodeDecodeError) as error:
        raise InputError(path, f"a file that cannot be read as PLY ({error})", expected, mend) from error


def read_points(path: Path) -> Points:
    """Read seed points from a PLY with x, y, z and, where there are any, red, green, blue (grey where not)."""
    vertices = read_vertices(path, "a PLY of seed points")
    names = vertices.dtype.names or ()
    if len(vertices) == 0 or not all(name in names for name in "xyz"):
        raise InputError(path, "no points", "a PLY of seed points with x, y, z", "Export the sparse point cloud again.")
    positions = np.stack([vertices[name] for name in "xyz"], axis=-1).astype(np.float32)
    if not np.isfinite(positions).all():
        raise InputError(path, "NaN or infinite points", "finite positions", "Remove these points.")
    if "red" in names:
        return positions, np.stack([vertices[name] for name in ("red", "green", "blue")], axis=-1).astype(np.uint8)
    return positions, np.full((len(positions), 3), 128, dtype=np.uint8)


def write_points(path: Path, points: Points, extra: Mapping[str, np.ndarray] | None = None) -> None:
    """Write a coloured point cloud as PLY; ``extra`` are more properties, name → ``[P]``, after the colours."""
    positions, colors = points
    fields = dict(zip("xyz", positions.astype(np.float32).T))
    fields |= dict(zip(("red", "green", "blue"), colors.astype(np.uint8).T))
    fields |= extra or {}
    vertices = np.empty(len(positions), dtype=[(name, values.dtype) for name, values in fields.items()])
    for name, values in fields.items():
        vertices[name] = values
    with replacing(path) as temporary:
        PlyData([PlyElement.describe(vertices, "vertex")]).write(str(temporary))
