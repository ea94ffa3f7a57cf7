# SPDX-License-Identifier: Apache-2.0
"""Reading and writing JSON and images so that every failure names its file."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from panoptic_gs.errors import InputError
from panoptic_gs.replacing import replacing

MAX_JSON_BYTES = 1 << 30
"""No description of a scene is larger; parsed, each of its bytes takes up to fifty in memory."""


def read_json(path: Path | str) -> Any:
    """Read a JSON file without looking at what it holds; :func:`panoptic_gs.records.read_record` does.

    Raises:
        InputError: it is missing, unreadable, too large, no JSON, or nested too deeply.
    """
    path = Path(path)
    try:
        size = path.stat().st_size
        if size > MAX_JSON_BYTES:
            raise InputError(path, f"{size:,} bytes", f"at most {MAX_JSON_BYTES:,}", "Check that it is the right file.")
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError as error:
        raise InputError(path, "no such file", "a JSON file", "Check the path.") from error
    except OSError as error:
        raise InputError(
            path, f"unreadable file ({error.strerror})", "a JSON file", "Check its permissions."
        ) from error
    except RecursionError:
        raise InputError(path, "values nested too deeply", "a JSON file", "Write it again.") from None
    except ValueError as error:  # also a path that no file can have
        raise InputError(
            path, f"no valid JSON ({error})", "a JSON file", "Write it again; it may be truncated."
        ) from error


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as JSON, in one move."""
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")


@contextmanager
def opened_image(path: Path, expected: str = "a readable image") -> Iterator[Image.Image]:
    """Open an image file; what is wrong with it, here or where its pixels are decoded within, names the file.

    Raises:
        InputError: it is missing, truncated, no image, or of too many pixels.
    """
    try:
        with Image.open(path) as image:
            yield image
    except FileNotFoundError as error:
        raise InputError(path, "no such file", expected, "Check the path.") from error
    except Image.DecompressionBombError as error:
        raise InputError(
            path,
            f"too many pixels ({error})",
            "an image of at most 178 megapixels",
            "Shrink it; of a photo, correct its size and intrinsics in transforms.json or make the poses anew.",
        ) from error
    except (OSError, SyntaxError, ValueError) as error:
        raise InputError(
            path,
            f"a file that cannot be decoded ({error})",
            expected,
            "Copy or export the image again; it may be truncated.",
        ) from error


def read_image(path: Path, *, expected: str = "a readable image") -> np.ndarray:
    """Read an image file as it is stored: ``[H, W]`` or ``[H, W, C]``.

    Raises:
        InputError: it is missing, truncated or no image.
    """
    with opened_image(path, expected) as image:
        if image.mode in ("P", "PA", "CMYK", "LA", "1", "YCbCr", "LAB", "HSV"):
            image = image.convert("RGB")
        return np.asarray(image)


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
    with opened_image(path, "an image") as image:
        return image.size


def write_png(path: Path, pixels: np.ndarray) -> None:
    """Write ``[H, W]`` or ``[H, W, 3]`` pixels (uint8, or uint16 for grey) as a PNG, in one move."""
    with replacing(path) as temporary:
        Image.fromarray(pixels).save(temporary, format="PNG", compress_level=4)


def write_arrays(path: Path, **arrays: np.ndarray) -> None:
    """Write named arrays as a compressed ``.npz``, in one move."""
    content = io.BytesIO()  # a zip file that cannot be finished complains once more when it is collected
    np.savez_compressed(content, **arrays)
    with replacing(path) as temporary:
        temporary.write_bytes(content.getbuffer())
