# SPDX-License-Identifier: Apache-2.0
"""Replica as rendered for Semantic-NeRF (Zhi et al., In-Place Scene Labelling, ICCV 2021)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from panoptic_gs.camera import Camera
from panoptic_gs.datasets.classes import ClassList
from panoptic_gs.datasets.raw_scene import Dropped, RawFrame
from panoptic_gs.datasets.replica_classes import replica_classes
from panoptic_gs.datasets.seed_points import Points
from panoptic_gs.errors import InputError
from panoptic_gs.files import read_grey, read_json, read_rgb


@dataclass(frozen=True, eq=False)
class ReplicaScene:
    """One sequence of one scene: ``rgb/rgb_i.png``, ``depth/depth_i.png`` in millimetres, ``semantic_class/``,
    ``semantic_instance/``, ``traj_w_c.txt`` and ``info_semantic.json`` in the sequence's folder or above it.

    The trajectory is camera-to-world in OpenCV axes, 16 numbers a frame. The cameras have a horizontal field of view of
    90°. The renderer puts pixel centres on whole numbers, so that its cx = (W−1)/2 is W/2 where they are at one half.
    """

    root: Path
    classes: ClassList
    stems: tuple[str, ...]
    dropped: tuple[Dropped, ...]
    trajectory: np.ndarray = field(repr=False)
    """``[N, 4, 4]`` camera to world."""
    first_instance: int = 1
    """0 where the scene has an object of id 0; ids are then shifted by one, since 0 means none."""
    notes: tuple[str, ...] = ()
    splits: Mapping[str, tuple[str, ...]] | None = None
    test_every: int = 4

    @property
    def source(self) -> str:
        """Dataset, scene and sequence."""
        return f"Replica {self.root.resolve().parent.name}/{self.root.resolve().name}"

    @property
    def settings(self) -> Mapping[str, Any]:
        """Where it is read from."""
        return {"layout": "replica", "raw": str(self.root.resolve())}

    @classmethod
    def open(cls, root: Path) -> ReplicaScene:
        """List the frames; a frame without a pose or with an unusable one is dropped.

        Raises:
            InputError: no photos, no trajectory, no ``info_semantic.json``, an unknown class.
        """
        file = root / "traj_w_c.txt"
        try:
            rows = [[float(value) for value in line.split()] for line in file.read_text().splitlines() if line.strip()]
        except (OSError, ValueError) as error:
            raise InputError(
                file, f"an unreadable trajectory ({error})", "a sequence of Replica as rendered for Semantic-NeRF",
                "Give the folder of a sequence, as in room_0/Sequence_1.",
            ) from error  # fmt: skip
        numbers = sorted(
            int(m[1]) for p in (root / "rgb").glob("rgb_*.png") if (m := re.fullmatch(r"rgb_(\d+)", p.stem))
        )
        if not numbers:
            raise InputError(root / "rgb", "no rgb_*.png", "the sequence's photos", "Download the scene again.")
        trajectory = np.full((max(len(rows), numbers[-1] + 1), 4, 4), np.nan)
        for index, row in enumerate(rows):
            if len(row) == 16:
                trajectory[index] = np.reshape(row, (4, 4))
        digits = max(4, len(str(numbers[-1])))
        present, dropped = [], []
        for number in range(max(len(rows), numbers[-1] + 1)):
            stem = f"{number:0{digits}d}"
            if not (root / "rgb" / f"rgb_{number}.png").is_file():
                dropped.append(Dropped(stem, f"rgb/rgb_{number}.png is missing"))
            elif not np.isfinite(trajectory[number]).all():
                dropped.append(Dropped(stem, f"traj_w_c.txt has no usable pose in line {number + 1}"))
            else:
                present.append(stem)
        info_file = next((p for p in (root / "info_semantic.json", root.resolve().parent / "info_semantic.json")
                          if p.is_file()), root / "info_semantic.json")  # fmt: skip
        info = read_json(info_file)
        try:
            names = {int(entry["id"]): str(entry["name"]) for entry in info["classes"]}
            has_zero = any(int(entry["id"]) == 0 for entry in info.get("objects", ()))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InputError(
                info_file, f"a missing or malformed field ({error})", "'classes' with id and name", "Download it again."
            ) from error
        classes = replica_classes(names, str(info_file))
        return cls(root, classes, tuple(present), tuple(dropped), trajectory, 0 if has_zero else 1)

    def read(self, stem: str) -> RawFrame:
        """Read one frame."""
        number = int(stem)
        photo = self.root / "rgb" / f"rgb_{number}.png"
        rgb = read_rgb(photo)
        height, width = rgb.shape[:2]
        K = torch.tensor([[width / 2, 0, width / 2], [0, width / 2, height / 2], [0, 0, 1]])
        pose = self.trajectory[number]
        viewmat = torch.as_tensor(np.linalg.inv(pose))
        depth = read_grey(self.root / "depth" / f"depth_{number}.png").astype(np.float32) / 1000
        classes = read_grey(self.root / "semantic_class" / f"semantic_class_{number}.png")
        instances = read_grey(self.root / "semantic_instance" / f"semantic_instance_{number}.png").astype(np.int64)
        return RawFrame(Camera(viewmat, K, width, height), rgb, depth, classes, instances + (1 - self.first_instance),
                        encoded=photo.read_bytes())  # fmt: skip

    def seed_points(self, count: int) -> Points | None:
        """None: they come from the depth."""
        return None
