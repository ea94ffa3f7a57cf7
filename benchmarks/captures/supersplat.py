# SPDX-License-Identifier: Apache-2.0
"""A writer of SuperSplat's compressed PLY, from PlayCanvas' description of the layout."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from plyfile import PlyData, PlyElement

_CHUNK = 256


def write_compressed(file: Path, columns: Mapping[str, np.ndarray]) -> Path:
    """Pack the properties of a 3DGS PLY without spherical harmonics, in the order in which they come."""
    count = len(columns["x"])
    chunks = -(-count // _CHUNK)
    chunk_of = np.arange(count) // _CHUNK
    ranges: dict[str, np.ndarray] = {}
    shares: dict[str, np.ndarray] = {}
    colors = {c: 0.5 + 0.28209479177387814 * columns[f"f_dc_{i}"] for i, c in enumerate("rgb")}
    values = {**{a: columns[a] for a in "xyz"}, **{f"scale_{a}": columns[f"scale_{i}"] for i, a in enumerate("xyz")}}
    for name, column in {**values, **colors}.items():
        low = np.array([column[chunk_of == c].min() for c in range(chunks)])
        high = np.array([column[chunk_of == c].max() for c in range(chunks)])
        ranges[f"min_{name}"], ranges[f"max_{name}"] = low, high
        shares[name] = (column - low[chunk_of]) / np.maximum((high - low)[chunk_of], 1e-12)
    quats = np.stack([columns[f"rot_{i}"] for i in range(4)], axis=1)
    quats = quats / np.linalg.norm(quats, axis=1, keepdims=True)
    largest = np.abs(quats).argmax(axis=1)
    quats = quats * np.sign(np.take_along_axis(quats, largest[:, None], axis=1))
    rest = np.array([[q[i] for i in range(4) if i != k] for q, k in zip(quats, largest)])
    words = {
        "packed_position": _packed([(shares[a], bits) for a, bits in zip("xyz", (11, 10, 11))]),
        "packed_rotation": largest.astype(np.uint32) << np.uint32(30)
        | _packed([(rest[:, i] / np.sqrt(2) + 0.5, 10) for i in range(3)]),
        "packed_scale": _packed([(shares[f"scale_{a}"], bits) for a, bits in zip("xyz", (11, 10, 11))]),
        "packed_color": _packed([*((shares[c], 8) for c in "rgb"), (1 / (1 + np.exp(-columns["opacity"])), 8)]),
    }
    ends = [f"{end}_{part}{a}" for part in ("", "scale_") for end in ("min", "max") for a in "xyz"]
    ends += [f"{end}_{c}" for end in ("min", "max") for c in "rgb"]
    table = np.empty(chunks, dtype=[(name, "f4") for name in ends])
    for name in ends:
        table[name] = ranges[name]
    vertices = np.empty(count, dtype=[(name, "u4") for name in words])
    for name, word in words.items():
        vertices[name] = word
    PlyData([PlyElement.describe(table, "chunk"), PlyElement.describe(vertices, "vertex")]).write(str(file))
    return file


def _packed(fields: list[tuple[np.ndarray, int]]) -> np.ndarray:
    """Shares in 0 … 1 as one word each, the first in the highest bits."""
    word = np.zeros(len(fields[0][0]), dtype=np.uint32)
    for share, bits in fields:
        most = (1 << bits) - 1
        word = word << np.uint32(bits) | (share.clip(0, 1) * most).round().astype(np.uint32)
    return word
