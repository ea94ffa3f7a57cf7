# SPDX-License-Identifier: Apache-2.0
"""Which photos are trained on and which are held out: ``splits.json``, or the file names in ``transforms.json``."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from panoptic_gs.errors import InputError
from panoptic_gs.files import read_json
from panoptic_gs.scene.frame import Frame
from panoptic_gs.scene.maps import unposed


def read_splits(
    root: Path, frames: Sequence[Frame], named: Mapping[str, Sequence[Path]], notes: list[str]
) -> dict[str, tuple[str, ...]]:
    """Split → stems, of ``splits.json``, else of the ``train_filenames`` … in ``transforms.json``, as in nerfstudio.

    Photos without a pose are left out, with a note. A scene whose ``transforms.json`` lists ``val`` but no ``test``
    is tested on ``val``.

    Args:
        root: the scene folder.
        frames: its photos.
        named: what ``transforms.json`` lists.
        notes: to be added to.

    Raises:
        InputError: no lists of names, a name that is no photo of the scene.
    """
    file = root / "splits.json"
    if file.is_file():
        return _of_stems(file, frames, notes)
    if not named:
        return {}
    of_path = {os.path.abspath(frame.image_path): frame.stem for frame in frames}
    splits: dict[str, tuple[str, ...]] = {}
    for split, paths in named.items():
        missing = [path for path in paths if os.path.abspath(path) not in of_path]
        absent = [path for path in missing if not path.is_file()]
        if absent:
            raise InputError(
                root / "transforms.json",
                f"'{absent[0]}' in {split}_filenames",
                "file_path of the scene's images",
                "Correct the path or remove it.",
            )
        _note(notes, f"{split}_filenames", [path.name for path in missing])
        splits[split] = tuple(of_path[os.path.abspath(path)] for path in paths if path not in missing)
    if "test" not in splits and "val" in splits:
        splits["test"] = splits["val"]
    return splits


def _of_stems(file: Path, frames: Sequence[Frame], notes: list[str]) -> dict[str, tuple[str, ...]]:
    document = read_json(file)
    if not isinstance(document, dict) or not all(isinstance(names, list) for names in document.values()):
        raise InputError(file, "no lists of names", '{"train": [stems], "test": [stems]}', "Write it in this form.")
    known, lost = {frame.stem for frame in frames}, None
    splits = {}
    for name, members in document.items():
        left_out = [str(stem) for stem in members if str(stem) not in known]
        if left_out and lost is None:
            lost = set(unposed(frames))
        for stem in left_out:
            if stem not in (lost or ()):
                raise InputError(
                    file,
                    f"'{stem}' in split '{name}'",
                    "names of the scene's images",
                    "Correct the name (without folder and ending) or remove it.",
                )
        _note(notes, f"split '{name}'", left_out)
        splits[str(name)] = tuple(str(stem) for stem in members if str(stem) in known)
    return splits


def _note(notes: list[str], where: str, left_out: Sequence[str]) -> None:
    if left_out:
        shown = ", ".join(left_out[:4]) + (", …" if len(left_out) > 4 else "")
        notes.append(f"{len(left_out)} photos of {where} have no pose and are left out: {shown}")
