# SPDX-License-Identifier: Apache-2.0
"""Camera paths: a scene folder's cameras, what lies between them, or a path made in nerfstudio's viewer."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from scipy.interpolate import CubicSpline
from scipy.spatial.transform import Rotation, RotationSpline

from panoptic_gs.camera import Camera
from panoptic_gs.errors import InputError
from panoptic_gs.records import MAX_SIDE, Array, Length, Range, read_record
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


@dataclass(frozen=True)
class _KeyFrame:
    """A camera of the path; ``fov`` is the vertical one, in degrees."""

    camera_to_world: Annotated[np.ndarray, Array(16)] | Annotated[np.ndarray, Array(4, 4)]
    fov: Annotated[float, Range(above=0, below=180)]


@dataclass(frozen=True)
class _ViewerPath:
    """What nerfstudio's viewer exports, as far as it is drawn."""

    render_width: Annotated[int, Range(1, MAX_SIDE)]
    render_height: Annotated[int, Range(1, MAX_SIDE)]
    camera_path: Annotated[tuple[_KeyFrame, ...], Length(1)]
    camera_type: str | None = "perspective"


def _read_nerfstudio_path(path: Path) -> dict[str, Camera]:
    document = read_record(path, _ViewerPath, mend="Export it again from nerfstudio's viewer, or pass a scene folder.")
    if (document.camera_type or "perspective").lower() != "perspective":
        raise InputError(
            path,
            f"a path of {document.camera_type} cameras",
            "perspective cameras",
            "Choose Perspective in the viewer's render panel; Gaussians are drawn as a pinhole sees them.",
        )
    width, height = document.render_width, document.render_height
    cameras = {}
    for number, key_frame in enumerate(document.camera_path):
        focal = 0.5 * height / math.tan(math.radians(key_frame.fov) / 2)
        K = np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1.0]])
        pose = key_frame.camera_to_world.reshape(4, 4)
        try:
            cameras[f"{number:05d}"] = Camera.from_opengl(pose, K, width, height)
        except InputError as error:
            raise error.inside(f"{path}, camera_path[{number}]") from error
    return cameras
