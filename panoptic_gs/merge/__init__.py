# SPDX-License-Identifier: Apache-2.0
"""Raw query masks to one panoptic labelling of all views."""

from panoptic_gs.merge.bound import bound_qubo
from panoptic_gs.merge.decoding import Merge
from panoptic_gs.merge.methods import RULES, MaskFormerRules, maskformer, merge_predictions, qubo
from panoptic_gs.merge.overlap import Overlaps, overlaps
from panoptic_gs.merge.selection import qubo_objective, solve_qubo

__all__ = [
    "RULES",
    "MaskFormerRules",
    "Merge",
    "Overlaps",
    "bound_qubo",
    "maskformer",
    "merge_predictions",
    "overlaps",
    "qubo",
    "qubo_objective",
    "solve_qubo",
]
