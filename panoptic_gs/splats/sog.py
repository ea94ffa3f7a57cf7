# SPDX-License-Identifier: Apache-2.0
"""PlayCanvas' SOG: ``meta.json`` and WebP images whose pixels are Gaussians, in a folder or bundled as a zip file.

Version 2 has codebooks of 256 values for scales and colours, version 1 (without a number) a range a channel. Positions
are 16 bits over a range of sign(x)·ln(1 + |x|), rotations the smallest three components, harmonics a palette of at most
65,536 rows. Source: PlayCanvas, "The SOG Format" (developer.playcanvas.com), and what SplatTransform writes.
"""

from __future__ import annotations

import json
import lzma
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np

from panoptic_gs.errors import InputError
from panoptic_gs.files import read_image, read_json
from panoptic_gs.records import Array, Key, Length, Name, Range, parse_record
from panoptic_gs.splats.columns import SplatColumns, damaged, named, require_worth

META = "meta.json"
_LARGEST_META = 1 << 22
_COUNTS_OF_BANDS = (0, 3, 8, 15)
_PALETTE_WIDTH = 64  # rows of the palette side by side
_NOTE = "SOG: positions are quantised to 16 bits, scales, rotations, colours and opacities to 8"
_NOTE_SH = "SOG: spherical harmonics are the nearest of a palette of {:,}"
Read = Callable[[str], np.ndarray]
_Codebook = Annotated[np.ndarray, Array(None, dtype=np.float32)]
_Count = Annotated[int, Range(1, (1 << 31) - 1)]


@dataclass(frozen=True)
class _Means:
    files: tuple[Name, Name]
    mins: Annotated[np.ndarray, Array(3)]
    maxs: Annotated[np.ndarray, Array(3)]


@dataclass(frozen=True)
class _Quats:
    files: tuple[Name]


@dataclass(frozen=True)
class _Coded:
    files: tuple[Name]
    codebook: _Codebook


@dataclass(frozen=True)
class _CodedHarmonics:
    files: tuple[Name, Name]
    codebook: _Codebook
    bands: Annotated[int, Range(0, 3)]
    count: _Count


@dataclass(frozen=True)
class _Meta:
    count: _Count
    means: _Means
    quats: _Quats
    scales: _Coded
    sh0: _Coded
    shN: _CodedHarmonics | None = None
    antialias: bool = False


@dataclass(frozen=True)
class _RangedMeans(_Means):
    shape: Annotated[tuple[int, ...], Length(1)] = (0,)


@dataclass(frozen=True)
class _Ranged:
    files: tuple[Name]
    mins: Annotated[np.ndarray, Array(None)]
    maxs: Annotated[np.ndarray, Array(None)]


@dataclass(frozen=True)
class _RangedHarmonics:
    files: tuple[Name, Name]
    low: Annotated[float, Key("mins")]
    high: Annotated[float, Key("maxs")]


@dataclass(frozen=True)
class _OldMeta:
    means: _RangedMeans
    quats: _Quats
    scales: _Ranged
    sh0: _Ranged
    shN: _RangedHarmonics | None = None


def read(path: Path | str) -> SplatColumns:
    """The Gaussians of a folder with ``meta.json``, of that file, or of a bundle.

    Raises:
        InputError: no SOG, of another version, images that are missing, too small, or larger than they are worth.
    """
    path = Path(path)
    if path.is_dir() or path.suffix == ".json":
        meta = path / META if path.is_dir() else path
        return _decode(read_json(meta), meta, _folder(meta.parent), _stored(meta.parent))
    try:
        with zipfile.ZipFile(path) as bundle:
            names = {entry.filename: entry for entry in bundle.infolist()}
            found = [name for name in names if name.rpartition("/")[2] == META]
            if not found:
                raise damaged(path, "SOG", f"a zip file without {META}")
            size = path.stat().st_size
            content = _entry(bundle, names, found[0], path, _LARGEST_META)
            document = json.loads(content)
            inside = found[0].rpartition("/")[0]

            def image(name: str) -> np.ndarray:
                stored = _entry(bundle, names, f"{inside}/{name}" if inside else name, path, 100 * size)
                return _pixels(stored, f"{path} ({name})")

            return _decode(document, path, image, size)
    except (zipfile.BadZipFile, zipfile.LargeZipFile, zlib.error, lzma.LZMAError, ValueError, OSError, RuntimeError,
            EOFError, NotImplementedError, RecursionError, OverflowError) as error:  # fmt: skip
        raise damaged(path, "SOG", error) from error


