# SPDX-License-Identifier: Apache-2.0
"""Names on a picture of objects, and a legend of their colours beneath it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from panoptic_gs.objects.table import ObjectTable

_LEAST = 0.004  # of a picture that an object fills whose name is written on it
_MOST_NAMES = 14
_ROWS = 3  # of the legend
_ROW = 22
_MARGIN = 10
_INK, _PAPER = (235, 236, 238), (24, 26, 30)
_LONGEST = 22  # letters of a name


def name_objects(picture: np.ndarray, ids: np.ndarray, names: Mapping[int, str]) -> np.ndarray:
    """The picture ``[H, W, 3]`` uint8 with the name of each object that fills enough of it, where most of it is.

    Args:
        picture: of the objects.
        ids: ``[H, W]`` segment ids.
        names: id → what is written; others stay unnamed. The largest come first, and none covers another.
    """
    found, counts = np.unique(ids, return_counts=True)
    order = [int(found[i]) for i in np.argsort(-counts) if int(found[i]) in names and counts[i] >= _LEAST * ids.size]
    image = Image.fromarray(np.ascontiguousarray(picture))
    draw = ImageDraw.Draw(image)
    font = ImageFont.load_default(size=13)
    taken: list[tuple[float, float, float, float]] = []
    for segment_id in order[: 3 * _MOST_NAMES]:
        text = shortened(names[segment_id])
        x, y = _inside(ids == segment_id)
        left, top, right, bottom = draw.textbbox((x, y), text, font=font, anchor="mm")
        across, down = _shift(left, right, ids.shape[1]), _shift(top, bottom, ids.shape[0])
        box = left + across - 3, top + down - 2, right + across + 3, bottom + down + 2
        if len(taken) == _MOST_NAMES or any(_meet(box, other) for other in taken):
            continue
        taken.append(box)
        draw.text((x + across, y + down), text, font=font, anchor="mm", fill=(255, 255, 255), stroke_width=2,
                  stroke_fill=(0, 0, 0))  # fmt: skip
    return np.asarray(image)


def legend(width: int, entries: Sequence[tuple[str, tuple[int, int, int]]]) -> np.ndarray:
    """A strip ``[h, width, 3]`` uint8 of patches and names, in at most three rows; what does not fit is counted."""
    font = ImageFont.load_default(size=13)
    rows: list[list[tuple[str, tuple[int, int, int], int]]] = [[]]
    x, left_out = _MARGIN, 0
    for number, (name, color) in enumerate(entries):
        text = shortened(name)
        needed = 24 + int(font.getlength(text)) + 14
        room = width - _MARGIN - (90 if len(rows) == _ROWS else 0)
        if x + needed > room and rows[-1]:
            if len(rows) == _ROWS:
                left_out = len(entries) - number
                break
            rows.append([])
            x = _MARGIN
        rows[-1].append((text, color, x))
        x += needed
    image = Image.new("RGB", (width, 2 * (_MARGIN // 2) + _ROW * len(rows)), _PAPER)
    draw = ImageDraw.Draw(image)
    for row, cells in enumerate(rows):
        y = _MARGIN // 2 + _ROW * row + _ROW // 2
        for text, color, x in cells:
            draw.rectangle((x, y - 7, x + 14, y + 7), fill=color)
            draw.text((x + 20, y), text, font=font, anchor="lm", fill=_INK)
    if left_out:
        y = _MARGIN // 2 + _ROW * (len(rows) - 1) + _ROW // 2
        draw.text((width - _MARGIN, y), f"and {left_out} more", font=font, anchor="rm", fill=_INK)
    return np.asarray(image)


def legend_entries(
    table: ObjectTable, colors: Mapping[int, tuple[int, int, int]]
) -> list[tuple[str, tuple[int, int, int]]]:
    """The certain objects' names and colours, the largest first, things before stuff."""
    rows = sorted(table.certain, key=lambda row: (not row.category.isthing, -row.count, row.id))
    return [(row.name, colors[row.id]) for row in rows]


def shortened(name: str) -> str:
    """A name in one line of bounded length."""
    text = "".join(letter if letter.isprintable() else " " for letter in name)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def _inside(mask: np.ndarray) -> tuple[float, float]:
    """A pixel of the mask near the middle of its pixels."""
    rows, columns = np.nonzero(mask)
    middle = np.median(columns), np.median(rows)
    nearest = int(((columns - middle[0]) ** 2 + (rows - middle[1]) ** 2).argmin())
    return float(columns[nearest]), float(rows[nearest])


def _shift(low: float, high: float, side: int) -> float:
    return max(4 - low, 0.0) if low < 4 else min(side - 4 - high, 0.0)


def _meet(one: tuple[float, float, float, float], other: tuple[float, float, float, float]) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
