# SPDX-License-Identifier: Apache-2.0
"""The variants of a benchmark: what is switched off or replaced, and which of them make an ablation."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.quality.command import require_known
from panoptic_gs.errors import InputError
from panoptic_gs.merge.registry import DEFAULT, METHODS

FACTORS = ("regularisation", "merge", "views")
MERGES = tuple(METHODS)


@dataclass(frozen=True)
class Variant:
    """One way to train a scene."""

    merge: str = DEFAULT
    """How raw masks are merged; finished maps are taken as they are."""
    regularisation: bool = True
    """Whether the panoptic colour loss takes part in training."""
    views: int | None = None
    """How many training views are seen, evenly spaced; None: all."""

    @property
    def name(self) -> str:
        """As in the tables: what differs from the full method."""
        differences = [] if self.merge == DEFAULT else [f"merge {self.merge}"]
        differences += [] if self.regularisation else ["no regularisation"]
        differences += [] if self.views is None else [f"{self.views} views"]
        return ", ".join(differences) or "full"

    @property
    def slug(self) -> str:
        """The name as a folder."""
        return self.name.replace(", ", "+").replace(" ", "-")


def variants_of(factors: Sequence[str], views: Sequence[int] = ()) -> list[Variant]:
    """The full method first; regularisation × merge where they are ablated (PanSt3R, Table 5), numbers of views beside
    (Table 7).

    Raises:
        InputError: an unknown factor, or no numbers of views.
    """
    factors = [part for factor in factors for part in factor.split(",")]
    require_known("--ablate", factors, FACTORS)
    if "views" in factors and not views:
        raise InputError("--views", "no numbers", "how many training views, as in 10 25 50", "Pass --views.")
    merges = MERGES if "merge" in factors else (DEFAULT,)
    losses = (True, False) if "regularisation" in factors else (True,)
    product = [Variant(merge, loss) for merge, loss in itertools.product(merges, losses)]
    return product + ([Variant(views=number) for number in views] if "views" in factors else [])
