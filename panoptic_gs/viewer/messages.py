# SPDX-License-Identifier: Apache-2.0
"""What a page may say to the viewer over its websocket.

viser takes what it can unpack: an update of a control may set any attribute of it, positions may be NaN, and bytes that
are no message end the connection's task without its clean-up. Here each message is looked at before viser sees it.
"""

from __future__ import annotations

import math
from typing import Any

import msgspec
from viser._messages import Message  # the base of all messages has no public door

LONGEST = 1 << 20
"""Bytes of a message; those of a visitor's hand are below a thousand."""
_LONGEST_TEXT = 10_000
_DEEPEST = 8
_NEVER = ("ShareUrlRequest", "ShareUrlDisconnect", "RunJavascriptMessage", "FileTransferStart", "FileTransferPart")
_VECTORS = {"wxyz": 4, "position": 3, "look_at": 3, "up_direction": 3, "ray_origin": 3, "ray_direction": 3}
_POSITIVE = ("fov", "aspect")


def refusal(raw: bytes | str) -> str | None:
    """Why a message is refused, or None where viser may have it."""
    if not isinstance(raw, bytes) or len(raw) > LONGEST:
        return "No message of a page."
    try:
        content = msgspec.msgpack.decode(raw)
        if not isinstance(content, dict) or not all(isinstance(name, str) for name in content):
            return "No message of a page."
        if content.get("type") in _NEVER:
            return "This viewer does not do that."
        if not _is_plain(content) or not all(_fits(name, value) for name, value in content.items()):
            return "A value that no page sends."
        Message.deserialize(raw)
    except Exception:  # viser asserts, looks up and calls what the message says
        return "No message of a page."
    return None


def _fits(name: str, value: Any) -> bool:
    if name in _VECTORS and value is not None:
        return isinstance(value, list) and len(value) == _VECTORS[name] and all(map(_is_number, value))
    if name in _POSITIVE:
        return value is not None and _is_number(value) and value > 0
    if name == "updates":  # of a control: what a visitor does to it changes its value and nothing else
        return isinstance(value, dict) and set(value) <= {"value"}
    return True


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_plain(value: Any, depth: int = 0) -> bool:
    """Finite numbers that single precision holds, text of bounded length, and lists of them."""
    if depth > _DEEPEST:
        return False
    if isinstance(value, dict):
        return all(_is_plain(key, depth + 1) and _is_plain(inner, depth + 1) for key, inner in value.items())
    if isinstance(value, list):
        return all(_is_plain(inner, depth + 1) for inner in value)
    if isinstance(value, str):
        return len(value) <= _LONGEST_TEXT
    if _is_number(value):
        return math.isfinite(value) and abs(value) < 1e30
    return value is None or isinstance(value, (bool, bytes))
