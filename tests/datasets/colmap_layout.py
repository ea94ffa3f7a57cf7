# SPDX-License-Identifier: Apache-2.0
"""Writing COLMAP sparse models, text and binary, as COLMAP documents them (https://colmap.github.io/format.html)."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from panoptic_gs.camera import Camera
from panoptic_gs.scene.lens import Distortion

_MODELS = {"opencv": ("OPENCV", 4), "fisheye": ("OPENCV_FISHEYE", 5)}


def write_colmap(
    folder: Path, images: Mapping[str, Camera], lens: Distortion, points: np.ndarray, binary: bool = False
) -> None:
    """Write ``cameras``, ``images`` and ``points3D``; every image has two observations.

    Args:
        folder: to write to.
        images: file name → camera; all share the intrinsics of the first.
        lens: the distortion of all.
        points: ``[P, 3]``; they are red.
        binary: .bin instead of .txt.
    """
    folder.mkdir(parents=True)
    (write_binary if binary else write_text)(folder, images, lens, points)


def write_text(folder: Path, images: Mapping[str, Camera], lens: Distortion, points: np.ndarray) -> None:
    """Text."""
    name, _, width, height, parameters = _camera(images, lens)
    values = " ".join(repr(value) for value in parameters)
    (folder / "cameras.txt").write_text(f"# Camera list\n1 {name} {width} {height} {values}\n")
    lines = ["# Image list with two lines of data per image:"]
    for number, (file, camera) in enumerate(images.items(), 1):
        quaternion, translation = _pose(camera)
        lines.append(f"{number} {' '.join(repr(v) for v in (*quaternion, *translation))} 1 {file}")
        lines.append("10.5 20.25 1 30.0 40.0 -1")
    (folder / "images.txt").write_text("\n".join(lines) + "\n")
    rows = [f"{i} {x!r} {y!r} {z!r} 255 0 0 0.5 1 0 2 0" for i, (x, y, z) in enumerate(points.tolist(), 1)]
    (folder / "points3D.txt").write_text("\n".join(["# 3D point list", *rows]) + "\n")


def write_binary(folder: Path, images: Mapping[str, Camera], lens: Distortion, points: np.ndarray) -> None:
    """Binary, little-endian."""
    _, model, width, height, parameters = _camera(images, lens)
    camera = struct.pack(f"<QIiQQ{len(parameters)}d", 1, 1, model, width, height, *parameters)
    (folder / "cameras.bin").write_bytes(camera)
    data = struct.pack("<Q", len(images))
    for number, (file, image) in enumerate(images.items(), 1):
        quaternion, translation = _pose(image)
        data += struct.pack("<i7di", number, *quaternion, *translation, 1) + file.encode() + b"\0"
        data += struct.pack("<Q2dq2dq", 2, 10.5, 20.25, 1, 30.0, 40.0, -1)
    (folder / "images.bin").write_bytes(data)
    data = struct.pack("<Q", len(points))
    for number, point in enumerate(points.tolist(), 1):
        data += struct.pack("<Q3d3BdQ4i", number, *point, 255, 0, 0, 0.5, 2, 1, 0, 2, 0)
    (folder / "points3D.bin").write_bytes(data)


def _camera(images: Mapping[str, Camera], lens: Distortion) -> tuple[str, int, int, int, list[float]]:
    camera = next(iter(images.values()))
    K = camera.K.double().tolist()
    more = [lens.k1, lens.k2, lens.k3, lens.k4] if lens.model == "fisheye" else [lens.k1, lens.k2, lens.p1, lens.p2]
    return (*_MODELS[lens.model], camera.width, camera.height, [K[0][0], K[1][1], K[0][2], K[1][2], *more])


def _pose(camera: Camera) -> tuple[list[float], list[float]]:
    """Quaternion (w, x, y, z) and translation, world to camera."""
    viewmat = camera.viewmat.double().numpy()
    x, y, z, w = Rotation.from_matrix(viewmat[:3, :3]).as_quat()
    return [float(v) for v in (w, x, y, z)], [float(v) for v in viewmat[:3, 3]]
