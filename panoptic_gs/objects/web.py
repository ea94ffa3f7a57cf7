# SPDX-License-Identifier: Apache-2.0
"""The list of objects as pages show it: one piece of script and style for the viewer and for shared pages."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

_FOLDER = Path(__file__).parent


def object_list_files(kind: Literal["css", "js"]) -> list[Path]:
    """The files that a page needs for the list, in order."""
    return [_FOLDER / f"object_list.{kind}"]
