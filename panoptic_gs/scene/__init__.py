# SPDX-License-Identifier: Apache-2.0
"""The scene folder: posed photos with their lenses, seed points, splits, and the label maps beside them."""

from panoptic_gs.ply import Points, read_points, write_points
from panoptic_gs.scene.folder import Scene, has_cameras, write_scene
from panoptic_gs.scene.frame import Frame

__all__ = ["Frame", "Points", "Scene", "has_cameras", "read_points", "write_points", "write_scene"]
