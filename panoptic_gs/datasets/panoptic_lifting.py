# SPDX-License-Identifier: Apache-2.0
"""The processed layout of Panoptic Lifting (Siddiqui et al., CVPR 2023), in which the PanLift benchmark is shared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from panoptic_gs.datasets.classes import REDUCED21, ClassList
from panoptic_gs.datasets.pose_files import HALF_PIXEL, posed_camera, read_matrix
from panoptic_gs.datasets.raw_scene import Dropped, RawFrame
from panoptic_gs.datasets.seed_points import Points
from panoptic_gs.errors import InputError
from panoptic_gs.files import read_grey, read_json, read_rgb
from panoptic_gs.records import Name, parse_record

_PHOTO_ENDINGS = (".jpg", ".jpeg", ".png")


@dataclass(frozen=True, eq=False)
class PanopticLiftingScene:
    """``color/``, ``depth/`` (uint16 millimetres), ``pose/`` (camera to world, OpenCV axes), ``intrinsic/``,
    ``rs_semantics/`` (the 21 reduced classes), ``rs_instance/`` (scene-wide, 0 = none), ``splits.json``.

    Pixel centres are on whole numbers. Every pixel keeps its class: the benchmark scores (class, instance) pairs, so an
    instance that two classes share is two segments.

    ``segmentation_data.pkl`` is never opened: unpickling runs code, and the classes are known.
    """

    root: Path
    stems: tuple[str, ...]
    """Names with a photo, a pose or a place in the split, sorted by number."""
    photos: Mapping[str, Path]
    splits: Mapping[str, tuple[str, ...]] | None
    test_every: int
    classes: ClassList = REDUCED21
    dropped: tuple[Dropped, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def source(self) -> str:
        """Layout and scene."""
        return f"Panoptic Lifting {self.root.resolve().name}"

    @property
    def settings(self) -> Mapping[str, Any]:
        """Where it is read from."""
        return {"layout": "panoptic-lifting", "raw": str(self.root.resolve())}

    @classmethod
    def open(cls, root: Path, test_every: int = 5) -> PanopticLiftingScene:
        """List the frames.

        Args:
            root: the scene's folder.
            test_every: without ``splits.json``, every how many frames one is a test view.

        Raises:
            InputError: no photos, or a ``splits.json`` without ``train`` and ``test``.
        """
        photos = {path.stem: path for path in sorted((root / "color").glob("*"))
                  if path.suffix.lower() in _PHOTO_ENDINGS and not path.name.startswith(".")}  # fmt: skip
        if not photos:
            raise InputError(
                root / "color", "no photos", "color/, depth/, pose/, intrinsic/, rs_semantics/ and rs_instance/",
                "Give the folder of one processed scene.",
            )  # fmt: skip
        posed = {path.stem for path in (root / "pose").glob("*.txt")}
        listed = _read_splits(root / "splits.json")
        known = posed | {stem for members in (listed or {}).values() for stem in members} | set(photos)
        return cls(root, tuple(sorted(known, key=_order)), photos, listed, test_every)

    def read(self, stem: str) -> RawFrame:
        """Read one frame.

        Raises:
            InputError: a file is missing or malformed.
        """
        photo = self.photos.get(stem, self.root / "color" / f"{stem}.jpg")
        rgb = read_rgb(photo)
        height, width = rgb.shape[:2]
        pose = self.root / "pose" / f"{stem}.txt"
        K = read_matrix(self.root / "intrinsic" / "intrinsic_color.txt", "4×4 intrinsics")[:3, :3] + HALF_PIXEL
        depth = read_grey(self.root / "depth" / f"{stem}.png").astype(np.float32) / 1000
        labels = self.root / "rs_semantics" / f"{stem}.png"
        classes = read_grey(labels).astype(np.int64)
        instances = read_grey(self.root / "rs_instance" / f"{stem}.png").astype(np.int64)
        camera = posed_camera(read_matrix(pose, "a 4×4 camera-to-world pose"), K, width, height, pose)
        return RawFrame(
            camera, rgb, depth, classes, instances, photo.read_bytes(), photo.suffix, majority=False, labels=str(labels)
        )

    def seed_points(self, count: int) -> Points | None:
        """None: they come from the depth."""
        return None


@dataclass(frozen=True)
class _Splits:
    train: tuple[Name | int, ...]
    test: tuple[Name | int, ...]


def _read_splits(file: Path) -> dict[str, tuple[str, ...]] | None:
    if not file.is_file():
        return None
    expected = '{"train": [names], "test": [names]}'
    try:
        splits = parse_record(read_json(file), _Splits, file)
    except InputError as error:
        found = f"no lists 'train' and 'test' ({error.found})"
        raise InputError(file, found, expected, "Mend or remove it.") from error
    return {"train": tuple(map(str, splits.train)), "test": tuple(map(str, splits.test))}


def _order(stem: str) -> tuple[int, int, str]:
    """By number where the name is one; ``0_0007`` is frame 7 of camera 0."""
    digits = stem.replace("_", "")
    return (0, int(digits), stem) if digits.isdecimal() else (1, 0, stem)
