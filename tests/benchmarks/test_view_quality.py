# SPDX-License-Identifier: Apache-2.0
import json

import numpy as np
import pytest

from benchmarks.quality.table import columns_of
from benchmarks.quality.view_quality import ViewQuality
from panoptic_gs.labelling import Category, Labelling, Segment
from panoptic_gs.metrics import evaluate_scenes
from panoptic_gs.panoptic import PanopticScene

CATEGORIES = (Category(1, "wall", False), Category(2, "chair", True))
TRUTH = Labelling(CATEGORIES, (Segment(1, 1), Segment(2, 2), Segment(3, 2)))


def test_a_view_is_counted_for_all_measures_at_once() -> None:
    true = np.ones((20, 40), np.int32)
    true[5:15, 5:15], true[5:15, 25:35] = 2, 3
    pred = np.roll(true, 1, axis=1)
    sure = np.where(pred == true, 1.0, 0.25)
    quality = ViewQuality(TRUTH, TRUTH)
    for _ in range(3):
        quality.add(pred, true, sure)
    result = quality.as_dict()
    maps = [PanopticScene(TRUTH.categories, TRUTH.segments, {"a": m, "b": m, "c": m}) for m in (pred, true)]
    assert result["scores"] == {name: score.as_dict() for name, score in evaluate_scenes(*maps).items()}
    views = result["views"]
    assert views["id_f1"] == 1.0
    assert views["outline_found"] == 1.0
    assert 0 < views["outline"] < 1
    assert views["calibration_error"] == pytest.approx(0.25 * (pred != true).mean())  # sure of 1/4, right never
    json.dumps(result, allow_nan=False)


def test_the_table_has_their_columns() -> None:
    quality = ViewQuality(TRUTH, TRUTH)
    true = np.ones((8, 8), np.int32)
    true[2:6, 2:6] = 2
    quality.add(None, true)
    quality.add(true, true)
    cells = columns_of({"rows": {"predictions": quality.as_dict()}}, "predictions")
    assert cells["outline px"] == 0.0
    assert cells["ids"] is None  # one observation only of the chair that is large enough to count
    assert "ECE" not in cells
