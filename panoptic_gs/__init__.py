# SPDX-License-Identifier: Apache-2.0
"""Panoptic 3D Gaussian Splatting from multi-view predictions."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from panoptic_gs import merge, metrics
    from panoptic_gs.camera import Camera
    from panoptic_gs.errors import InputError
    from panoptic_gs.panoptic import Category, PanopticScene, Segment
    from panoptic_gs.rasterize import rasterization
    from panoptic_gs.splats import Splats
    from panoptic_gs.uplift import GaussianLabels, LabelVotes, render_panoptic, uplift_features, uplift_labels

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

_HOMES = {
    "Camera": "camera",
    "Category": "panoptic",
    "GaussianLabels": "uplift",
    "InputError": "errors",
    "LabelVotes": "uplift",
    "PanopticScene": "panoptic",
    "Segment": "panoptic",
    "Splats": "splats",
    "rasterization": "rasterize",
    "render_panoptic": "uplift",
    "uplift_features": "uplift",
    "uplift_labels": "uplift",
}


def __getattr__(name: str) -> Any:
    # torch and torchmetrics take seconds to import: only who uses what needs them pays for it, and `--help` does not.
    if name in ("merge", "metrics"):
        return importlib.import_module(f"panoptic_gs.{name}")
    if name in _HOMES:
        value = getattr(importlib.import_module(f"panoptic_gs.{_HOMES[name]}"), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'panoptic_gs' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
