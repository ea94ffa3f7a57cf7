# SPDX-License-Identifier: Apache-2.0
"""The pinhole camera and every conversion between camera conventions.

The toolkit knows one convention: world-to-camera matrices in OpenCV axes (x right, y down, z forward) and intrinsics in
pixels with the centre of the upper left pixel at (0.5, 0.5). Everything else is converted here and nowhere else.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from panoptic_gs.errors import InputError

Matrix = Tensor | np.ndarray | Sequence[Sequence[float]]
"""Anything that ``torch.as_tensor`` reads as a matrix."""

_OPENGL_TO_OPENCV = torch.diag(torch.tensor([1.0, -1.0, -1.0, 1.0], dtype=torch.float64))


@dataclass(frozen=True, eq=False)
class Camera:
    """A pinhole camera.

    Args:
        viewmat: ``[4, 4]`` world to camera, OpenCV axes (x right, y down, z forward), rigid.
        K: ``[3, 3]`` intrinsics in pixels.
        width: image width in pixels.
        height: image height in pixels.

    Both matrices are kept as float32 on the device they come on.

    Raises:
        InputError: wrong shapes, NaN or infinite entries, a rotation that is none, focal lengths or sizes that are
            not positive, skew.
    """

    viewmat: Tensor  # [4, 4]
    K: Tensor  # [3, 3]
    width: int
    height: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "viewmat", _matrix("Camera.viewmat", self.viewmat, (4, 4)))
        object.__setattr__(self, "K", _matrix("Camera.K", self.K, (3, 3)))
        object.__setattr__(self, "width", int(self.width))
        object.__setattr__(self, "height", int(self.height))
        if self.width <= 0 or self.height <= 0:
            raise InputError(
                "Camera.width, Camera.height",
                f"{self.width}×{self.height}",
                "positive sizes in pixels",
                "Pass the size of the image that this camera took.",
            )
        rotation = self.viewmat[:3, :3].double()
        error = (rotation @ rotation.T - torch.eye(3, dtype=torch.float64, device=rotation.device)).abs().max().item()
        if error > 1e-3 or torch.linalg.det(rotation) < 0:
            raise InputError(
                "Camera.viewmat",
                f"a 3×3 block that is no rotation (off by {error:.2g})",
                "a rigid world-to-camera transform",
                "Remove scale and mirroring from the pose before making the camera.",
            )
        if not (self.K[0, 0] > 0 and self.K[1, 1] > 0):
            raise InputError(
                "Camera.K",
                f"focal lengths fx = {self.K[0, 0]:g}, fy = {self.K[1, 1]:g}",
                "positive focal lengths in pixels",
                "Check the intrinsics of this frame.",
            )
        K = self.K.double()
        off = max(K[0, 1].abs().item(), K[1, 0].abs().item()) / K[0, 0].item()
        if off > 1e-6 or (K[2] - K.new_tensor([0.0, 0.0, 1.0])).abs().max() > 1e-6:
            raise InputError(
                "Camera.K",
                f"skew {K[0, 1]:g}, below it {K[1, 0]:g}, and a last row {K[2].tolist()}",
                "no skew, and 0, 0, 1 in the last row",
                "Resample the image to square angles between its axes, or calibrate without skew.",
            )

    @classmethod
    def from_opengl(cls, camera_to_world: Matrix, K: Matrix, width: int, height: int) -> Camera:
        """From a camera-to-world pose ``[3, 4]`` or ``[4, 4]`` in OpenGL axes (x right, y up, z back).

        This is what nerfstudio's ``transforms.json`` and ``Cameras`` and Blender hold.
        """
        pose = torch.as_tensor(camera_to_world, dtype=torch.float64)
        if pose.shape not in ((3, 4), (4, 4)):
            raise InputError(
                "camera_to_world", f"shape {list(pose.shape)}", "[3, 4] or [4, 4]", "Pass one camera-to-world matrix."
            )
        if not torch.isfinite(pose).all():
            raise InputError(
                "camera_to_world", "NaN or infinite entries", "finite numbers", "Drop frames whose pose was not found."
            )
        return cls(_inverse_rigid(pose @ _OPENGL_TO_OPENCV.to(pose.device)), torch.as_tensor(K), width, height)

    @classmethod
    def from_colmap(
        cls, quaternion: Sequence[float], translation: Sequence[float], K: Matrix, width: int, height: int
    ) -> Camera:
        """From COLMAP's world-to-camera quaternion (w, x, y, z) and translation."""
        viewmat = torch.eye(4, dtype=torch.float64)
        viewmat[:3, :3] = rotation_from_quaternion(torch.as_tensor(quaternion, dtype=torch.float64))
        viewmat[:3, 3] = torch.as_tensor(translation, dtype=torch.float64)
        return cls(viewmat, torch.as_tensor(K), width, height)

    @classmethod
    def look_at(
        cls,
        eye: Sequence[float] | Tensor,
        target: Sequence[float] | Tensor,
        up: Sequence[float] | Tensor,
        fov_x: float,
        width: int,
        height: int,
    ) -> Camera:
        """A camera at ``eye`` that looks at ``target``; ``up`` is the world's up, ``fov_x`` in radians.

        Pixels are square and the principal point is the image centre.
        """
        eye_, target_, up_ = (torch.as_tensor(v, dtype=torch.float64) for v in (eye, target, up))
        forward = torch.nn.functional.normalize(target_ - eye_, dim=0)
        right = torch.linalg.cross(forward, up_)
        if right.norm() < 1e-8:
            raise InputError(
                "Camera.look_at",
                "a viewing direction parallel to up",
                "two different directions",
                "Choose another up vector.",
            )
        right = right / right.norm()
        rotation = torch.stack([right, torch.linalg.cross(forward, right), forward])
        viewmat = torch.eye(4, dtype=torch.float64)
        viewmat[:3, :3] = rotation
        viewmat[:3, 3] = -rotation @ eye_
        focal = 0.5 * width / math.tan(0.5 * fov_x)
        K = torch.tensor([[focal, 0.0, 0.5 * width], [0.0, focal, 0.5 * height], [0.0, 0.0, 1.0]])
        return cls(viewmat, K, width, height)

    def to_opengl(self) -> Tensor:
        """The camera-to-world pose ``[4, 4]`` float64 in OpenGL axes (x right, y up, z back)."""
        return _inverse_rigid(self.viewmat.double()) @ _OPENGL_TO_OPENCV.to(self.viewmat.device)

    @property
    def center(self) -> Tensor:
        """The camera centre ``[3]`` in the world."""
        return -self.viewmat[:3, :3].T @ self.viewmat[:3, 3]

    def resized(self, width: int, height: int) -> Camera:
        """The same camera with an image of another size."""
        scale = torch.tensor([[width / self.width], [height / self.height], [1.0]], device=self.K.device)
        return Camera(self.viewmat, self.K * scale, width, height)

    def to(self, device: torch.device | str) -> Camera:
        """The same camera on another device."""
        return Camera(self.viewmat.to(device), self.K.to(device), self.width, self.height)


