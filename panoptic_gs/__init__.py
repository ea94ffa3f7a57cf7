# SPDX-License-Identifier: Apache-2.0
"""Panoptic 3D Gaussian Splatting from multi-view predictions."""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import TYPE_CHECKING

from panoptic_gs import merge
from panoptic_gs.camera import Camera
from panoptic_gs.errors import InputError
from panoptic_gs.panoptic import Category, PanopticScene, Segment
from panoptic_gs.rasterize import rasterization
from panoptic_gs.splats import Splats
from panoptic_gs.uplift import GaussianLabels, LabelVotes, render_panoptic, uplift_features, uplift_labels

if TYPE_CHECKING:
    from panoptic_gs import metrics

__all__ = [
    "Camera",
    "Category",
    "GaussianLabels",
    "InputError",
    "LabelVotes",
    "PanopticScene",
    "Segment",
    "Splats",
    "merge",
    "metrics",
    "rasterization",
    "render_panoptic",
    "uplift_features",
    "uplift_labels",
]


def __getattr__(name: str) -> ModuleType:
    # torchmetrics takes seconds to import: only who scores pays for it.
    if name == "metrics":
        return importlib.import_module("panoptic_gs.metrics")
    raise AttributeError(f"module 'panoptic_gs' has no attribute '{name}'")