def _entry(bundle: zipfile.ZipFile, names: dict[str, zipfile.ZipInfo], name: str, path: Path, most: int) -> bytes:
    """A file of a bundle, no larger than it may be whatever the bundle says."""
    if name not in names:
        raise damaged(path, "SOG", f"no {name}")
    with bundle.open(names[name]) as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise damaged(path, "SOG", f"{name} of more than {most:,} bytes")
    return content


def _folder(folder: Path) -> Read:
    def image(name: str) -> np.ndarray:
        if not name or Path(name).name != name or "\\" in name or name in (".", ".."):
            raise InputError(folder / META, f"the image '{name}'", "names of files beside it", "Export it again.")
        try:
            content = (folder / name).read_bytes()
        except (OSError, ValueError) as error:
            raise InputError(folder / META, f"no readable {name} beside it", "every image that it names",
                             "Copy the whole folder again.") from error  # fmt: skip
        return _pixels(content, folder / name)

    return image


def _pixels(content: bytes, source: Path | str) -> np.ndarray:
    """``[P, 4]`` uint8, row by row."""
    pixels = read_image(content, source=source, expected="a lossless WebP image")
    if pixels.dtype != np.uint8 or pixels.ndim != 3:
        raise damaged(source, "SOG", f"an image of shape {pixels.shape}")
    if pixels.shape[2] == 3:
        pixels = np.concatenate([pixels, np.full((*pixels.shape[:2], 1), 255, np.uint8)], axis=2)
    return pixels


def _stored(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.glob("*.webp"))


def _decode(document: Any, source: Path, image: Read, stored: int) -> SplatColumns:
    version = document.get("version") if isinstance(document, dict) else None
    if version is not None and version != 2:
        raise InputError(source, f"SOG of version {str(version)[:40]}", "version 1 or 2", "Export it again as SOG 2.")
    old = None if version == 2 else parse_record(document, _OldMeta, source, mend="Export it again as SOG.")
    meta = parse_record(document, _Meta, source, mend="Export it again as SOG.") if old is None else None
    count = meta.count if meta is not None else old.means.shape[0] if old is not None else 0
    if count < 0:
        raise damaged(source, "SOG", f"{count} Gaussians")
    either = meta or old
    assert either is not None
    require_worth(source, count, 0 if either.shN is None else 45, stored)

    def first(name: str) -> np.ndarray:
        pixels = image(name).reshape(-1, 4)
        if len(pixels) < count:
            raise damaged(source, "SOG", f"{name} with {len(pixels):,} pixels for {count:,} Gaussians")
        return pixels[:count]

    low, high = (first(name)[:, :3].astype(np.uint16) for name in either.means.files)
    share = (low | high << 8) / np.float32(65535)
    span = either.means.maxs - either.means.mins
    where = (either.means.mins + np.where(span == 0, 1, span) * share).astype(np.float64)
    with np.errstate(over="ignore"):
        positions = np.sign(where) * np.expm1(np.abs(where))
    quats = _quats(first(either.quats.files[0]))
    scale_pixels, color_pixels = first(either.scales.files[0])[:, :3], first(either.sh0.files[0])
    if meta is not None:
        scales = _coded(meta.scales.codebook, scale_pixels, source)
        base = _coded(meta.sh0.codebook, color_pixels[:, :3], source)
        opacities = color_pixels[:, 3] / np.float32(255)
    else:
        assert old is not None
        scales = _ranged(old.scales, scale_pixels, source)
        values = _ranged(old.sh0, color_pixels, source)
        base = values[:, :3]
        with np.errstate(over="ignore"):
            opacities = 1 / (1 + np.exp(-values[:, 3].astype(np.float64)))
    sh, rows = base[:, None], 0
    if either.shN is not None:
        rest, rows = _harmonics(either.shN, image, first, source)
        sh = np.concatenate([sh, rest], axis=1) if rest is not None else sh
    notes = (_NOTE, *([_NOTE_SH.format(rows)] if rows else []))
    mode = "antialiased" if meta is not None and meta.antialias else None
    return SplatColumns(named(positions, scales, quats, opacities, sh.astype(np.float32)), notes, mode)


