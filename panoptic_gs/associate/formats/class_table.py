# SPDX-License-Identifier: Apache-2.0
"""What the ids of id maps mean, where a file beside them tells: classes and scores."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from panoptic_gs.associate.masks import OBJECT
from panoptic_gs.errors import InputError
from panoptic_gs.files import read_json
from panoptic_gs.panoptic import Category

NAMES = ("segments.json", "classes.json", "labels.json")
"""Where a class table is looked for, beside the maps."""
_CLASS_NAME = ("category", "class", "class_name", "coco_class", "label", "name")
_CLASS_ID = ("category_id", "class_id")


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
    try:
        if not isinstance(document, dict) or not document:
            raise TypeError("no table")
        names: dict[tuple[str, int | None, bool], None] = {}
        if all(isinstance(value, list) for value in document.values()):
            parsed = {
                str(stem): {int(entry["id"]): (_class_of(entry), entry.get("score")) for entry in entries}
                for stem, entries in document.items()
            }
            for entries in parsed.values():
                names |= dict.fromkeys(meaning for meaning, _ in entries.values())
            categories, number = _numbered(names)
            return ClassTable(
                categories,
                {
                    stem: {
                        i: (number[meaning], None if score is None else float(score))
                        for i, (meaning, score) in entries.items()
                    }
                    for stem, entries in parsed.items()
                },
                source=file,
            )
        meanings = {
            int(key): _class_of(value) if isinstance(value, dict) else (str(value), None, True)
            for key, value in document.items()
        }
        categories, number = _numbered(dict.fromkeys(meanings.values()))
        return ClassTable(categories, everywhere={i: number[m] for i, m in meanings.items()}, source=file)
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            file,
            f"no class table ({type(error).__name__}: {error})",
            '{"photo": [{"id": 1, "class": "chair"}]} or {"1": "chair"}',
            "Write it in one of these forms, or take it away: then every mask is a thing of class 'object'.",
        ) from error


def _class_of(entry: Mapping[str, Any]) -> tuple[str, int | None, bool]:
    """Name, number and kind of an entry's class."""
    number = next((int(entry[key]) for key in _CLASS_ID if entry.get(key) is not None), None)
    name = next((str(entry[key]) for key in _CLASS_NAME if entry.get(key) is not None), None)
    if name is None and number is None:
        return OBJECT.name, None, True
    return name if name is not None else f"class {number}", number, bool(entry.get("isthing", True))


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
