# SPDX-License-Identifier: Apache-2.0
"""Line charts as SVG."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence

from panoptic_gs.report.markup import Markup, element

Points = Sequence[tuple[float, float]]

_WIDTH, _HEIGHT = 420, 230
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 14, 12, 30


def line_chart(title: str, curves: Mapping[str, Points], unit: str = "", *, logarithmic: bool = False) -> Markup:
    """A chart of curves over steps.

    Args:
        title: above it.
        curves: name → (step, value); on a logarithmic axis only values above 0 are drawn.
        unit: of the values.
        logarithmic: whether the values' axis is.
    """
    curves = {name: [p for p in points if not logarithmic or p[1] > 0] for name, points in curves.items()}
    curves = {name: points for name, points in curves.items() if points}
    values = [value for points in curves.values() for _, value in points]
    last = max(step for points in curves.values() for step, _ in points)
    ticks = log_ticks(min(values), max(values)) if logarithmic else linear_ticks(min(values), max(values))
    low, high = ticks[0], ticks[-1]
    if logarithmic:
        low, high = min(low, *values), max(high, *values)

    def x(step: float) -> float:
        return _LEFT + (_WIDTH - _LEFT - _RIGHT) * step / last

    def y(value: float) -> float:
        share = math.log(value / low) / math.log(high / low) if logarithmic else (value - low) / (high - low)
        return _HEIGHT - _BOTTOM - (_HEIGHT - _TOP - _BOTTOM) * share

    parts = []
    for tick in ticks:
        parts.append(element("line", class_="grid", x1=_LEFT, x2=_WIDTH - _RIGHT, y1=_n(y(tick)), y2=_n(y(tick))))
        parts.append(element("text", short(tick), class_="tick y", x=_LEFT - 8, y=_n(y(tick) + 4)))
    for tick in linear_ticks(0, last, 4):
        if tick <= last:
            parts.append(element("text", short(tick), class_="tick x", x=_n(x(tick)), y=_HEIGHT - 10))
    for number, points in enumerate(curves.values()):
        path = "M" + "L".join(f"{_n(x(step))} {_n(y(value))}" for step, value in points)
        parts.append(element("path", class_=f"curve c{number}", d=path))
    parts.append(element("line", class_="cursor", x1=0, x2=0, y1=_TOP, y2=_HEIGHT - _BOTTOM))
    drawn = {
        name: [[step, float(f"{value:.5g}"), _n(x(step))] for step, value in points] for name, points in curves.items()
    }
    ends = ", ".join(f"{name} {short(points[-1][1])}" for name, points in curves.items())
    picture = element(
        "svg", *parts, class_="chart", viewBox=f"0 0 {_WIDTH} {_HEIGHT}", role="img",
        aria_label=f"{title}; at step {last:,.0f}: {ends}", data_curves=json.dumps(drawn), data_unit=unit,
    )  # fmt: skip
    keys = [element("span", name, class_=f"key c{number}") for number, name in enumerate(curves)]
    legend = element("span", *keys, class_="keys") if len(keys) > 1 else None
    return element("figure", element("figcaption", element("strong", title), legend), picture, class_="curves")


def linear_ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round numbers around ``low`` … ``high``, evenly spaced; the first and the last enclose both."""
    if high <= low:
        high = low + max(abs(low), 1.0) * 0.1
    rough = (high - low) / about
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [float(f"{index * step:.12g}") for index in range(first, last + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """The 1, 2, 5 × 10ⁿ in ``low`` … ``high``, or the two around them where there are less than two."""
    first, last = math.floor(math.log10(low)) - 1, math.ceil(math.log10(high)) + 2
    numbers = [m * 10.0**power for power in range(first, last) for m in (1, 2, 5)]
    inside = [number for number in numbers if low <= number <= high]
    if len(inside) >= 2:
        return inside
    return [max(n for n in numbers if n <= low), min(n for n in numbers if n >= high and n > low)]


def short(value: float) -> str:
    """A number in few characters: 1.5k, 0.02."""
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.3g}{letter}"
    return f"{value:.3g}"


def _n(value: float) -> float:
    return round(value, 1)
