# SPDX-License-Identifier: Apache-2.0
"""The one door for Gaussians out of files: what a file is by its content, and which of its rows can be used."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from panoptic_gs.errors import InputError
from panoptic_gs.splats import antimatter, gltf, ply_columns, sog, spz, usd
from panoptic_gs.splats.columns import SplatColumns
from panoptic_gs.splats.gaussians import RasterizeMode, Splats
from panoptic_gs.splats.harmonics import SH_C0
from panoptic_gs.splats.ply_columns import rasterize_mode_of

__all__ = ["MOST_UNUSABLE", "SPLAT_ENDINGS", "SplatFile", "rasterize_mode_of", "read_splats"]

MOST_UNUSABLE = 0.05
"""A file with a larger share of NaN is of a training that diverged, and refused."""
_EXPECTED = "Gaussians as PLY, SPZ, SOG, .splat, glTF or USD"
_NOT_READ = (".ksplat", ".lcc", ".lcc2")
_BY_ENDING = (".spz", ".sog", ".glb", ".gltf", ".json", *usd.ENDINGS)
SPLAT_ENDINGS = (".ply", ".spz", ".sog", antimatter.ENDING, ".glb", ".gltf", *usd.ENDINGS)
"""Of files that hold Gaussians."""
_COUNTS_OF_REST = {0: 0, 9: 1, 24: 2, 45: 3, 72: 4}
_BLOCK = 1 << 18  # rows that are looked at together
_FLATNESS = 1e-3  # thickness of a 2D Gaussian read as a 3D one, in its smaller scale


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
    """Read Gaussians from a file of any format that is known, told by its content.

    PLY, text or binary, in the layout of Kerbl et al. 2023 (as gsplat, nerfstudio, Brush and others write it, with
    spherical harmonics of degree 0 to 4 or plain red, green, blue), ``filter_3D`` of Mip-Splatting and Gaussian Opacity
    Fields, 2D Gaussians, SuperSplat's compressed layout; SPZ; SOG, bundled or as a folder; ``.splat``; glTF with
    ``KHR_gaussian_splatting``; USD with ``ParticleField3DGaussianSplat``. Rows of zeros, and a few with NaN, are left
    out; what a format quantises is noted.

    Args:
        path: the file, or a folder with SOG's ``meta.json``.
        rows: numbers ``[M]`` of the Gaussians to take; of a PLY the others are not brought into memory. All by default.
        strict: refuse a file with Gaussians that have to be left out.

    Raises:
        InputError: no such file, of another kind or version, truncated, something else than Gaussians, many NaN,
            nothing that can be used.
    """
    chosen = None if rows is None else rows.numpy()
    read = _columns_of(path, chosen)
    columns, notes, mode, plain = dict(read.values), list(read.notes), read.rasterize_mode, read.plain_colors
    del read  # columns go as they are taken, so that large files are not in memory twice
    has_colors = plain is not None or "f_dc_0" in columns
    blank = _blank(columns)
    scales, opacities, more = _filtered(columns, *_scales(path, columns, notes))
    notes += more
    sh = _colors(path, columns, plain, notes)
    means = _taken(columns, *"xyz")
    quats = _taken(columns, *(f"rot_{i}" for i in range(4)))
    values = [means, quats, scales, opacities, sh]
    del means, quats, scales, opacities, sh
    kept = _usable(path, blank, values, notes, strict)
    index = None if kept.all() else np.flatnonzero(kept)
    for place, array in enumerate(values):
        values[place] = np.ascontiguousarray(array if index is None else array[index])
        del array
    try:
        splats = Splats(*map(torch.from_numpy, values))
    except InputError as error:
        raise error.inside(path) from error
    row = np.arange(len(kept)) if index is None else index
    row = row if chosen is None else chosen[row]
    return SplatFile(splats, torch.from_numpy(np.asarray(row, dtype=np.int64)), tuple(notes), mode, has_colors)


def _columns_of(path: Path | str, rows: np.ndarray | None) -> SplatColumns:
    """What the reader of a file's format gives; of ``rows [M]`` where it is given."""
    file = Path(path)
    try:
        if file.is_dir():
            if not (file / sog.META).is_file():
                raise InputError(path, f"a folder without {sog.META}", _EXPECTED, "Give the file, or a folder of SOG.")
            reader = sog.read
        else:
            with open(file, "rb") as opened:
                reader = _reader_of(file, opened.read(64))
        if reader is None:
            return ply_columns.read(path, rows)
        read = reader(path)
    except FileNotFoundError as error:
        raise InputError(path, "no such file", _EXPECTED, "Check the path.") from error
    except (OSError, ValueError) as error:
        raise InputError(path, f"an unreadable file ({str(error)[:200]})", _EXPECTED, "Check the file.") from error
    if rows is None:
        return read
    return replace(read, values={name: values[rows] for name, values in read.values.items()})


