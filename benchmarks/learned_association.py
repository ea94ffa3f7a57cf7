# SPDX-License-Identifier: Apache-2.0
"""The learned association methods and their components: ``python -m benchmarks.learned_association``, no network."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks.associating.learned import COMPONENTS, METHODS, scored, seconds_of, variants
from benchmarks.associating.resources import Load
from benchmarks.association import room_case, splats_of_depth
from benchmarks.quality.command import main, plain, require_known
from benchmarks.quality.measurements import Measurement, Outcome, scene_stamp
from benchmarks.quality.rooms import TabledRooms
from benchmarks.quality.table import require_markers, write_between
from benchmarks.speed.timing import machine
from panoptic_gs.associate import LearnedOptions
from panoptic_gs.files import read_json, write_json
from panoptic_gs.scene import Scene
from panoptic_gs.synthetic.noise import LEVELS

OWN = ""
"""The variant of a method that is the method itself."""
TIMED = Load(views=40, columns=12, gaussians=50_000)


@dataclass(frozen=True)
class LearnedAssociationBenchmark(TabledRooms):
    """Renumber the masks of every image, learn what they show, and score held-out views against the same masks with
    true ids, on Gaussians that stand on the rooms' true surfaces.

    A mask's true id is that of the thing it overlaps most. Scores are PQ differences in percent.
    """

    out: Path = Path("outputs/learned_association")
    """Folder for scenes, results.json and table.md; what is finished in it is kept."""
    methods: tuple[str, ...] = tuple(METHODS)
    """Any of PanopticRecon++, PanopticSplatting."""
    levels: tuple[str, ...] = ("low", "default", "high")
    """Noise levels of the rooms' masks."""
    steps: int = 1000
    """Training steps."""
    voxel: float = 0.05
    """Metres from Gaussian to Gaussian."""
    ablation: tuple[str, ...] = tuple(COMPONENTS)
    """Components that are switched one at a time."""
    ablation_rooms: int = 1
    """The first so many rooms, with masks of ablation_level, are ablated."""
    ablation_level: str = "default"
    """Noise level of the ablation."""
    seconds: tuple[int, ...] = (30, 150)
    """Numbers of queries whose steps are timed, on 50,000 Gaussians; none: leave it out."""

    def run(self) -> Outcome:
        """Do what is not done yet, print and write the tables."""
        for given, known, option in ((self.levels, LEVELS, "--levels"), (self.methods, METHODS, "--methods"),
                                     (self.ablation, COMPONENTS, "--ablation"),
                                     ((self.ablation_level,), LEVELS, "--ablation-level")):  # fmt: skip
            require_known(option, given, known)
        if self.write_docs is not None:
            require_markers(self.write_docs, "learned-association")
        console = Console()
        outcome = self.measured([self._measurement(*work, console) for work in self._work()], console,
                                self.out / "logs", _said)  # fmt: skip
        cases = outcome.results
        timed = [self._seconds(method, tokens) for tokens in self.seconds for method in self.methods]
        text = tables(cases, timed)
        settings = {name: plain(value) for name, value in asdict(self).items()}
        write_json(
            self.out / "results.json",
            {
                "machine": machine("cpu"),
                "settings": settings,
                "cases": list(cases),
                "seconds": timed,
                "failures": dict(outcome.failures),
            },
        )
        (self.out / "table.md").write_text(text + "\n", encoding="utf-8")
        console.print(text, markup=False, highlight=False, soft_wrap=True)
        if self.write_docs is not None:
            write_between(self.write_docs, "learned-association", text)
        return outcome

    def _work(self) -> Iterator[tuple[int, str, dict[str, dict[str, LearnedOptions]]]]:
        """Seed of a room, noise level, and method → variant → options."""
        ablated = self.seeds[: self.ablation_rooms] if self.ablation else ()
        done: set[tuple[int, str]] = set()
        for level in self.levels:
            for seed in self.seeds:
                own = {method: {OWN: METHODS[method]} for method in self.methods}
                if seed in ablated and level == self.ablation_level:
                    own = {method: {**of, **variants(method, self.ablation)} for method, of in own.items()}
                    done.add((seed, level))
                yield seed, level, own
        for seed in ablated:
            if (seed, self.ablation_level) not in done:
                yield (
                    seed,
                    self.ablation_level,
                    {method: {OWN: METHODS[method], **variants(method, self.ablation)} for method in self.methods},
                )

    def _measurement(
        self, seed: int, level: str, wanted: dict[str, dict[str, LearnedOptions]], console: Console
    ) -> Measurement:
        root = self.scene(seed, console)
        name = f"{level} · {root.name}"
        options = {f"{method} · {variant}": asdict(own) for method, of in wanted.items() for variant, own in of.items()}
        signature = {**scene_stamp(root, "panoptic_gt"), "voxel": self.voxel, "steps": self.steps, "options": options}
        return Measurement(name, self._case, (root, seed, level, wanted), self.out / "measured" / f"{name}.json",
                           signature, self.out / "measured" / f"{name}.log")  # fmt: skip

    def _case(
        self, root: Path, seed: int, level: str, wanted: dict[str, dict[str, LearnedOptions]], threads: int
    ) -> dict[str, Any]:
        """The rows of a room's masks: kept ones whose settings are the same, and those that are not there yet."""
        del threads  # all work is here
        file = self.out / "cases" / f"{level} {root.name}.json"
        recipe = {"views": self.views, "width": self.width, "voxel": self.voxel}
        kept = read_json(file) if file.is_file() else {}
        if kept.get("recipe") != recipe:
            kept = {"recipe": recipe, "level": level, "scene": root.name, "rows": {}}
        case = None
        rows: dict[str, dict[str, dict[str, Any]]] = {method: {} for method in wanted}
        for method, of_method in wanted.items():
            for variant, own in of_method.items():
                options = replace(own, steps=self.steps)
                name, settings = f"{method} · {variant}" if variant else method, asdict(options)
                row = kept["rows"].get(name)
                if row is None or row["settings"] != settings or "true ids" not in kept:
                    if case is None:
                        scene = Scene.load(root)
                        case = room_case(scene, splats_of_depth(scene, self.voxel), level, seed)
                        true = case.true_objects()
                        kept["true ids"] = case.scores(case.maps_of(true), true)
                        kept["gaussians"] = len(case.splats)
                    row = {"settings": settings, **scored(case, options)}
                    kept["rows"][name] = row
                    write_json(file, kept)
                rows[method][variant] = row
        return {**kept, "rows": rows}

    def _seconds(self, method: str, tokens: int) -> dict[str, Any]:
        file = self.out / "seconds" / f"{method} {tokens}.json"
        kept = read_json(file) if file.is_file() else None
        if kept is None or kept["steps"] != self.steps:
            kept = seconds_of(method, tokens, self.steps, TIMED)
            write_json(file, kept)
        return kept


