# SPDX-License-Identifier: Apache-2.0
"""All scores of a labelling, collected view by view in the protocols that are reported."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from panoptic_gs.metrics import PANOPTIC_LIFTING, STRICT, ContingencyTable, score_table
from panoptic_gs.metrics.protocol import resize_labels
from panoptic_gs.metrics.scenes import require_same_categories
from panoptic_gs.panoptic import PanopticScene

PROTOCOLS = (PANOPTIC_LIFTING, STRICT)


class Scorer:
    """Counts predicted ids against true ones, one view in memory at a time.

    Args:
        meaning: what the predicted ids mean; its maps are not read.
        truth: what the true ids mean.
    """

    def __init__(self, meaning: PanopticScene, truth: PanopticScene) -> None:
        require_same_categories(meaning, truth)
        self._categories = truth.categories
        self._category_of = [torch.from_numpy(scene.category_of()).long() for scene in (meaning, truth)]
        self._tables = {protocol.resize: ContingencyTable() for protocol in PROTOCOLS}

    def add(self, ids: np.ndarray, true_ids: np.ndarray) -> None:
        """Count a view: two id maps ``[H, W]`` of one size."""
        pred, true = (torch.from_numpy(np.ascontiguousarray(labels, dtype=np.int64)) for labels in (ids, true_ids))
        height, width = true.shape
        for size, table in self._tables.items():
            p, t = (resize_labels(labels, size or (width, height)) for labels in (pred, true))
            table.add(self._category_of[0][p], p, self._category_of[1][t], t)

    def results(self) -> dict[str, Any]:
        """Protocol → the scores, ready for JSON."""
        return {
            protocol.name: score_table(self._tables[protocol.resize], self._categories, protocol).as_dict()
            for protocol in PROTOCOLS
        }
