# SPDX-License-Identifier: Apache-2.0
"""Raw query masks to one panoptic labelling of all views."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from panoptic_gs.merge.registry import METHODS, MergeOptions

if TYPE_CHECKING:
    from panoptic_gs.merge.bound import bound_qubo
    from panoptic_gs.merge.decoding import Merge
    from panoptic_gs.merge.methods import RULES, MaskFormerRules, maskformer, merge_predictions, qubo
    from panoptic_gs.merge.overlap import Overlaps, overlaps
    from panoptic_gs.merge.selection import qubo_objective, solve_qubo

__all__ = [
    "METHODS",
    "RULES",
    "MaskFormerRules",
    "Merge",
    "MergeOptions",
    "Overlaps",
    "bound_qubo",
    "maskformer",
    "merge_predictions",
    "overlaps",
    "qubo",
    "qubo_objective",
    "solve_qubo",
]

_HOMES = {
    "Merge": "decoding", "Overlaps": "overlap", "bound_qubo": "bound", "overlaps": "overlap",
    "qubo_objective": "selection", "solve_qubo": "selection",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    # Whoever only asks for the methods' names does not wait for torch.
    if name in __all__:
        return getattr(importlib.import_module(f"panoptic_gs.merge.{_HOMES.get(name, 'methods')}"), name)
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
