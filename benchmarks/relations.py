# SPDX-License-Identifier: Apache-2.0
"""Relations of objects against arrangements in which they are known: ``python -m benchmarks.relations``.

Rooms have truth for what stands on what (:mod:`benchmarks.objects`), but hardly anything under, in or beside anything.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from tyro import cli

from benchmarks.quality.arrangements import Fact, arranged
from panoptic_gs.export import placed_objects, relate_objects
from panoptic_gs.files import write_json
from panoptic_gs.objects.survey import Survey

KINDS = ("on", "in", "under", "next to")
_UP = np.array([0.0, 0.0, 1.0])


@dataclass(frozen=True)
class Relations:
    """Hold the relations of arranged furniture against what was arranged."""

    arrangements: int = 40
    """Floors, each with one arrangement of every kind."""
    first_seed: int = 0
    """Seed of the first one."""
    out: Path = Path("benchmarks/results/relations.json")
    """Where the figures are written."""

    def run(self) -> None:
        counts, wrong = Counter[tuple[str, str]](), Counter[str]()
        for seed in range(self.first_seed, self.first_seed + self.arrangements):
            each, mistakes = measure(seed)
            counts.update(each)
            wrong.update(mistakes)
        total = figures(counts)
        table = Table("relation", "true", "said", "precision", "recall")
        for kind in KINDS:
            row = total[kind]
            table.add_row(kind, str(row["true"]), str(row["said"]), f"{row['precision']:.3f}", f"{row['recall']:.3f}")
        console = Console()
        console.print(table)
        for mistake, count in wrong.most_common(12):
            console.print(f"{count:4d}  {mistake}", markup=False)
        write_json(self.out, {"arrangements": self.arrangements, "first_seed": self.first_seed, "relations": total})


def measure(seed: int) -> tuple[Counter[tuple[str, str]], Counter[str]]:
    """How many relations of each kind are true, said, and both; and the mistakes in words."""
    here, scene = arranged(seed)
    survey = Survey(scene, up=_UP)
    objects = placed_objects(survey.table, survey.up, uncertain=False)
    said: set[Fact] = {
        (r.subject, r.relation, r.object)
        for r in relate_objects(scene.splats, objects, survey.up)
        if r.relation in KINDS and frozenset((r.subject, r.object)) not in here.open
    }
    loose = {frozenset(pair) for pair in here.not_on}
    said = {fact for fact in said if fact[1] == "on" or frozenset((fact[0], fact[2])) not in loose}
    true = {fact for fact in here.facts if frozenset((fact[0], fact[2])) not in here.open}
    counts = Counter[tuple[str, str]]()
    for name, facts in (("true", true), ("said", said), ("right", true & said)):
        counts.update((name, relation) for _, relation, _ in facts)

    def words(fact: Fact) -> str:
        return f"{here.names[fact[0] - 1]} {fact[1]} {here.names[fact[2] - 1]}"

    mistakes = [f"missing: {words(fact)}" for fact in true - said] + [f"wrong: {words(fact)}" for fact in said - true]
    return counts, Counter(mistakes)


def figures(counts: Counter[tuple[str, str]]) -> dict[str, dict[str, Any]]:
    """Precision and recall of each relation."""
    return {
        kind: {
            "true": counts["true", kind], "said": counts["said", kind],
            "precision": counts["right", kind] / max(counts["said", kind], 1),
            "recall": counts["right", kind] / max(counts["true", kind], 1),
        }
        for kind in KINDS
    }  # fmt: skip


if __name__ == "__main__":
    cli(Relations).run()
