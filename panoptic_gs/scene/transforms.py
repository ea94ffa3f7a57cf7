# SPDX-License-Identifier: Apache-2.0
"""nerfstudio's ``transforms.json``, read into typed records and written from cameras.

Entries of a frame win over those of the document. Each default stands here and nowhere else.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np

from panoptic_gs.camera import Camera
from panoptic_gs.errors import InputError
from panoptic_gs.files import read_json, write_json
from panoptic_gs.records import MAX_SIDE, Array, Range, parse_record
from panoptic_gs.scene.lens import Distortion
from panoptic_gs.scene.lens_names import lens_from_transforms, lens_to_transforms

_Pose = Annotated[np.ndarray, Array(None, 4)]
_OF_A_FRAME = ("frames", "file_path", "transform_matrix", "mask_path", "depth_file_path")  # nowhere else
_MEND = "Run ns-process-data again, or correct the file."


@dataclass(frozen=True)
class _Frame:
    """The fields of a frame, its own or the document's."""

    file_path: str
    transform_matrix: _Pose
    mask_path: str | None = None
    depth_file_path: str | None = None
    w: Annotated[int, Range(1, MAX_SIDE)] | None = None
    h: Annotated[int, Range(1, MAX_SIDE)] | None = None
    fl_x: float | None = None
    fl_y: float | None = None
    cx: float | None = None
    cy: float | None = None
    camera_angle_x: Annotated[float, Range(above=0, below=math.pi)] | None = None


@dataclass(frozen=True)
class _Document:
    """The fields that only the document has."""

    ply_file_path: str | None = None
    train_filenames: tuple[str, ...] | None = None
    val_filenames: tuple[str, ...] | None = None
    test_filenames: tuple[str, ...] | None = None
    applied_transform: _Pose | None = None
    meters_per_unit: Annotated[float, Range(above=0, high=1e9)] | None = None


@dataclass(frozen=True, eq=False)
class Entry:
    """One photo that ``transforms.json`` lists."""

    file_path: str
    mask_path: str | None
    pose: np.ndarray  # [4, 4] float64, camera to world, OpenGL axes
    focal: tuple[float, float] | None
    """fl_x and fl_y in pixels, None where the file gives an angle instead."""
    angle_x: float | None
    """camera_angle_x in radians."""
    center: tuple[float | None, float | None]
    """cx and cy in pixels, None for the middle."""
    size: tuple[int | None, int | None]
    """w and h in pixels, None for the photo's."""
    lens: Distortion
    lens_note: str | None
    depth_path: str | None = None

    def camera(self, width: int, height: int) -> Camera:
        """The camera of the photo, which has this size.

        Raises:
            InputError: a pose that is none, focal lengths that are not positive.
        """
        if self.focal is not None:
            fx, fy = self.focal
        else:
            assert self.angle_x is not None
            fx = fy = 0.5 * width / math.tan(0.5 * self.angle_x)
        cx, cy = self.center
        K = np.array([
            [fx, 0.0, 0.5 * width if cx is None else cx],
            [0.0, fy, 0.5 * height if cy is None else cy],
            [0.0, 0.0, 1.0],
        ])  # fmt: skip
        return Camera.from_opengl(self.pose, K, width, height)


@dataclass(frozen=True, eq=False)
class Transforms:
    """A ``transforms.json``: photos, seed points, the split by file names, and what was done to the original poses."""

    file: Path
    entries: tuple[Entry, ...]
    points: str | None
    filenames: Mapping[str, tuple[str, ...]]
    """``train``, ``val``, ``test`` → file_path of their photos, for those that the file lists."""
    applied: np.ndarray  # [4, 4] float64
    meters_per_unit: float | None = None
    """Our own field: the size of the scene's unit, where somebody knew it."""

    def named(self, entry: Entry) -> str:
        """What an error calls an entry."""
        return f"{self.file}, frame '{entry.file_path}'"


