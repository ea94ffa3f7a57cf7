# SPDX-License-Identifier: Apache-2.0
"""Which photo a file of masks belongs to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
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


@dataclass(frozen=True)
class MaskFolder:
    """What lies in a folder of masks, its own files and those of the folders of its cameras, by paths below it.

    Args:
        files: of masks, and whatever else is not hidden.
        folders: that hold images and are no camera's: a photo's, where each mask is an image.
    """

    files: tuple[str, ...]
    folders: tuple[str, ...]

    @classmethod
    def of(cls, folder: Path, photos: Sizes) -> MaskFolder:
        """List a folder, and below it those that the photos of a rig are told apart by: ``left/0001.png``.

        Photos whose names do not recur are known without their folders. Masks of them may still lie in such folders,
        where nothing but these has masks, and no folder is named as a photo.
        """
        cameras = {parent.as_posix() for stem in photos for parent in PurePosixPath(stem).parents}
        files, folders = _listed(folder, cameras)
        of_photos = tuple(name for name in folders if _has_images(folder / name))
        if len(cameras) > 1 or files or any(stem_of(name, photos) is not None for name in folders):
            return cls(files, of_photos)
        below = [_listed(folder / name, set()) for name in folders]
        named = [tuple(f"{name}/{entry}" for name, of in zip(folders, below) for entry in of[kind]) for kind in (0, 1)]
        for kind, names in enumerate(named):
            if names and not named[1 - kind] and all(stem_of(name, photos) is not None for name in names):
                return cls(names, ()) if kind == 0 else cls((), names)
        return cls(files, of_photos)

    def ending(self, endings: Iterable[str]) -> list[str]:
        """The files with one of these endings."""
        return [name for name in self.files if PurePosixPath(name).suffix.lower() in endings]


def _listed(folder: Path, cameras: set[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Files of a folder and of those below it that are cameras', and its other folders."""
    files: list[str] = []
    folders: list[str] = []
    open_folders = [PurePosixPath()]
    while open_folders:
        below = open_folders.pop()
        for path in sorted((folder / below).iterdir()):
            name = below / path.name
            if path.name.startswith("."):
                continue
            if path.is_file():
                files.append(name.as_posix())
            elif path.is_dir() and name.as_posix() in cameras:
                open_folders.append(name)
            elif path.is_dir():
                folders.append(name.as_posix())
    return tuple(files), tuple(folders)


def _has_images(folder: Path) -> bool:
    return any(path.suffix.lower() in IMAGES for path in folder.iterdir())


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
