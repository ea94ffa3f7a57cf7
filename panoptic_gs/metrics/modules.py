# SPDX-License-Identifier: Apache-2.0
"""The scores as ``torchmetrics.Metric`` modules: one contingency table as state, a pure function to compute."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

from panoptic_gs.errors import InputError
from panoptic_gs.metrics.contingency import ContingencyTable, LabelMap, as_integers
from panoptic_gs.metrics.panoptic_quality import panoptic_quality
from panoptic_gs.metrics.protocol import PANOPTIC_LIFTING, Protocol, as_protocol, resize_labels
from panoptic_gs.metrics.segmentation import FrameScores, class_accuracy, class_iou, coverage, mean_over_classes
from panoptic_gs.panoptic import Category


class TableMetric(Metric):
    """A metric of the contingency table over all views that were given.

    Where the protocol resizes, :meth:`update` does it, so maps may be given in any size; otherwise the prediction must
    have the size of the truth. Void is category 0 on both sides.

    Args:
        categories: the classes that predictions and truth speak of.
        protocol: its name, as in :meth:`Protocol.parse`, or its rules.
        crowds: ids of the true segments that are crowds.
        kwargs: of ``torchmetrics.Metric``, such as ``dist_sync_on_step`` and ``process_group``.
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False
    rows: list[Tensor] | Tensor
    frame_rows: list[Tensor] | Tensor

    def __init__(
        self,
        categories: Collection[Category],
        protocol: str | Protocol = PANOPTIC_LIFTING,
        crowds: Collection[int] = (),
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.categories = tuple(categories)
        self.protocol = as_protocol(protocol)
        self.crowds = frozenset(crowds)
        self.add_state("rows", default=[], dist_reduce_fx="cat")
        self.add_state("frame_rows", default=[], dist_reduce_fx="cat")
        self.reset()

    def reset(self) -> None:
        """Forget all views."""
        super().reset()
        # Never an empty list: a process without views joins the gathering with a table of no rows.
        self.rows = [ContingencyTable().rows.to(self.device)]
        self.frame_rows = [FrameScores().rows.to(self.device)]

    def update(
        self, pred_category: LabelMap, pred_segment: LabelMap, gt_category: LabelMap, gt_segment: LabelMap
    ) -> None:
        """Count one view, or several: integer maps ``[H, W]`` or ``[N, H, W]``.

        Raises:
            InputError: shapes differ, a map is not of integers, an id is negative.
        """
        maps = {
            "pred_category": as_integers(pred_category, "pred_category"),
            "pred_segment": as_integers(pred_segment, "pred_segment"),
            "gt_category": as_integers(gt_category, "gt_category"),
            "gt_segment": as_integers(gt_segment, "gt_segment"),
        }
        for name, labels in maps.items():
            if labels.ndim not in (2, 3) or labels.numel() == 0:
                raise InputError(
                    name,
                    f"shape {list(labels.shape)}",
                    "[H, W] or [N, H, W] with pixels",
                    "Pass label maps, not one-hot masks.",
                )
        if self.protocol.resize or self.protocol.shrink > 1:
            height, width = maps["gt_category"].shape[-2:]
            size = self.protocol.size_of(height, width)
            maps = {name: resize_labels(labels, size) for name, labels in maps.items()}
        table = self.table
        table.add(**maps)
        self.rows = [table.rows]
        if self.protocol.mean_over_frames:
            self._add_frames([labels if labels.ndim == 3 else labels[None] for labels in maps.values()])

    def _add_frames(self, maps: list[Tensor]) -> None:
        scores = self.frames
        for labels in zip(*maps):
            frame = ContingencyTable()
            frame.add(*labels)
            scores.add(frame, self.categories)
        self.frame_rows = [scores.rows]

    @property
    def table(self) -> ContingencyTable:
        """The table so far."""
        rows = self.rows if isinstance(self.rows, Tensor) else torch.cat(self.rows)
        return ContingencyTable(rows)

    @property
    def frames(self) -> FrameScores:
        """The scores of each frame so far; empty where the protocol does not average over frames."""
        return FrameScores(self.frame_rows if isinstance(self.frame_rows, Tensor) else torch.cat(self.frame_rows))


class ScenePanopticQuality(TableMetric):
    """Scene-PQ over all views that were given: ``compute`` gives the means and the classes as in
    :meth:`PanopticQualities.as_dict`.

    Example:
        >>> import torch
        >>> from panoptic_gs import Category
        >>> metric = ScenePanopticQuality([Category(1, "wall", False), Category(2, "chair", True)], protocol="strict")
        >>> truth = torch.tensor([[1, 1, 2, 2]])
        >>> truth_segment = torch.tensor([[0, 0, 3, 3]])
        >>> metric.update(torch.tensor([[1, 1, 1, 2]]), torch.tensor([[9, 9, 9, 5]]), truth, truth_segment)
        >>> round(metric.compute()["pq"], 4)  # the wall matches with IoU 2/3, the chair's 1/2 is not enough
        0.3333
    """

    def compute(self) -> dict[str, Any]:
        """``pq``, ``sq``, ``rq``, the same with ``_things`` and ``_stuff``, and ``per_class``."""
        return panoptic_quality(self.table, self.categories, self.protocol, self.crowds).as_dict()


class MeanIoU(TableMetric):
    """Mean IoU of the classes over all views that were given."""

    def compute(self) -> dict[str, Any]:
        """``miou`` and ``iou_per_class``: category id → IoU."""
        over_frames = self.protocol.mean_over_frames
        per_class = self.frames.iou() if over_frames else class_iou(self.table, self.categories, self.protocol)
        return {"miou": mean_over_classes(per_class), "iou_per_class": per_class}


class MeanAccuracy(TableMetric):
    """Mean pixel accuracy of the true classes over all views that were given."""

    def compute(self) -> dict[str, Any]:
        """``macc`` and ``accuracy_per_class``: category id → accuracy."""
        over_frames = self.protocol.mean_over_frames
        per_class = self.frames.accuracy() if over_frames else class_accuracy(self.table, self.categories)
        return {"macc": mean_over_classes(per_class), "accuracy_per_class": per_class}


class InstanceCoverage(TableMetric):
    """Coverage of the true things by predicted things over all views that were given."""

    def compute(self) -> dict[str, float]:
        """``mcov``, and ``mwcov`` weighted by area."""
        return coverage(self.table, self.categories, self.crowds)._asdict()
