# SPDX-License-Identifier: Apache-2.0
"""The classes to look for: from a list on the command line, a file, a scene, or one of the datasets' lists."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from panoptic_gs.datasets.classes import CLASS_LISTS
from panoptic_gs.errors import InputError
from panoptic_gs.files import read_json
from panoptic_gs.panoptic import Category, category_from_json

EXPECTED = (
    "NAME:thing and NAME:stuff separated by commas, a .txt or .json file, a scene or panoptic folder, "
    f"or one of {', '.join(CLASS_LISTS)}"
)

_KINDS = {"thing": True, "stuff": False}


def read_classes(text: str) -> tuple[Category, ...]:
    """The classes that ``--classes`` names, in order.

    - ``wall:stuff,chair:thing``: ids from 1 in this order;
    - a ``.txt`` file with one such entry a line (empty lines and what follows a # are skipped);
    - a ``.json`` file: a list of ``{"name", "isthing", "id", "color"}`` (the last two optional), or any COCO file with
      ``categories``, such as ``panoptic.json``;
    - a folder of panoptic maps, or a scene folder with ``panoptic_gt/`` or ``panoptic/``: its categories;
    - the name of a dataset's list.

    Raises:
        InputError: no class, one without a kind, one named twice, an unreadable file.
    """
    text = text.strip()
    path = Path(text)
    if text in CLASS_LISTS:
        return CLASS_LISTS[text].categories
    if text and path.is_dir():
        classes, source = _from_folder(path)
    elif path.suffix.lower() == ".json":
        classes, source = _from_json(path), str(path)
    elif path.suffix.lower() == ".txt":
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(path, f"a file that cannot be read ({error})", EXPECTED, "Check the path.") from error
        classes, source = _from_entries([line.partition("#")[0] for line in lines], str(path)), str(path)
    else:
        classes, source = _from_entries(text.split(","), "--classes"), "--classes"
    if not classes:
        raise InputError(source, "no classes", EXPECTED, "Name at least one.")
    for what, values in (("class", [c.name for c in classes]), ("class id", [c.id for c in classes])):
        value, count = Counter(values).most_common(1)[0]
        if count > 1:
            raise InputError(source, f"{what} '{value}' {count} times", "each once", "Remove the repetition.")
    if (lowest := min(c.id for c in classes)) < 1:
        raise InputError(source, f"class id {lowest}", "ids from 1; 0 is void", "Number them from 1.")
    return classes


def _from_entries(entries: list[str], source: str) -> tuple[Category, ...]:
    classes: list[Category] = []
    for entry in (entry.strip() for entry in entries):
        if not entry:
            continue
        name, _, kind = (part.strip() for part in entry.rpartition(":"))
        if not name or kind not in _KINDS:
            raise InputError(
                source,
                f"'{entry}'",
                EXPECTED,
                "Say of each class whether it is countable: 'chair:thing' (an id an object) or 'wall:stuff' (one id).",
            )
        classes.append(Category(len(classes) + 1, name, _KINDS[kind]))
    return tuple(classes)


def _from_folder(folder: Path) -> tuple[tuple[Category, ...], str]:
    for candidate in (folder, folder / "panoptic_gt", folder / "panoptic"):
        file = candidate / "panoptic.json"
        if file.is_file():
            return _from_json(file), str(file)
    raise InputError(folder, "no panoptic.json, panoptic_gt/ or panoptic/ in it", EXPECTED, "Check the path.")


def _from_json(path: Path) -> tuple[Category, ...]:
    document: Any = read_json(path)
    entries: Any = document.get("categories") if isinstance(document, Mapping) else document
    try:
        return tuple(category_from_json({"id": index, **entry}, path) for index, entry in enumerate(entries, 1))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(
            path,
            f"a missing or malformed field ({type(error).__name__}: {error})",
            'a list of {"name": "chair", "isthing": 1}, or a COCO file with "categories"',
            "Write it in this form.",
        ) from error
