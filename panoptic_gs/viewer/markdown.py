# SPDX-License-Identifier: Apache-2.0
"""Names from files in viser's texts."""

from __future__ import annotations


def plain(text: str) -> str:
    """Any text as markdown that shows just this text.

    viser's markdown is MDX: braces, tags, ``import`` and ``export`` in it are run as JavaScript, and pictures are read
    from this machine's disk. So every character is written as a reference, which means nothing but itself.
    """
    return "".join(f"&#{ord(character)};" for character in text)


def unmarked(text: str, longest: int = 60) -> str:
    """Text without control and formatting characters, for labels; shortened in the middle."""
    text = "".join(character if character.isprintable() else " " for character in text)
    return text if len(text) <= longest else f"{text[: longest // 2]}…{text[-(longest // 2 - 1) :]}"
