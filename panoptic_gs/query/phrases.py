# SPDX-License-Identifier: Apache-2.0
"""What a query says: a thing, and where it is relative to other things."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from panoptic_gs.errors import InputError

Where = Literal["on", "under", "in", "next to", "against", "hangs from"]

_WORDS: dict[Where, tuple[str, ...]] = {
    "on": ("on top of", "standing on", "lying on", "sitting on", "on"),
    "under": ("underneath", "beneath", "below", "under"),
    "in": ("inside of", "inside", "within", "in"),
    "next to": ("next to", "beside", "close to", "near to", "near", "nearby", "by", "at", "adjacent to"),
    "against": ("leaning against", "leaning on", "against"),
    "hangs from": ("hanging from", "hangs from", "hanging on", "suspended from"),
}
_OF: dict[str, Where] = {phrase: where for where, phrases in _WORDS.items() for phrase in phrases}
_SPLIT = re.compile(
    r"\b(?:that is |that are |which is |which are )?("
    + "|".join(re.escape(p) for p in sorted(_OF, key=len, reverse=True))
    + r")\s+(?=\S)"
)
_JOINED = re.compile(r"\s+and\s+(?=(?:that is |which is )?(?:" + "|".join(map(re.escape, _OF)) + r")\s)")
_ARTICLE = re.compile(r"^(?:the|a|an|any|my|some|this|that)\s+")
_SIDES = re.compile(r"\b(?:to the |on the |at the )?(left|right)(?: side)? of\b|\b(in front of|behind)\b")


@dataclass(frozen=True)
class Query:
    """What is looked for, and where: each place is a relation and the phrase of what it is to.

    ``the cup on the table next to the window`` is a cup on a table that is next to a window: places are nested, so
    each belongs to the phrase before it.
    """

    target: str
    places: tuple[tuple[Where, Query], ...] = ()

    def __str__(self) -> str:
        return " ".join([self.target, *(f"{where} {place}" for where, place in self.places)])


def parse_query(text: str) -> Query:
    """Read a query.

    Places are joined by ``and``: ``the chair next to the table and against the wall`` is both of the chair.

    Raises:
        InputError: nothing to look for; a side that depends on who looks.
    """
    words = " ".join(text.casefold().strip().strip("?!.").split())
    if not words:
        raise InputError("query", "no words", "what to look for", 'Say it, as in "the chair next to the window".')
    if (side := _SIDES.search(words)) is not None:
        raise InputError(
            "query", f"'{side[0]}', which depends on who looks", f"one of {', '.join(_WORDS)}",
            "Say what it is next to, on, in or under.",
        )  # fmt: skip
    first, *joined = _JOINED.split(words)
    query = _nested(first)
    for part in joined:
        match = _SPLIT.match(part)
        assert match is not None
        query = Query(query.target, (*query.places, (_OF[match[1]], _nested(part[match.end() :]))))
    return query


def _nested(words: str) -> Query:
    for match in _SPLIT.finditer(words):
        target = _bare(words[: match.start()])
        if target:
            return Query(target, ((_OF[match[1]], _nested(words[match.end() :])),))
    return Query(_bare(words))


def _bare(words: str) -> str:
    return _ARTICLE.sub("", words.strip()).strip()
