# SPDX-License-Identifier: Apache-2.0
"""ScanNet's labels: zips of label and instance images, the aggregation, the table of raw labels."""

from __future__ import annotations

import csv
import io
import re
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from PIL import Image

from panoptic_gs.datasets.classes import NYU40
from panoptic_gs.errors import InputError
from panoptic_gs.files import read_json

LABEL_TABLE = "scannetv2-labels.combined.tsv"
_MEND = "Download the archive again."


@dataclass(frozen=True, eq=False)
class LabelArchive:
    """A zip of label images named by frame number, or the folder it was unpacked to; nothing is ever unpacked."""

    path: Path
    members: Mapping[int, str] = field(repr=False)
    """Frame number → name in the archive or folder."""

    @classmethod
    def open(cls, archive: Path, folder: Path) -> LabelArchive:
        """List ``archive``, or ``folder`` where there is no archive.

        Raises:
            InputError: neither is there; the archive is truncated or corrupt, or names a file outside itself.
        """
        if not archive.is_file() and folder.is_dir():
            return cls(folder, {int(p.stem): p.name for p in folder.glob("*.png") if re.fullmatch(r"\d+", p.stem)})
        try:
            with zipfile.ZipFile(archive) as opened:
                names = opened.namelist()
        except FileNotFoundError as error:
            raise InputError(archive, "no such file", f"it, or {folder.name}/ beside it", "Download it.") from error
        except (zipfile.BadZipFile, OSError) as error:
            raise InputError(archive, f"no readable zip ({error})", "a zip of label images", _MEND) from error
        members: dict[int, str] = {}
        for name in names:
            parts = PurePosixPath(name.replace("\\", "/"))
            if parts.is_absolute() or ".." in parts.parts or ":" in parts.parts[0]:
                raise InputError(archive, f"the entry '{name}'", "names within the archive", _MEND)
            if re.fullmatch(r"\d+\.png", parts.name):
                members[int(parts.stem)] = name
        return cls(archive, members)

    def read(self, number: int) -> np.ndarray:
        """The label image ``[H, W]`` of a frame, as it is stored.

        Raises:
            InputError: the frame has none, or it cannot be read or decoded.
        """
        if number not in self.members:
            raise InputError(self.path, f"no image {number}.png", "one for every frame", _MEND)
        name = self.members[number]
        where = f"{self.path}, {name}"
        try:
            if self.path.is_dir():
                data = (self.path / name).read_bytes()
            else:
                with zipfile.ZipFile(self.path) as opened:
                    data = opened.read(name)
            with Image.open(io.BytesIO(data)) as image:
                labels = np.asarray(image)
        except (zipfile.BadZipFile, zlib.error, OSError, SyntaxError, ValueError, NotImplementedError) as error:
            raise InputError(where, f"labels that cannot be decoded ({error})", "a PNG", _MEND) from error
        if labels.ndim != 2 or not np.issubdtype(labels.dtype, np.integer):
            raise InputError(where, f"{labels.dtype} of shape {list(labels.shape)}", "integers [H, W]", _MEND)
        return labels


def read_label_table(path: Path) -> dict[int, int]:
    """Raw label id → NYU40 id (0 = void), from the columns ``id`` and ``nyu40id``.

    Raises:
        InputError: no such file, a column is missing, or an id is none.
    """
    expected = f"{LABEL_TABLE} with the columns id and nyu40id"
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file, delimiter="\t"))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(path, f"an unreadable file ({error})", expected, "Download it again.") from error
    try:
        table = {int(row["id"]): int(row["nyu40id"] or 0) for row in rows if row["id"]}
    except KeyError as error:
        raise InputError(path, f"no column {error}", expected, "Download it again.") from error
    except (TypeError, ValueError) as error:
        raise InputError(path, f"an id that is no number ({error})", expected, "Download it again.") from error
    beyond = {nyu40 for nyu40 in table.values() if not 0 <= nyu40 <= len(NYU40.categories)}
    if beyond or not table:
        raise InputError(path, f"NYU40 ids {sorted(beyond)}", "0 … 40", "Download it again.")
    return table


def find_label_table(root: Path) -> Path:
    """The table of raw labels in the scene's folder or up to three above it.

    Raises:
        InputError: there is none.
    """
    root = root.resolve()
    for folder in (root, *root.parents[:3]):
        if (folder / LABEL_TABLE).is_file():
            return folder / LABEL_TABLE
    raise InputError(
        root, f"no {LABEL_TABLE} in it or above it", "ScanNet's table of labels", "Download it, or name it by --labels."
    )


def read_aggregation(path: Path) -> dict[int, str]:
    """Instance id in the instance images (``objectId`` + 1) → raw label, from ``<scene>.aggregation.json``.

    Raises:
        InputError: it is missing or malformed.
    """
    document: Any = read_json(path)
    try:
        return {int(group["objectId"]) + 1: str(group["label"]) for group in document["segGroups"]}
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            path, f"a missing or malformed field ({error})", "segGroups with objectId and label", "Download it again."
        ) from error
