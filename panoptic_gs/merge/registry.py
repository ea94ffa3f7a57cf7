# SPDX-License-Identifier: Apache-2.0
"""The ways to merge by their names: what the command line, the plugin and the benchmarks offer.

Nothing heavy is imported here, so that a command can list them before it does anything. A new way is an entry of
`METHODS` and the function that it names.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from panoptic_gs.errors import InputError

if TYPE_CHECKING:
    from panoptic_gs.merge.decoding import Merge, Progress
    from panoptic_gs.processes import Processes
    from panoptic_gs.raw_predictions import RawPredictions

DEFAULT = "qubo"
AUTO = "auto"
"""Stands for what a network's authors recommend for it, else for `DEFAULT`."""


@dataclass(frozen=True)
class MergeOptions:
    """What can be set; a method reads what concerns it. The functions of :mod:`panoptic_gs.merge` say what it means."""

    penalty: float = 2.0
    seed: int = 0
    void_threshold: float = 0.5
    min_confidence: float = 0.01
    bound: bool = False


@dataclass(frozen=True)
class MergeMethod:
    """One way to merge.

    Args:
        home: the function, as ``package.module:function``; called with predictions, options, a progress and processes.
        summary: what it does, to complete a sentence.
    """

    home: str
    summary: str

    def load(self) -> Callable[[RawPredictions, MergeOptions, Progress | None, Processes], Merge]:
        """The function."""
        module, _, function = self.home.partition(":")
        return getattr(importlib.import_module(module), function)


METHODS = {
    "qubo": MergeMethod(
        "panoptic_gs.merge.methods:merge_by_qubo",
        "chooses the queries that cover most and overlap least over all views (PanSt3R)",
    ),
    "standard": MergeMethod(
        "panoptic_gs.merge.methods:merge_by_standard",
        "lets queries compete by class and mask probability (MaskFormer), as PanSt3R's first release does",
    ),
    "standard-v2": MergeMethod(
        "panoptic_gs.merge.methods:merge_by_standard_v2",
        "the same with the lower thresholds and the second pass of PanSt3R's second release",
    ),
}

if TYPE_CHECKING:
    MethodName = str
    MethodOrAuto = str
    MethodOrNone = str
else:  # the names as types, for options of command lines
    MethodName = Literal[tuple(METHODS)]
    MethodOrAuto = Literal[(AUTO, *METHODS)]
    MethodOrNone = Literal[("none", *METHODS)]


def merge_method(name: str, recommended: str | None = None) -> tuple[str, MergeMethod]:
    """The method of a name, and its name where that was `AUTO`.

    Args:
        name: of a method, or `AUTO`.
        recommended: what `AUTO` means, where somebody says so; names that are not known here are passed over.

    Raises:
        InputError: there is no such method.
    """
    if name == AUTO:
        name = recommended if recommended in METHODS else DEFAULT
    if name not in METHODS:
        raise InputError("method", f"'{name}'", f"{AUTO}, {', '.join(METHODS)}", "Choose one of these.")
    return name, METHODS[name]
