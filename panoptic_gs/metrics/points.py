# SPDX-License-Identifier: Apache-2.0
"""Labelled point clouds: labels carried from predicted points, or splats, to true ones, and their scores in 3D."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.spatial import KDTree
from torch import Tensor
from torchmetrics import Metric

from panoptic_gs.camera import Camera
from panoptic_gs.errors import InputError
from panoptic_gs.metrics.average_precision import average_precision, match_instances
from panoptic_gs.metrics.contingency import ContingencyTable
from panoptic_gs.metrics.protocol import STRICT
from panoptic_gs.metrics.segmentation import class_accuracy, class_iou, coverage, mean_over_classes
from panoptic_gs.panoptic import Category

MAX_DISTANCE = 0.1
"""How far, in world units (metres in the datasets), the nearest predicted point of a true point may be."""


@dataclass(frozen=True, eq=False)
class LabelledPoints:
    """Points with a class and a segment each.

    Args:
        positions: ``[P, 3]`` in the world.
        category: ``[P]`` integers, 0 = no label.
        segment: ``[P]`` integers, 0 = none.

    Raises:
        InputError: shapes that do not fit each other, positions that are not finite, ids that are not integers of 0 or
            more.
    """

    positions: np.ndarray  # [P, 3]
    category: np.ndarray  # [P]
    segment: np.ndarray  # [P]

    def __post_init__(self) -> None:
        count = len(self.positions)
        if self.positions.shape != (count, 3) or self.category.shape != (count,) or self.segment.shape != (count,):
            shapes = [list(getattr(self, name).shape) for name in ("positions", "category", "segment")]
            raise InputError(
                "LabelledPoints", f"shapes {shapes}", "[P, 3], [P], [P]", "Pass one category and segment a point."
            )
        if not np.isfinite(self.positions).all():
            raise InputError(
                "LabelledPoints.positions", "NaN or infinite points", "finite ones", "Remove these points."
            )
        for name in ("category", "segment"):
            labels = getattr(self, name)
            if labels.dtype.kind not in "iu" or (count and labels.min() < 0):
                raise InputError(
                    f"LabelledPoints.{name}", f"{labels.dtype} values, or negative ones", "ids of 0 or more",
                    "Use 0 for points without a label.",
                )  # fmt: skip

    def __len__(self) -> int:
        return len(self.positions)

    def labelled(self) -> LabelledPoints:
        """The points that have a class."""
        kept = self.category > 0
        return LabelledPoints(self.positions[kept], self.category[kept], self.segment[kept])

    @classmethod
    def from_depth(
        cls, views: Iterable[tuple[Camera, np.ndarray, np.ndarray, np.ndarray]], voxel: float
    ) -> LabelledPoints:
        """Back-project labelled depth maps; each voxel keeps its first point.

        Args:
            views: camera, depth ``[H, W]`` along z (0 = none), category and segment maps ``[H, W]`` of each view.
            voxel: side of the cubes that hold at most one point, in world units.
        """
        positions, labels, known = np.zeros((0, 3), np.float32), np.zeros((0, 2), np.int64), np.zeros(0, np.int64)
        for camera, depth, category, segment in views:
            valid = depth > 0
            points = back_project(camera, depth)[valid].astype(np.float32)
            cells, first = np.unique(_cells(points, voxel), return_index=True)
            new = first[~np.isin(cells, known, assume_unique=True)]
            known = np.union1d(known, cells)
            positions = np.concatenate([positions, points[new]])
            here = np.stack([category[valid][new], segment[valid][new]], axis=1)
            labels = np.concatenate([labels, here.astype(np.int64)])
        return cls(positions, labels[:, 0], labels[:, 1])


def back_project(camera: Camera, depth: np.ndarray) -> np.ndarray:
    """The world points ``[H, W, 3]`` float64 that the pixel centres of a depth map ``[H, W]`` (along z) show."""
    viewmat, K = camera.viewmat.double().cpu().numpy(), camera.K.double().cpu().numpy()
    x = (np.arange(camera.width) + 0.5 - K[0, 2]) / K[0, 0]
    y = (np.arange(camera.height) + 0.5 - K[1, 2]) / K[1, 1]
    rays = np.stack(np.broadcast_arrays(x[None, :], y[:, None], 1.0), axis=-1)
    return (rays * depth[..., None] - viewmat[:3, 3]) @ viewmat[:3, :3]


def _cells(points: np.ndarray, voxel: float) -> np.ndarray:
    """One integer ``[P]`` for the voxel of each point, 21 bits an axis."""
    x, y, z = (np.floor(points / voxel).astype(np.int64) & 0x1FFFFF).T
    return (x << 42) | (y << 21) | z


def transfer_labels(pred: LabelledPoints, positions: np.ndarray, max_distance: float) -> tuple[np.ndarray, np.ndarray]:
    """Category and segment ``[P]`` of each position's nearest labelled point; 0 where none is within ``max_distance``.

    Points without a class do not take part: they neither give nor block a label.
    """
    source = pred.labelled()
    category, segment = (np.zeros(len(positions), dtype=np.int64) for _ in range(2))
    if len(source):
        distance, nearest = KDTree(source.positions).query(positions, distance_upper_bound=max_distance, workers=-1)
        nearest, found = np.asarray(nearest), np.isfinite(distance)
        category[found], segment[found] = source.category[nearest[found]], source.segment[nearest[found]]
    return category, segment


def point_table(pred: LabelledPoints, gt: LabelledPoints, max_distance: float = MAX_DISTANCE) -> ContingencyTable:
    """How many true points carry each pair of labels, with the predicted ones by :func:`transfer_labels`.

    It is the table that maps give with pixels, so every score of a table is a score of point clouds too.
    """
    table = ContingencyTable()
    table.add(*transfer_labels(pred, gt.positions, max_distance), gt.category.astype(np.int64),
              gt.segment.astype(np.int64))  # fmt: skip
    return table


def score_points(
    table: ContingencyTable,
    categories: Collection[Category],
    scores: Mapping[int, float] | None = None,
    min_points: int = 100,
) -> dict[str, float]:
    """3D scores of one scene: AP, AP50, AP25, precision and recall of things; mIoU, mAcc, mCov, mWCov of points.

    Args:
        table: of true points, as :func:`point_table` gives it.
        categories: the classes.
        scores: segment id → confidence of the predicted segment; 1 for all if not given.
        min_points: see :func:`match_instances`.

    Returns:
        ``ap``, ``ap50``, ``ap25``, ``precision50``, ``recall50``, ``precision25``, ``recall25`` as
        :func:`average_precision` defines them; ``miou`` over the classes that occur on either side, ``macc``, ``mcov``,
        ``mwcov`` as for pixels; ``covered``, the share of true points with a class that have a predicted one in reach.
    """
    instances = average_precision(match_instances(table, categories, scores, min_points), categories)
    rows = table.rows.cpu()
    valid = rows[:, 2] != 0
    covered = rows[valid & (rows[:, 0] != 0), 4].sum() / rows[valid, 4].sum()
    return {
        **instances.as_dict(),
        "miou": mean_over_classes(class_iou(table, categories, STRICT)),
        "macc": mean_over_classes(class_accuracy(table, categories)),
        **coverage(table, categories)._asdict(),
        "covered": float(covered),
    }


class PointCloudQuality(Metric):
    """Instance precision and mIoU of labelled point clouds, over all scenes that were given.

    Matches are collected over scenes before precision and recall are taken, as ScanNet does.

    Args:
        categories: the classes that predictions and truth speak of.
        max_distance: how far the nearest predicted point of a true point may be, in world units.
        min_points: the least true points of an instance.
        kwargs: of ``torchmetrics.Metric``.

    Example:
        >>> import numpy as np
        >>> from panoptic_gs import Category
        >>> metric = PointCloudQuality([Category(1, "wall", False), Category(5, "chair", True)], min_points=2)
        >>> positions = np.array([[0.0, 0, 0], [1, 0, 0], [2, 0, 0], [3, 0, 0]])
        >>> truth = LabelledPoints(positions, np.array([1, 1, 5, 5]), np.array([0, 0, 7, 7]))
        >>> metric.update(LabelledPoints(positions + 0.01, np.array([1, 5, 5, 5]), np.array([0, 3, 3, 3])), truth)
        >>> scores = metric.compute()
        >>> scores["ap50"], round(scores["miou"], 3)  # the chair's IoU is 2/3, the wall's 1/2
        (1.0, 0.583)
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False
    matches: list[Tensor] | Tensor
    classes: list[Tensor] | Tensor

    def __init__(
        self,
        categories: Collection[Category],
        max_distance: float = MAX_DISTANCE,
        min_points: int = 100,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.categories, self.max_distance, self.min_points = tuple(categories), max_distance, min_points
        self.add_state("matches", default=[], dist_reduce_fx="cat")
        self.add_state("classes", default=[], dist_reduce_fx="cat")
        self.reset()

    def reset(self) -> None:
        """Forget all scenes."""
        super().reset()
        # Never an empty list: a process without scenes joins the gathering with no rows.
        self.matches = [torch.zeros((0, 4), dtype=torch.float64, device=self.device)]
        self.classes = [ContingencyTable().rows.to(self.device)]

    def update(self, pred: LabelledPoints, gt: LabelledPoints, scores: Mapping[int, float] | None = None) -> None:
        """Count one scene; ``scores`` gives the confidence of predicted segments."""
        table = point_table(pred, gt, self.max_distance)
        matches = match_instances(table, self.categories, scores, self.min_points)
        rows = table.rows.clone()
        rows[:, [1, 3]] = 0  # segments of different scenes have nothing in common
        self.matches = [*self.matches, matches.to(self.device)]
        self.classes = [*self.classes, rows.to(self.device)]

    def compute(self) -> dict[str, float]:
        """The instance scores by name, as in :func:`score_points`, ``miou`` and ``macc``."""
        matches, rows = (
            state if isinstance(state, Tensor) else torch.cat(state) for state in (self.matches, self.classes)
        )
        table = ContingencyTable(rows)
        return {
            **average_precision(matches, self.categories).as_dict(),
            "miou": mean_over_classes(class_iou(table, self.categories, STRICT)),
            "macc": mean_over_classes(class_accuracy(table, self.categories)),
        }
