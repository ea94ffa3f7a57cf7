# SPDX-License-Identifier: Apache-2.0
"""COLMAP sparse models, binary and text (https://colmap.github.io/format.html)."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from panoptic_gs.camera import Camera
from panoptic_gs.errors import InputError
from panoptic_gs.scene.lens import Distortion

# COLMAP's camera models: id → (name, what each parameter is).
_MODELS = {
    0: ("SIMPLE_PINHOLE", "f cx cy"),
    1: ("PINHOLE", "fx fy cx cy"),
    2: ("SIMPLE_RADIAL", "f cx cy k1"),
    3: ("RADIAL", "f cx cy k1 k2"),
    4: ("OPENCV", "fx fy cx cy k1 k2 p1 p2"),
    5: ("OPENCV_FISHEYE", "fx fy cx cy k1 k2 k3 k4"),
}


@dataclass(frozen=True, eq=False)
class ColmapModel:
    """A sparse model: (file name, camera, lens) per registered image; points ``[P, 3]`` and colours, or None."""

    images: list[tuple[str, Camera, Distortion]]
    points: tuple[np.ndarray, np.ndarray] | None


def read_colmap(folder: Path, points: bool = True) -> ColmapModel:
    """Read ``cameras``, ``images`` and ``points3D`` (.bin, else .txt).

    Args:
        folder: holds the three files.
        points: whether to read the points, too.

    Raises:
        InputError: a missing or truncated file, or a camera model other than the pinhole, radial, OpenCV and
            OpenCV-fisheye ones.
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
    except (struct.error, ValueError, IndexError, KeyError) as error:
        raise InputError(
            file, f"a truncated or malformed file ({error})", "a COLMAP sparse model", "Copy or export the model again."
        ) from error
    images = []
    for name, quaternion, translation, camera_id in entries:
        if camera_id not in cameras:
            raise InputError(
                files["images"],
                f"camera {camera_id} of '{name}'",
                "a camera listed in cameras",
                "Export the model again.",
            )
        K, lens, width, height = cameras[camera_id]
        try:
            images.append((name, Camera.from_colmap(quaternion, translation, K, width, height), lens))
        except InputError as error:
            raise InputError(f"{files['images']}, image '{name}'", error.found, error.expected, error.mend) from error
    return ColmapModel(images, cloud)


_Intrinsics = tuple[np.ndarray, Distortion, int, int]


def _intrinsics(file: Path, name: str, width: int, height: int, parameters: Sequence[float]) -> _Intrinsics:
    layout = dict(_MODELS.values()).get(name)
    if layout is None:
        raise InputError(
            file,
            f"camera model {name}",
            ", ".join(dict(_MODELS.values())),
            "Undistort the images with COLMAP's image_undistorter.",
        )
    values = dict(zip(layout.split(), parameters, strict=True))
    fx = values.get("fx", values.get("f", 0.0))
    K = np.array([[fx, 0, values["cx"]], [0, values.get("fy", fx), values["cy"]], [0, 0, 1]])
    lens = Distortion(
        **{k: v for k, v in values.items() if k[0] in "kp"}, model="fisheye" if name == "OPENCV_FISHEYE" else "opencv"
    )
    return K, lens, width, height


def _cameras_binary(file: Path) -> Iterator[tuple[int, _Intrinsics]]:
    data = file.read_bytes()
    (count,), offset = struct.unpack_from("<Q", data), 8
    for _ in range(count):
        camera_id, model, width, height = struct.unpack_from("<iiQQ", data, offset)
        name, layout = _MODELS.get(model, (f"number {model}", ""))
        parameters = struct.unpack_from(f"<{len(layout.split())}d", data, offset + 24)
        yield camera_id, _intrinsics(file, name, width, height, parameters)
        offset += 24 + 8 * len(parameters)


def _images_binary(file: Path) -> Iterator[tuple[str, list[float], list[float], int]]:
    data = file.read_bytes()
    (count,), offset = struct.unpack_from("<Q", data), 8
    for _ in range(count):
        values = struct.unpack_from("<i7di", data, offset)
        end = data.index(b"\0", offset + 64)
        name = data[offset + 64 : end].decode()
        (observations,) = struct.unpack_from("<Q", data, end + 1)
        offset = end + 9 + 24 * observations
        yield name, list(values[1:5]), list(values[5:8]), values[8]


def _points_binary(file: Path) -> tuple[np.ndarray, np.ndarray] | None:
    data = file.read_bytes()
    (count,), offset = struct.unpack_from("<Q", data), 8
    positions, colors = np.empty((count, 3), np.float32), np.empty((count, 3), np.uint8)
    for index in range(count):
        values = struct.unpack_from("<Q3d3BdQ", data, offset)
        positions[index], colors[index] = values[1:4], values[4:7]
        offset += 51 + 8 * values[8]
    return (positions, colors) if count else None


def _lines(file: Path) -> list[str]:
    return [line for line in file.read_text().splitlines() if not line.startswith("#")]


def _cameras_text(file: Path) -> Iterator[tuple[int, _Intrinsics]]:
    for line in filter(str.strip, _lines(file)):
        camera_id, name, width, height, *parameters = line.split()
        yield int(camera_id), _intrinsics(file, name, int(width), int(height), [float(p) for p in parameters])


def _images_text(file: Path) -> Iterator[tuple[str, list[float], list[float], int]]:
    # Two lines an image; the second, its 2D points, may be empty.
    for line in _lines(file)[::2]:
        if line.strip():
            _, *pose, camera_id, name = line.split(maxsplit=9)
            yield name, [float(v) for v in pose[:4]], [float(v) for v in pose[4:7]], int(camera_id)


def _points_text(file: Path) -> tuple[np.ndarray, np.ndarray] | None:
    rows = [line.split()[1:7] for line in filter(str.strip, _lines(file))]
    if not rows:
        return None
    values = np.array(rows, dtype=np.float64)
    return values[:, :3].astype(np.float32), values[:, 3:].astype(np.uint8)
