# SPDX-License-Identifier: Apache-2.0
"""The report as one HTML file that needs nothing else: no network, no other file."""

from __future__ import annotations

import base64
import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path

from panoptic_gs.replacing import replacing
from panoptic_gs.report.charts import line_chart
from panoptic_gs.report.confusion import Confusion
from panoptic_gs.report.contact_sheet import CORRECT, NOT_SCORED, WRONG_CATEGORY, WRONG_OBJECT
from panoptic_gs.report.evaluation import LAYERS, Evaluation, PicturedView
from panoptic_gs.report.explained import explained, glossary
from panoptic_gs.report.markup import Markup, element, picture_uri
from panoptic_gs.report.objects import objects_in_words
from panoptic_gs.report.scene_report import SceneReport
from panoptic_gs.report.score_tables import COLUMNS, class_table, score_table, tiles
from panoptic_gs.report.training_log import TrainingLog

_FOLDER = Path(__file__).parent
_MOST_WORST = 5
_LOSSES = {"loss": "total", "main_loss": "colour", "panoptic_loss": "panoptic"}


def write_report(path: Path, report: SceneReport) -> None:
    """Write a report as one HTML file, in one move.

    Raises:
        InputError: the folder cannot be written.
    """
    page = render_page(report)
    with replacing(path) as temporary:
        temporary.write_text(page, encoding="utf-8")


def render_page(report: SceneReport) -> str:
    """The HTML of a report."""
    sections = [
        section("scores", "Scores", _scores(report.evaluation)),
        section("views", "Views", _views(report)),
        section("objects", "Objects", _objects(report)),
        section("confusion", "Confusion of classes", _confusion(report.evaluation.confusion)),
        section("training", "Training", _training(report.training)),
        section("origin", "How it was made", _origin(report)),
    ]
    return assembled(report.title, _header(report), sections, LAYERS)


def assembled(title: str, header: Markup, sections: Sequence[Markup | None], layers: Sequence[str]) -> str:
    """The HTML of a page of sections, with style and script.

    Args:
        title: in the browser's tab.
        header: above the sections.
        sections: None is left out.
        layers: names of the pictures that views may have.
    """
    style, script = ((_FOLDER / f"page.{kind}").read_text(encoding="utf-8") for kind in ("css", "js"))
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
    # Whatever a file's names hold: nothing is fetched, and no other script runs.
    policy = f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=policy),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("title", f"{title} · panoptic report"),
        element("link", rel="icon", href="data:,"),
        element("style", Markup(style + layer_rules(layers))),
    )
    body = element(
        "body",
        header,
        element("main", *(part for part in sections if part is not None)),
        element("div", class_="tip", id="tip", role="status", hidden=True),
        element("script", Markup(script)),
    )
    return "<!doctype html>\n" + element("html", head, body, lang="en") + "\n"


def layer_rules(layers: Sequence[str]) -> str:
    """The style by which a view shows the pictures that are chosen for its sides."""
    left = ", ".join(f'.view[data-left="{layer}"] .{layer}' for layer in layers)
    right = ", ".join(f'.view[data-right="{layer}"] .{layer}' for layer in layers)
    return (
        f"{left} {{ visibility: visible; }}\n"
        f"{right} {{ visibility: visible; z-index: 1; clip-path: inset(0 0 0 var(--cut)); }}\n"
    )


def section(name: str, heading: str, content: Markup | None) -> Markup | None:
    """A section of the page, None without content."""
    if content is None:
        return None
    return element("section", element("h2", heading), content, id=name)


def _header(report: SceneReport) -> Markup:
    evaluation = report.evaluation
    kind = f"{report.kind} " if report.kind else ""
    told = [f"{evaluation.num_views} {kind}view{'s' * (evaluation.num_views != 1)}"]
    if evaluation.num_scored != evaluation.num_views:
        told[0] += f", {evaluation.num_scored} of them with truth" if evaluation.num_scored else " without truth"
    if "Gaussians" in report.facts:
        told.append(f"{report.facts['Gaussians']} Gaussians")
    told.append(objects_in_words(report.objects))
    switch = element("button", "Dark", type="button", id="theme", class_="quiet", aria_label="Light or dark page")
    return element(
        "header",
        element("p", element("span", "Panoptic scene report", class_="eyebrow"), switch, class_="top"),
        element("h1", report.title),
        element("p", " · ".join(told), class_="lead"),
    )


