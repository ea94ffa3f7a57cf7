# SPDX-License-Identifier: Apache-2.0
"""``python -m benchmarks.captures``: captures as people bring them, and what becomes of each.

Every situation is made from an exact room in a temporary folder. It has to be read right (at least 99 % of labels) or
refused by a message that names what is wrong. The exit code is 1 where one is neither.
"""

from __future__ import annotations

import re
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import tyro

from benchmarks.captures import maps, photos, splat_files
from benchmarks.captures.judge import Verdict
from benchmarks.captures.situation import Situation
from panoptic_gs.files import write_json
from panoptic_gs.report.environment import environment

_BEGIN, _END = "<!-- captures: begin -->", "<!-- captures: end -->"


@dataclass(frozen=True)
class Captures:
    """Make every situation and judge it."""

    out: Path = Path("outputs/captures.json")
    """JSON with every verdict."""
    only: str = ""
    """A pattern of the situations to run ('group: name'); all by default. The page is not written then."""
    page: Path | None = Path("docs/captures.md")
    """Page whose table, between two markers, is replaced."""


def all_situations() -> list[Situation]:
    """All situations, in the order of the table."""
    return [*photos.situations(), *splat_files.situations(), *maps.situations()]


def judge_all(situations: list[Situation]) -> Iterator[tuple[Situation, Verdict, float]]:
    """Each situation, its verdict, and the seconds it took."""
    for situation in situations:
        with tempfile.TemporaryDirectory(prefix="captures-") as folder:
            started = time.perf_counter()
            verdict = situation.run(Path(folder))
            message = verdict.message.replace(folder + "/", "")
            yield situation, Verdict(verdict.outcome, verdict.figure, message), time.perf_counter() - started


def table(rows: list[dict[str, Any]]) -> str:
    """The rows as Markdown, a table a group."""
    parts = []
    for group, members in groupby(rows, key=lambda row: row["group"]):
        parts.append(f"| {group} | result |\n|---|---|")
        parts += [f"| {row['name']} | {_result(row)} |" for row in members]
        parts.append("")
    return "\n".join(parts)


def _result(row: dict[str, Any]) -> str:
    figure = "" if row["figure"] is None else f" {100 * row['figure']:.1f} %"
    mark = "" if row["passes"] else "**not as it should be:** "
    if row["outcome"] == "right":
        return f"{mark}right{figure}" + (f", says: {_short(row['message'])}" if row["message"] else "")
    if row["outcome"] == "refused":
        return f"{mark}refused: {_short(_found(row['message']))}"
    return f"{mark}{row['outcome']}{figure}: {_short(row['message'])}"


def _found(message: str) -> str:
    """What a refusal found, without where and without the cure."""
    match = re.search(r"found (?:Cannot use \S+ found )?(.*?)(?: expected |; expected )", message)
    return match[1] if match else message


def _short(text: str) -> str:
    text = " ".join(text.replace("|", "/").split())
    return text if len(text) <= 160 else text[:157] + "…"


def main(options: Captures) -> int:
    """Run, print, write; 1 where a situation is neither right nor refused by name."""
    chosen = [s for s in all_situations() if re.search(options.only, f"{s.group}: {s.name}")]
    rows = []
    for situation, verdict, seconds in judge_all(chosen):
        passes = situation.passes(verdict)
        rows.append({
            "group": situation.group, "name": situation.name, "outcome": verdict.outcome, "figure": verdict.figure,
            "message": verdict.message, "passes": passes, "seconds": round(seconds, 2),
        })  # fmt: skip
        print(f"{'  ' if passes else '✗ '}{situation.group}: {situation.name}: {_result(rows[-1])}", flush=True)
    failed = [row for row in rows if not row["passes"]]
    print(f"{len(rows)} situations, {len(failed)} neither right nor refused by name")
    write_json(options.out, {"situations": rows, "failed": len(failed), "environment": environment()})
    if options.page is not None and not options.only:
        counts = {outcome: sum(row["outcome"] == outcome for row in rows) for outcome in ("right", "refused")}
        head = (
            f"{len(rows)} situations: {counts['right']} right, {counts['refused']} refused, "
            f"{len(failed)} not as they should be.\n\n"
        )
        page = options.page.read_text(encoding="utf-8")
        start, end = page.index(_BEGIN) + len(_BEGIN), page.index(_END)
        options.page.write_text(f"{page[:start]}\n{head}{table(rows)}\n{page[end:]}", encoding="utf-8")
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main(tyro.cli(Captures)))
