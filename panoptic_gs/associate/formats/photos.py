# SPDX-License-Identifier: Apache-2.0
"""Which photo a file of masks belongs to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath

from panoptic_gs.errors import InputError

Sizes = Mapping[str, tuple[int, int]]
"""Image stem → width and height of the photo as it is stored."""

IMAGES = (".png", ".tif", ".tiff", ".bmp")
"""Endings of lossless images."""
LOSSY = (".jpg", ".jpeg", ".webp")


def stem_of(name: str, photos: Sizes) -> str | None:
    """The photo that a file of this name belongs to: ``0001.png``, ``0001.jpg.png`` → ``0001``; None where unknown.

    Where photos of several folders are told apart by them, so are files: ``left/0001.png`` → ``left/0001``.
    """
    for stem in (PurePosixPath(name).as_posix(), Path(name).name):
        while stem not in photos and PurePosixPath(stem).suffix:
            stem = PurePosixPath(stem).with_suffix("").as_posix()
        if stem in photos:
            return stem
    return None


def by_photo(source: Path | str, names: Iterable[str], photos: Sizes) -> dict[str, str]:
    """Image stem → name of its file of masks.

    Raises:
        InputError: a name of no photo, or two for one photo.
    """
    found: dict[str, str] = {}
    for name in sorted(names):
        stem = stem_of(name, photos)
        if stem is None:
            raise InputError(
                source,
                f"masks '{name}' of no photo of the scene",
                "masks named as the photos, such as " + ", ".join(f"'{s}'" for s in sorted(photos)[:3]),
                "Name each file of masks as its photo, give the scene that they were made from, or remove the masks of "
                "photos that were dropped.",
            )
        if stem in found:
            raise InputError(
                source, f"'{found[stem]}' and '{name}' for one photo", "one a photo", "Remove or rename one of them."
            )
        found[stem] = name
    return found
