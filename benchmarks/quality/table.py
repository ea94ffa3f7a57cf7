# SPDX-License-Identifier: Apache-2.0
"""Results of runs as tables: one row a scene and their mean, one row a method, published rows beside."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from benchmarks.quality.published import Published
from panoptic_gs.errors import InputError
from panoptic_gs.replacing import replacing

Result = Mapping[str, Any]

ROWS = {
    "predictions": "predictions (training views)",
    "nearest-view": "nearest view, by depth",
    "average": "average",
    "hard-labels": "one label per Gaussian",
    "dense-eq7": "dense Eq. 7",
    "rendered-views": "predicted on renders",
    "uplifted": "uplifted",
}
"""Row of a run → what it is, in the order of the tables."""

_QUALITIES = {"PQ": "pq", "SQ": "sq", "RQ": "rq", "things": "pq_things", "stuff": "pq_stuff"}
_OTHERS = {"mIoU": "miou", "mAcc": "macc", "mCov": "mcov", "mWCov": "mwcov"}
_VIEWS = {"ids": "id_f1", "ECE": "calibration_error"}
_POINTS = {"AP50": "ap50", "AP25": "ap25", "3D mIoU": "miou"}


def columns_of(result: Result, row: str) -> dict[str, float | None]:
    """The numbers of a row of a run, by heading: scores in percent, PSNR in dB, outlines in pixels, minutes.

    Qualities come in the protocol ``panoptic-lifting``, then in ``strict`` (headings with an asterisk); the others in
    ``panoptic-lifting``. ``outline px`` is the mean distance of outlines of found segments, ``ids`` how consistent ids
    are over views (F1 of pairs), ``ECE`` the expected calibration error of pixels' confidence. Colour, 3D scores and
    minutes are those of the training, so only ``uplifted`` has them.
    """
    scores = result["rows"][row]["scores"]
    lifting, strict = scores["panoptic-lifting"], scores["strict"]
    cells: dict[str, float | None] = {heading: _percent(lifting[key]) for heading, key in _QUALITIES.items()}
    cells |= {f"{heading}*": _percent(strict[key]) for heading, key in _QUALITIES.items()}
    cells |= {heading: _percent(lifting[key]) for heading, key in _OTHERS.items()}
    views = result["rows"][row].get("views", {})
    if views:
        cells["outline px"] = views["outline"]
    cells |= {heading: _percent(views[key]) for heading, key in _VIEWS.items() if key in views}
    if row == "uplifted":
        if "points" in result:
            cells |= {heading: _percent(result["points"][key]) for heading, key in _POINTS.items()}
        cells |= {"PSNR": result["images"]["psnr"], "SSIM": result["images"]["ssim"]}
        cells["min"] = result["minutes"]["total"]
    return cells


def mean_columns(rows: Sequence[Mapping[str, float | None]]) -> dict[str, float | None]:
    """The mean of each column over the rows that have a number in it."""
    headings = dict.fromkeys(heading for row in rows for heading in row)
    means: dict[str, float | None] = {}
    for heading in headings:
        values = [row[heading] for row in rows if row.get(heading) is not None]
        means[heading] = math.fsum(v for v in values if v is not None) / len(values) if values else None
    return means


def method_rows(results: Sequence[Result], ablation: bool = False) -> dict[str, dict[str, float | None]]:
    """Method → means over its scenes: predictions and baselines of the full variant, then each variant.

    Args:
        results: of runs.
        ablation: whether the predictions of each merge and number of views have a row, too.
    """
    rows: dict[str, dict[str, float | None]] = {}
    full = [result for result in results if result["variant"] == "full"]
    for row, name in ROWS.items():
        having = [result for result in full if row in result["rows"]]
        if having and row != "uplifted":
            rows[name] = mean_columns([columns_of(result, row) for result in having])
    variants = list(dict.fromkeys(result["variant"] for result in results))
    others = [variant for variant in variants if variant != "full" and "no regularisation" not in variant]
    for variant in others if ablation else ():
        mine = [columns_of(result, "predictions") for result in results if result["variant"] == variant]
        rows[f"{ROWS['predictions']}, {variant}"] = mean_columns(mine)
    for variant in variants:
        mine = [columns_of(result, "uplifted") for result in results if result["variant"] == variant]
        rows[ROWS["uplifted"] if variant == "full" else f"{ROWS['uplifted']}, {variant}"] = mean_columns(mine)
    return rows


def scene_rows(results: Sequence[Result], variant: str = "full") -> dict[str, dict[str, float | None]]:
    """Scene → the method's numbers in a variant, and the mean."""
    mine = {result["scene"]: columns_of(result, "uplifted") for result in results if result["variant"] == variant}
    return {**mine, f"mean of {len(mine)}": mean_columns(list(mine.values()))} if mine else {}


def markdown(first: str, rows: Mapping[str, Mapping[str, float | None]]) -> str:
    """A Markdown table with the rows' names under ``first``."""
    headings = list(dict.fromkeys(heading for row in rows.values() for heading in row))
    lines = [f"| {first} | {' | '.join(h.replace('*', chr(92) + '*') for h in headings)} |",
             f"|---|{'---:|' * len(headings)}"]  # fmt: skip
    for name, row in rows.items():
        lines.append(f"| {name} | {' | '.join(_cell(heading, row.get(heading)) for heading in headings)} |")
    return "\n".join(lines)


def published_markdown(published: Sequence[Published]) -> str:
    """Published scene-PQ with its sources."""
    lines = ["| published | PQ | source |", "|---|---:|---|"]
    return "\n".join([*lines, *(f"| {row.method} | {row.pq:.1f} | {row.source} |" for row in published)])


def print_methods(console: Console, title: str, rows: Mapping[str, Mapping[str, float | None]]) -> None:
    """The methods in the terminal, with the columns that fit there."""
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("")
    headings = ("PQ", "SQ", "RQ", "things", "stuff", "PQ*", "mIoU", "PSNR", "min")
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True)
    for name, row in rows.items():
        table.add_row(
            name.replace("predictions (training views)", "predictions (train)"),
            *(_cell(heading, row.get(heading)) for heading in headings),
        )
    console.print(table)


def require_markers(file: Path, marker: str) -> str:
    """The content of a text file that has ``<!-- marker -->`` and ``<!-- /marker -->``.

    Raises:
        InputError: the markers are missing.
    """
    start, end = f"<!-- {marker} -->", f"<!-- /{marker} -->"
    content = file.read_text(encoding="utf-8") if file.is_file() else ""
    if start not in content or end not in content:
        raise InputError(file, f"no {start} … {end}", "a document with both lines", "Add them where the table belongs.")
    return content


def write_between(file: Path, marker: str, text: str) -> None:
    """Replace what stands between ``<!-- marker -->`` and ``<!-- /marker -->`` in a text file.

    Raises:
        InputError: the markers are missing.
    """
    start, end = f"<!-- {marker} -->", f"<!-- /{marker} -->"
    before, rest = require_markers(file, marker).split(start, 1)
    with replacing(file) as temporary:
        temporary.write_text(f"{before}{start}\n{text}\n{end}{rest.split(end, 1)[1]}", encoding="utf-8")


def _percent(value: float | None) -> float | None:
    return None if value is None else 100 * value


def _cell(heading: str, value: float | None) -> str:
    if value is None:
        return "–"
    digits = {"SSIM": 3, "outline px": 2}.get(heading, 1)
    return f"{value:.{digits}f}"
