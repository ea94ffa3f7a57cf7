# SPDX-License-Identifier: Apache-2.0
"""Two scenes of the same photos side by side in one HTML file: scores and their differences, views, objects."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path

from panoptic_gs.errors import InputError
from panoptic_gs.replacing import replacing
from panoptic_gs.report.evaluation import Evaluation, PicturedView
from panoptic_gs.report.explained import explained, glossary
from panoptic_gs.report.markup import Markup, element
from panoptic_gs.report.objects import objects_in_words
from panoptic_gs.report.page import (
    assembled,
    card,
    choice,
    hex_color,
    links_to,
    pairs,
    scroller,
    section,
    view_id,
)  # fmt: skip
from panoptic_gs.report.scene_report import SceneReport
from panoptic_gs.report.score_tables import COLUMNS, columns_of

_SHARED = ("photo", "truth")
_OWN = ("rendered", "panoptic", "errors")
LAYERS = (*_SHARED, *(f"{side}-{layer}" for layer in _OWN for side in "AB"))
"""The pictures of a view that is compared."""
_IMAGES = {"psnr": ("PSNR", 2, 1), "ssim": ("SSIM", 3, 1), "lpips": ("LPIPS", 3, -1)}
_MOST_LISTED = 5


def write_comparison(path: Path, a: SceneReport, b: SceneReport) -> None:
    """Write two reports as one page that compares them, in one move.

    Raises:
        InputError: they have no view in common, or the folder cannot be written.
    """
    page = render_comparison(a, b)
    with replacing(path) as temporary:
        temporary.write_text(page, encoding="utf-8")


def render_comparison(a: SceneReport, b: SceneReport) -> str:
    """The HTML of the page.

    Args:
        a, b: reports on the same photos, with the same truth.

    Raises:
        InputError: they have no view in common.
    """
    names = {view.name for view in a.evaluation.views} & {view.name for view in b.evaluation.views}
    if not names and a.evaluation.views and b.evaluation.views:
        raise InputError("report", f"views of '{a.title}' and views of '{b.title}', none of both",
                         "two scenes of the same photos", "Give both the same --data and --split.")  # fmt: skip
    sections = [
        section("scores", "Scores", _scores(a.evaluation, b.evaluation)),
        section("views", "Views", _views(a, b, names)),
        section("classes", "Classes", _classes(a.evaluation, b.evaluation)),
        section("objects", "True objects", _objects(a.evaluation, b.evaluation)),
        section("origin", "How they were made", _origin(a, b)),
    ]
    return assembled(f"{a.title} and {b.title}", _header(a, b), sections, LAYERS)


def _header(a: SceneReport, b: SceneReport) -> Markup:
    switch = element("button", "Dark", type="button", id="theme", class_="quiet", aria_label="Light or dark page")
    told = []
    for side, report in (("A", a), ("B", b)):
        kind = f"{report.kind} " if report.kind else ""
        what = [f"{report.evaluation.num_views} {kind}views"]
        what += [f"{report.facts['Gaussians']} Gaussians"] if "Gaussians" in report.facts else []
        what.append(objects_in_words(report.objects))
        told.append(element("p", element("strong", f"{side}: "), report.facts.get("source", report.title), " · ",
                            " · ".join(what), class_="lead"))  # fmt: skip
    return element(
        "header",
        element("p", element("span", "Two panoptic scenes compared", class_="eyebrow"), switch, class_="top"),
        element("h1", a.title if a.title == b.title else f"{a.title} and {b.title}"),
        *told,
    )


# Scores


def _scores(a: Evaluation, b: Evaluation) -> Markup:
    rows = []
    for protocol in (name for name in a.scores if name in b.scores):
        for name, mine, theirs in zip(COLUMNS, columns_of(a.scores[protocol]), columns_of(b.scores[protocol])):
            rows.append(_row(name, protocol, 100 * mine, 100 * theirs, 1))
    for key, (name, digits, sign) in _IMAGES.items():
        if key in a.metrics and key in b.metrics:
            rows.append(_row(name, "", a.metrics[key], b.metrics[key], digits, sign))
    if not rows:
        return element("p", "There are no true maps of these views, so labels are not scored.", class_="note")
    note = None
    if a.num_views != b.num_views:
        note = element("p", f"A is scored on {a.num_views} views and B on {b.num_views}: the numbers are not of the "
                       "same photos.", class_="note worse")  # fmt: skip
    names = [*COLUMNS, *(name for name, *_ in _IMAGES.values()), *a.scores]
    return element("div", note, scroller(_table(("score", "protocol"), rows), "Scores of both"), glossary(names))


def _row(name: str, note: str, mine: float, theirs: float, digits: int, sign: int = 1, anchor: str = "") -> Markup:
    change = theirs - mine
    known = not (math.isnan(mine) or math.isnan(theirs))
    shown = f"{change:+.{digits}f}" if known else "–"
    even = not known or float(shown) == 0
    if known and even:
        shown = f"{0:.{digits}f}"
    how = "number" if even else f"number {'better' if change * sign > 0 else 'worse'}"
    cells = [element("td", "–" if math.isnan(v) else f"{v:.{digits}f}", class_="number") for v in (mine, theirs)]
    return element("tr", element("th", name, scope="row", data_tip=explained(name)), element("td", note), *cells,
                   element("td", shown, class_=how), id=anchor or None)  # fmt: skip


def _table(first: tuple[str, str], rows: list[Markup]) -> Markup:
    head = [element("th", name, scope="col") for name in first]
    head += [element("th", name, scope="col", class_="number") for name in ("A", "B", "B − A")]
    return element("table", element("thead", element("tr", *head)), element("tbody", *rows), class_="compared")


def _classes(a: Evaluation, b: Evaluation) -> Markup | None:
    rows = []
    for protocol in (name for name in a.scores if name in b.scores):
        mine, theirs = ({c.category.id: c for c in e.scores[protocol].panoptic.classes} for e in (a, b))
        changes = [(theirs[i].pq - mine[i].pq, i) for i in mine if i in theirs]
        for _, number in sorted(changes, key=lambda change: (change[0], change[1])):
            rows.append(_row(mine[number].category.name, protocol, 100 * mine[number].pq, 100 * theirs[number].pq, 1))
    if not rows:
        return None
    note = "PQ of each class in percent; what became worse from A to B comes first."
    return element("div", scroller(_table(("class", "protocol"), rows), "Classes of both"),
                   element("p", note, class_="note"))  # fmt: skip


def _objects(a: Evaluation, b: Evaluation) -> Markup | None:
    found = [_by_truth(evaluation) for evaluation in (a, b)]
    if not any(found):
        return None
    names = {**a.true_names, **b.true_names}
    both = sorted(found[0].keys() | found[1].keys(),
                  key=lambda true: (found[1].get(true, 0.0) - found[0].get(true, 0.0), true))  # fmt: skip
    rows = [_row(names.get(true, str(true)), "", found[0].get(true, 0.0), found[1].get(true, 0.0), 2,
                 anchor=f"true-{true}") for true in both]  # fmt: skip
    changed = [(true, found[1].get(true, 0.0) - found[0].get(true, 0.0)) for true in both]
    worse = links_to("Worse in B", [(f"#true-{true}", f"{names.get(true, true)}: {change:+.2f}")
                                    for true, change in changed[:_MOST_LISTED] if change < -0.005])  # fmt: skip
    better = links_to("Better in B", [(f"#true-{true}", f"{names.get(true, true)}: {change:+.2f}")
                                      for true, change in changed[::-1][:_MOST_LISTED] if change > 0.005])  # fmt: skip
    note = (
        "IoU of each true object with the predicted one that stands for it, over all scored views; 0 where none does."
    )
    return element("div", worse, better, scroller(_table(("object", ""), rows), "Objects of both"),
                   element("p", note, class_="note"))  # fmt: skip


def _by_truth(evaluation: Evaluation) -> dict[int, float]:
    """IoU by true id: an object has one colour in prediction and truth."""
    true_of = {color: true for true, color in evaluation.true_colors.items()}
    found = {true_of.get(evaluation.colors.get(one, (-1, -1, -1))): iou for one, iou in evaluation.iou.items()}
    return {true: iou for true, iou in found.items() if true is not None}


# Views


def _views(a: SceneReport, b: SceneReport, names: set[str]) -> Markup | None:
    if not names:
        return None
    theirs = {view.name: view for view in b.evaluation.views}
    both = [(view, theirs[view.name]) for view in a.evaluation.views if view.name in names]
    merged = [_merged(mine, other) for mine, other in both]
    layers = [layer for layer in LAYERS if any(layer in view.pictures for view in merged)]
    left = next(layer for layer in ("A-errors", "A-panoptic", *layers) if layer in layers)
    right = next(layer for layer in ("B-errors", "B-panoptic", *layers) if layer in layers and layer != left)
    changed = [(other.wrong - mine.wrong, view) for (mine, other), view in zip(both, merged)
               if mine.wrong is not None and other.wrong is not None]  # fmt: skip
    worse = links_to("More wrong in B", [
        (f"#{view_id(view.name)}", f"{view.name}: {100 * change:+.1f} points") for change, view in
        sorted(changed, key=lambda pair: -pair[0])[:_MOST_LISTED] if change > 0.0005
    ])  # fmt: skip
    bar = element("div", choice("left", layers, left), choice("right", layers, right), class_="choices")
    grid = element("div", *(card(view, left, right) for view in merged), class_="grid", id="grid", data_left=left,
                   data_right=right)  # fmt: skip
    return element("div", worse, bar, grid, _color_names(a, b), element("dialog", id="large"))


def _merged(mine: PicturedView, other: PicturedView) -> PicturedView:
    pictures = {layer: mine.pictures[layer] for layer in _SHARED if layer in mine.pictures}
    for side, view in (("A", mine), ("B", other)):
        pictures |= {f"{side}-{layer}": view.pictures[layer] for layer in _OWN if layer in view.pictures}
    return PicturedView(mine.name, pictures)


def _color_names(a: SceneReport, b: SceneReport) -> Markup:
    """Colour in a label map → the object, for what is under the pointer."""
    names = {}
    for side, report in (("A", a), ("B", b)):
        titles = {row.id: f"{row.name} · {row.id}" for row in report.objects}
        names[f"{side}-panoptic"] = _named(report.evaluation.colors, lambda one, titles=titles: titles.get(one))
    evaluation = a.evaluation
    names["truth"] = _named(evaluation.true_colors, evaluation.true_names.get)
    text = json.dumps(names).replace("<", "\\u003c").replace("&", "\\u0026")
    return element("script", Markup(text), type="application/json", id="names")


def _named(colors: Mapping[int, tuple[int, int, int]], title: Callable[[int], str | None]) -> dict[str, str]:
    return {hex_color(color): title(one) or str(one) for one, color in colors.items()}


# Origin


def _origin(a: SceneReport, b: SceneReport) -> Markup:
    parts = []
    for side, report in (("A", a), ("B", b)):
        parts.append(element("h3", side))
        if report.commands:
            parts.append(element("pre", *(element("code", f"{line}\n") for line in report.commands)))
        parts.append(pairs(report.facts))
    return element("div", *parts, pairs(b.environment))
