# SPDX-License-Identifier: Apache-2.0
"""``.splat`` of antimatter15/splat: 32 bytes a Gaussian and nothing else, not even a header.

Position and linear scale as three floats each, then red, green, blue, opacity and the rotation (wxyz) as bytes.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from panoptic_gs.errors import InputError
from panoptic_gs.splats.columns import PLAIN, SplatColumns, require_memory
from panoptic_gs.splats.harmonics import SH_C0

ENDING = ".splat"
_ROW = np.dtype([("position", "<f4", 3), ("scale", "<f4", 3), ("color", "u1", 4), ("rotation", "u1", 4)])
_NOTE = ".splat: colours, opacities and rotations are quantised to 8 bits; it has no harmonics above degree 0"
_LARGEST = 1e9


def read(path: Path | str) -> SplatColumns:
    """The Gaussians of a file.

    Raises:
        InputError: no whole number of Gaussians, none, or more than the memory holds.
    """
    size = Path(path).stat().st_size
    if size == 0 or size % _ROW.itemsize:
        raise InputError(
            path, f"{size:,} bytes", f"a multiple of {_ROW.itemsize}, the bytes of a Gaussian",
            "Copy the file again; it may be truncated or of another kind.",
        )  # fmt: skip
    require_memory(path, size // _ROW.itemsize, 0, PLAIN)
    rows = np.fromfile(path, _ROW)
    _require_plausible(path, rows)
    columns = {name: np.ascontiguousarray(rows["position"][:, i]) for i, name in enumerate("xyz")}
    share = lambda channel: rows["color"][:, channel].astype(np.float32) / 255
    columns |= {f"f_dc_{i}": (share(i) - np.float32(0.5)) / np.float32(SH_C0) for i in range(3)}
    with np.errstate(divide="ignore", invalid="ignore"):
        columns["opacity"] = np.log(share(3)) - np.log1p(-share(3))
        columns |= {f"scale_{i}": np.log(rows["scale"][:, i]) for i in range(3)}  # NaN where negative
    columns |= {f"rot_{i}": (rows["rotation"][:, i].astype(np.float32) - 128) / 128 for i in range(4)}
    return SplatColumns(columns, (_NOTE,))


def _require_plausible(path: Path | str, rows: np.ndarray) -> None:
    """Without a header, numbers that no scene has are the only sign of another kind of file."""
    with np.errstate(invalid="ignore"):
        strange = (rows["scale"] < 0).any(axis=1)
        for values in (rows["position"], rows["scale"]):
            strange |= ~((values > -_LARGEST) & (values < _LARGEST)).all(axis=1)
    if strange.mean() > 0.5:
        raise InputError(
            path, f"{int(strange.sum()):,} of {len(rows):,} rows that are no Gaussians (NaN, huge or negative sizes)",
            "antimatter15's .splat: positions, linear scales, colours and rotations",
            "Export the file again; its name may be wrong.",
        )  # fmt: skip
