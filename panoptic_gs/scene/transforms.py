# SPDX-License-Identifier: Apache-2.0
"""Writing nerfstudio's ``transforms.json``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from panoptic_gs.camera import Camera
from panoptic_gs.files import write_json


def write_transforms(path: Path, frames: Mapping[str, tuple[str, Camera]], points: str | None) -> None:
    """Write ``transforms.json`` for photos without lens distortion.

    Args:
        path: file to write.
        frames: stem → (the photo's path relative to the scene folder, its camera).
        points: path of the seed points relative to the scene folder, or None.
    """
    entries: list[dict[str, Any]] = []
    for file, camera in frames.values():
        K = camera.K.tolist()
        entries.append({
            "file_path": file, "w": camera.width, "h": camera.height,
            "fl_x": K[0][0], "fl_y": K[1][1], "cx": K[0][2], "cy": K[1][2],
            "transform_matrix": camera.to_opengl().tolist(),
        })  # fmt: skip
    seeds = {} if points is None else {"ply_file_path": points}
    write_json(path, {"camera_model": "OPENCV", **seeds, "frames": entries})
