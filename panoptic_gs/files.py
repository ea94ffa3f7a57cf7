# SPDX-License-Identifier: Apache-2.0
"""Reading and writing JSON and images so that every failure names its file."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from panoptic_gs.errors import InputError
from panoptic_gs.replacing import replacing

MAX_JSON_BYTES = 1 << 30
"""No description of a scene is larger; parsed, each of its bytes takes up to fifty in memory."""
MAX_PIXELS = 1 << 28
"""Of an image; phones make 200 million."""
_SMALL_BYTES = 1 << 28  # what any image may take: a flat map of a phone's photo is hardly a file at all
_FORMATS = ("PNG", "JPEG", "TIFF", "WEBP", "BMP", "PPM", "GIF", "JPEG2000", "AVIF", "HEIF")
_STORED_OTHERWISE = ("P", "PA", "CMYK", "LA", "1", "YCbCr", "LAB", "HSV")  # modes that are given in RGB
_OPENING = threading.Lock()


def read_json(path: Path | str, objects: Callable[[list[tuple[str, Any]]], Any] = dict) -> Any:
    """Read a JSON file without looking at what it holds; :func:`panoptic_gs.records.read_record` does.

    Args:
        path: the file.
        objects: makes what stands for an object of its names and values; dictionaries by default.

    Raises:
        InputError: it is missing, unreadable, too large, no JSON, or nested too deeply.
    """
    path = Path(path)
    try:
        size = path.stat().st_size
        if size > MAX_JSON_BYTES:
            raise InputError(path, f"{size:,} bytes", f"at most {MAX_JSON_BYTES:,}", "Check that it is the right file.")
        text = path.read_text(encoding="utf-8-sig")
        return json.loads(text) if objects is dict else json.loads(text, object_pairs_hook=objects)
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
def opened_image(
    file: Path | str | bytes, expected: str = "a readable image", *, source: Path | str | None = None
) -> Iterator[Image.Image]:
    """Open an image for decoding: whatever its decoder meets inside the block becomes an :class:`InputError`.

    Only formats of photos and maps are tried, none whose reader runs another program. Images of more than 2²⁸ pixels
    are refused; Pillow's own limit is below what phones make.

    Args:
        file: a path, or an encoded image.
        expected: what errors say was expected.
        source: what they name; by default the path.

    Raises:
        InputError: it is missing, truncated, no image, or too large.
    """
    source = source if source is not None else "an image" if isinstance(file, bytes) else file
    try:
        with _open(io.BytesIO(file) if isinstance(file, bytes) else file) as image:
            _require_pixels(image, source)
            yield image
    except InputError:
        raise
    except FileNotFoundError as error:
        raise InputError(source, "no such file", expected, "Check the path.") from error
    except Exception as error:  # decoders raise whatever they like at damaged files
        raise InputError(
            source,
            f"a file that cannot be decoded ({str(error)[:200] or type(error).__name__})",
            expected,
            "Copy or export the image again; it may be truncated.",
        ) from error


def read_image(
    path: Path | str | bytes,
    *,
    source: Path | str | None = None,
    expected: str = "a readable image",
    size: tuple[int, int] | None = None,
    indices: bool = False,
) -> np.ndarray:
    """Read an image as it is stored: ``[H, W]`` or ``[H, W, C]``.

    Args:
        path: a file, or an encoded image.
        source: what errors name; by default the path.
        expected: what they say was expected.
        size: (width, height) that it is given in, for photos. A JPEG is shrunk while it is decoded, so that one of 200
            megapixels does not take a gigabyte.
        indices: whether an image with a palette is its indices ``[H, W]`` into it rather than their colours.

    Raises:
        InputError: it is missing, truncated, no image, or takes more memory than its file can be worth.
    """
    with opened_image(path, source=source, expected=expected) as image:
        stored = len(path) if isinstance(path, bytes) else Path(path).stat().st_size
        if image.format == "PNG":
            _require_chunks(path, stored)
        if size is not None and size != image.size:
            image.draft(None, size)
        kept = image.mode not in _STORED_OTHERWISE or (indices and image.mode == "P")
        target = image.mode if kept else "RGB"
        if image.mode == "1" and size is not None:
            target = "L"
        name = source if source is not None else "an image" if isinstance(path, bytes) else path
        shrunk = size is not None and target == "L"
        _require_worth(image.size, 1 if shrunk else 4, stored, name)
        if target != image.mode:
            image = image.convert(target)
        if size is not None and size != image.size:
            image = image.resize(size, Image.Resampling.LANCZOS, reducing_gap=2.0)
        return np.asarray(image)


def read_rgb(path: Path | str, size: tuple[int, int] | None = None) -> np.ndarray:
    """Read a photo as ``[H, W, 3]`` uint8, at its own size or at ``size``; alpha is dropped and grey is repeated."""
    pixels = read_image(path, size=size)
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


def image_size(path: Path | str) -> tuple[int, int]:
    """Width and height from an image's header.

    Raises:
        InputError: it is missing, no image, or too large.
    """
    with opened_image(path, expected="an image") as image:
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


def _open(file: Path | str | io.BytesIO) -> Image.Image:
    Image.init()
    formats = [name for name in _FORMATS if name in Image.OPEN]
    with _OPENING:  # the limit is one of the whole process
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            return Image.open(file, formats=formats)
        finally:
            Image.MAX_IMAGE_PIXELS = limit


def _require_chunks(file: Path | str | bytes, stored: int) -> None:
    """Hold the lengths that a PNG states against its size, as libpng does: Pillow decodes what happens to be there."""
    with io.BytesIO(file) if isinstance(file, bytes) else open(file, "rb") as stream:
        place = 8  # after the signature
        while place < stored:
            stream.seek(place)
            head = stream.read(8)
            length = int.from_bytes(head[:4], "big")
            place += length + 12  # with its length, its name and its check sum
            if len(head) < 8 or place > stored:
                raise ValueError(f"a chunk at byte {place - length - 12:,} of {length:,} bytes, in {stored:,} bytes")
            if head[4:] == b"IEND":
                return


def _require_pixels(image: Image.Image, source: Path | str) -> None:
    width, height = image.size
    if width * height > MAX_PIXELS or min(width, height) < 1:
        raise InputError(
            source,
            f"{width:,} × {height:,} pixels",
            f"an image of at most {MAX_PIXELS >> 20} megapixels",
            "Export it smaller; its header may be damaged.",
        )


def require_worth(image: Image.Image, path: Path) -> None:
    """Refuse an opened image that would take far more memory and time than its file can be worth.

    Raises:
        InputError: at 4 bytes a pixel it takes more than a hundred times its file, and more than any image may.
    """
    _require_worth(image.size, 4, path.stat().st_size, path)


def _require_worth(size: tuple[int, int], each: int, stored: int, source: Path | str) -> None:
    """Maps of one byte a pixel count as four, since numbers are made of them; grey photos are shrunk as they are."""
    width, height = size
    needed = width * height * each
    if needed > max(_SMALL_BYTES, 100 * stored):
        raise InputError(
            source,
            f"{width:,} × {height:,} pixels in {stored:,} bytes, which would take {needed >> 20:,} MiB",
            "an image that takes no more memory than a hundred times its file",
            "Export it smaller; its header may be damaged.",
        )
