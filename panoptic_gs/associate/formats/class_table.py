# SPDX-License-Identifier: Apache-2.0
"""What the ids of id maps mean, where a file beside them tells: classes and scores."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from panoptic_gs.associate.masks import OBJECT
from panoptic_gs.errors import InputError
from panoptic_gs.files import read_json
from panoptic_gs.panoptic import Category
from panoptic_gs.records import Key, Name, Range, parse_record

NAMES = ("segments.json", "classes.json", "labels.json")
"""Where a class table is looked for, beside the maps."""
_Id = Annotated[int, Range(0, (1 << 31) - 1)]
_Word = Name | int | None
_MEND = "Write it in one of these forms, or take it away: then every mask is a thing of class 'object'."


@dataclass(frozen=True)
class _Class:
    """What an entry says of the class: the first name that is there, the first number that is there."""

    category: _Word = None
    class_: Annotated[_Word, Key("class")] = None
    class_name: _Word = None
    coco_class: _Word = None
    label: _Word = None
    name: _Word = None
    category_id: _Id | None = None
    class_id: _Id | None = None
    isthing: bool = True

    @property
    def meaning(self) -> tuple[str, int | None, bool]:
        """Name, number and kind."""
        numbers, names = (self.category_id, self.class_id), (
            self.category, self.class_, self.class_name, self.coco_class, self.label, self.name,
        )  # fmt: skip
        number = next((number for number in numbers if number is not None), None)
        name = next((str(name) for name in names if name is not None), None)
        if name is None and number is None:
            return OBJECT.name, None, True
        return name if name is not None else f"class {number}", number, self.isthing


@dataclass(frozen=True, kw_only=True)
class _Entry(_Class):
    id: Annotated[int, Range(0, 1 << 62)]
    score: float | None = None


@dataclass(frozen=True)
class ClassTable:
    """Classes of masks by photo and id.

    ``entries[stem]`` lists id → (category id, score); ``everywhere`` is what holds in all photos. Without either all
    masks are things of class "object".
    """

    categories: tuple[Category, ...] = (OBJECT,)
    entries: Mapping[str, Mapping[int, tuple[int, float | None]]] = field(default_factory=dict)
    everywhere: Mapping[int, int] | None = None
    source: Path | None = None

    def of(self, stem: str, ids: list[int]) -> tuple[dict[int, int], dict[int, float]]:
        """Category and score of the ids of a photo.

        Raises:
            InputError: the table lacks one of them.
        """
        if self.source is None:
            return dict.fromkeys(ids, OBJECT.id), {}
        if self.everywhere is not None:
            table: Mapping[int, tuple[int, float | None]] = {i: (c, None) for i, c in self.everywhere.items()}
        else:
            table = self.entries.get(stem, {})
        missing = [i for i in ids if i not in table]
        if missing:
            raise InputError(
                self.source,
                f"no entry for id {missing[0]} of photo '{stem}'"
                + (f" and {len(missing) - 1} more" if len(missing) > 1 else ""),
                "an entry for each id of the maps",
                "Add it, or take the table away: then every mask is a thing of class 'object'.",
            )  # fmt: skip
        return (
            {i: table[i][0] for i in ids},
            {i: score for i in ids if (score := table[i][1]) is not None},
        )


def read_class_table(folder: Path) -> ClassTable:
    """The class table beside id maps, where there is one.

    Either ``{photo: [{"id": 1, "class": "chair", "score": 0.9}, …]}``, with the class as ``category``, ``class``,
    ``class_name``, ``coco_class``, ``label`` or ``name``, or as a number ``category_id`` or ``class_id``; or for all
    photos ``{"1": "chair", …}``. ``isthing`` may be given in each entry.

    Raises:
        InputError: it is none of this.
    """
    for name in NAMES:
        if (folder / name).is_file():
            return _parse(folder / name, read_json(folder / name))
    return ClassTable()


def _parse(file: Path, document: Any) -> ClassTable:
    if not isinstance(document, dict) or not document:
        raise InputError(file, "no class table", '{"photo": [{"id": 1, "class": "chair"}]} or {"1": "chair"}', _MEND)
    if all(isinstance(value, list) for value in document.values()):
        read = parse_record(document, dict[str, tuple[_Entry, ...]], file, mend=_MEND)
        categories, number = _numbered({entry.meaning: None for entries in read.values() for entry in entries})
        entries = {
            stem: {entry.id: (number[entry.meaning], entry.score) for entry in listed} for stem, listed in read.items()
        }
        return ClassTable(categories, entries, source=file)
    table = parse_record(document, dict[str, _Word | _Class], file, mend=_MEND)
    meanings: dict[int, tuple[str, int | None, bool]] = {}
    for key, value in table.items():
        if not (key.isascii() and key.isdigit() and len(key) < 19):
            raise InputError(file, f"'{key[:80]}'", 'no class table: ids of the maps, as in {"1": "chair"}', _MEND)
        meanings[int(key)] = value.meaning if isinstance(value, _Class) else (str(value), None, True)
    categories, number = _numbered(dict.fromkeys(meanings.values()))
    return ClassTable(categories, everywhere={i: number[m] for i, m in meanings.items()}, source=file)


def _numbered(
    names: Mapping[tuple[str, int | None, bool], None],
) -> tuple[tuple[Category, ...], dict[tuple[str, int | None, bool], int]]:
    """Categories with the numbers of the table where it has positive ones that tell its classes apart."""
    given = [number for _, number, _ in names]
    if all(number is not None and number > 0 for number in given) and len(set(given)) == len(given):
        number_of = {meaning: meaning[1] or 0 for meaning in names}
    else:
        number_of = {meaning: position for position, meaning in enumerate(sorted(names, key=str), 1)}
    categories = (Category(number_of[meaning], meaning[0], meaning[2]) for meaning in number_of)
    return tuple(sorted(categories, key=lambda category: category.id)), number_of
