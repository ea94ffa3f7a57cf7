# SPDX-License-Identifier: Apache-2.0
"""The scores of a report: headline numbers, the table of protocols, bars for each class."""

from __future__ import annotations

import math

from panoptic_gs.metrics import SceneScores
from panoptic_gs.report.evaluation import Evaluation
from panoptic_gs.report.explained import explained
from panoptic_gs.report.markup import Markup, element

_PROTOCOL_NOTES = {
    "panoptic-lifting": "what published tables print",
    "strict": "the COCO rules: leaving pixels unlabelled costs",
}
_IMAGES = {"psnr": ("PSNR", "dB", 2), "ssim": ("SSIM", "", 3), "lpips": ("LPIPS", "", 3)}


COLUMNS = ("PQ", "SQ", "RQ", "PQ things", "PQ stuff", "mIoU", "mAcc", "mCov", "mWCov")
"""Of the table of scores."""


def columns_of(score: SceneScores) -> tuple[float, ...]:
    """The values of :data:`COLUMNS`, 0 … 1."""
    q = score.panoptic
    return q.pq, q.sq, q.rq, q.pq_things, q.pq_stuff, score.miou, score.macc, score.mcov, score.mwcov


def tiles(evaluation: Evaluation) -> Markup:
    """Headline numbers."""
    cells = []
    for name, score in evaluation.scores.items():
        cells.append(_tile("PQ", _percent(score.panoptic.pq), name))
    first = next(iter(evaluation.scores.values()), None)
    if first is not None:
        cells.append(_tile("PQ things", _percent(first.panoptic.pq_things), first.protocol.name))
        cells.append(_tile("PQ stuff", _percent(first.panoptic.pq_stuff), first.protocol.name))
        cells.append(_tile("mIoU", _percent(first.miou), first.protocol.name))
    for key, (name, unit, digits) in _IMAGES.items():
        if key in evaluation.metrics:
            cells.append(_tile(name, f"{evaluation.metrics[key]:.{digits}f}", unit))
    return element("div", *cells, class_="tiles")


def score_table(evaluation: Evaluation) -> Markup:
    """Both protocols, in percent."""
    head = [element("th", "protocol", scope="col")]
    head += [element("th", n, scope="col", class_="number", data_tip=explained(n)) for n in COLUMNS]
    rows = []
    for name, score in evaluation.scores.items():
        values = columns_of(score)
        note = element("small", _PROTOCOL_NOTES[name]) if name in _PROTOCOL_NOTES else None
        rows.append(element("tr", element("th", element("span", name), note, scope="row", data_tip=explained(name)),
                            *(element("td", _percent(value), class_="number") for value in values)))  # fmt: skip
    table = element("table", element("thead", element("tr", *head)), element("tbody", *rows), class_="scores")
    return element("div", table, class_="scroll", tabindex="0", role="region", aria_label="Scores in percent")


def class_table(evaluation: Evaluation) -> Markup:
    """A bar for each class and protocol, with what was matched, missed and made up; the best class comes first."""
    scores = evaluation.scores
    by_class = {name: {c.category.id: c for c in score.panoptic.classes} for name, score in scores.items()}
    categories = {c.category.id: c.category for classes in by_class.values() for c in classes.values()}
    order = sorted(categories, key=lambda c: (-max(k[c].pq if c in k else 0.0 for k in by_class.values()), c))
    rows = []
    for number in order:
        category = categories[number]
        bars = [_bar(index, classes[number].pq if number in classes else None, name)
                for index, (name, classes) in enumerate(by_class.items())]  # fmt: skip
        # The last protocol, strict, leaves out no class, however small.
        counted = next(classes[number] for classes in reversed(by_class.values()) if number in classes)
        counts = (str(counted.tp), str(counted.fp), str(counted.fn))
        rows.append(element(
            "tr", element("th", category.name, scope="row"),
            element("td", "thing" if category.isthing else "stuff", class_="kind"),
            element("td", *bars, class_="bars"),
            *(element("td", text, class_="number count") for text in counts),
        ))  # fmt: skip
    keys = [element("span", name, class_=f"key c{index}") for index, name in enumerate(by_class)]
    head = [element("th", "class", scope="col"), element("th", "kind", scope="col", class_="kind"),
            element("th", "PQ in percent ", *keys, scope="col")]  # fmt: skip
    meanings = {"TP": "matched segments", "FP": "predicted segments without a match", "FN": "true segments missed"}
    head += [element("th", name, scope="col", class_="number count", data_tip=f"{tip}, {list(scores)[-1]}")
             for name, tip in meanings.items()]  # fmt: skip
    table = element("table", element("thead", element("tr", *head)), element("tbody", *rows), class_="classes")
    return element("div", element("div", table, class_="scroll"), *(_left_out(name, s) for name, s in scores.items()))


def _left_out(name: str, score: SceneScores) -> Markup | None:
    small = [category.name for category in score.panoptic.left_out]
    if not small:
        return None
    share = f"{100 * score.protocol.min_share:g}%"
    text = f"{name} leaves out classes below {share} of the pixels in prediction or truth: {', '.join(small)}."
    return element("p", text, class_="note")


def _tile(name: str, value: str, note: str) -> Markup:
    return element("div", element("span", name), element("b", value), element("small", note), class_="tile",
                   data_tip=explained(name))  # fmt: skip


def _bar(index: int, value: float | None, protocol: str) -> Markup:
    if value is None:
        return element("span", element("i", "left out", class_="absent"), class_=f"bar c{index}")
    fill = element("i", style=f"width:{100 * value:.1f}%")
    return element("span", element("span", fill), element("b", _percent(value)), class_=f"bar c{index}",
                   data_tip=f"{protocol}: PQ {_percent(value)}")  # fmt: skip


def _percent(value: float) -> str:
    return "–" if math.isnan(value) else f"{100 * value:.1f}"
