# SPDX-License-Identifier: Apache-2.0
"""Run-length encoded masks as COCO and SAM write them (https://github.com/cocodataset/cocoapi)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np

from panoptic_gs.errors import InputError
from panoptic_gs.files import MAX_PIXELS
from panoptic_gs.records import MAX_SIDE, Array, Length, Range, parse_record

_Side = Annotated[int, Range(1, MAX_SIDE)]
_MEND = "Encode it with pycocotools.mask.encode."


@dataclass(frozen=True)
class _Size:
    size: tuple[_Side, _Side]
    """Height and width."""

    def __post_init__(self) -> None:
        height, width = self.size
        if height * width > MAX_PIXELS:
            raise InputError("size", f"{height}×{width} pixels", f"at most {MAX_PIXELS >> 20} megapixels", _MEND)


@dataclass(frozen=True)
class _Rle(_Size):
    counts: Annotated[str, Length(0, 8 * MAX_PIXELS)] | Annotated[np.ndarray, Array(None, dtype=np.int64)]


def decode_rle(entry: Mapping[str, Any], source: object) -> np.ndarray:
    """A mask ``[H, W]`` bool from ``{"size": [H, W], "counts": …}``.

    ``counts`` are the lengths of runs of 0 and 1 in turn, down the columns: a list, or COCO's compressed string.

    Raises:
        InputError: the runs do not add up to the size, or it is no such thing.
    """
    if isinstance(entry.get("counts"), bytes):  # as pycocotools gives it
        entry = {**entry, "counts": entry["counts"].decode("latin-1")}
    rle = parse_record(entry, _Rle, str(source), mend=_MEND)
    height, width = rle.size
    try:
        runs = _compressed(rle.counts) if isinstance(rle.counts, str) else rle.counts
    except ValueError as error:
        expected = 'a COCO RLE {"size": [height, width], "counts": a list or string}'
        raise InputError(str(source), f"a malformed mask ({error})", expected, _MEND) from error
    fits = bool(((runs >= 0) & (runs <= height * width)).all())  # so that their sum cannot overflow
    if not fits or int(runs.sum()) != height * width:
        raise InputError(
            str(source),
            f"runs of {int(runs.sum()) if fits else 'impossible lengths'} pixels for a size of {height}×{width} "
            f"(height × width), which has {height * width}",
            "runs that fill the mask",
            "Encode the mask again; height and width may be exchanged in 'size', or the file edited.",
        )
    values = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
    return values.reshape(width, height).T


def _compressed(text: str) -> np.ndarray:
    """Runs from COCO's string: five bits a character, the sixth says that more follow, from the fourth run on the
    difference to the run before last."""
    codes = np.frombuffer(text.encode("ascii"), np.uint8).astype(np.int64) - 48
    if len(codes) == 0:
        return np.zeros(0, np.int64)
    if (codes < 0).any() or (codes > 63).any() or codes[-1] & 32:
        raise ValueError("counts with characters that COCO does not write")
    last = np.flatnonzero((codes & 32) == 0)
    first = np.concatenate([[0], last[:-1] + 1])
    position = np.arange(len(codes)) - np.repeat(first, last - first + 1)
    if position.max() > 11:
        raise ValueError("a run that is too long")
    values = np.add.reduceat((codes & 31) << (5 * position), first)
    negative = (codes[last] & 16) != 0
    values[negative] -= 1 << (5 * (position[last[negative]] + 1))
    runs = values.copy()
    for start in (1, 2):
        runs[start::2] = np.cumsum(values[start::2])
    return runs


def size_of(entry: Mapping[str, Any], source: object) -> tuple[int, int]:
    """Width and height of a mask without decoding it.

    Raises:
        InputError: it has none.
    """
    height, width = parse_record(entry, _Size, str(source), mend=_MEND).size
    return width, height
