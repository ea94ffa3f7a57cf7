# SPDX-License-Identifier: Apache-2.0
"""Photos as they are to be seen: found in a folder, upright, in RGB."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from panoptic_gs.errors import InputError
from panoptic_gs.files import image_size, opened_image, read_rgb
from panoptic_gs.raw_predictions import RawImage
from panoptic_gs.scene.orientation import exif_orientation, turned

_EXIF = 0x8769  # where EXIF keeps what is known of the exposure
_CAMERA = (0x010F, 0x0110)  # make, model
_FOCAL = (0x920A, 0xA404, 0xA405)  # focal length, digital zoom, focal length of a 35 mm film

ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".heic", ".heif")
HEIF = (".heic", ".heif")
"""What phones write, read by pillow-heif."""


@dataclass(frozen=True)
class Photo:
    """An image file with its upright size in pixels.

    Args:
        path: the file.
        width, height: of the upright photo.
        orientation: EXIF's, 1 where nothing has to be turned.
        name: what a scene calls it, as ``left/0001`` of a rig; by default the file's name without ending.
    """

    path: Path
    width: int
    height: int
    orientation: int = 1
    name: str | None = None

    @property
    def stem(self) -> str:
        """The name without ending, as cameras and label maps are matched by."""
        return self.name or self.path.stem

    @property
    def raw_image(self) -> RawImage:
        """How raw predictions list it."""
        return RawImage(self.stem + self.path.suffix, self.width, self.height)

    def read(self) -> np.ndarray:
        """The upright pixels ``[H, W, 3]`` uint8; alpha is dropped."""
        return turned(read_rgb(self.path), self.orientation)

    def lens(self) -> tuple[str, ...]:
        """Camera, focal length and digital zoom as EXIF states them, to tell which photos have a lens in common."""
        try:
            with opened_image(self.path) as image:
                exif = image.getexif() if "exif" in image.info else {}
                details = exif.get_ifd(_EXIF) if isinstance(exif, Image.Exif) else {}
        except (InputError, OSError, SyntaxError, ValueError):
            return ()
        return tuple(
            str(entries.get(tag, "")) for entries, tags in ((exif, _CAMERA), (details, _FOCAL)) for tag in tags
        )

    @classmethod
    def open(cls, path: Path, *, upright: bool = True, name: str | None = None) -> Photo:
        """Read an image's header; without ``upright`` its pixels stay as they are stored, whatever EXIF says.

        Raises:
            InputError: the file is missing or no image.
        """
        width, height = image_size(path)
        orientation = exif_orientation(path) if upright else 1
        if orientation >= 5:
            width, height = height, width
        return cls(path, width, height, orientation, name)


def find_photos(folder: Path, *, unique: bool = True) -> tuple[Photo, ...]:
    """The photos of a folder, or of its ``images/``, in the order of the numbers in their names.

    Args:
        folder: the folder.
        unique: whether two of one name, apart from their endings, are refused; see `unique_names`.

    Raises:
        InputError: there is no such folder, it holds no image, an image is unreadable or two have one name.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(folder, "no such folder", "a folder of photos", "Check the path.")
    files = photo_files(folder)
    if not files:
        others = Counter(path.suffix.lower() for path in folder.iterdir() if path.is_file() and path.suffix)
        found = ", ".join(f"{count} {ending}" for ending, count in others.most_common(4)) or "no files"
        raise InputError(
            folder,
            f"no image ({found})",
            f"photos ending in {', '.join(ENDINGS)}",
            "Check the path; convert other formats to JPEG or PNG first, and cut videos into frames.",
        )
    photos = tuple(Photo.open(path) for path in files)
    return unique_names(photos) if unique else photos


def find_renders(folder: Path) -> tuple[Photo, ...]:
    """The rendered colour images that ``panoptic-gs render`` or ``ns-render dataset`` left in a folder.

    The former writes ``rgb/``, the latter ``<split>/rgb/``.

    Raises:
        InputError: there are none, or there are several splits to choose from.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(folder, "no such folder", "a folder of rendered views", "Check the path.")
    for candidate in (folder / "rgb", folder):
        if files := _images(candidate):
            return unique_names([Photo.open(path) for path in files])
    splits = [path for path in sorted(folder.glob("*/rgb")) if _images(path)]
    if len(splits) != 1:
        raise InputError(
            folder,
            f"{len(splits)} folders */rgb with images" if splits else "no rendered colour images",
            "rgb/*.png as 'panoptic-gs render' writes them, or <split>/rgb/* as 'ns-render dataset' does",
            f"Give one of them: {', '.join(str(path.parent) for path in splits)}."
            if splits
            else "Render first; with ns-render, --rendered-output-names has to include rgb.",
        )
    return find_renders(splits[0].parent)


def photo_files(folder: Path) -> list[Path]:
    """The image files of a folder, or of its ``images/``; none where there is no such folder."""
    return _images(folder) or _images(folder / "images")


def fingerprint(files: Sequence[Path]) -> str:
    """Files in a few words that differ where their names or sizes do; they may have been moved."""
    sizes = [path.stat().st_size for path in files]
    digest = hashlib.sha256(repr([(path.name, size) for path, size in zip(files, sizes, strict=True)]).encode())
    named = files[0].name if len(files) == 1 else f"{len(files)} files"
    return f"{named} ({sum(sizes):,} bytes, {digest.hexdigest()[:8]})"


def unique_names(photos: Sequence[Photo]) -> tuple[Photo, ...]:
    """The photos, which must not share a name.

    Raises:
        InputError: two have the same name apart from their endings.
    """
    seen: dict[str, Photo] = {}
    for photo in photos:
        if photo.stem in seen:
            raise InputError(
                photo.path.parent,
                f"{seen[photo.stem].path.name} and {photo.path.name}",
                "one image a name",
                "Rename or remove one; label maps are matched by name without ending.",
            )
        seen[photo.stem] = photo
    return tuple(photos)


def _images(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    files = [p for p in folder.iterdir() if p.suffix.lower() in ENDINGS and p.is_file() and not p.name.startswith(".")]
    _read_heif(files)
    return sorted(files, key=lambda path: [(int(d or 0), t) for d, t in re.findall(r"(\d*)(\D*)", path.name)])


def _read_heif(files: Sequence[Path]) -> None:
    """Let Pillow read what phones write, where there is any.

    Raises:
        InputError: there is some, and nothing that reads it.
    """
    found = next((path for path in files if path.suffix.lower() in HEIF), None)
    if found is None:
        return
    if importlib.util.find_spec("pillow_heif") is None:
        raise InputError(
            found, "a photo in HEIC", "pillow-heif, which reads it",
            "Run: pip install 'panoptic-gs[phone]', or export the photos as JPEG.",
        )  # fmt: skip
    importlib.import_module("pillow_heif").register_heif_opener()
