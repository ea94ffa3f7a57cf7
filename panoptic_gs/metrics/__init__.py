# SPDX-License-Identifier: Apache-2.0
"""Scores of panoptic scenes; all are functions of one contingency table over the views of a scene."""

from panoptic_gs.metrics.contingency import ContingencyTable
from panoptic_gs.metrics.modules import InstanceCoverage, MeanAccuracy, MeanIoU, ScenePanopticQuality
from panoptic_gs.metrics.panoptic_quality import ClassQuality, PanopticQualities, panoptic_quality
from panoptic_gs.metrics.protocol import PANOPTIC_LIFTING, STRICT, Protocol
from panoptic_gs.metrics.scenes import SceneScores, evaluate_scenes, score_table
from panoptic_gs.metrics.segmentation import Coverage, class_accuracy, class_iou, coverage

__all__ = [
    "PANOPTIC_LIFTING",
    "STRICT",
    "ClassQuality",
    "ContingencyTable",
    "Coverage",
    "InstanceCoverage",
    "MeanAccuracy",
    "MeanIoU",
    "PanopticQualities",
    "Protocol",
    "ScenePanopticQuality",
    "SceneScores",
    "class_accuracy",
    "class_iou",
    "coverage",
    "evaluate_scenes",
    "panoptic_quality",
    "score_table",
]