def _reader_of(path: Path, start: bytes) -> Callable[[Path | str], SplatColumns] | None:
    """The reader for a file that begins like this; None for a PLY, and for what only its reader can refuse.

    Raises:
        InputError: a format of Gaussians that is not read.
    """
    ending = path.suffix.lower()
    if start.startswith(b"ply"):
        return None
    if start.startswith((spz.GZIP, spz.MAGIC)):
        return spz.read
    if start.startswith(gltf.MAGIC):
        return gltf.read
    if start.startswith((usd.BINARY, usd.TEXT)):
        return usd.read
    if start.startswith(b"PK"):
        return usd.read if ending == ".usdz" else sog.read
    if start.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{") and ending in (".json", ".gltf"):
        return gltf.read if ending == ".gltf" else sog.read
    if ending == antimatter.ENDING:
        return antimatter.read
    if ending in _NOT_READ:
        raise InputError(path, f"a {ending} file", _EXPECTED, f"Convert it: splat-transform {path.name} splats.ply")
    if ending in _BY_ENDING:
        raise InputError(path, f"a {ending} file that does not begin like one", _EXPECTED,
                         "Copy or export the file again; it may be damaged.")  # fmt: skip
    return None


def _taken(columns: dict[str, np.ndarray], *names: str) -> np.ndarray:
    """Columns ``[N, K]`` out of the others, each of which goes as it is copied."""
    taken = np.empty((len(columns[names[0]]), len(names)), np.float32)
    for place, name in enumerate(names):
        taken[:, place] = columns.pop(name)
    return taken


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


def _scales(path: Path | str, columns: dict[str, np.ndarray], notes: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Linear scales ``[N, 3]`` and opacities ``[N]`` in 0 … 1; infinite logits are 0 and 1."""
    if _numbered(path, columns, "rot_") != 4:
        raise InputError(path, "more than four rot properties", "quaternions rot_0 to rot_3", "Export the file again.")
    count = _numbered(path, columns, "scale_")
    if count > 3:
        raise InputError(path, f"{count} scale properties", "scale_0 to scale_2", "Export the file again.")
    scales = _taken(columns, *(f"scale_{i}" for i in range(count)))
    with np.errstate(over="ignore"):
        np.exp(scales, out=scales)
    if count == 2:
        scales = np.concatenate([scales, _FLATNESS * scales.min(axis=1, keepdims=True)], axis=1)
        notes.append("2D Gaussians (scale_0 and scale_1 only): read as flat 3D ones")
    elif count == 1:
        scales = np.repeat(scales, 3, axis=1)
        notes.append("one scale a Gaussian: read as balls")
    return scales, torch.from_numpy(columns.pop("opacity")).sigmoid().numpy()


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


def _colors(path: Path | str, columns: dict[str, np.ndarray], plain: np.ndarray | None, notes: list[str]) -> np.ndarray:
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
    if _COUNTS_OF_REST[rest] == 4:
        notes.append("spherical harmonics of degree 4: those above degree 3 were left out")
    sh = np.empty((count, 1 + min(rest // 3, 15), 3), np.float32)
    sh[:, 0] = _taken(columns, "f_dc_0", "f_dc_1", "f_dc_2")
    for i in range(rest):
        channel, coefficient = divmod(i, rest // 3)
        values = columns.pop(f"f_rest_{i}")
        if coefficient < 15:
            sh[:, 1 + coefficient, channel] = values
    return sh


def _blank(columns: Mapping[str, np.ndarray]) -> np.ndarray:
    """Which rows ``[N]`` were left as zeros, whatever their rotation."""
    blank = np.ones(len(columns["x"]), dtype=bool)
    for name, column in columns.items():
        if not name.startswith("rot_") and name != "filter_3D":
            blank &= column == 0
    return blank


def _finite(values: np.ndarray) -> np.ndarray:
    """Which rows ``[N]`` of ``[N, …]`` are finite."""
    finite = np.empty(len(values), dtype=bool)
    for start in range(0, len(values), _BLOCK):
        block = np.isfinite(values[start : start + _BLOCK])
        finite[start : start + _BLOCK] = block.reshape(len(block), -1).all(axis=1)
    return finite


def _usable(
    path: Path | str, blank: np.ndarray, values: Sequence[np.ndarray], notes: list[str], strict: bool
) -> np.ndarray:
    """Which rows ``[N]`` are Gaussians; ``values`` are means, rotations and whatever else has to be finite.

    Raises:
        InputError: none, too many that are not, or any that is not where the reading is strict.
    """
    quats, count = values[1], len(blank)
    broken = ~((quats != 0) & ~np.isnan(quats)).any(axis=1)
    for array in values:
        broken |= ~_finite(array)
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
