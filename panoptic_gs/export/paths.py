# SPDX-License-Identifier: Apache-2.0
"""Camera paths: a scene folder's cameras, what lies between them, or a path made in nerfstudio's viewer."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from scipy.interpolate import CubicSpline
from scipy.spatial.transform import Rotation, RotationSpline

from panoptic_gs.camera import Camera
from panoptic_gs.errors import InputError
from panoptic_gs.files import read_json
from panoptic_gs.scene import Scene


def load_camera_path(path: Path, split: str = "all", steps: int = 1) -> dict[str, Camera]:
    """The cameras of a path by name, in order.

    Args:
        path: a scene folder, or a ``.json`` that nerfstudio's viewer exported ("Generate command").
        split: of a scene folder's ``splits.json``, or ``all``.
        steps: frames from one camera of a scene folder to the next; 1 takes the cameras alone.

    Raises:
        InputError: neither of the two, or malformed.
    """
    path = Path(path)
    if path.suffix == ".json" and path.name != "transforms.json":
        return _read_nerfstudio_path(path)
    frames = Scene.load(path.parent if path.suffix == ".json" else path).split(split)
    cameras = {frame.stem: frame.camera for frame in frames}
    return cameras if steps <= 1 else interpolate_cameras(list(cameras.values()), steps)


def interpolate_cameras(cameras: list[Camera], steps: int) -> dict[str, Camera]:
    """A smooth path through cameras: cubic splines of centres and rotations, ``steps`` frames from one to the next.

    Names are numbers from 00000 on; size and intrinsics are those of the first camera.

    Raises:
        InputError: fewer than two cameras, or fewer than one step.
    """
    if len(cameras) < 2 or steps < 1:
        raise InputError(
            "camera path", f"{len(cameras)} cameras, {steps} steps", "at least two cameras and one step",
            "Choose another --split, or leave --interpolate at 1.",
        )  # fmt: skip
    poses = torch.stack([camera.viewmat.double().inverse() for camera in cameras]).cpu().numpy()
    at = np.arange(len(cameras), dtype=np.float64)
    wanted = np.linspace(0, len(cameras) - 1, (len(cameras) - 1) * steps + 1)
    centers = CubicSpline(at, poses[:, :3, 3])(wanted) if len(cameras) > 2 else _line(poses[:, :3, 3], wanted)
    rotations = RotationSpline(at, Rotation.from_matrix(poses[:, :3, :3]))(wanted).as_matrix()
    first = cameras[0]
    path = {}
    for number, (rotation, center) in enumerate(zip(rotations, centers)):
        viewmat = np.eye(4)
        viewmat[:3, :3], viewmat[:3, 3] = rotation.T, -rotation.T @ center
        path[f"{number:05d}"] = Camera(torch.from_numpy(viewmat), first.K, first.width, first.height)
    return path


def _line(ends: np.ndarray, at: np.ndarray) -> np.ndarray:
    return ends[0] + at[:, None] * (ends[1] - ends[0])


def _read_nerfstudio_path(path: Path) -> dict[str, Camera]:
    document = read_json(path)
    cameras = {}
    try:
        width, height = int(document["render_width"]), int(document["render_height"])
        if document.get("camera_type", "perspective") != "perspective":
            raise InputError(path, f"a path of {document['camera_type']} cameras", "perspective cameras",
                             "Choose Perspective in the viewer's render panel.")  # fmt: skip
        for number, entry in enumerate(document["camera_path"]):
            pose = np.asarray(entry["camera_to_world"], dtype=np.float64).reshape(4, 4)
            cameras[f"{number:05d}"] = Camera.from_opengl(pose, _intrinsics(entry, width, height), width, height)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(
            path,
            f"a missing or malformed field ({type(error).__name__}: {error})",
            "a camera path of nerfstudio's viewer (render_width, render_height, camera_path)",
            "Export it again from the viewer's render panel, or pass a scene folder.",
        ) from error
    if not cameras:
        raise InputError(path, "an empty path", "at least one camera", "Add key frames in the viewer.")
    return cameras


def _intrinsics(entry: Mapping[str, float], width: int, height: int) -> np.ndarray:
    """nerfstudio's ``fov`` is the vertical one, in degrees."""
    focal = 0.5 * height / math.tan(math.radians(float(entry["fov"])) / 2)
    return np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1.0]])
