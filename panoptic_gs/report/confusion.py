# SPDX-License-Identifier: Apache-2.0
"""Which class is taken for which."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from panoptic_gs.metrics import ContingencyTable
from panoptic_gs.panoptic import Category

MOST_CLASSES = 32
UNLABELLED = "(unlabelled)"
OTHERS = "(other classes)"


@dataclass(frozen=True, eq=False)
class Confusion:
    """Pixels of each true class by predicted class; pixels of void truth are left out.

    Args:
        rows: names of the true classes, the largest first; the last may stand for all smaller ones.
        columns: names of the predicted classes: those of the rows, others that are predicted, what has no label.
        pixels: ``[R, C]`` int64.
    """

    rows: tuple[str, ...]
    columns: tuple[str, ...]
    pixels: np.ndarray

    @property
    def shares(self) -> np.ndarray:
        """``[R, C]``: of each true class the share that is predicted as each class; rows sum to 1."""
        totals = self.pixels.sum(axis=1, keepdims=True)
        return self.pixels / np.maximum(totals, 1)

    @classmethod
    def of(cls, table: ContingencyTable, categories: Collection[Category], most: int = MOST_CLASSES) -> Confusion:
        """Count the classes that occur on either side; beyond ``most`` of them the smallest are taken together."""
        pred, _, gt, _, pixels = table.rows.numpy().T
        valid = gt != 0
        pred, gt, pixels = pred[valid], gt[valid], pixels[valid]
        names = {category.id: category.name for category in categories}
        area = {c: (int(pixels[gt == c].sum()), int(pixels[pred == c].sum())) for c in names}
        order = sorted((c for c in names if any(area[c])), key=lambda c: area[c], reverse=True)
        kept = order if len(order) <= most else order[: most - 1]
        labels = [names[c] for c in kept] + ([OTHERS] if len(kept) < len(order) else [])
        size = len(labels)
        index_of = {c: min(i, size - 1) for i, c in enumerate(order)} | {0: size}
        counts = np.zeros((size, size + 1), dtype=np.int64)
        np.add.at(counts, ([index_of[int(c)] for c in gt], [index_of[int(c)] for c in pred]), pixels)
        there = counts.sum(axis=1) > 0  # what is predicted alone is a column, and would be an empty row
        return cls(tuple(np.array(labels, dtype=object)[there]), (*labels, UNLABELLED), counts[there])
