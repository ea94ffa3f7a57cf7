# SPDX-License-Identifier: Apache-2.0
"""A situation: how it is made, who judges it, and what a refusal has to name."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.captures.judge import Verdict


@dataclass(frozen=True)
class Situation:
    """One row of the table.

    Args:
        group: what it is about.
        name: what the input is.
        run: makes it in an empty folder and judges what becomes of it.
        refusal: pattern of what a refusal has to name, or empty where the input has to be read.
        must_refuse: whether only a refusal is right.
    """

    group: str
    name: str
    run: Callable[[Path], Verdict]
    refusal: str = ""
    must_refuse: bool = False

    def passes(self, verdict: Verdict) -> bool:
        """Whether this is what a user should get."""
        if verdict.outcome == "refused":
            return bool(self.refusal) and re.search(self.refusal, verdict.message, re.IGNORECASE) is not None
        return verdict.outcome == "right" and not self.must_refuse


def worst(*verdicts: Verdict) -> Verdict:
    """The verdict of several judges of one input: the first that is not right, else the lowest figure."""
    for outcome in ("crashed", "wrong"):
        for verdict in verdicts:
            if verdict.outcome == outcome:
                return verdict
    refused = [verdict for verdict in verdicts if verdict.outcome == "refused"]
    if refused:
        everywhere = len(refused) == len(verdicts)
        return refused[0] if everywhere else Verdict("wrong", None, f"refused by one only: {refused[0].message}")
    figures = [verdict.figure for verdict in verdicts if verdict.figure is not None]
    notes = "; ".join(dict.fromkeys(verdict.message for verdict in verdicts if verdict.message))
    return Verdict("right", min(figures) if figures else None, notes)
