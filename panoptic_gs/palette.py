# SPDX-License-Identifier: Apache-2.0
"""One colour per segment: well separated to the eye, and a function of the ids alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import lru_cache
from typing import overload

import numpy as np
import torch
from torch import Tensor

from panoptic_gs.errors import InputError
from panoptic_gs.labelling import MAX_SEGMENT_ID, Labelling

MAX_SEGMENTS = 4096
"""The largest number of segments that still get colours an eye can part."""

_MIN_TABLE = 64
_LEVELS = 24  # candidate values per sRGB channel
_LIGHTNESS = (0.45, 0.95)  # of candidates; void is black, so no colour comes near it
_FIRST = (1.0, 0.2, 0.0)


class PanopticPalette:
    """Colours of segments; void (id 0) is black.

    Colours come from one fixed sequence in which every prefix is spread as widely as possible in OKLab. With up to 64
    segments, id ``i`` takes entry ``i - 1`` of the first 64; larger ids wrap around, and take the next free entry where
    theirs is taken by a smaller id. With more segments the prefix doubles. So a segment keeps its colour when others
    come and go, unless they take its entry or double the prefix.

    Args:
        segment_ids: ids of the segments in any order; 0 and repetitions are dropped.

    Raises:
        InputError: a negative id, or more than 4,096 segments.

    Example:
        >>> import numpy as np
        >>> palette = PanopticPalette([7, 3])
        >>> palette.colorize(np.array([[0, 3, 7]])).shape
        (1, 3, 3)
    """

    segment_ids: Tensor  # [S] int64, ascending
    colors: Tensor  # [S, 3] float32 in 0…1, of segment_ids in order

    def __init__(self, segment_ids: Iterable[int] | Tensor | np.ndarray) -> None:
        values = segment_ids.tolist() if isinstance(segment_ids, Tensor | np.ndarray) else segment_ids
        ids = sorted({int(value) for value in values} - {0})
        if ids and ids[0] < 0:
            raise InputError("segment_ids", f"id {ids[0]}", "ids from 1; 0 is void", "Number the segments from 1.")
        if len(ids) > MAX_SEGMENTS:
            raise InputError(
                "segment_ids",
                f"{len(ids)} segments",
                f"at most {MAX_SEGMENTS}",
                "Use scene-wide ids, one an object, or drop tiny segments.",
            )
        self.segment_ids = torch.tensor(ids, dtype=torch.int64)
        self.colors = torch.from_numpy(_color_sequence(_table_size(len(ids)))[_slots(ids)].astype(np.float32))

    def __len__(self) -> int:
        return len(self.segment_ids)

    @overload
    def colorize(self, ids: Tensor) -> Tensor: ...
    @overload
    def colorize(self, ids: np.ndarray) -> np.ndarray: ...
    def colorize(self, ids: Tensor | np.ndarray) -> Tensor | np.ndarray:
        """The colours ``[..., 3]`` float32 in 0…1 of a map of ids ``[...]``, on its device; 0 is black.

        Raises:
            InputError: an id that the palette was not made for.
        """
        if isinstance(ids, np.ndarray):
            return self.colorize(torch.from_numpy(np.ascontiguousarray(ids.astype(np.int64, copy=False)))).numpy()
        known = torch.cat([self.segment_ids.new_zeros(1), self.segment_ids]).to(ids.device)
        colors = torch.cat([self.colors.new_zeros(1, 3), self.colors]).to(ids.device)
        index = torch.bucketize(ids.to(torch.int64), known).clamp_(max=len(known) - 1)
        unknown = torch.take(known, index) != ids
        if unknown.any():
            raise InputError(
                "ids",
                f"id {int(ids[unknown][0])}",
                "0 or one of the palette's segments",
                "Make the palette from all segments of the scene.",
            )
        return torch.nn.functional.embedding(index, colors)


def colors_of(labelling: Labelling) -> dict[int, tuple[int, int, int]]:
    """The colour of each segment of a scene, 0 … 255, wherever it is drawn: viewer, report, pages, pictures, exports.

    It is the one that was stored with the labels, so that a segment keeps it whatever becomes of the others; segments
    without one take that of :class:`PanopticPalette`, or where another has it the next of the sequence that none has.
    Scenes of more segments than an eye can part (:data:`MAX_SEGMENTS`) repeat colours.
    """
    ids = sorted(labelling.segment_ids)
    colors = {one: labelling.colors[one] for one in ids if one in labelling.colors}
    taken = set(colors.values())
    new = [one for one in ids if one not in colors]
    if not new:
        return colors
    sequence = [_bytes(color) for color in _color_sequence(_table_size(min(len(ids), MAX_SEGMENTS)))]
    palette = PanopticPalette(ids[:MAX_SEGMENTS])
    usual = dict(zip(palette.segment_ids.tolist(), map(_bytes, palette.colors.numpy())))
    free = (color for color in sequence if color not in taken and color not in usual.values())
    for one in new:
        color = usual.get(one, sequence[one % len(sequence)])
        colors[one] = color if color not in taken or one not in usual else next(free, color)
        taken.add(colors[one])
    return colors


def palette_of(labelling: Labelling) -> PanopticPalette:
    """The palette with the colours of :func:`colors_of`, of any number of segments."""
    palette, colors = PanopticPalette(()), colors_of(labelling)
    ids = sorted(colors)
    palette.segment_ids = torch.tensor(ids, dtype=torch.int64)
    palette.colors = torch.tensor([colors[one] for one in ids], dtype=torch.float32).reshape(-1, 3) / 255
    return palette


def paired_colors(
    one: Labelling, other: Labelling, pairs: Mapping[int, int]
) -> tuple[dict[int, tuple[int, int, int]], dict[int, tuple[int, int, int]]]:
    """Colours of two labellings in which an object has one colour: that of ``one``.

    Args:
        one: its segments keep their colours.
        other: segments of it without a partner get colours that ``one`` has not.
        pairs: id in ``one`` → id in ``other`` of the same object.
    """
    colors = colors_of(one)
    theirs = {other_id: colors[own] for own, other_id in pairs.items() if own in colors}
    rest = [segment for segment in other.segments if segment.id not in theirs]
    free = max(one.segment_ids, default=0)
    alone = [replace(segment, id=free + 1 + number) for number, segment in enumerate(rest)]
    if free + len(alone) <= MAX_SEGMENT_ID:
        categories = {c.id: c for c in (*one.categories, *other.categories)}
        both = Labelling(tuple(categories.values()), (*one.segments, *alone), colors=colors)
        found = colors_of(both)
        theirs |= {segment.id: found[stand_in.id] for segment, stand_in in zip(rest, alone)}
    else:
        theirs |= {segment.id: (128, 128, 128) for segment in rest}
    return colors, theirs


def colorized(ids: np.ndarray, colors: Mapping[int, tuple[int, int, int]]) -> np.ndarray:
    """A map ``[H, W]`` of ids as a picture ``[H, W, 3]`` uint8; ids without a colour are black."""
    table = np.zeros((max(int(ids.max(initial=0)), max(colors, default=0)) + 1, 3), dtype=np.uint8)
    for segment_id, color in colors.items():
        table[segment_id] = color
    return table[ids]


def _bytes(color: np.ndarray) -> tuple[int, int, int]:
    red, green, blue = (np.asarray(color, dtype=np.float64) * 255).round().astype(int).tolist()
    return red, green, blue


def _table_size(num_segments: int) -> int:
    return max(_MIN_TABLE, 1 << (num_segments - 1).bit_length()) if num_segments else _MIN_TABLE


def _slots(ids: list[int]) -> list[int]:
    """An entry of the colour table for each of the ascending ids, all different."""
    size = _table_size(len(ids))
    stride = (5 * size // 8) | 1  # odd, so that ids a multiple of the table's size apart meet all entries
    taken: dict[int, None] = {}  # keeps the order of the ids
    for segment_id in ids:
        wraps, rest = divmod(segment_id - 1, size)
        slot = (rest + wraps * stride) % size
        while slot in taken:
            slot = (slot + 1) % size
        taken[slot] = None
    return list(taken)


@lru_cache(maxsize=8)
def _color_sequence(length: int) -> np.ndarray:
    """The first ``length`` colours ``[length, 3]`` of the fixed sequence (farthest-point order).

    Among the candidates that are nearly as far from all earlier colours as any can be, the one farthest from its
    predecessor comes next, so that neighbouring ids differ strongly. Distances are taken between integers, so the
    sequence is the same on every machine.
    """
    levels = np.linspace(0.0, 1.0, _LEVELS)
    candidates = np.stack(np.meshgrid(levels, levels, levels, indexing="ij"), axis=-1).reshape(-1, 3)
    lab = srgb_to_oklab(candidates)
    light = (lab[:, 0] > _LIGHTNESS[0]) & (lab[:, 0] < _LIGHTNESS[1])
    candidates, points = candidates[light], np.rint(lab[light] * 4096).astype(np.int64)
    order = [int(np.abs(candidates - _FIRST).sum(axis=1).argmin())]
    nearest = np.full(len(points), np.iinfo(np.int64).max // 256)
    while len(order) < length:
        to_last = ((points - points[order[-1]]) ** 2).sum(axis=1)
        nearest = np.minimum(nearest, to_last)
        good = np.flatnonzero(100 * nearest >= 68 * nearest.max())
        order.append(int(good[to_last[good].argmax()]))
    return candidates[order]


def srgb_to_oklab(colors: np.ndarray) -> np.ndarray:
    """sRGB ``[..., 3]`` in 0…1 → OKLab, in which equal distances look about equally large.

    Reference: Björn Ottosson, A perceptual color space for image processing, 2020.
    """
    linear = np.where(colors <= 0.04045, colors / 12.92, ((colors + 0.055) / 1.055) ** 2.4)
    cones = np.cbrt(linear @ _LINEAR_TO_CONES.T)
    return cones @ _CONES_TO_OKLAB.T


_LINEAR_TO_CONES = np.array([
    [0.4122214708, 0.5363325363, 0.0514459929],
    [0.2119034982, 0.6806995451, 0.1073969566],
    [0.0883024619, 0.2817188376, 0.6299787005],
])  # fmt: skip
_CONES_TO_OKLAB = np.array([
    [0.2104542553, 0.7936177850, -0.0040720468],
    [1.9779984951, -2.4285922050, 0.4505937099],
    [0.0259040371, 0.7827717662, -0.8086757660],
])  # fmt: skip