def rotation_from_quaternion(quaternion: Tensor) -> Tensor:
    """Rotation matrices ``[..., 3, 3]`` from quaternions ``[..., 4]`` (w, x, y, z), normalised first."""
    w, x, y, z = torch.nn.functional.normalize(quaternion, dim=-1).unbind(-1)
    rows = [
        1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y),
        2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x),
        2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y),
    ]  # fmt: skip
    return torch.stack(rows, dim=-1).reshape((*quaternion.shape[:-1], 3, 3))


def _inverse_rigid(pose: Tensor) -> Tensor:
    """The inverse ``[4, 4]`` of a rigid ``[3, 4]`` or ``[4, 4]`` transform."""
    inverse = torch.eye(4, dtype=pose.dtype, device=pose.device)
    inverse[:3, :3] = pose[:3, :3].T
    inverse[:3, 3] = -pose[:3, :3].T @ pose[:3, 3]
    return inverse


def _matrix(name: str, value: Matrix, shape: tuple[int, int]) -> Tensor:
    matrix = torch.as_tensor(value).detach().to(torch.float32)
    if tuple(matrix.shape) != shape:
        raise InputError(name, f"shape {list(matrix.shape)}", f"shape {list(shape)}", "Pass one matrix a camera.")
    if not torch.isfinite(matrix).all():
        raise InputError(name, "NaN or infinite entries", "finite numbers", "Drop frames whose pose was not found.")
    return matrix