def _said(case: dict[str, Any]) -> str:
    true = case["true ids"]["strict"]
    gaps = [(method, rows[OWN]["maps"]["strict"] - true) for method, rows in case["rows"].items()]
    return "to true ids: " + ", ".join(f"{method} {gap:+.1f}" for method, gap in gaps)


def tables(cases: Sequence[dict[str, Any]], timed: list[dict[str, Any]]) -> str:
    """Methods by noise level, their components, and seconds, as Markdown."""
    lines = ["| masks (rooms) | method | maps: PQ\\* − true ids | worst | labels: PQ\\* − true ids | worst "
             "| pairs: precision | recall | s |",
             "|---|---|---:|---:|---:|---:|---:|---:|---:|"]  # fmt: skip
    for level in dict.fromkeys(case["level"] for case in cases):
        mine = [case for case in cases if case["level"] == level]
        true = statistics.fmean(case["true ids"]["strict"] for case in mine)
        lines.append(f"| {level} ({len(mine)}) | *true ids, PQ\\* itself* | {true:.1f} | | | | | | |")
        for method in mine[0]["rows"]:
            cells = _cells([case["rows"][method][OWN] for case in mine], mine)
            lines.append(f"| | {method} | {' | '.join(cells)} |")
    ablated = [case for case in cases if any(len(of_method) > 1 for of_method in case["rows"].values())]
    if ablated:
        names = ", ".join(f"{case['scene']} ({case['level']})" for case in ablated)
        lines += ["", f"Components, on {names}; differences to the method itself:", "",
                  "| method | variant | maps: PQ\\* | labels: PQ\\* | things | s |",
                  "|---|---|---:|---:|---:|---:|"]  # fmt: skip
        for method, of_method in ablated[0]["rows"].items():
            for variant in of_method:
                rows = [(case["rows"][method][variant], case["rows"][method][OWN]) for case in ablated]
                shift = lambda key, rows=rows: statistics.fmean(r[key]["strict"] - o[key]["strict"] for r, o in rows)
                level = lambda key, rows=rows: statistics.fmean(row[key]["strict"] for row, _ in rows)
                scores = [f"{shift(key):+.1f}" if variant else f"{level(key):.1f}" for key in ("maps", "labels")]
                things, seconds = (statistics.fmean(row[key] for row, _ in rows) for key in ("things", "seconds"))
                name = f"| {variant}" if variant else f"{method} | *itself, PQ\\* itself*"
                lines.append(f"| {name} | {' | '.join(scores)} | {things:.1f} | {seconds:.0f} |")
    if timed:
        lines += [
            "",
            "| method | queries | Gaussians | steps | s: preparing | steps |",
            "|---|---:|---:|---:|---:|---:|",
        ]
        for row in timed:
            lines.append(f"| {row['method']} | {row['tokens']} | {row['gaussians']:,} | {row['steps']:,} "
                         f"| {row['preparing_seconds']:.0f} | {row['step_seconds']:.0f} |")  # fmt: skip
    return "\n".join(lines)


def _cells(rows: Sequence[dict[str, Any]], cases: Sequence[dict[str, Any]]) -> list[str]:
    cells: list[str] = []
    for key in ("maps", "labels"):
        gaps = [row[key]["strict"] - case["true ids"]["strict"] for row, case in zip(rows, cases)]
        cells += [f"{statistics.fmean(gaps):+.1f}", f"{min(gaps):+.1f}"]
    means = [statistics.fmean(row[key] for row in rows) for key in ("precision", "recall", "seconds")]
    return [*cells, *(f"{mean:.1f}" for mean in means)]


if __name__ == "__main__":
    main(LearnedAssociationBenchmark)
