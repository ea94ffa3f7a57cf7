# SPDX-License-Identifier: Apache-2.0
"""Cameras of datasets that give camera-to-world poses in OpenCV axes and intrinsics as text matrices."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from panoptic_gs.camera import Camera
from panoptic_gs.errors import InputError

HALF_PIXEL = np.array([[0, 0, 0.5], [0, 0, 0.5], [0, 0, 0]])
"""Added to intrinsics ``[3, 3]`` whose pixel centres are on whole numbers; in a scene folder they are at one half."""


def read_matrix(path: Path, expected: str) -> np.ndarray:
    """A 4×4 matrix of text; entries may be infinite, as ScanNet writes poses that were not found.

    Raises:
        InputError: no such file, or it holds no such matrix.
    """
    mend = "Download or export it again."
    try:
        matrix = np.array([[float(v) for v in line.split()] for line in path.read_text().splitlines() if line.strip()])
    except FileNotFoundError as error:
        raise InputError(path, "no such file", expected, mend) from error
    except (OSError, ValueError) as error:
        raise InputError(path, f"no readable matrix ({error})", expected, mend) from error
    if matrix.shape != (4, 4):
        raise InputError(path, f"shape {list(matrix.shape)}", expected, mend)
    return matrix


def posed_camera(pose: np.ndarray, K: np.ndarray, width: int, height: int, source: str | Path) -> Camera:
    """The camera of a photo.

    Args:
        pose: ``[4, 4]`` camera to world in OpenCV axes.
        K: ``[3, 3]`` intrinsics, pixel centres at one half.
        width: of the photo.
        height: of the photo.
        source: where the pose was read, for messages.

    Raises:
        InputError: the pose is not finite or not rigid, or the intrinsics are those of a photo of another size.
    """
    if not np.isfinite(pose).all():
        raise InputError(source, "NaN or infinite entries", "a 4×4 camera-to-world pose", "Leave the frame out.")
    if not (0 < K[0, 2] < width and 0 < K[1, 2] < height):
        raise InputError(
            source, f"a principal point at ({K[0, 2]:.1f}, {K[1, 2]:.1f}) of a photo of {width}×{height}",
            "intrinsics for the photo's size", "Export the photos in their own size, or scale the intrinsics to them.",
        )  # fmt: skip
    # The inverse of a rigid pose; one that is not rigid gives a matrix that Camera refuses.
    viewmat = np.eye(4)
    viewmat[:3, :3] = pose[:3, :3].T
    viewmat[:3, 3] = -pose[:3, :3].T @ pose[:3, 3]
    try:
        return Camera(torch.as_tensor(viewmat), torch.as_tensor(K), width, height)
    except InputError as error:
        raise InputError(source, error.found, "a rigid camera-to-world pose", "Leave the frame out.") from error
