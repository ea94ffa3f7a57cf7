# SPDX-License-Identifier: Apache-2.0
"""Where the photos of a scene are, and what they are called: paths as other systems write them, names that recur."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path, PureWindowsPath

from panoptic_gs.errors import InputError

IMAGE_ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")


def find_file(root: Path, name: str, source: str | Path) -> Path:
    """The file that a scene calls ``name``; backslashes of Windows are read as slashes where that finds it.

    Raises:
        InputError: it is a folder; or there is none and ``name`` is a Windows path, which explains it. Other files may
            be missing; opening them says so.
    """
    path = root / name
    if _is_folder(path):
        raise InputError(
            source, f"'{name}', which is a folder", "a file", "Name the file by a path relative to the scene's folder."
        )
    if "\\" not in name and not PureWindowsPath(name).drive:
        return path
    if _is_file(path):
        return path
    windows = PureWindowsPath(name)
    # Of an absolute path only its end can be here.
    parts = windows.parts[1:] if windows.anchor else windows.parts
    for start in range(len(parts) if windows.anchor else 1):
        candidate = root.joinpath(*parts[start:])
        if _is_file(candidate):
            return candidate
    raise InputError(
        source,
        f"the Windows path '{name}', which is not in the scene's folder",
        "a path relative to the scene's folder",
        "Put the file there and name it by a relative path with slashes.",
    )


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False


def is_outside(root: Path, path: Path) -> bool:
    """Whether a path leads out of the scene's folder, as it is written."""
    return Path(os.path.relpath(os.path.abspath(path), os.path.abspath(root))).parts[:1] == (os.pardir,)


def stems(paths: Sequence[Path]) -> list[str]:
    """What photos are called: their names without ending, with folders below the common one where names recur."""
    plain = [path.stem for path in paths]
    if len(set(plain)) == len(plain) or len({path.parent for path in paths}) == 1:
        return plain
    common = Path(os.path.commonpath([path.parent for path in paths]))
    return [path.relative_to(common).with_suffix("").as_posix() for path in paths]


def require_unique(root: Path, names: Iterable[str]) -> None:
    """Refuse two photos of one name.

    Raises:
        InputError: there are.
    """
    for name, count in Counter(names).items():
        if count > 1:
            raise InputError(
                root,
                f"two images named '{name}'",
                "one name an image",
                "Rename one; label maps are matched by name without ending.",
            )