# Scores


def _scores(evaluation: Evaluation) -> Markup | None:
    parts = [tiles(evaluation)]
    if evaluation.scores:
        parts += [score_table(evaluation), element("h3", "Panoptic quality by class"), class_table(evaluation)]
        names = [*COLUMNS, "PSNR", "SSIM", "LPIPS", "TP", "FP", "FN", *evaluation.scores]
        parts.append(glossary(names))
    else:
        parts.append(element("p", "There are no true maps of these views, so labels are not scored.", class_="note"))
    return element("div", *parts)


# Views


def _views(report: SceneReport) -> Markup | None:
    views = report.evaluation.views
    if not views:
        return None
    layers = [layer for layer in LAYERS if any(layer in view.pictures for view in views)]
    left = "photo" if "photo" in layers else layers[0]
    right = next(layer for layer in ("panoptic", *layers) if layer in layers and layer != left)
    note = None
    if len(views) < report.evaluation.num_views:
        note = element("p", f"{len(views)} of {report.evaluation.num_views} views, evenly spread.", class_="note")
    worst = links_to("The worst of these views", [
        (f"#{view_id(view.name)}", f"{view.name}: {100 * view.wrong:.0f}% wrong") for view in
        sorted(views, key=lambda view: -(view.wrong or 0.0))[:_MOST_WORST] if view.wrong
    ] or [
        (f"#{view_id(view.name)}", f"{view.name}: {view.psnr:.1f} dB") for view in
        sorted(views, key=lambda view: view.psnr or 0.0)[:_MOST_WORST] if view.psnr
    ])  # fmt: skip
    bar = element("div", choice("left", layers, left), choice("right", layers, right), class_="choices")
    legend = None
    if "errors" in layers:
        meanings = {"right": CORRECT, "right category, another object": WRONG_OBJECT,
                    "wrong category": WRONG_CATEGORY, "void in the truth": NOT_SCORED}  # fmt: skip
        keys = [element("span", swatch(color), name) for name, color in meanings.items()]
        legend = element("p", "Errors: ", *keys, class_="legend")
    cards = [card(view, left, right) for view in views]
    grid = element("div", *cards, class_="grid", id="grid", data_left=left, data_right=right)
    return element("div", note, worst, bar, grid, legend, _color_names(report), element("dialog", id="large"))


def links_to(heading: str, links: Sequence[tuple[str, str]]) -> Markup | None:
    """Links to a few places of the page, by address and text; None for fewer than two."""
    if len(links) < 2:
        return None
    return element("p", f"{heading}:", *(element("a", text, href=href) for href, text in links), class_="worst")


def view_id(name: str) -> str:
    """The anchor of a view."""
    return "view-" + hashlib.sha256(name.encode("utf-8", "replace")).hexdigest()[:12]


def choice(side: str, layers: list[str], chosen: str) -> Markup:
    """Buttons for the picture on one side of every view."""
    buttons = [
        element("button", layer, type="button", data_layer=layer, aria_pressed="true" if layer == chosen else "false")
        for layer in layers
    ]
    return element("div", element("span", side), *buttons, class_="choice", role="group", data_side=side,
                   aria_label=f"Picture on the {side}")  # fmt: skip


def card(view: PicturedView, left: str, right: str) -> Markup:
    """A view with its pictures and the slider between two of them."""
    pictures = []
    for layer, pixels in view.pictures.items():
        smooth = not layer.endswith(("panoptic", "truth", "errors"))
        pictures.append(element(
            "img", class_=layer, src=picture_uri(pixels, lossless=not smooth), alt=f"{layer} of view {view.name}",
            data_flat=not smooth, draggable="false", width=pixels.shape[1], height=pixels.shape[0],
        ))  # fmt: skip
    height, width = next(iter(view.pictures.values())).shape[:2]
    slider = element("input", type="range", min="0", max="100", value="50", step="1",
                     aria_label=f"View {view.name}: how much of the picture on the left is seen")  # fmt: skip
    stage = element("div", *pictures, element("span", class_="divider"), slider, class_="stage",
                    style=f"aspect-ratio:{width}/{height}")  # fmt: skip
    psnr = None
    if view.psnr is not None:
        psnr = element("span", f"{view.psnr:.1f} dB", class_="number", data_tip=explained("PSNR"))
    wrong = None
    if view.wrong is not None:
        wrong = element("span", f"{100 * view.wrong:.0f}% wrong", class_="number", data_tip=explained("wrong"))
    under = element("span", class_="under", aria_live="off")
    larger = element("button", "⤢", type="button", class_="enlarge", title="Open large",
                     aria_label=f"Open view {view.name} large")  # fmt: skip
    caption = element("figcaption", element("strong", view.name), under, wrong, psnr, larger)
    return element("figure", stage, caption, class_="view", id=view_id(view.name), data_left=left, data_right=right)


