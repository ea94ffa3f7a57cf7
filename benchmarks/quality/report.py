# SPDX-License-Identifier: Apache-2.0
"""What a benchmark leaves behind: ``results.json`` with the machine and every run, and ``table.md``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from benchmarks.quality.harness import Outcome
from benchmarks.quality.published import Published
from benchmarks.quality.table import Result, markdown, method_rows, print_methods, published_markdown, scene_rows
from benchmarks.speed.timing import machine
from panoptic_gs.files import write_json
from panoptic_gs.replacing import replacing

LEGEND = (
    "In percent, but PSNR in dB, outlines in pixels and minutes of a run. Protocol panoptic-lifting; with an asterisk "
    "strict; outline px: mean distance of outlines of found segments; ids: F1 of pairs of observations of an object "
    "with one id; ECE: expected calibration error of pixels; AP50, AP25 and 3D mIoU of the labelled Gaussians against "
    "the truth's depth maps. Means over scenes."
)


def group_text(title: str, results: Sequence[Result], ablation: bool) -> str:
    """Markdown of one group of scenes: the methods, then every scene."""
    scenes = len({result["scene"] for result in results})
    parts = [f"**{title}**, {scenes} scene{'s' * (scenes > 1)}", "",
             markdown("method", method_rows(results, ablation))]  # fmt: skip
    if scenes > 1:
        parts += ["", markdown("uplifted, by scene", scene_rows(results))]
    return "\n".join(parts)


def write_report(
    out: Path,
    title: str,
    outcome: Outcome,
    settings: Mapping[str, Any],
    console: Console,
    published: Mapping[str, Sequence[Published]] | None = None,
    ablation: bool = False,
) -> str:
    """Write ``results.json`` and ``table.md`` into ``out``, print the means, and give the Markdown.

    Args:
        out: the benchmark's folder.
        title: of the tables.
        outcome: the runs.
        settings: of the command.
        console: where the means and the files' names are printed.
        published: heading → published rows that stand below.
        ablation: whether the predictions of each variant have a row of their own, as merging differs.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    found = machine(device)
    groups = dict.fromkeys(result["group"] for result in outcome.results)
    texts = []
    for group in groups:
        results = [result for result in outcome.results if result["group"] == group]
        heading = ", ".join(part for part in (title, group) if part)
        print_methods(console, heading, method_rows(results, ablation))
        texts.append(group_text(heading, results, ablation))
    for heading, rows in (published or {}).items():
        texts.append(f"{heading}\n\n{published_markdown(rows)}")
    where = found.get("gpu") or f"{found['cpu']}, {found['cores']} cores"
    versions = ", ".join(f"{name} {version}" for name, version in found["packages"].items() if version)
    texts.append(f"{LEGEND} Measured on {where} ({versions}).")
    if outcome.failures:
        texts.append("Not finished: " + "; ".join(f"{label} ({error})" for label, error in outcome.failures.items()))
    text = "\n\n".join(texts)
    write_json(out / "results.json", {"machine": found, "settings": dict(settings), "runs": list(outcome.results),
                                      "failures": dict(outcome.failures)})  # fmt: skip
    with replacing(out / "table.md") as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")
    for label, error in outcome.failures.items():
        console.print(f"Not finished: {label}: {error}", style="red", markup=False, highlight=False)
    if outcome.results:
        console.print(f"Reports      {out / 'runs' / '*' / '*' / 'report.html'}", soft_wrap=True)
    console.print(f"Tables       {out / 'table.md'}", soft_wrap=True)
    console.print(f"All numbers  {out / 'results.json'}", soft_wrap=True)
    return text
