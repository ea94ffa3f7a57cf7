# SPDX-License-Identifier: Apache-2.0
"""SuperSplat's compressed PLY: 16 bytes a Gaussian, quantised within chunks of 256.

Layout as PlayCanvas documents it: an element ``chunk`` with the least and the largest position, logarithmic scale and
(in newer files) colour; an element ``vertex`` of four packed words; an optional element ``sh`` of bytes.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from plyfile import PlyData

from panoptic_gs.errors import InputError
from panoptic_gs.splats.harmonics import SH_C0

CHUNK = 256
PACKED = ("packed_position", "packed_rotation", "packed_scale", "packed_color")
_AXES = ("x", "y", "z")
_CHANNELS = ("r", "g", "b")


def unpack(path: Path | str, elements: PlyData, rows: np.ndarray | None) -> dict[str, np.ndarray]:
    """The properties of an uncompressed 3DGS PLY, name → ``[N]`` float32, of all Gaussians or of ``rows [M]``.

    Raises:
        InputError: elements or properties are missing, or are too few for the Gaussians.
    """
    vertices = elements["vertex"].data
    index = np.arange(len(vertices)) if rows is None else np.asarray(rows)
    chunks = elements["chunk"].data if "chunk" in elements else None
    ends = [f"{end}_{part}{axis}" for end in ("min", "max") for part in ("", "scale_") for axis in _AXES]
    known = () if chunks is None else chunks.dtype.names or ()
    of_colors = [f"{end}_{channel}" for end in ("min", "max") for channel in _CHANNELS]
    ranged = any(name in known for name in of_colors)  # older files have none
    missing = [name for name in (ends + of_colors if ranged else ends) if name not in known]
    missing += [name for name in PACKED if name not in (vertices.dtype.names or ())]
    if chunks is None or missing or len(chunks) * CHUNK < len(vertices):
        found = f"no {', '.join(missing)}" if missing else f"{0 if chunks is None else len(chunks)} chunks"
        raise InputError(
            path,
            f"SuperSplat's compressed layout with {found}",
            f"chunks of {CHUNK} Gaussians with the ranges of positions and scales, and four packed words a Gaussian",
            "Export the file again from SuperSplat; it may be of an older version.",
        )
    words = {name: vertices[name][index].astype(np.uint32) for name in PACKED}
    chunk = index // CHUNK

    def between(low: str, high: str, share: np.ndarray) -> np.ndarray:
        least, most = (chunks[name].astype(np.float64)[chunk] for name in (low, high))
        return least * (1 - share) + most * share

    columns: dict[str, np.ndarray] = {}
    for part, word, name in (("", "packed_position", "{}"), ("scale_", "packed_scale", "scale_{}")):
        for number, (axis, share) in enumerate(zip(_AXES, _three(words[word]))):
            column = name.format(number if part else axis)
            columns[column] = between(f"min_{part}{axis}", f"max_{part}{axis}", share)
    columns |= {f"rot_{i}": values for i, values in enumerate(_rotation(words["packed_rotation"]))}
    *colors, opacity = (_share(words["packed_color"], shift, 8) for shift in (24, 16, 8, 0))
    for number, (channel, share) in enumerate(zip(_CHANNELS, colors)):
        value = between(f"min_{channel}", f"max_{channel}", share) if ranged else share
        columns[f"f_dc_{number}"] = (value - 0.5) / SH_C0
    with np.errstate(divide="ignore"):
        columns["opacity"] = np.log(opacity) - np.log1p(-opacity)  # infinite where 0 or 255
    columns |= _harmonics(path, elements, index, len(vertices))
    return {name: values.astype(np.float32) for name, values in columns.items()}


def _share(words: np.ndarray, shift: int, bits: int) -> np.ndarray:
    """A field of packed words as 0 … 1."""
    largest = (1 << bits) - 1
    return ((words >> np.uint32(shift)) & np.uint32(largest)) / largest


def _three(words: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Words of 11, 10 and 11 bits."""
    return _share(words, 21, 11), _share(words, 11, 10), _share(words, 0, 11)


def _rotation(words: np.ndarray) -> np.ndarray:
    """Quaternions ``[4, N]`` wxyz from the number of the largest component and the other three, within ±1/√2."""
    small = [(_share(words, shift, 10) - 0.5) * np.sqrt(2) for shift in (20, 10, 0)]
    large = np.sqrt(np.maximum(0, 1 - sum(values**2 for values in small)))
    which = words >> np.uint32(30)
    choices = [
        [large, *small],
        [small[0], large, *small[1:]],
        [*small[:2], large, small[2]],
        [*small, large],
    ]
    return np.stack([np.choose(which, [choice[i] for choice in choices]) for i in range(4)])


def _harmonics(path: Path | str, elements: PlyData, index: np.ndarray, count: int) -> dict[str, np.ndarray]:
    """``f_rest`` of the element ``sh``: bytes over −4 … 4."""
    if "sh" not in elements:
        return {}
    table = elements["sh"].data
    if len(table) != count:
        raise InputError(
            path, f"spherical harmonics of {len(table)} Gaussians", f"{count}", "Export the file again from SuperSplat."
        )
    result = {}
    for name in table.dtype.names or ():
        stored = table[name][index].astype(np.float64)
        share = np.where(stored == 0, 0.0, np.where(stored == 255, 1.0, (stored + 0.5) / 256))
        result[name] = (share - 0.5) * 8
    return result
