# SPDX-License-Identifier: Apache-2.0
"""Panoptic 3D Gaussian Splatting from multi-view predictions."""

from panoptic_gs.camera import Camera
from panoptic_gs.errors import InputError
from panoptic_gs.panoptic import Category, PanopticScene, Segment
from panoptic_gs.splats import Splats

__all__ = ["Camera", "Category", "InputError", "PanopticScene", "Segment", "Splats"]
