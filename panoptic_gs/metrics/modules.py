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
from panoptic_gs.metrics.segmentation import class_accuracy, class_iou, coverage, mean_over_classes
from panoptic_gs.panoptic import Category


class TableMetric(Metric):
    """A metric of the contingency table over all views that were given.

    Where the protocol resizes, :meth:`update` does it, so maps may be given in any size; otherwise the prediction must
    have the size of the truth. Void is category 0 on both sides.

    Args:
        categories: the classes that predictions and truth speak of.
        protocol: its name, as in :meth:`Protocol.parse`, or its rules.
        kwargs: of ``torchmetrics.Metric``, such as ``dist_sync_on_step`` and ``process_group``.
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False
    rows: list[Tensor] | Tensor

    def __init__(
        self, categories: Collection[Category], protocol: str | Protocol = PANOPTIC_LIFTING, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.categories = tuple(categories)
        self.protocol = as_protocol(protocol)
        self.add_state("rows", default=[], dist_reduce_fx="cat")
        self.reset()

    def reset(self) -> None:
        """Forget all views."""
        super().reset()
        # Never an empty list: a process without views joins the gathering with a table of no rows.
        self.rows = [ContingencyTable().rows.to(self.device)]

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
        if self.protocol.resize:
            maps = {name: resize_labels(labels, self.protocol.resize) for name, labels in maps.items()}
        table = self.table
        table.add(**maps)
        self.rows = [table.rows]

    @property
    def table(self) -> ContingencyTable:
        """The table so far."""
        rows = self.rows if isinstance(self.rows, Tensor) else torch.cat(self.rows)
        return ContingencyTable(rows)


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
        return panoptic_quality(self.table, self.categories, self.protocol).as_dict()


class MeanIoU(TableMetric):
    """Mean IoU of the classes over all views that were given."""

    def compute(self) -> dict[str, Any]:
        """``miou`` and ``iou_per_class``: category id → IoU."""
        per_class = class_iou(self.table, self.categories, self.protocol)
        return {"miou": mean_over_classes(per_class), "iou_per_class": per_class}


class MeanAccuracy(TableMetric):
    """Mean pixel accuracy of the true classes over all views that were given."""

    def compute(self) -> dict[str, Any]:
        """``macc`` and ``accuracy_per_class``: category id → accuracy."""
        per_class = class_accuracy(self.table, self.categories)
        return {"macc": mean_over_classes(per_class), "accuracy_per_class": per_class}


class InstanceCoverage(TableMetric):
    """Coverage of the true things by predicted things over all views that were given."""

    def compute(self) -> dict[str, float]:
        """``mcov``, and ``mwcov`` weighted by area."""
        return coverage(self.table, self.categories)._asdict()
