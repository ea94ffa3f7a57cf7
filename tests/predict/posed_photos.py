# SPDX-License-Identifier: Apache-2.0
"""Cameras in a row for photos that are there already."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np


def write_cameras(root: Path, sizes: Mapping[str, tuple[int, int]]) -> None:
    """Write ``transforms.json`` for photos, file path → width and height."""
    frames = []
    for number, (path, (width, height)) in enumerate(sizes.items()):
        pose = np.eye(4)
        pose[0, 3] = number
        frames.append({"file_path": path, "w": width, "h": height, "fl_x": 90, "fl_y": 90,
                       "cx": width / 2, "cy": height / 2, "transform_matrix": pose.tolist()})  # fmt: skip
    (root / "transforms.json").write_text(json.dumps({"frames": frames}))
