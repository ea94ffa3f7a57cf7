# SPDX-License-Identifier: Apache-2.0
"""Labels that weigh their evidence: each view is held against all others before it votes."""

from panoptic_gs.refine.changes import Change, changes_between
from panoptic_gs.refine.doubts import Doubt, find_doubts
from panoptic_gs.refine.graph import diffuse, neighbour_graph
from panoptic_gs.refine.leave_one_out import LeaveOneOut
from panoptic_gs.refine.neighbours import lean_on_neighbours
from panoptic_gs.refine.refining import CleanedMap, LabelRule, RefineOptions, label_gaussians, refine_labels, sharpened
from panoptic_gs.refine.weighing import WeighedVotes, uplift_weighed

__all__ = [
    "Change",
    "CleanedMap",
    "Doubt",
    "LabelRule",
    "LeaveOneOut",
    "RefineOptions",
    "WeighedVotes",
    "changes_between",
    "diffuse",
    "find_doubts",
    "label_gaussians",
    "lean_on_neighbours",
    "neighbour_graph",
    "refine_labels",
    "sharpened",
    "uplift_weighed",
]
