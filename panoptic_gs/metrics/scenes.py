# SPDX-License-Identifier: Apache-2.0
"""Scoring one labelled scene against another."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from panoptic_gs.errors import InputError
from panoptic_gs.metrics.contingency import ContingencyTable
from panoptic_gs.metrics.panoptic_quality import PanopticQualities, panoptic_quality
from panoptic_gs.metrics.protocol import PANOPTIC_LIFTING, STRICT, Protocol, as_protocol, resize_labels
from panoptic_gs.metrics.segmentation import class_accuracy, class_iou, coverage, mean_over_classes
from panoptic_gs.panoptic import Category, PanopticScene


@dataclass(frozen=True)
class SceneScores:
    """The scores of a scene in one protocol."""

    protocol: Protocol
    panoptic: PanopticQualities
    iou: dict[int, float]
    """Category id → IoU."""
    accuracy: dict[int, float]
    """Category id → accuracy."""
    mcov: float
    mwcov: float

    @property
    def miou(self) -> float:
        """Mean IoU over the classes that the protocol keeps."""
        return mean_over_classes(self.iou)

    @property
    def macc(self) -> float:
        """Mean accuracy over the true classes."""
        return mean_over_classes(self.accuracy)

    def as_dict(self) -> dict[str, Any]:
        """All numbers, ready for JSON: NaN becomes None."""
        scores = self.panoptic.as_dict()
        per_class = scores.pop("per_class")
        for category_id, entry in per_class.items():
            entry["iou"], entry["accuracy"] = self.iou.get(category_id), self.accuracy.get(category_id)
        scores |= {"miou": self.miou, "macc": self.macc, "mcov": self.mcov, "mwcov": self.mwcov}
        numbers = {name: None if math.isnan(value) else value for name, value in scores.items()}
        left_out = [category.id for category in self.panoptic.left_out]
        return {**numbers, "left_out": left_out, "per_class": {str(c): entry for c, entry in per_class.items()}}


def score_table(
    table: ContingencyTable, categories: Collection[Category], protocol: str | Protocol = PANOPTIC_LIFTING
) -> SceneScores:
    """All scores of a contingency table in one protocol; where it resizes, the table is of the resized maps."""
    return SceneScores(
        as_protocol(protocol),
        panoptic_quality(table, categories, protocol),
        class_iou(table, categories, protocol),
        class_accuracy(table, categories),
        *coverage(table, categories),
    )


def evaluate_scenes(
    pred: PanopticScene,
    gt: PanopticScene,
    stems: Collection[str] | None = None,
    protocols: Sequence[str | Protocol] = (PANOPTIC_LIFTING, STRICT),
    *,
    allow_missing: bool = False,
) -> dict[str, SceneScores]:
    """Score the predicted maps of a scene against the true ones, over all views together.

    Args:
        pred: predictions; of another size than the truth, they are resampled to it by nearest neighbour.
        gt: the truth; its category list is the one that is scored.
        stems: the views to score; by default all that have a true map.
        protocols: names or rules.
        allow_missing: a view without a prediction counts as entirely unpredicted, instead of being an error.

    Returns:
        Protocol name → scores.

    Raises:
        InputError: there is no view to score, a view lacks its truth or its prediction, the category lists disagree.
    """
    views = sorted(gt.maps if stems is None else stems, key=view_order)
    if not views:
        raise InputError("views", "none", "at least one view with a true map", "Check the split.")
    for stem in views:
        if stem not in gt.maps:
            raise InputError(
                gt.source or "truth",
                f"no map for view '{stem}'",
                "a true map of every scored view",
                "Correct the split, or add the map.",
            )
    missing = [stem for stem in views if stem not in pred.maps]
    if missing and (not allow_missing or len(missing) == len(views)):
        raise InputError(
            pred.source or "prediction",
            f"no map for {len(missing)} of {len(views)} views, the first '{missing[0]}'",
            "a predicted map of every scored view",
            "Score only the split that was predicted (--splits), name the maps as the images, or pass "
            "--allow-missing (allow_missing=True) to count these views as unpredicted.",
        )
    require_same_categories(pred, gt)

    rules = [as_protocol(protocol) for protocol in protocols]
    tables = {protocol.resize: ContingencyTable() for protocol in rules}
    for stem in views:
        gt_maps = _category_and_segment(gt, stem)
        height, width = gt_maps[0].shape
        pred_maps = _category_and_segment(pred, stem) if stem in pred.maps else [torch.zeros_like(gt_maps[0])] * 2
        for size, table in tables.items():
            pred_sized = [resize_labels(labels, size or (width, height)) for labels in pred_maps]
            table.add(*pred_sized, *(resize_labels(labels, size or (width, height)) for labels in gt_maps))
    return {protocol.name: score_table(tables[protocol.resize], gt.categories, protocol) for protocol in rules}


def _category_and_segment(scene: PanopticScene, stem: str) -> list[torch.Tensor]:
    segment = np.ascontiguousarray(scene.maps[stem])
    return [torch.from_numpy(scene.category_of()[segment]), torch.from_numpy(segment)]


def require_same_categories(pred: PanopticScene, gt: PanopticScene) -> None:
    """Check that an id means the same class on both sides.

    Raises:
        InputError: an id has another name or kind on the other side, or a segment's class is unknown to the truth.
    """
    known = {category.id: category for category in gt.categories}
    used = {segment.category_id for segment in pred.segments}
    for category in pred.categories:
        other = known.get(category.id)
        kind, other_kind = ("a thing" if c and c.isthing else "stuff" for c in (category, other))
        if other is None and category.id in used:
            raise InputError(
                pred.source or "prediction",
                f"segments of category {category.id} '{category.name}'",
                "categories of the truth's list",
                "Write prediction and truth with one category list.",
            )
        if other is not None and (other.name, other_kind) != (category.name, kind):
            raise InputError(
                pred.source or "prediction",
                f"category {category.id} '{category.name}' ({kind})",
                f"'{other.name}' ({other_kind}) as in the truth",
                "Write prediction and truth with one category list, matched by id.",
            )


def view_order(stem: str) -> tuple[int, int, str]:
    """Sorts views by the integer that their name spells ("0_0007" is 7), others after them by name."""
    try:
        return 0, int(stem), stem
    except ValueError:
        return 1, 0, stem
