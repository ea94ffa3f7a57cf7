# SPDX-License-Identifier: Apache-2.0
"""The shared page as one HTML file: markup, style, script, the splat renderer, and the scene."""

from __future__ import annotations

import base64
import hashlib
import json
from html import escape
from pathlib import Path

from panoptic_gs.objects.web import object_list_files
from panoptic_gs.replacing import replacing
from panoptic_gs.share.content import SharedScene

_FOLDER = Path(__file__).parent
RENDERER = _FOLDER / "vendor" / "splat_renderer.js"
"""three.js and Spark, bundled; see the README beside it."""
MARK = b"<!doctype html>\n<!-- panoptic-gs share -->"
"""How a page of ours begins."""


def write_page(path: Path, shared: SharedScene) -> None:
    """Write a page, in one move.

    Raises:
        InputError: the folder cannot be written.
    """
    page = render_page(shared)
    with replacing(path) as temporary:
        temporary.write_text(page, encoding="utf-8", newline="\n")


def render_page(shared: SharedScene) -> str:
    """The HTML of a page, which needs no other file and no network."""
    template, style = (_text(_FOLDER / f"page.{kind}") for kind in ("html", "css"))
    scripts = {name: _text(_FOLDER / f"{name}.js") for name in ("ray", "view", "page")}
    scripts["renderer"] = _text(RENDERER)
    scripts["list"] = "\n".join(map(_text, object_list_files("js")))
    allowed = " ".join(_hash(script) for script in scripts.values())
    # Whatever a file's names hold: nothing is fetched from elsewhere, and no other script runs. Spark sorts in a worker
    # that it makes of itself, and unpacks with WebAssembly that it holds as a data: address.
    policy = (
        f"default-src 'none'; script-src {allowed} 'wasm-unsafe-eval'; "
        "worker-src blob: data:; connect-src data: blob:; img-src data: blob:; style-src 'unsafe-inline'; "
        "base-uri 'none'"
    )
    document = json.dumps(shared.document, ensure_ascii=False).replace("<", "\\u003c").replace("&", "\\u0026")
    content = {
        "title": escape(shared.title),
        "policy": escape(policy),
        "style": style,
        "list_style": "\n".join(map(_text, object_list_files("css"))),
        "scene": document,
        "splats": base64.b64encode(shared.spz).decode("ascii"),
        **scripts,
    }
    head, *parts = template.split("{{")
    filled = [head]
    for part in parts:
        name, _, rest = part.partition("}}")
        filled += [content[name], rest]
    page = "".join(filled)
    assert page.encode("utf-8").startswith(MARK)
    return page


def _text(file: Path) -> str:
    return file.read_text(encoding="utf-8")


def _hash(script: str) -> str:
    digest = hashlib.sha256(script.encode("utf-8")).digest()
    return f"'sha256-{base64.b64encode(digest).decode('ascii')}'"
