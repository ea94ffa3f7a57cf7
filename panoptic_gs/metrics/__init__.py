# SPDX-License-Identifier: Apache-2.0
"""Scores of panoptic scenes; all are functions of one contingency table over the views of a scene."""

from panoptic_gs.metrics.average_precision import InstancePrecision, average_precision, match_instances
from panoptic_gs.metrics.boundary import OutlineError, outline_error
from panoptic_gs.metrics.calibration import LabelReliability, Reliability, ReliabilityBin
from panoptic_gs.metrics.consistency import IdConsistency
from panoptic_gs.metrics.contingency import ContingencyTable
from panoptic_gs.metrics.modules import InstanceCoverage, MeanAccuracy, MeanIoU, ScenePanopticQuality
from panoptic_gs.metrics.panoptic_quality import ClassQuality, PanopticQualities, panoptic_quality
from panoptic_gs.metrics.points import LabelledPoints, PointCloudQuality, point_table, score_points, transfer_labels
from panoptic_gs.metrics.protocol import PANOPTIC_LIFTING, PROTOCOLS, STRICT, Protocol
from panoptic_gs.metrics.scenes import evaluate_scenes
from panoptic_gs.metrics.scorer import SceneScores, Scorer, score_table
from panoptic_gs.metrics.segmentation import Coverage, FrameScores, class_accuracy, class_iou, coverage

__all__ = [
    "PANOPTIC_LIFTING",
    "PROTOCOLS",
    "STRICT",
    "ClassQuality",
    "ContingencyTable",
    "Coverage",
    "FrameScores",
    "IdConsistency",
    "InstanceCoverage",
    "InstancePrecision",
    "LabelReliability",
    "LabelledPoints",
    "MeanAccuracy",
    "MeanIoU",
    "OutlineError",
    "PanopticQualities",
    "PointCloudQuality",
    "Protocol",
    "Reliability",
    "ReliabilityBin",
    "ScenePanopticQuality",
    "SceneScores",
    "Scorer",
    "average_precision",
    "class_accuracy",
    "class_iou",
    "coverage",
    "evaluate_scenes",
    "match_instances",
    "outline_error",
    "panoptic_quality",
    "point_table",
    "score_points",
    "score_table",
    "transfer_labels",
]
