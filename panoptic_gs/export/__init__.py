# SPDX-License-Identifier: Apache-2.0
"""Labelled scenes for other programs: splats, point clouds, boxes, a scene graph, label maps and videos."""

from panoptic_gs.export.annotation import legend, legend_entries, name_objects
from panoptic_gs.export.clouds import write_objects, write_point_cloud
from panoptic_gs.export.gaussian_gltf import write_gaussian_gltf
from panoptic_gs.export.gaussian_usd import write_gaussian_usd
from panoptic_gs.export.matching import Matched, match_positions, write_matched_labels
from panoptic_gs.export.objects import PlacedObject, cut_out_objects, placed_objects
from panoptic_gs.export.paths import interpolate_cameras, load_camera_path
from panoptic_gs.export.relations import Relation, relate_objects
from panoptic_gs.export.scene_graph import write_boxes, write_scene_graph
from panoptic_gs.export.sog_objects import write_sog, write_sog_objects
from panoptic_gs.export.spz_objects import write_spz, write_spz_objects
from panoptic_gs.export.supersplat import write_labelled_ply
from panoptic_gs.export.turn import around_the_room
from panoptic_gs.export.video import RenderedView, VideoWriter, render_path, side_by_side

__all__ = [
    "Matched",
    "PlacedObject",
    "Relation",
    "RenderedView",
    "VideoWriter",
    "around_the_room",
    "cut_out_objects",
    "interpolate_cameras",
    "legend",
    "legend_entries",
    "load_camera_path",
    "match_positions",
    "name_objects",
    "placed_objects",
    "relate_objects",
    "render_path",
    "side_by_side",
    "write_boxes",
    "write_gaussian_gltf",
    "write_gaussian_usd",
    "write_labelled_ply",
    "write_matched_labels",
    "write_objects",
    "write_point_cloud",
    "write_scene_graph",
    "write_sog",
    "write_sog_objects",
    "write_spz",
    "write_spz_objects",
]
