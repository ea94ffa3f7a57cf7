# SPDX-License-Identifier: Apache-2.0
"""HTML and SVG elements in which every text is escaped, so that a name from a file cannot become markup."""

from __future__ import annotations

import base64
import io
from html import escape

import numpy as np
from PIL import Image

_VOID = frozenset({"br", "circle", "img", "input", "line", "link", "meta", "path", "polyline", "rect"})


class Markup(str):
    """Text that is markup already; only this module and files of this folder make it."""

    __slots__ = ()


def element(tag: str, /, *children: str | None, **attributes: str | int | float | bool | None) -> Markup:
    """An element; children that are no :class:`Markup` are escaped, None is left out.

    Attributes: underscores become hyphens and a trailing one is dropped (``class_``, ``data_tip``); True is the bare
    attribute, False and None leave it out.
    """
    written = [tag]
    for key, value in attributes.items():
        if value is None or value is False:
            continue
        key = key.rstrip("_").replace("_", "-")
        written.append(key if value is True else f'{key}="{escape(str(value), quote=True)}"')
    start = f"<{' '.join(written)}>"
    if tag in _VOID and not children:
        return Markup(start if tag in ("br", "img", "input", "link", "meta") else start[:-1] + "/>")
    inside = "".join(c if isinstance(c, Markup) else escape(c) for c in children if c is not None)
    return Markup(f"{start}{inside}</{tag}>")


def picture_uri(pixels: np.ndarray, *, lossless: bool) -> str:
    """Pixels ``[H, W, 3]`` uint8 as a WebP data URI; lossless for label maps, whose colours have a meaning."""
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(buffer, "WEBP", lossless=lossless, quality=82, method=4)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
