# SPDX-License-Identifier: Apache-2.0
"""Run-length encoded masks as COCO and SAM write them (https://github.com/cocodataset/cocoapi)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from panoptic_gs.errors import InputError


def decode_rle(entry: Mapping[str, Any], source: object) -> np.ndarray:
    """A mask ``[H, W]`` bool from ``{"size": [H, W], "counts": …}``.

    ``counts`` are the lengths of runs of 0 and 1 in turn, down the columns: a list, or COCO's compressed string.

    Raises:
        InputError: the runs do not add up to the size, or it is no such thing.
    """
    expected = 'a COCO RLE {"size": [height, width], "counts": a list or string}'
    try:
        height, width = (int(value) for value in entry["size"])
        counts = entry["counts"]
        runs = _compressed(counts) if isinstance(counts, (str, bytes)) else np.asarray(counts, np.int64)
        if runs.ndim != 1 or min(height, width) < 1:
            raise ValueError("no runs or no pixels")
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            source, f"a malformed mask ({error})", expected, "Encode it with pycocotools.mask.encode."
        ) from error
    if (runs < 0).any() or int(runs.sum()) != height * width:
        raise InputError(
            source,
            f"runs of {int(runs.sum())} pixels for a size of {height}×{width} (height × width), which has "
            f"{height * width}",
            "runs that fill the mask",
            "Encode the mask again; height and width may be exchanged in 'size', or the file edited.",
        )
    values = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
    return values.reshape(width, height).T


def _compressed(text: str | bytes) -> np.ndarray:
    """Runs from COCO's string: five bits a character, the sixth says that more follow, from the fourth run on the
    difference to the run before last."""
    codes = np.frombuffer(text.encode("ascii") if isinstance(text, str) else text, np.uint8).astype(np.int64) - 48
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


def size_of(entry: Mapping[str, Any] | Sequence[Any]) -> tuple[int, int]:
    """Width and height of a mask without decoding it; (0, 0) where it has none."""
    try:
        height, width = entry["size"]  # type: ignore[call-overload,index]
        return int(width), int(height)
    except (KeyError, TypeError, ValueError):
        return 0, 0