def _color_names(report: SceneReport) -> Markup:
    """Colour in a label map → the object, for what is under the pointer."""
    titles = {row.id: f"{row.name} · {row.id}" for row in report.objects}
    evaluation = report.evaluation
    names = {
        "panoptic": {hex_color(c): titles.get(one, str(one)) for one, c in evaluation.colors.items()},
        "truth": {hex_color(c): evaluation.true_names.get(one, str(one)) for one, c in evaluation.true_colors.items()},
    }
    text = json.dumps(names).replace("<", "\\u003c").replace("&", "\\u0026")
    return element("script", Markup(text), type="application/json", id="names")


# Objects


def _objects(report: SceneReport) -> Markup | None:
    rows = report.objects
    if not rows:
        return None
    iou = report.evaluation.iou
    columns: list[tuple[str, Callable]] = [("score", lambda row: row.score), ("confidence", lambda row: row.confidence)]
    if iou:
        columns.append(("IoU", lambda row: iou.get(row.id)))
    columns = [column for column in columns if any(column[1](row) is not None for row in rows)]
    with_gaussians = any(row.gaussians is not None for row in rows)
    with_size = any(row.size is not None for row in rows)
    head = [_sorter("object", "text"), _sorter("category", "text"), _sorter("kind", "text")]
    head += [_sorter(name) for name, _ in columns]
    head += [_sorter("Gaussians")] * with_gaussians + [_sorter("size in metres")] * with_size
    body = []
    for row in rows:
        color = report.evaluation.colors.get(row.id, (128, 128, 128))
        cells = [
            element("th", swatch(color), element("span", f"{row.name} "), element("small", f"{row.id}"), scope="row",
                    data_sort=f"{row.name.casefold()} {row.id:09d}"),
            element("td", row.category, data_sort=row.category.casefold()),
            element("td", "uncertain" if row.uncertain else "thing" if row.isthing else "stuff"),
        ]  # fmt: skip
        cells += [_number(value(row), ".2f") for _, value in columns]
        if with_gaussians:
            cells.append(_number(row.gaussians, ",d"))
        if with_size:
            text = "–" if row.size is None else " × ".join(f"{side:.2f}" for side in row.size)
            volume = -1.0 if row.size is None else math.prod(row.size)
            cells.append(element("td", text, class_="number", data_sort=f"{volume:.6g}"))
        body.append(element("tr", *cells, id=f"object-{row.id}"))
    table = element("table", element("thead", element("tr", *head)), element("tbody", *body), class_="sortable")
    said = [(row, iou[row.id] if iou else row.confidence) for row in rows
            if not row.uncertain and (row.id in iou if iou else row.confidence is not None)]  # fmt: skip
    lowest = sorted(((row, value) for row, value in said if value is not None), key=lambda pair: pair[1])
    worst = links_to(f"The lowest {'IoU' if iou else 'confidence'}", [
        (f"#object-{row.id}", f"{row.name} {row.id}: {value:.2f}") for row, value in lowest[:_MOST_WORST]
    ])  # fmt: skip
    notes = ["Sizes are the two sides on the ground and the height of an upright box, sorted by volume."] * with_size
    if any(row.uncertain for row in rows):
        notes.append("Uncertain are things with fewer than 10 Gaussians, or with less than a quarter of the pixels "
                     "that were labelled as them; they have no size and are not counted.")  # fmt: skip
    notes += ["IoU is with the true object that it stands for."] * bool(iou)
    return element("div", worst, scroller(table, "Objects"), element("p", " ".join(notes), class_="note"),
                   glossary(["score", "confidence", "IoU", "Gaussians", "size in metres"]))  # fmt: skip


