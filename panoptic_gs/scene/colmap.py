# SPDX-License-Identifier: Apache-2.0
"""COLMAP sparse models, binary and text (https://colmap.github.io/format.html)."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from panoptic_gs.camera import Camera
from panoptic_gs.errors import InputError
from panoptic_gs.scene.lens import CAMERA_MODELS, Distortion
from panoptic_gs.scene.lens_names import lens_from_parameters, refuse_model

_MODELS_BY_ID = {model.colmap_id: name for name, model in CAMERA_MODELS.items()}
_REFUSED_BY_ID = {17: "EQUIRECTANGULAR"}
_POINTS2D = 24  # bytes of an observation
_MOST = 1 << 17  # pixels on a side, more than any photo has


@dataclass(frozen=True, eq=False)
class ColmapModel:
    """A sparse model: (file name, camera, lens) per registered image; points ``[P, 3]`` and colours, or None."""

    images: list[tuple[str, Camera, Distortion]]
    points: tuple[np.ndarray, np.ndarray] | None


_Image = tuple[str, tuple[float, ...], tuple[float, ...], int]
"""File name, quaternion (w, x, y, z), translation, camera id."""


def read_colmap(folder: Path, points: bool = True) -> ColmapModel:
    """Read ``cameras``, ``images`` and ``points3D`` (.bin, else .txt).

    Args:
        folder: holds the three files.
        points: whether to read the points, too.

    Raises:
        InputError: a missing, truncated or malformed file, a camera model that is not known, a pose that is none.
    """
    ending = ".bin" if (folder / "cameras.bin").is_file() else ".txt"
    binary = ending == ".bin"
    files = {name: folder / f"{name}{ending}" for name in ("cameras", "images", "points3D")}
    for name in ("cameras", "images"):
        if not files[name].is_file():
            raise InputError(files[name], "no such file", "a COLMAP sparse model", "Run COLMAP's mapper again.")
    file = files["cameras"]
    try:
        cameras = dict(_cameras_binary(file) if binary else _cameras_text(file))
        file = files["images"]
        entries = list(_images_binary(file) if binary else _images_text(file))
        file = files["points3D"]
        cloud = (_points_binary if binary else _points_text)(file) if points and file.is_file() else None
    except (struct.error, ValueError, IndexError, OverflowError) as error:
        raise InputError(
            file, f"a truncated or malformed file ({error})", "a COLMAP sparse model", "Copy or export the model again."
        ) from error
    if cloud is not None and not np.isfinite(cloud[0]).all():
        raise InputError(file, "NaN or infinite points", "finite positions", "Export the model again.")
    return ColmapModel([_posed(files["images"], cameras, entry) for entry in entries], cloud)


def _posed(file: Path, cameras: Mapping[int, _Intrinsics], image: _Image) -> tuple[str, Camera, Distortion]:
    name, quaternion, translation, camera_id = image
    if camera_id not in cameras:
        raise InputError(
            file, f"camera {camera_id} of '{name}'", "a camera listed in cameras", "Export the model again."
        )
    K, lens, width, height = cameras[camera_id]
    try:
        return name, Camera.from_colmap(quaternion, translation, K, width, height), lens
    except InputError as error:
        raise error.inside(f"{file}, image '{name}'") from error


_Intrinsics = tuple[np.ndarray, Distortion, int, int]


def _intrinsics(file: Path, name: str, width: int, height: int, parameters: Sequence[float]) -> _Intrinsics:
    (fx, fy, cx, cy), lens = lens_from_parameters(file, name, parameters)
    if not (0 < width <= _MOST and 0 < height <= _MOST):
        raise InputError(file, f"a camera of {width}×{height} pixels", "a photo's size", "Export the model again.")
    return np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]]), lens, width, height


def _count(data: bytes, least: int, file: Path) -> int:
    """How many entries a binary file says to have, each of at least so many bytes.

    Raises:
        InputError: more than fit into it.
    """
    (count,) = struct.unpack_from("<Q", data)
    if count * least > len(data) - 8:
        raise InputError(
            file,
            f"{count} entries in {len(data)} bytes, a truncated or malformed file",
            f"at least {least} bytes an entry",
            "Copy or export the model again.",
        )
    return count


def _cameras_binary(file: Path) -> Iterator[tuple[int, _Intrinsics]]:
    data = file.read_bytes()
    offset = 8
    for _ in range(_count(data, 24, file)):
        camera_id, model, width, height = struct.unpack_from("<iiQQ", data, offset)
        name = _MODELS_BY_ID.get(model)
        if name is None:
            raise refuse_model(file, _REFUSED_BY_ID.get(model, f"number {model}"))
        parameters = struct.unpack_from(f"<{len(CAMERA_MODELS[name].parameters.split())}d", data, offset + 24)
        yield camera_id, _intrinsics(file, name, width, height, parameters)
        offset += 24 + 8 * len(parameters)


def _images_binary(file: Path) -> Iterator[_Image]:
    data = file.read_bytes()
    offset = 8
    for _ in range(_count(data, 64 + 1 + 8, file)):
        values = struct.unpack_from("<i7di", data, offset)
        end = data.index(b"\0", offset + 64)
        name = data[offset + 64 : end].decode()
        (observations,) = struct.unpack_from("<Q", data, end + 1)
        offset = end + 9 + _POINTS2D * observations
        if offset > len(data):
            raise ValueError(f"{observations} observations of '{name}'")
        yield name, values[1:5], values[5:8], values[8]


def _single(positions: np.ndarray) -> np.ndarray:
    """As float32; what is beyond it becomes infinite, which the caller refuses."""
    with np.errstate(over="ignore"):
        return positions.astype(np.float32)


def _points_binary(file: Path) -> tuple[np.ndarray, np.ndarray] | None:
    data = file.read_bytes()
    count, offset = _count(data, 51, file), 8
    positions, colors = np.empty((count, 3)), np.empty((count, 3), np.uint8)
    for index in range(count):
        values = struct.unpack_from("<Q3d3BdQ", data, offset)
        positions[index], colors[index] = values[1:4], values[4:7]
        offset += 51 + 8 * values[8]
    return (_single(positions), colors) if count else None


def _lines(file: Path) -> list[str]:
    return [line for line in file.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]


def _cameras_text(file: Path) -> Iterator[tuple[int, _Intrinsics]]:
    for line in filter(str.strip, _lines(file)):
        camera_id, name, width, height, *parameters = line.split()
        yield int(camera_id), _intrinsics(file, name, int(width), int(height), [float(p) for p in parameters])


def _images_text(file: Path) -> Iterator[_Image]:
    # Two lines an image; the second, its 2D points, may be empty.
    for line in _lines(file)[::2]:
        if line.strip():
            _, *pose, camera_id, name = line.split(maxsplit=9)
            if len(pose) != 7:
                raise ValueError(f"a line of {len(pose) + 3} fields, where an image has 10: '{line[:60]}'")
            yield name, tuple(map(float, pose[:4])), tuple(map(float, pose[4:7])), int(camera_id)


def _points_text(file: Path) -> tuple[np.ndarray, np.ndarray] | None:
    rows = [line.split()[1:7] for line in filter(str.strip, _lines(file))]
    if not rows:
        return None
    values = np.array(rows, dtype=np.float64)
    colors = values[:, 3:]
    if not ((colors >= 0) & (colors <= 255)).all():
        raise ValueError("a colour that is not 0 … 255")
    return _single(values[:, :3]), colors.astype(np.uint8)
