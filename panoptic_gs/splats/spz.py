# SPDX-License-Identifier: Apache-2.0
"""Niantic's SPZ, versions 1 to 4: streams of fixed-point numbers, packed by gzip (1–3) or by Zstandard (4).

A header, then positions, opacities, colours, scales, rotations and spherical harmonics, each of all Gaussians. Its axes
are x right, y up, z back, where those of the usual PLY are x right, y down, z forward: it has no word for another
choice, and writers turn by this. Source: nianticlabs/spz, README ("File Format").
"""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np

from panoptic_gs.errors import InputError
from panoptic_gs.splats.columns import SplatColumns, damaged, named, require_worth

MAGIC = b"NGSP"
GZIP = b"\x1f\x8b"
LEGACY_HEADER = struct.Struct("<4sIIBBBB")
_HEADER = struct.Struct("<4sIIBBBBI12x")
_STREAM = struct.Struct("<QQ")
_STREAMS = 6
_COEFFICIENTS = (0, 3, 8, 15, 24)
COLOR_SCALE = 0.15
_LARGEST_WINDOW = 1 << 27
# The sign of each coefficient of degree 1 to 4 when y and z change theirs.
FLIPS = np.array([-1, -1, 1, -1, 1, 1, -1, 1, -1, 1, -1, -1, 1, -1, 1, -1, 1, -1, 1, 1, -1, 1, -1, 1], np.float32)
ANTIALIASED = 1
_NOTE = "SPZ: positions are fixed-point numbers of {} bits after the point; scales, rotations, colours and opacities "
_NOTE += "are quantised to 8 to 10 bits"


class _Header(NamedTuple):
    version: int
    count: int
    degree: int
    fraction: int
    flags: int

    @property
    def sizes(self) -> tuple[int, ...]:
        """Bytes of each stream."""
        position = 6 if self.version == 1 else 9
        rotation = 4 if self.version >= 3 else 3
        each = (position, 1, 3, 3, rotation, 3 * _COEFFICIENTS[self.degree])
        return tuple(self.count * size for size in each)


def read(path: Path | str) -> SplatColumns:
    """The Gaussians of a file, in the axes of the usual PLY.

    Raises:
        InputError: another version, truncated, larger unpacked than its file is worth.
    """
    return decode(Path(path).read_bytes(), path)


def decode(data: bytes, source: Path | str, *, turn: bool = True) -> SplatColumns:
    """The Gaussians of a file's content.

    Args:
        data: the content.
        source: what errors name.
        turn: turn the axes to those of the usual PLY; glTF has SPZ's own.

    Raises:
        InputError: as :func:`read`.
    """
    header, streams = _unpack_legacy(data, source) if data.startswith(GZIP) else _unpack(data, source)
    positions = _positions(streams[0], header)
    opacities = np.frombuffer(streams[1], np.uint8) / np.float32(255)
    base = (np.frombuffer(streams[2], np.uint8).reshape(-1, 3) / np.float32(255) - np.float32(0.5)) / COLOR_SCALE
    scales = np.frombuffer(streams[3], np.uint8).reshape(-1, 3) / np.float32(16) - 10
    quats = _smallest_three(streams[4]) if header.version >= 3 else _first_three(streams[4])
    most = min(_COEFFICIENTS[header.degree], 15)
    rest = np.frombuffer(streams[5], np.uint8).reshape(header.count, -1, 3)[:, :most]
    rest = (rest.astype(np.float32) - 128) / 128
    if turn:
        positions[:, 1:] *= -1
        quats[:, 2:] *= -1
        rest = rest * FLIPS[:most, None]
    notes = [_NOTE.format(header.fraction) if header.version > 1 else _NOTE.replace("fixed-point numbers of {} bits "
             "after the point", "of half precision")]  # fmt: skip
    if header.degree == 4:
        notes.append("spherical harmonics of degree 4: those above degree 3 were left out")
    sh = np.concatenate([base.astype(np.float32)[:, None], rest], axis=1)
    mode = "antialiased" if header.flags & ANTIALIASED else None
    return SplatColumns(named(positions, scales, quats, opacities, sh), tuple(notes), mode)


def _checked(header: _Header, source: Path | str, stored: int) -> _Header:
    if header.degree >= len(_COEFFICIENTS):
        raise damaged(source, "SPZ", f"spherical harmonics of degree {header.degree}")
    if header.fraction > 24:
        raise damaged(source, "SPZ", f"{header.fraction} fractional bits of 24")
    require_worth(source, header.count, 3 * _COEFFICIENTS[header.degree], stored)
    return header


def _require_version(version: int, known: range, source: Path | str) -> None:
    if version not in known:
        raise InputError(
            source, f"SPZ of version {version}", f"SPZ of version 1 to 4 (here {known[0]} to {known[-1]})",
            "Export it again as SPZ 3 or 4, or as PLY.",
        )  # fmt: skip


