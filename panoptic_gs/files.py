# SPDX-License-Identifier: Apache-2.0
"""Reading and writing files so that nothing is left half-written and every failure names its file."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from panoptic_gs.errors import InputError


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary name beside ``path`` and move what was written there into place, or remove it on failure.

    Raises:
        InputError: the folder cannot be written to.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        raise InputError(
            path,
            f"cannot be written ({error.strerror or error})",
            "a writable folder",
            "Choose another output folder or mend its permissions.",
        ) from error
    finally:
        with suppress(OSError):  # where the folder itself is none, that is what has to be said
            temporary.unlink(missing_ok=True)


def require_replaceable(folder: Path, *, overwrite: bool, known_by: str) -> None:
    """Stop before anything is computed where a folder could not be written or must not be replaced.

    Args:
        folder: the output.
        overwrite: whether one with content may be replaced.
        known_by: a file that every such output holds; a folder without it is somebody else's and never replaced.

    Raises:
        InputError: the folder has content and may not be replaced.
    """
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    if not folder.is_dir() or not (folder / known_by).is_file():
        raise InputError(
            folder,
            f"content without {known_by}",
            "a new or empty folder, or an earlier output to overwrite",
            "Choose another output folder.",
        )
    if not overwrite:
        raise InputError(
            folder,
            "an existing folder with content",
            "a new or empty folder",
            "Choose another output folder, or pass --overwrite to replace this one.",
        )


@contextmanager
def replacing_folder(folder: Path, *, overwrite: bool = False, known_by: str) -> Iterator[Path]:
    """Give a temporary folder beside ``folder`` and move it into place at the end, or remove it on failure.

    An existing empty folder is replaced; an earlier output only where ``overwrite`` says so, and it stays as it was
    until the new one is complete. See :func:`require_replaceable` for the arguments.

    Raises:
        InputError: the folder has content and may not be replaced, or it cannot be written.
    """
    folder = Path(folder).absolute()
    require_replaceable(folder, overwrite=overwrite, known_by=known_by)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=".part", dir=folder.parent))
    except OSError as error:
        raise InputError(
            folder,
            f"cannot be written ({error.strerror or error})",
            "a writable folder",
            "Choose another output folder or mend its permissions.",
        ) from error
    try:
        temporary.chmod(0o755)
        yield temporary
        if folder.is_dir():
            shutil.rmtree(folder)
        os.replace(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        InputError: it is missing, unreadable or no JSON.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(path, "no such file", "a JSON file", "Check the path.") from error
    except OSError as error:
        raise InputError(
            path, f"unreadable file ({error.strerror})", "a JSON file", "Check its permissions."
        ) from error
    except ValueError as error:
        raise InputError(
            path, f"no valid JSON ({error})", "a JSON file", "Write it again; it may be truncated."
        ) from error


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as JSON, in one move."""
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")


def read_image(path: Path, *, expected: str = "a readable image") -> np.ndarray:
    """Read an image file as it is stored: ``[H, W]`` or ``[H, W, C]``.

    Raises:
        InputError: it is missing, truncated or no image.
    """
    try:
        with Image.open(path) as image:
            if image.mode in ("P", "CMYK", "LA", "1"):
                image = image.convert("RGB")
            return np.asarray(image)
    except FileNotFoundError as error:
        raise InputError(path, "no such file", expected, "Check the path.") from error
    except (OSError, SyntaxError, ValueError) as error:
        raise InputError(
            path,
            f"a file that cannot be decoded ({error})",
            expected,
            "Copy or export the image again; it may be truncated.",
        ) from error


def read_rgb(path: Path) -> np.ndarray:
    """Read a photo as ``[H, W, 3]`` uint8; alpha is dropped and grey is repeated."""
    pixels = read_image(path)
    if pixels.dtype == np.uint16:
        pixels = (pixels >> 8).astype(np.uint8)
    if pixels.ndim == 2:
        pixels = np.repeat(pixels[..., None], 3, axis=2)
    return np.ascontiguousarray(pixels[..., :3])


def read_grey(path: Path) -> np.ndarray:
    """Read an image of one value a pixel, ``[H, W]`` as it is stored: depth, class ids, instance ids.

    Raises:
        InputError: it is missing, truncated, no image, or in colour.
    """
    pixels = read_image(path)
    if pixels.ndim != 2:
        found = f"{pixels.shape[2]} values a pixel"
        raise InputError(path, found, "one value a pixel", "Export the image again without colour.")
    return pixels


def image_size(path: Path) -> tuple[int, int]:
    """Width and height from an image's header.

    Raises:
        InputError: it is missing or no image.
    """
    try:
        with Image.open(path) as image:
            return image.size
    except FileNotFoundError as error:
        raise InputError(path, "no such file", "an image", "Check the path.") from error
    except (OSError, SyntaxError, ValueError) as error:
        raise InputError(
            path,
            f"a file that is no image ({error})",
            "an image",
            "Copy or export the image again; it may be truncated.",
        ) from error


def write_png(path: Path, pixels: np.ndarray) -> None:
    """Write ``[H, W]`` or ``[H, W, 3]`` pixels (uint8, or uint16 for grey) as a PNG, in one move."""
    with replacing(path) as temporary:
        Image.fromarray(pixels).save(temporary, format="PNG", compress_level=4)
