# SPDX-License-Identifier: Apache-2.0
"""A contact sheet: views in rows, what is compared in columns, one PNG."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from scipy.optimize import linear_sum_assignment

from panoptic_gs.replacing import replacing

if TYPE_CHECKING:
    from panoptic_gs.metrics import ContingencyTable

_MARGIN = 6
_HEADER = 24
_BACKGROUND = (250, 250, 250)
_INK = (30, 30, 30)

CORRECT = (225, 225, 225)
WRONG_CATEGORY = (214, 39, 40)
WRONG_OBJECT = (255, 168, 38)
NOT_SCORED = (255, 255, 255)


def contact_sheet(
    path: Path, rows: Mapping[str, Sequence[np.ndarray]], columns: Sequence[str], legend: str = ""
) -> None:
    """Write a grid of pictures with a heading over each column and a name at each row.

    Args:
        path: PNG to write.
        rows: row name → one picture ``[H, W, 3]`` uint8 a column; each is scaled to the height of the row's first.
        columns: heading of each column.
        legend: one line under the grid.
    """
    font = ImageFont.load_default(size=14)
    pictures = {name: [Image.fromarray(np.ascontiguousarray(cell)) for cell in cells] for name, cells in rows.items()}
    first = next(iter(pictures.values()))[0]
    width, height = first.size
    left = _MARGIN * 2 + max(int(font.getlength(name)) for name in pictures)
    size = (
        left + len(columns) * (width + _MARGIN),
        _HEADER + len(pictures) * (height + _MARGIN) + (_HEADER if legend else 0),
    )
    sheet = Image.new("RGB", size, _BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    for column, heading in enumerate(columns):
        draw.text((left + column * (width + _MARGIN) + 2, 4), heading, fill=_INK, font=font)
    for row, (name, cells) in enumerate(pictures.items()):
        top = _HEADER + row * (height + _MARGIN)
        draw.text((_MARGIN, top + height // 2 - 8), name, fill=_INK, font=font)
        for column, cell in enumerate(cells):
            resized = cell.resize((width, height), Image.Resampling.NEAREST)
            sheet.paste(resized, (left + column * (width + _MARGIN), top))
    if legend:
        draw.text((left, size[1] - _HEADER + 3), legend, fill=_INK, font=font)
    with replacing(path) as temporary:
        sheet.save(temporary, format="PNG")


def error_map(
    predicted_ids: np.ndarray,
    true_ids: np.ndarray,
    predicted_category_of: np.ndarray,
    true_category_of: np.ndarray,
    same_object: Mapping[int, int],
) -> np.ndarray:
    """Where a panoptic map is wrong, as a picture ``[H, W, 3]`` uint8.

    Grey is right, orange is the right category on another object, red is a wrong category, white is void in the truth.

    Args:
        predicted_ids: ``[H, W]`` predicted segment ids.
        true_ids: ``[H, W]`` ground truth segment ids.
        predicted_category_of: predicted segment id → category id.
        true_category_of: true segment id → category id.
        same_object: predicted id → the true id it stands for (see :func:`match_objects`).
    """
    picture = np.empty((*true_ids.shape, 3), dtype=np.uint8)
    picture[:] = CORRECT
    partner = np.zeros(len(predicted_category_of), dtype=np.int64)
    for predicted, true in same_object.items():
        partner[predicted] = true
    picture[partner[predicted_ids] != true_ids] = WRONG_OBJECT
    picture[predicted_category_of[predicted_ids] != true_category_of[true_ids]] = WRONG_CATEGORY
    picture[true_ids == 0] = NOT_SCORED
    return picture


def match_objects(predicted: Sequence[np.ndarray], truth: Sequence[np.ndarray]) -> dict[int, int]:
    """Pair predicted with true segments over all views, one to one, so that the overlap is largest; void stays single.

    Args:
        predicted: a map ``[H, W]`` of predicted ids a view.
        truth: a map ``[H, W]`` of true ids a view.
    """
    counts: Counter[tuple[int, int]] = Counter()
    for predicted_ids, true_ids in zip(predicted, truth):
        keys, areas = np.unique(predicted_ids.astype(np.int64) << 32 | true_ids.astype(np.int64), return_counts=True)
        counts.update({(key >> 32, key & 0xFFFFFFFF): area for key, area in zip(keys.tolist(), areas.tolist())})
    return _best_pairs(counts)


def match_segments(table: ContingencyTable) -> dict[int, int]:
    """:func:`match_objects` for views that were counted in a table."""
    counts: Counter[tuple[int, int]] = Counter()
    for _, predicted, _, true, area in table.rows.tolist():
        counts[predicted, true] += area
    return _best_pairs(counts)


def _best_pairs(counts: Mapping[tuple[int, int], int]) -> dict[int, int]:
    pairs = {pair: area for pair, area in counts.items() if all(pair)}
    rows, columns = (sorted({pair[side] for pair in pairs}) for side in (0, 1))
    row_of, column_of = ({name: index for index, name in enumerate(names)} for names in (rows, columns))
    overlap = np.zeros((len(rows), len(columns)), dtype=np.int64)
    for (one, other), area in pairs.items():
        overlap[row_of[one], column_of[other]] = area
    return {rows[i]: columns[j] for i, j in zip(*linear_sum_assignment(overlap, maximize=True)) if overlap[i, j]}