def _unpack_legacy(data: bytes, source: Path | str) -> tuple[_Header, list[bytes]]:
    """Header and streams of versions 1 to 3: one gzip member."""
    unpacker = zlib.decompressobj(31)
    try:
        start = unpacker.decompress(data, LEGACY_HEADER.size)
        if len(start) < LEGACY_HEADER.size or not start.startswith(MAGIC):
            raise damaged(
                source, "SPZ", "a gzip file of something else" if len(start) == LEGACY_HEADER.size else "truncated"
            )
        _, version, count, degree, fraction, flags, _ = LEGACY_HEADER.unpack(start)
        _require_version(version, range(1, 4), source)
        header = _checked(_Header(version, count, degree, fraction, flags), source, len(data))
        body = unpacker.decompress(unpacker.unconsumed_tail, max(sum(header.sizes), 1))
    except zlib.error as error:
        raise damaged(source, "SPZ", error) from error
    if len(body) < sum(header.sizes):
        raise damaged(source, "SPZ", f"{len(body):,} of {sum(header.sizes):,} bytes: truncated")
    streams, begin = [], 0
    for size in header.sizes:
        streams.append(body[begin : begin + size])
        begin += size
    return header, streams


def _unpack(data: bytes, source: Path | str) -> tuple[_Header, list[bytes]]:
    """Header and streams of version 4: a table of Zstandard frames."""
    import zstandard

    if len(data) < _HEADER.size:
        raise damaged(source, "SPZ", f"{len(data)} bytes")
    _, version, count, degree, fraction, flags, number, table = _HEADER.unpack_from(data)
    _require_version(version, range(4, 5), source)
    header = _checked(_Header(version, count, degree, fraction, flags), source, len(data))
    needed = _STREAMS if degree else _STREAMS - 1
    if not needed <= number <= 64 or not _HEADER.size <= table <= len(data) - number * _STREAM.size:
        raise damaged(source, "SPZ", f"a table of {number} streams at byte {table}")
    unpacker = zstandard.ZstdDecompressor(max_window_size=_LARGEST_WINDOW)
    begin = table + number * _STREAM.size
    streams = []
    for index, size in enumerate(header.sizes[:number]):
        packed, unpacked = _STREAM.unpack_from(data, table + index * _STREAM.size)
        if unpacked != size or packed > len(data) - begin:
            raise damaged(source, "SPZ", f"stream {index} of {unpacked:,} bytes, not {size:,}: truncated or damaged")
        try:
            with unpacker.stream_reader(data[begin : begin + packed]) as reader:
                streams.append(reader.read(size) if size else b"")
        except zstandard.ZstdError as error:
            raise damaged(source, "SPZ", error) from error
        if len(streams[-1]) < size:
            raise damaged(source, "SPZ", f"stream {index} ends after {len(streams[-1]):,} of {size:,} bytes")
        begin += packed
    streams += [b""] * (_STREAMS - len(streams))
    return header, streams


def _positions(stream: bytes, header: _Header) -> np.ndarray:
    """``[N, 3]`` float32: halves in version 1, then signed numbers of 24 bits."""
    if header.version == 1:
        return np.frombuffer(stream, "<f2").reshape(-1, 3).astype(np.float32)
    parts = np.frombuffer(stream, np.uint8).reshape(-1, 3, 3).astype(np.int32)
    # Put into the upper three bytes, so that shifting back extends the sign.
    whole = (parts[..., 0] << 8 | parts[..., 1] << 16 | parts[..., 2] << 24) >> 8
    return (whole / np.float64(1 << header.fraction)).astype(np.float32)


def _first_three(stream: bytes) -> np.ndarray:
    """Quaternions ``[N, 4]`` wxyz of x, y, z as bytes; w is not negative."""
    xyz = np.frombuffer(stream, np.uint8).reshape(-1, 3) / np.float32(127.5) - 1
    w = np.sqrt(np.maximum(0, 1 - (xyz**2).sum(axis=1, keepdims=True)))
    return np.concatenate([w, xyz], axis=1).astype(np.float32)


def _smallest_three(stream: bytes) -> np.ndarray:
    """Quaternions ``[N, 4]`` wxyz of words: two bits for the number of the largest component (xyzw), then nine and a
    sign for each other one."""
    words = np.frombuffer(stream, "<u4").copy()
    largest = words >> 30
    xyzw = np.zeros((len(words), 4), np.float32)
    for component in (3, 2, 1, 0):
        stored = largest != component
        size = (words & 511) * np.float32(np.sqrt(0.5) / 511)
        xyzw[:, component] = np.where(stored, np.where(words >> 9 & 1, -size, size), 0)
        words = np.where(stored, words >> 10, words)
    rows = np.arange(len(words))
    xyzw[rows, largest] = np.sqrt(np.maximum(0, 1 - (xyzw**2).sum(axis=1)))
    return xyzw[:, [3, 0, 1, 2]]
