# SPDX-License-Identifier: Apache-2.0
"""Opening images: large photos, headers that lie, files that are none."""

import io
import struct
import threading
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image

from panoptic_gs import InputError
from panoptic_gs.files import image_size, opened_image, read_image, read_rgb


def png(width: int, height: int, bits: int, color: int, data: bytes) -> bytes:
    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, bits, color, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(data, 9)) + chunk(b"IEND", b"")


def test_a_photo_of_200_megapixels_is_read_at_the_size_that_is_asked_for(tmp_path):
    width, height = 16320, 12240
    row = bytes([0]) + bytes([0xFF]) * (width // 16) + bytes(width // 16)
    (tmp_path / "phone.png").write_bytes(png(width, height, 1, 0, row * height))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert image_size(tmp_path / "phone.png") == (width, height)
        photo = read_rgb(tmp_path / "phone.png", (160, 120))
    assert photo.shape == (120, 160, 3)
    assert photo[:, :75].min() == 255
    assert photo[:, 85:].max() == 0
    with pytest.raises(InputError, match=r"phone\.png.*16,320 × 12,240 pixels"):
        read_rgb(tmp_path / "phone.png")  # a few kilobytes that would take 800 megabytes


def test_a_jpeg_is_shrunk_while_it_is_decoded(tmp_path):
    y, x = np.mgrid[0:960, 0:1280]
    pixels = np.stack([x / 5, y / 4, (x + y) / 9], axis=-1).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.jpg", quality=95)
    small = read_rgb(tmp_path / "a.jpg", (160, 120)).astype(int)
    means = pixels.reshape(120, 8, 160, 8, 3).mean(axis=(1, 3))
    assert np.abs(small - means).max() < 4
    with opened_image(tmp_path / "a.jpg") as image:
        image.draft(None, (160, 120))
        assert image.size == (160, 120)


@pytest.mark.parametrize(
    "content",
    [
        png(2**31 - 1, 2**31 - 1, 8, 2, b""),
        png(100_000, 100_000, 8, 2, b""),
        png(16_000, 16_000, 8, 2, b"\0" * 1000),
        png(0, 5, 8, 2, b""),
        png(20, 20, 8, 2, b"\0" * 10),
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n",
        b"",
        b"\x89PNG\r\n\x1a\n",
        b"GIF89a" + b"\xff" * 50,
        b"II*\0" + b"\xff" * 50,
        b"P6 3 3 255 ",
    ],
)
def test_what_cannot_be_an_image_is_refused_by_name(tmp_path, content):
    (tmp_path / "x.png").write_bytes(content)
    with pytest.raises(InputError, match=r"x\.png"):
        read_image(tmp_path / "x.png")
    with pytest.raises(InputError, match="frame 3"):
        read_image(content, source="frame 3")


def test_any_damage_to_a_file_is_read_or_refused(tmp_path):
    generator = np.random.default_rng(0)
    pixels = generator.integers(0, 255, (9, 12, 3), dtype=np.uint8)
    for kind in ("PNG", "JPEG", "TIFF", "WEBP", "BMP", "PPM", "GIF"):
        stream = io.BytesIO()
        Image.fromarray(pixels).save(stream, kind)
        whole = np.frombuffer(stream.getvalue(), np.uint8)
        for _ in range(60):
            broken = whole.copy()
            where = generator.integers(0, len(broken), generator.integers(1, 5))
            broken[where] = generator.integers(0, 256, len(where))
            content = broken[: generator.integers(1, len(broken) + 1)].tobytes()
            try:
                assert read_image(content).ndim in (2, 3)
            except InputError:
                continue


def test_the_limit_of_other_programs_stays():
    before = Image.MAX_IMAGE_PIXELS
    content = png(4, 4, 8, 0, b"\0\1\2\3\4" * 4)
    threads = [threading.Thread(target=lambda: [read_image(content) for _ in range(50)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert before == Image.MAX_IMAGE_PIXELS