def read_transforms(file: Path) -> Transforms:
    """Read ``transforms.json``; photos are not opened.

    Raises:
        InputError: a missing or malformed field, named with its frame; a camera model or coefficient that is not known.
    """
    document = read_json(file)
    if not isinstance(document, dict) or not isinstance(document.get("frames"), list):
        raise InputError(file, "no list of frames", "nerfstudio's transforms.json", _MEND)
    shared = {key: value for key, value in document.items() if key not in _OF_A_FRAME}
    read = parse_record(shared, _Document, file, mend=_MEND)
    names = {"train": read.train_filenames, "val": read.val_filenames, "test": read.test_filenames}
    listed = {split: paths for split, paths in names.items() if paths is not None}
    applied = _square(file, "applied_transform", read.applied_transform)
    entries = []
    for entry in document["frames"]:
        name = entry.get("file_path") if isinstance(entry, dict) else None
        if not isinstance(name, str) or "transform_matrix" not in entry:
            raise InputError(
                file,
                f"a frame without file_path or transform_matrix ({name!r:.200})",
                "both in every frame",
                _MEND,
            )
        entries.append(_entry(f"{file}, frame '{name}'", {**shared, **entry}))
    return Transforms(file, tuple(entries), read.ply_file_path, listed, applied, read.meters_per_unit)


def _entry(source: str, values: Mapping[str, Any]) -> Entry:
    read = parse_record(values, _Frame, source, mend=_MEND)
    if read.fl_x is None and read.camera_angle_x is None:
        raise InputError(source, "neither fl_x nor camera_angle_x", "the focal length in pixels, or the angle", _MEND)
    lens, note = lens_from_transforms(source, values)
    return Entry(
        read.file_path,
        read.mask_path or None,
        _square(source, "transform_matrix", read.transform_matrix),
        None if read.fl_x is None else (read.fl_x, read.fl_x if read.fl_y is None else read.fl_y),
        read.camera_angle_x,
        (read.cx, read.cy),
        (read.w, read.h),
        lens,
        note,
        read.depth_file_path or None,
    )


def _square(source: str | Path, key: str, rows: np.ndarray | None) -> np.ndarray:
    """A pose of three or four rows as ``[4, 4]``."""
    matrix = np.eye(4)
    if rows is not None:
        if len(rows) not in (3, 4):
            raise InputError(source, f"{key} of {len(rows)} rows", "3 or 4 rows of 4 numbers", _MEND)
        matrix[: len(rows)] = rows
    return matrix


class PosedPhoto(NamedTuple):
    """A photo to write down: paths relative to the scene folder, the camera of its pixels, its lens, its mask."""

    file: str
    camera: Camera
    lens: Distortion = Distortion()
    mask: str | None = None


def write_transforms(
    path: Path, photos: Iterable[PosedPhoto], points: str | None, meters_per_unit: float | None = None
) -> None:
    """Write ``transforms.json``.

    Args:
        path: file to write.
        photos: in the order that they are to have.
        points: path of the seed points relative to the scene folder, or None.
        meters_per_unit: size of the unit of poses and points, where it is known.
    """
    entries: list[dict[str, Any]] = []
    for file, camera, lens, mask in photos:
        K = camera.K.tolist()
        entries.append({
            "file_path": file, "w": camera.width, "h": camera.height,
            "fl_x": K[0][0], "fl_y": K[1][1], "cx": K[0][2], "cy": K[1][2],
            **lens_to_transforms(lens), **({} if mask is None else {"mask_path": mask}),
            "transform_matrix": camera.to_opengl().tolist(),
        })  # fmt: skip
    models = {entry.get("camera_model", "OPENCV") for entry in entries}
    model = models.pop() if len(models) == 1 else "OPENCV"
    for entry in entries:
        if entry.get("camera_model") == model:
            del entry["camera_model"]
    seeds = {} if points is None else {"ply_file_path": points}
    unit = {} if meters_per_unit is None else {"meters_per_unit": meters_per_unit}
    write_json(path, {"camera_model": model, **seeds, **unit, "frames": entries})
