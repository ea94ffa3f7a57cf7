# SPDX-License-Identifier: Apache-2.0
"""ScanNet's ``.sens`` stream: RGB-D frames with poses in one file (SensorData, version 4, little-endian).

Header: version uint32, length uint64 and bytes of the sensor's name, four row-major 4×4 float32 matrices (colour
intrinsics and extrinsics, depth intrinsics and extrinsics), colour and depth compression int32, colour width and
height, depth width and height uint32, depth shift float32, number of frames uint64. A frame: camera-to-world 4×4
float32, two timestamps uint64 in microseconds, sizes of the compressed colour and depth uint64, then these bytes.
What follows the frames (inertial measurements) is not read.

Source: the format's description at https://github.com/ScanNet/ScanNet/tree/master/SensReader.
"""

from __future__ import annotations

import io
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image

from panoptic_gs.errors import InputError

_VERSION = 4
_COLOR_COMPRESSIONS = {0: "raw", 1: "png", 2: "jpeg"}
_DEPTH_COMPRESSIONS = {0: "raw_ushort", 1: "zlib_ushort"}
_MATRICES = struct.Struct("<64f")
_SETTINGS = struct.Struct("<ii4IfQ")
_FRAME = struct.Struct("<16f4Q")
_MEND = "Download the .sens file again; its size is in the download script's listing."
MAX_FRAMES = 100_000
"""Frames that a stream may announce: an hour at 30 a second, ten times ScanNet's longest."""
MAX_SIDE = 1 << 14
"""Pixels on a side of a photo or depth image, ten times ScanNet's."""


@dataclass(frozen=True, eq=False)
class SensFrame:
    """Where one frame lies in the stream, and its pose ``[4, 4]`` float32, camera to world in OpenCV axes."""

    camera_to_world: np.ndarray
    timestamp_color: int
    timestamp_depth: int
    color_offset: int
    color_bytes: int
    depth_bytes: int


@dataclass(frozen=True, eq=False)
class SensStream:
    """An indexed ``.sens`` file; frames are decoded one at a time, in any order.

    Intrinsics are ``[4, 4]`` float32 with pixel centres at whole numbers, extrinsics ``[4, 4]`` float32.
    ``missing_frames`` is how many of the frames that the header announces the file is too short for.
    """

    path: Path
    sensor_name: str
    intrinsic_color: np.ndarray
    extrinsic_color: np.ndarray
    intrinsic_depth: np.ndarray
    extrinsic_depth: np.ndarray
    color_compression: str
    depth_compression: str
    color_size: tuple[int, int]
    """Width, height."""
    depth_size: tuple[int, int]
    """Width, height."""
    depth_shift: float
    """Depth units per metre."""
    frames: tuple[SensFrame, ...]
    missing_frames: int

    @classmethod
    def open(cls, path: Path | str) -> SensStream:
        """Read the header and walk over the frames without decoding or loading their pixels.

        Raises:
            InputError: no such file, another version, an unknown compression, a truncated header or no whole frame.
        """
        path = Path(path)
        try:
            with path.open("rb") as file:
                return _index(path, file, path.stat().st_size)
        except FileNotFoundError as error:
            raise InputError(path, "no such file", "a .sens stream", "Download it.") from error
        except struct.error as error:
            raise InputError(path, "a truncated header", "a .sens stream of version 4", _MEND) from error
        except OSError as error:
            raise InputError(path, f"an unreadable file ({error.strerror})", "a .sens stream", "Mend it.") from error

    def read_color_bytes(self, index: int) -> bytes:
        """The colour of a frame as it is stored.

        Raises:
            InputError: the file ends before it.
        """
        if index >= len(self.frames):
            raise InputError(self.path, f"no frame {index}: the file is truncated", "a whole stream", _MEND)
        return self._read(self.frames[index].color_offset, self.frames[index].color_bytes)

    def read_color(self, index: int) -> np.ndarray:
        """The colour image ``[H, W, 3]`` uint8 of a frame.

        Raises:
            InputError: the image cannot be decoded or is not of the stream's colour size.
        """
        data = self.read_color_bytes(index)
        width, height = self.color_size
        try:
            if self.color_compression == "raw":
                return np.frombuffer(data, np.uint8).reshape(height, width, 3)
            with Image.open(io.BytesIO(data)) as image:
                if image.size != (width, height):
                    raise self._broken(index, f"colour of {image.width}×{image.height} pixels, not {width}×{height}")
                return np.asarray(image.convert("RGB"))
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            raise self._broken(index, f"colour that cannot be decoded ({error})") from error

    def read_depth(self, index: int) -> np.ndarray:
        """The depth ``[h, w]`` float32 of a frame in metres along the camera's z axis, 0 where none was measured.

        Raises:
            InputError: the depth cannot be decoded or is not of the stream's depth size.
        """
        frame = self.frames[index]
        data = self._read(frame.color_offset + frame.color_bytes, frame.depth_bytes)
        width, height = self.depth_size
        try:
            if self.depth_compression == "zlib_ushort":
                data = zlib.decompressobj().decompress(data, 2 * width * height + 1)
            values = np.frombuffer(data, "<u2").reshape(height, width)
        except (zlib.error, ValueError) as error:
            raise self._broken(index, f"depth that cannot be decoded ({error})") from error
        return (values / np.float32(self.depth_shift)).astype(np.float32)

    def _read(self, offset: int, size: int) -> bytes:
        try:
            with self.path.open("rb") as file:
                file.seek(offset)
                return file.read(size)
        except OSError as error:
            raise InputError(self.path, f"an unreadable file ({error})", "the stream that was opened", _MEND) from error

    def _broken(self, index: int, found: str) -> InputError:
        return InputError(f"{self.path}, frame {index}", found, "an intact frame", _MEND)


