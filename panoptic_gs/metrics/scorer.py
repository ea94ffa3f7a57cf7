# SPDX-License-Identifier: Apache-2.0
"""All scores of a labelling against the truth, collected view by view in any number of protocols."""

from __future__ import annotations

import copy
import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from panoptic_gs.errors import InputError
from panoptic_gs.labelling import Category, Labelling
from panoptic_gs.metrics.contingency import ContingencyTable, LabelMap, as_integers
from panoptic_gs.metrics.panoptic_quality import PanopticQualities, panoptic_quality
from panoptic_gs.metrics.protocol import PANOPTIC_LIFTING, PROTOCOLS, Protocol, as_protocol, resize_labels
from panoptic_gs.metrics.segmentation import FrameScores, class_accuracy, class_iou, coverage, mean_over_classes
from panoptic_gs.sums import ViewSum, sum_over_processes


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
    table: ContingencyTable,
    categories: Collection[Category],
    protocol: str | Protocol = PANOPTIC_LIFTING,
    crowds: Collection[int] = (),
    frames: FrameScores | None = None,
) -> SceneScores:
    """All scores of a contingency table in one protocol.

    Args:
        table: where the protocol resamples, of the resampled maps.
        categories: the classes.
        protocol: its name or its rules.
        crowds: ids of the true segments that are crowds.
        frames: the same pixels frame by frame, for protocols that average over frames.

    Raises:
        InputError: frames are missing, or the table holds a category that is not listed.
    """
    rules = as_protocol(protocol)
    if rules.mean_over_frames and frames is None:
        raise InputError("frames", "none", f"scores of each frame, which {rules.name} averages", "Pass FrameScores.")
    return SceneScores(
        rules,
        panoptic_quality(table, categories, rules, crowds),
        frames.iou() if frames is not None and rules.mean_over_frames else class_iou(table, categories, rules),
        frames.accuracy() if frames is not None and rules.mean_over_frames else class_accuracy(table, categories),
        *coverage(table, categories, crowds),
    )


class Scorer(ViewSum):
    """Counts predicted ids against true ones, one view in memory at a time; a sum over views, so scorers merge.

    Args:
        meaning: what the predicted ids mean; its maps are not read.
        truth: what the true ids mean; its category list is the one that is scored, its maps are not read.
        protocols: names or rules.

    Raises:
        InputError: a category id means another class on the other side, or there is no such protocol.
    """

    def __init__(self, meaning: Labelling, truth: Labelling, protocols: Sequence[str | Protocol] = PROTOCOLS) -> None:
        require_same_categories(meaning, truth)
        self.categories = truth.categories
        self.protocols = tuple(as_protocol(protocol) for protocol in protocols)
        self.num_views = 0
        self._pred_category_of, self._gt_category_of = (
            torch.from_numpy(scene.category_of()).long() for scene in (meaning, truth)
        )
        self.crowds = frozenset(segment.id for segment in truth.segments if segment.iscrowd)
        self._tables = {protocol.sampling: ContingencyTable() for protocol in self.protocols}
        self._frames = {protocol.sampling: FrameScores() for protocol in self.protocols if protocol.mean_over_frames}

    def add(self, ids: LabelMap | None, true_ids: LabelMap) -> None:
        """Count a view.

        Args:
            ids: predicted ids ``[H, W]``; of another size than the truth they are resampled to it by nearest
                neighbour. None: the view is entirely unpredicted.
            true_ids: true ids ``[H', W']``.
        """
        true = as_integers(true_ids, "true ids").cpu().long()
        height, width = true.shape
        pred = torch.zeros_like(true) if ids is None else as_integers(ids, "predicted ids").cpu().long()
        for rules in {protocol.sampling: protocol for protocol in self.protocols}.values():
            size = rules.size_of(height, width)
            p, t = resize_labels(pred, size), resize_labels(true, size)
            view = ContingencyTable()
            view.add(self._pred_category_of[p], p, self._gt_category_of[t], t)
            self._tables[rules.sampling].merge(view)
            if rules.sampling in self._frames:
                self._frames[rules.sampling].add(view, self.categories)
        self.num_views += 1

    def merge(self, other: Scorer) -> Scorer:
        """Add the views of another scorer; returns this one.

        Raises:
            InputError: the other one scores in other protocols or other categories.
        """
        mine, others = ((s.protocols, s.categories, s.crowds) for s in (self, other))
        if mine != others:
            raise InputError(
                "Scorer", "another scorer of other protocols, categories or crowds", "equal ones", "Make them alike."
            )
        self.num_views += other.num_views
        for key, table in self._tables.items():
            table.merge(other._tables[key])
        for key, frames in self._frames.items():
            frames.merge(other._frames[key])
        return self

    def all_reduce(self, group: Any = None) -> Scorer:
        """Give every process of a ``torch.distributed`` group the views of all of them; every process calls this."""
        self.num_views = int(sum_over_processes(torch.tensor([self.num_views]), group))
        for sums in (*self._tables.values(), *self._frames.values()):
            sums.all_reduce(group)
        return self

    def empty(self) -> Scorer:
        """The same of no views."""
        result = copy.copy(self)
        result.num_views = 0
        result._tables = {key: table.empty() for key, table in self._tables.items()}
        result._frames = {key: frames.empty() for key, frames in self._frames.items()}
        return result

    def table(self, protocol: str | Protocol) -> ContingencyTable:
        """The table that a protocol is scored from."""
        return self._tables[as_protocol(protocol).sampling]

    def scores(self) -> dict[str, SceneScores]:
        """Protocol → the scores of all views together."""
        return {
            rules.name: score_table(
                self.table(rules), self.categories, rules, self.crowds, self._frames.get(rules.sampling)
            )
            for rules in self.protocols
        }


def require_same_categories(pred: Labelling, gt: Labelling) -> None:
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