def _quats(pixels: np.ndarray) -> np.ndarray:
    """``[N, 4]`` wxyz; the fourth byte is 252 and the number of the largest component. Others are no rotation."""
    small = (pixels[:, :3] / np.float32(255) * 2 - 1) / np.float32(np.sqrt(2))
    large = np.sqrt(np.maximum(0, 1 - (small**2).sum(axis=1)))
    which = pixels[:, 3].astype(np.int64) - 252
    quats = np.zeros((len(pixels), 4), np.float32)
    quats[:, 0] = which < 0
    for largest in range(4):
        rows = which == largest
        quats[np.ix_(rows, [i for i in range(4) if i != largest])] = small[rows]
        quats[rows, largest] = large[rows]
    return quats


def _coded(codebook: np.ndarray, pixels: np.ndarray, source: Path | str) -> np.ndarray:
    if pixels.size and pixels.max() >= len(codebook):
        raise damaged(source, "SOG", f"a codebook of {len(codebook)} values, and {pixels.max()} asked for")
    return codebook[pixels]


def _ranged(part: _Ranged, pixels: np.ndarray, source: Path | str) -> np.ndarray:
    channels = pixels.shape[1]
    if len(part.mins) != channels or len(part.maxs) != channels:
        raise damaged(source, "SOG", f"ranges of {len(part.mins)} and {len(part.maxs)} channels, not {channels}")
    return (part.mins + (part.maxs - part.mins) * (pixels / np.float64(255))).astype(np.float32)


def _harmonics(
    part: _CodedHarmonics | _RangedHarmonics, image: Read, first: Read, source: Path | str
) -> tuple[np.ndarray | None, int]:
    """Coefficients ``[N, K, 3]`` above degree 0, and how many rows the palette has."""
    palette = image(part.files[0])[..., :3]
    height, width = palette.shape[:2]
    coefficients, beside = divmod(width, _PALETTE_WIDTH)
    bands = _COUNTS_OF_BANDS.index(coefficients) if not beside and coefficients in _COUNTS_OF_BANDS else 0
    if isinstance(part, _CodedHarmonics) and part.bands == 0:
        return None, 0
    if not bands or (isinstance(part, _CodedHarmonics) and part.bands != bands):
        raise damaged(source, "SOG", f"a palette of harmonics {width} pixels wide")
    rows = palette.reshape(height * _PALETTE_WIDTH, coefficients, 3)
    pixels = first(part.files[1]).astype(np.int64)
    index = pixels[:, 0] | pixels[:, 1] << 8
    count = min(part.count, len(rows)) if isinstance(part, _CodedHarmonics) else len(rows)
    if len(index) and index.max() >= count:
        raise damaged(source, "SOG", f"row {index.max()} of a palette of {count}")
    if isinstance(part, _CodedHarmonics):
        values = _coded(part.codebook, rows, source)
    else:
        values = (part.low + (part.high - part.low) * (rows / np.float64(255))).astype(np.float32)
    return values[index], count