def _index(path: Path, file: BinaryIO, size: int) -> SensStream:
    (version,) = struct.unpack("<I", file.read(4))
    if version != _VERSION:
        raise InputError(path, f"version {version}", f"a .sens stream of version {_VERSION}", _MEND)
    (length,) = struct.unpack("<Q", file.read(8))
    if length > size:
        raise InputError(path, f"a sensor name of {length} bytes", "a .sens stream of version 4", _MEND)
    name = file.read(length).decode("utf-8", errors="replace")
    matrices = np.array(_MATRICES.unpack(file.read(_MATRICES.size)), np.float32).reshape(4, 4, 4)
    settings = _SETTINGS.unpack(file.read(_SETTINGS.size))
    color, depth, color_width, color_height, depth_width, depth_height, shift, count = settings
    if color not in _COLOR_COMPRESSIONS or depth not in _DEPTH_COMPRESSIONS or not shift > 0:
        raise InputError(
            path,
            f"colour compression {color}, depth compression {depth}, depth shift {shift:g}",
            f"colour {_COLOR_COMPRESSIONS}, depth {_DEPTH_COMPRESSIONS}, a positive shift",
            "Export the stream with ScanNet's SensReader and give the folders color/, depth/, pose/, intrinsic/.",
        )
    sides = (color_width, color_height, depth_width, depth_height)
    if not 0 < count <= MAX_FRAMES or max(sides) > MAX_SIDE or min(sides[:2]) < 1:
        raise InputError(
            path,
            f"{count} frames, photos of {color_width}×{color_height} and depth of {depth_width}×{depth_height} pixels",
            f"1 to {MAX_FRAMES:,} frames of at most {MAX_SIDE:,} pixels a side",
            _MEND,
        )
    cameras = matrices[[0, 2], :3, :3]
    if not (np.isfinite(cameras).all() and (cameras[:, [0, 1], [0, 1]] > 0).all() and np.isfinite(shift)):
        raise InputError(
            path, "intrinsics or a depth shift that are not finite and positive", "those of two cameras", _MEND
        )
    frames: list[SensFrame] = []
    for _ in range(count):
        head = file.read(_FRAME.size)
        if len(head) < _FRAME.size:
            break
        *pose, timestamp_color, timestamp_depth, color_bytes, depth_bytes = _FRAME.unpack(head)
        offset = file.tell()
        if offset + color_bytes + depth_bytes > size:
            break
        file.seek(color_bytes + depth_bytes, io.SEEK_CUR)
        matrix = np.array(pose, np.float32).reshape(4, 4)
        frames.append(SensFrame(matrix, timestamp_color, timestamp_depth, offset, color_bytes, depth_bytes))
    if not frames:
        raise InputError(path, f"no whole frame of {count}", "a .sens stream with frames", _MEND)
    return SensStream(
        path, name, *matrices,
        color_compression=_COLOR_COMPRESSIONS[color],
        depth_compression=_DEPTH_COMPRESSIONS[depth],
        color_size=(color_width, color_height),
        depth_size=(depth_width, depth_height),
        depth_shift=shift,
        frames=tuple(frames),
        missing_frames=count - len(frames),
    )  # fmt: skip