def _sorter(name: str, kind: str = "number") -> Markup:
    button = element("button", name, type="button", class_="sort", data_kind=kind)
    return element("th", button, scope="col", aria_sort="none", class_=kind, data_tip=explained(name))


def _number(value: float | None, form: str) -> Markup:
    if value is None or math.isnan(value):
        return element("td", "–", class_="number", data_sort="-1")
    return element("td", format(value, form), class_="number", data_sort=f"{value:.9g}")


# Confusion


def _confusion(confusion: Confusion | None) -> Markup | None:
    if confusion is None or not confusion.rows:
        return None
    columns = [element("th", element("span", name), scope="col") for name in confusion.columns]
    corner = element("td", element("span", "true ↓"), element("span", "predicted →"), class_="corner")
    body = []
    for name, shares, pixels in zip(confusion.rows, confusion.shares, confusion.pixels):
        cells = []
        for other, share, count in zip(confusion.columns, shares.tolist(), pixels.tolist()):
            right = name == other
            tip = f"{name} → {other}: {100 * share:.1f}% of {name} ({count:,} pixels)"
            cells.append(element(
                "td", f"{100 * share:.0f}" if share >= 0.005 else "", data_tip=tip,
                class_=None if not count else f"{'right' if right else 'wrong'}{' most' if share > 0.5 else ''}",
                style=f"--v:{share:.3f}" if count else None,
            ))  # fmt: skip
        body.append(element("tr", element("th", name, scope="row"), *cells))
    table = element("table", element("thead", element("tr", corner, *columns)), element("tbody", *body),
                    class_="confusion")  # fmt: skip
    note = "Percent of each true class's pixels by predicted class, over all views; the largest class comes first."
    return element("div", scroller(table, "Confusion of classes"), element("p", note, class_="note"))


# Training


def _training(training: TrainingLog | None) -> Markup | None:
    if training is None or not training.rows:
        return None
    charts = []
    if training.curve("psnr"):
        charts.append(line_chart("PSNR of training views, dB", {"PSNR": training.curve("psnr")}, "dB"))
    losses = {said: training.curve(name) for name, said in _LOSSES.items() if training.curve(name)}
    if any(value > 0 for curve in losses.values() for _, value in curve):
        charts.append(line_chart("Loss", losses, logarithmic=True))
    if training.curve("gaussian_count"):
        charts.append(line_chart("Number of Gaussians", {"Gaussians": training.curve("gaussian_count")}))
    if not charts:
        return None
    note = f"Each point is a mean over {training.every:,} steps." if training.every > 1 else None
    return element("div", element("div", *charts, class_="charts"),
                   None if note is None else element("p", note, class_="note"))  # fmt: skip


# Origin


def _origin(report: SceneReport) -> Markup:
    parts = []
    if report.commands:
        parts.append(element("pre", *(element("code", f"{line}\n") for line in report.commands)))
    parts.append(pairs(report.facts))
    trained = {} if report.training is None else report.training.origin.get("environment", {})
    here = dict(report.environment)
    if trained and {**trained} != here:
        parts += [element("h3", "Trained with"), pairs({str(k): str(v) for k, v in trained.items()}),
                  element("h3", "Reported with")]  # fmt: skip
    parts.append(pairs({**here, "written": datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z")}))
    return element("div", *parts)


def pairs(pairs: Mapping[str, str]) -> Markup:
    """A list of names and what there is to say of each."""
    return element("dl", *(element("div", element("dt", name), element("dd", value)) for name, value in pairs.items()))


def scroller(table: Markup, name: str) -> Markup:
    """A table that scrolls by itself."""
    return element("div", table, class_="scroll", tabindex="0", role="region", aria_label=name)


def swatch(color: tuple[int, int, int]) -> Markup:
    """A patch of a colour."""
    return element("i", class_="swatch", style=f"background:{hex_color(color)}")


def hex_color(color: tuple[int, int, int]) -> str:
    """A colour as CSS writes it."""
    return "#{:02x}{:02x}{:02x}".format(*color)
