# SPDX-License-Identifier: Apache-2.0
"""PLY files: the elements of any kind, checked against the file's size, and coloured point clouds."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from plyfile import PlyData, PlyElement, PlyParseError

from panoptic_gs.errors import InputError
from panoptic_gs.replacing import replacing

Points = tuple[np.ndarray, np.ndarray]
"""Positions ``[P, 3]`` float32 in the world and colours ``[P, 3]`` uint8."""

_LARGEST_HEADER = 1 << 20
_BLOCK = 1 << 18  # vertices that are written together
_SIZES = {
    "char": 1, "int8": 1, "uchar": 1, "uint8": 1, "short": 2, "int16": 2, "ushort": 2, "uint16": 2, "int": 4,
    "int32": 4, "uint": 4, "uint32": 4, "float": 4, "float32": 4, "double": 8, "float64": 8,
}  # fmt: skip
_MEND = "Copy or export the file again; it may be truncated or of another kind."


@dataclass(frozen=True)
class HeaderElement:
    """An element of a header: how many rows, the types of its properties by name (a list's is that of its length)."""

    name: str
    count: int
    properties: Mapping[str, str]

    def least_bytes(self, *, text: bool) -> int:
        """What a row takes at the least: lists may be empty, text has a digit and a separator for each value."""
        return sum(2 if text else _SIZES[kind] for kind in self.properties.values())


@dataclass(frozen=True)
class PlyHeader:
    """What a PLY says of itself, and where its data begins."""

    format: str
    elements: tuple[HeaderElement, ...]
    comments: tuple[str, ...]
    size: int

    def element(self, name: str) -> HeaderElement | None:
        """The element of this name."""
        return next((element for element in self.elements if element.name == name), None)


def read_header(path: Path | str, expected: str) -> PlyHeader:
    """Read a PLY's header, and hold its counts against the size of the file.

    Raises:
        InputError: no such file, no PLY, a malformed header, or fewer bytes than its counts need.
    """
    try:
        with open(path, "rb") as file:
            start = file.read(_LARGEST_HEADER)
        length = Path(path).stat().st_size
    except FileNotFoundError as error:
        raise InputError(path, "no such file", expected, "Check the path.") from error
    except (OSError, ValueError) as error:
        raise _unreadable(path, expected, error) from error
    end = re.search(rb"(?:\r\n|\n|\r)end_header[ \t]*(\r\n|\n|\r)", start)
    if not re.match(rb"ply[ \t]*[\r\n]", start) or end is None:
        raise _unreadable(path, expected, "no header from 'ply' to 'end_header'")
    lines = start[: end.start()].decode("latin-1").splitlines()
    try:
        header = _parse(lines[1:], end.end())
    except ValueError as error:
        raise _unreadable(path, expected, error) from error
    text = header.format == "ascii"
    needed = sum(element.count * element.least_bytes(text=text) for element in header.elements)
    if needed > length - header.size + 1:  # the last value of a text needs no separator
        counts = ", ".join(f"{element.count} of {element.name}" for element in header.elements)
        raise _unreadable(
            path, expected, f"it announces {counts}: {needed} bytes or more, {length - header.size} follow"
        )
    return header


def _parse(lines: list[str], size: int) -> PlyHeader:
    kind, comments = "", []
    elements: list[tuple[str, int, dict[str, str]]] = []
    for line in lines:
        words = line.split()
        if not words:
            continue
        if words[0] in ("comment", "obj_info"):
            comments.append(line.partition(" ")[2].strip())
        elif words[0] == "format" and len(words) == 3:
            kind = words[1]
        elif words[0] == "element" and len(words) == 3 and re.fullmatch(r"\d{1,15}", words[2], re.ASCII):
            elements.append((words[1], int(words[2]), {}))
        elif words[0] == "property" and elements and len(words) in (3, 5):
            is_list = len(words) == 5 and words[1] == "list"
            types = words[2:4] if is_list else words[1:2]
            if any(name not in _SIZES for name in types) or (len(words) == 5) != is_list:
                raise ValueError(f"the property '{line}'")
            name, properties = words[-1], elements[-1][2]
            if name in properties:
                raise ValueError(f"two properties {name}")
            properties[name] = types[0]
        else:
            raise ValueError(f"the line '{line[:80]}'")
    if kind not in ("ascii", "binary_little_endian", "binary_big_endian"):
        raise ValueError(f"the format '{kind}'")
    if any(count and not properties for _, count, properties in elements):
        raise ValueError("an element without properties")
    return PlyHeader(kind, tuple(HeaderElement(*element) for element in elements), tuple(comments), size)


def _unreadable(path: Path | str, expected: str, error: object) -> InputError:
    return InputError(path, f"a file that cannot be read as PLY ({error})", expected, _MEND)


def read_ply(path: Path | str, expected: str, lengths: Mapping[str, Mapping[str, int]] | None = None) -> PlyData:
    """All elements of a PLY, mapped into memory where they have no lists, or only such of known lengths.

    Args:
        path: the file.
        expected: what it should be, for people.
        lengths: element → list → how many values each of its rows has; lists of others are refused.

    Raises:
        InputError: no such file, no PLY, truncated, lists of other lengths.
    """
    read_header(path, expected)
    try:
        # Mapped into memory, since plyfile reads unmapped files value by value.
        return PlyData.read(str(path), known_list_len=dict(lengths or {}))
    except (PlyParseError, KeyError, ValueError, OSError, IndexError, TypeError, OverflowError) as error:
        raise _unreadable(path, expected, error) from error


def read_vertices(path: Path | str, expected: str, rows: np.ndarray | None = None) -> np.ndarray:
    """The vertices of a PLY as a structured array; all, or those with the numbers ``rows [M]``.

    Raises:
        InputError: no such file, no PLY, truncated, no vertices.
    """
    elements = read_ply(path, expected)
    if "vertex" not in elements:
        raise _unreadable(path, expected, "no element 'vertex'")
    vertices = elements["vertex"].data
    return np.array(vertices if rows is None else vertices[rows])  # copied, so that the file may go


def count_vertices(path: Path | str) -> int:
    """How many vertices a PLY has, without reading them.

    Raises:
        InputError: no such file, no PLY, truncated.
    """
    element = read_header(path, "a 3DGS PLY").element("vertex")
    if element is None:
        raise _unreadable(path, "a 3DGS PLY", "no element 'vertex'")
    return element.count


def read_points(path: Path) -> Points:
    """Read seed points from a PLY with x, y, z and, where there are any, red, green, blue (grey where not).

    Colours may be bytes, 16-bit integers, or numbers in 0 … 1.

    Raises:
        InputError: no PLY, no points, points or colours that are not finite, colours of one or two channels.
    """
    expected = "a PLY of seed points with x, y, z"
    vertices = read_vertices(path, expected)
    names = vertices.dtype.names or ()
    if len(vertices) == 0 or not all(name in names for name in "xyz"):
        raise InputError(path, "no points", expected, "Export the sparse point cloud again.")
    lists = [name for name in names if vertices.dtype[name].kind == "O"]
    if set(lists) & {"x", "y", "z", "red", "green", "blue"}:
        raise InputError(path, f"lists as {', '.join(lists)}", expected, "Export the sparse point cloud again.")
    with np.errstate(over="ignore"):
        positions = np.stack([vertices[name] for name in "xyz"], axis=-1).astype(np.float32)
    if not np.isfinite(positions).all():
        raise InputError(path, "NaN or infinite points", "finite positions", "Remove these points.")
    colors = point_colors(path, vertices)
    return positions, np.full((len(positions), 3), 128, dtype=np.uint8) if colors is None else colors


def point_colors(path: Path | str, vertices: np.ndarray) -> np.ndarray | None:
    """The colours ``[P, 3]`` uint8 of vertices: red, green, blue as bytes, as 16-bit integers, or as 0 … 1; or None.

    Raises:
        InputError: one or two of the three, values out of range, NaN.
    """
    channels = ("red", "green", "blue")
    names = vertices.dtype.names or ()
    missing = [name for name in channels if name not in names]
    if len(missing) == 3:
        return None
    mend = "Export the colours as uchar, or leave them out."
    if missing:
        present = [name for name in channels if name in names]
        raise InputError(path, f"{' and '.join(present)} without {' and '.join(missing)}", "all three colours", mend)
    values = np.stack([np.asarray(vertices[name], dtype=np.float64) for name in channels], axis=-1)
    kinds = {vertices.dtype[name].kind for name in channels}
    widest = max(vertices.dtype[name].itemsize for name in channels)
    if not np.isfinite(values).all() or (values.size and values.min() < 0):
        raise InputError(path, "negative colours, NaN or infinity", "colours from 0 to 255 or from 0 to 1", mend)
    highest = float(values.max()) if values.size else 0.0
    if kinds == {"f"}:  # as Open3D, MeshLab and PyTorch3D write them; some writers store 0 … 255 as floats
        scale = 255.0 if highest <= 1 else 1.0
        top = 255.0
    else:
        scale = 255 / 65535 if widest == 2 and highest > 255 else 1.0
        top = 65535.0 if scale != 1 else 255.0
    if highest > top:
        raise InputError(path, f"colours up to {highest:g}", "colours from 0 to 255 or from 0 to 1", mend)
    return (values * scale).round().astype(np.uint8)


def write_points(path: Path, points: Points, extra: Mapping[str, np.ndarray] | None = None) -> None:
    """Write a coloured point cloud as PLY; ``extra`` are more properties, name → ``[P]``, after the colours."""
    positions, colors = points
    fields = dict(zip("xyz", positions.astype(np.float32).T))
    fields |= dict(zip(("red", "green", "blue"), colors.astype(np.uint8).T))
    fields |= extra or {}
    write_vertices(path, fields)


def write_vertices(path: Path, fields: Mapping[str, np.ndarray], comments: tuple[str, ...] = ()) -> None:
    """Write a binary PLY of one element ``vertex`` in one move.

    Args:
        path: the file.
        fields: property → ``[N]``, in this order.
        comments: lines of the header.
    """
    count = len(next(iter(fields.values())))
    blocks = (structured({name: values[start : start + _BLOCK] for name, values in fields.items()})
              for start in range(0, count, _BLOCK))  # fmt: skip
    kinds = structured({name: values[:0] for name, values in fields.items()}).dtype
    write_vertex_blocks(path, kinds, count, blocks, comments)


def write_vertex_blocks(
    path: Path, kinds: np.dtype, count: int, blocks: Iterable[np.ndarray], comments: tuple[str, ...] = ()
) -> None:
    """Write a binary PLY of one element ``vertex`` in one move, with one block at a time in memory.

    Args:
        path: the file.
        kinds: names and types of the properties.
        count: of vertices.
        blocks: structured arrays of that type, ``count`` rows in all.
        comments: lines of the header.
    """
    header = PlyData([PlyElement.describe(np.empty(0, kinds), "vertex")], comments=list(comments)).header
    with replacing(path) as temporary, open(temporary, "wb") as file:
        file.write(header.replace("\nelement vertex 0\n", f"\nelement vertex {count}\n").encode("ascii") + b"\n")
        for block in blocks:
            block.tofile(file)


def structured(fields: Mapping[str, np.ndarray]) -> np.ndarray:
    """Columns ``[N]`` as one array of rows."""
    rows = np.empty(len(next(iter(fields.values()))), [(name, values.dtype) for name, values in fields.items()])
    for name, values in fields.items():
        rows[name] = values
    return rows
