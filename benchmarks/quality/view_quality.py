# SPDX-License-Identifier: Apache-2.0
"""What panoptic quality does not tell of rendered views: outlines, ids over views, trust in confidence."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from panoptic_gs.labelling import Labelling
from panoptic_gs.metrics import STRICT, IdConsistency, LabelReliability, OutlineError, Scorer, outline_error
from panoptic_gs.report.contact_sheet import match_segments


class ViewQuality:
    """Collects views beside a scorer.

    Args:
        meaning: what predicted ids mean.
        truth: what true ids mean.
    """

    def __init__(self, meaning: Labelling, truth: Labelling) -> None:
        self.scorer = Scorer(meaning, truth)
        self._pred_category_of, self._true_category_of = meaning.category_of(), truth.category_of()
        self._is_thing = truth.is_thing
        crowds = self.scorer.crowds
        self._things = {s.id for s in truth.segments if self._is_thing[s.category_id]} - crowds
        self._outlines, self._ids, self._reliability = OutlineError(), IdConsistency(), LabelReliability()
        self._has_confidence = False

    def add(self, ids: np.ndarray | None, true: np.ndarray, confidence: np.ndarray | None = None) -> None:
        """Count a view: ids of both sides ``[H, W]`` (None: unpredicted), and the confidence of the predicted ones."""
        self.scorer.add(ids, true)
        ids = np.zeros_like(true) if ids is None else ids
        self._outlines += outline_error(ids, true, self._pred_category_of, self._true_category_of)
        self._ids += IdConsistency.of(ids, true, self._things)
        if confidence is not None:
            self._has_confidence = True
            self._reliability.add(confidence.astype(np.float64).clip(0, 1), ids, true)

    def as_dict(self) -> dict[str, Any]:
        """``scores`` of the scorer, and ``views``: numbers by name, NaN as None, ready for JSON."""
        numbers: dict[str, Any] = {
            "outline": self._outlines.mean, "outline_found": self._outlines.share_found,
            "id_precision": self._ids.precision, "id_recall": self._ids.recall, "id_f1": self._ids.f1,
        }  # fmt: skip
        if self._has_confidence:
            pairs = match_segments(self.scorer.table(STRICT))
            reliability = self._reliability.finish(lambda pred, true: self._is_right(pred, true, pairs))
            numbers["calibration_error"] = reliability.expected_error
            numbers["reliability"] = [
                [None if math.isnan(value) else value for value in one] for one in reliability.bins
            ]
        clean = {k: None if isinstance(v, float) and math.isnan(v) else v for k, v in numbers.items()}
        return {"scores": {name: score.as_dict() for name, score in self.scorer.scores().items()}, "views": clean}

    def _is_right(self, pred: int, true: int, pairs: dict[int, int]) -> bool:
        """A thing is right where its segment stands for that one; stuff where the class is."""
        category = int(self._true_category_of[true])
        if int(self._pred_category_of[pred]) != category:
            return False
        return not self._is_thing[category] or pairs.get(pred) == true
