# SPDX-License-Identifier: Apache-2.0
"""ScanNet's labels: zips of label and instance images, the aggregation, the table of raw labels."""

from __future__ import annotations

import csv
import io
import re
import struct
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Annotated

import numpy as np
from PIL import Image

from panoptic_gs.datasets.classes import NYU40
from panoptic_gs.errors import InputError
from panoptic_gs.records import Range, read_record

LABEL_TABLE = "scannet-labels.combined.tsv"
"""The first label table, which the PanLift benchmark's truth was reduced with."""
LATER_LABEL_TABLE = "scannetv2-labels.combined.tsv"
"""The label table of ScanNet's second release."""
MOST_BYTES = 1 << 27
"""Of one label image in an archive, unpacked: a thousand times those of ScanNet."""
_MEND = "Download the archive again."
_IMAGE = re.compile(r"\d{1,9}\.png", re.ASCII)
_UNREADABLE = (
    zipfile.BadZipFile, zlib.error, OSError, EOFError, SyntaxError, ValueError, RuntimeError, struct.error,
    Image.DecompressionBombError,
)  # fmt: skip
"""What zipfile (RuntimeError where it is encrypted or of a version that it does not know) and Pillow raise."""


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
            names = [path.name for path in folder.glob("*.png")]
            return cls(folder, {int(name[:-4]): name for name in names if _IMAGE.fullmatch(name)})
        try:
            with zipfile.ZipFile(archive) as opened:
                names = opened.namelist()
        except FileNotFoundError as error:
            raise InputError(archive, "no such file", f"it, or {folder.name}/ beside it", "Download it.") from error
        except _UNREADABLE as error:
            raise InputError(archive, f"no readable zip ({error})", "a zip of label images", _MEND) from error
        members: dict[int, str] = {}
        for name in names:
            parts = PurePosixPath(name.replace("\\", "/"))
            if not parts.parts or parts.is_absolute() or ".." in parts.parts or ":" in parts.parts[0]:
                raise InputError(archive, f"the entry '{name[:80]}'", "names within the archive", _MEND)
            if _IMAGE.fullmatch(parts.name):
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
                with zipfile.ZipFile(self.path) as opened, opened.open(name) as member:
                    data = member.read(MOST_BYTES + 1)
            if len(data) > MOST_BYTES:
                raise InputError(where, f"more than {MOST_BYTES:,} bytes", "a label image", _MEND)
            with Image.open(io.BytesIO(data)) as image:
                if image.width * image.height > MOST_BYTES // 4:
                    raise InputError(where, f"{image.width}×{image.height} pixels", "a label image", _MEND)
                labels = np.asarray(image)
        except _UNREADABLE as error:
            raise InputError(where, f"labels that cannot be decoded ({error})", "a PNG", _MEND) from error
        if labels.ndim != 2 or not np.issubdtype(labels.dtype, np.integer) or not labels.size:
            raise InputError(where, f"{labels.dtype} of shape {list(labels.shape)}", "integers [H, W]", _MEND)
        return labels


def read_label_table(path: Path) -> dict[int, int]:
    """Raw label id → NYU40 id, of the first label table or of the later one.

    Raw labels are numbered in the column ``id``; a table without it is numbered by its rows, from 1, which is what that
    column counts. A label whose ``nyu40id`` is empty or 0 has no class of its own there: it is "otherprop".

    Raises:
        InputError: no such file, a column is missing, or an id is none.
    """
    expected = f"{LABEL_TABLE} or {LATER_LABEL_TABLE} with the column nyu40id"
    mend = "Download it again."
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
            columns, lines = tuple(rows.fieldnames or ()), list(rows)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(path, f"an unreadable file ({error})", expected, mend) from error
    if "nyu40id" not in columns or not {"id", "category"} & set(columns):
        missing = "nyu40id" if "nyu40id" not in columns else "id"
        raise InputError(path, f"no column '{missing}'", expected, mend)
    other = NYU40.ids["otherprop"]
    table: dict[int, int] = {}
    for number, line in enumerate(lines, 1):
        written = line["id"] if "id" in columns else str(number)
        if not written:
            continue
        try:
            raw, nyu40 = int(written), int(line["nyu40id"] or 0)
        except (TypeError, ValueError) as error:
            raise InputError(path, f"an id that is no number in row {number} ({error})", expected, mend) from error
        table[raw] = nyu40 or other
    beyond = {nyu40 for nyu40 in table.values() if not 0 < nyu40 <= len(NYU40.categories)}
    if beyond or not table:
        raise InputError(path, f"NYU40 ids {sorted(beyond)}", "0 … 40", mend)
    return table


def find_label_table(root: Path) -> Path:
    """The first label table in the scene's folder or up to three above it; else the later one.

    Raises:
        InputError: there is none.
    """
    root = root.resolve()
    for name in (LABEL_TABLE, LATER_LABEL_TABLE):
        for folder in (root, *root.parents[:3]):
            if (folder / name).is_file():
                return folder / name
    raise InputError(
        root, f"neither {LABEL_TABLE} nor {LATER_LABEL_TABLE} in it or above it", "ScanNet's table of labels",
        "Download it, or name it by --labels.",
    )  # fmt: skip


@dataclass(frozen=True)
class _Group:
    objectId: Annotated[int, Range(0, 2**31 - 2)]
    label: str


@dataclass(frozen=True)
class _Aggregation:
    segGroups: tuple[_Group, ...]


def read_aggregation(path: Path) -> dict[int, str]:
    """Instance id in the instance images (``objectId`` + 1) → raw label, from ``<scene>.aggregation.json``.

    Raises:
        InputError: it is missing or malformed.
    """
    groups = read_record(path, _Aggregation, mend="Download it again.").segGroups
    return {group.objectId + 1: group.label for group in groups}
