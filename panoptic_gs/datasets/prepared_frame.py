# SPDX-License-Identifier: Apache-2.0
"""One frame of a scene that is being prepared: what is written for it, and what is kept until all are done."""

from __future__ import annotations

import hashlib
import zipfile
import zlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from panoptic_gs.camera import Camera
from panoptic_gs.datasets.classes import ClassList
from panoptic_gs.datasets.raw_scene import RawFrame
from panoptic_gs.datasets.seed_points import Points, points_from_depth
from panoptic_gs.datasets.segment_ids import count_pairs, distinct
from panoptic_gs.errors import InputError
from panoptic_gs.files import write_arrays, write_png
from panoptic_gs.replacing import replacing
from panoptic_gs.scene.depth import depth_to_millimetres

RECORDS = ".records"
"""Folder of the records within the folder that is being prepared; gone in the end."""


@dataclass(frozen=True, eq=False)
class PreparedFrame:
    """The record of a frame whose photo and depth are written. Opened lazily: labels stay on disk."""

    path: Path

    @property
    def stem(self) -> str:
        """The frame's name."""
        return self.path.stem

    def _get(self, *names: str) -> list[np.ndarray]:
        with np.load(self.path, allow_pickle=False) as record:
            return [record[name] for name in names]

    @cached_property
    def camera(self) -> Camera:
        """The frame's camera."""
        viewmat, K, size = self._get("viewmat", "K", "size")
        return Camera(torch.from_numpy(viewmat), torch.from_numpy(K), int(size[0]), int(size[1]))

    @cached_property
    def sizes(self) -> tuple[str, str | None]:
        """Of the photo and of the labels, as in ``640×480``; None for a frame without labels."""
        photo, labels = ("×".join(map(str, size.tolist())) for size in self._get("size", "labels_size"))
        return photo, labels or None

    @cached_property
    def image(self) -> str:
        """File name of the photo."""
        return self.stem + str(self._get("suffix")[0])

    @cached_property
    def notes(self) -> tuple[str, ...]:
        """What the user should know."""
        return tuple(self._get("notes")[0].tolist())

    @cached_property
    def pairs(self) -> np.ndarray | None:
        """``[P, 3]`` (class, instance, pixels), or None for a frame without labels."""
        (pairs,) = self._get("pairs")
        return pairs if len(pairs) else None

    @cached_property
    def majority(self) -> bool:
        """Whether an instance takes the class that most of its pixels have."""
        return bool(self._get("majority")[0])

    def labels(self) -> tuple[np.ndarray, np.ndarray]:
        """The pairs and each pixel's pair ``[H, W]``."""
        pairs, index = self._get("pairs", "index")
        return pairs, index

    def candidates(self) -> Points:
        """Candidates for seed points."""
        xyz, rgb = self._get("xyz", "rgb")
        return xyz, rgb

    def discard(self, folder: Path) -> None:
        """Remove what was written of a frame that turned out to be of no use."""
        for file in (folder / "images" / self.image, folder / "depth" / f"{self.stem}.png"):
            file.unlink(missing_ok=True)

    @classmethod
    def find(cls, folder: Path, stem: str) -> PreparedFrame | None:
        """The record of a frame that is done, or None."""
        frame = cls(folder / RECORDS / f"{stem}.npz")
        try:
            complete = (folder / "images" / frame.image).is_file()
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error):
            return None
        return frame if complete else None

    @classmethod
    def write(cls, folder: Path, stem: str, frame: RawFrame, classes: np.ndarray | None,
              candidates: int) -> PreparedFrame:  # fmt: skip
        """Write the photo and the depth, then the record, which says that the frame is done.

        Args:
            folder: the scene that is being prepared.
            stem: the frame's name.
            frame: what was read.
            classes: ``[H, W]`` the frame's classes as :func:`reduce_classes` gives them, or None.
            candidates: how many candidates for seed points to take from the depth.

        Raises:
            InputError: the folder cannot be written to.
        """
        pairs, index = np.zeros((0, 3), np.int64), np.zeros((0, 0), np.uint16)
        if classes is not None:
            pairs, index = count_pairs(classes, frame.instances)
        suffix = ".png" if frame.encoded is None else frame.suffix
        if frame.encoded is None:
            write_png(folder / "images" / f"{stem}.png", frame.rgb)
        else:
            with replacing(folder / "images" / f"{stem}{suffix}") as temporary:
                temporary.write_bytes(frame.encoded)
        points: Points = (np.zeros((0, 3), np.float32), np.zeros((0, 3), np.uint8))
        if frame.depth is not None:
            write_png(folder / "depth" / f"{stem}.png", depth_to_millimetres(frame.depth))
            seed = int.from_bytes(hashlib.sha256(stem.encode()).digest()[:8], "little")
            points = points_from_depth(frame.camera, frame.rgb, frame.depth, candidates, np.random.default_rng(seed))
        values: dict[str, Any] = {
            "viewmat": frame.camera.viewmat.cpu().numpy(), "K": frame.camera.K.cpu().numpy(),
            "size": [frame.camera.width, frame.camera.height], "suffix": suffix,
            "notes": np.array(frame.notes, dtype=np.str_), "pairs": pairs, "index": index,
            "majority": frame.majority,
            "labels_size": np.array(index.shape[::-1] if len(pairs) else (), dtype=np.int64),
            "xyz": points[0], "rgb": points[1],
        }  # fmt: skip
        path = folder / RECORDS / f"{stem}.npz"
        write_arrays(path, **values)
        return cls(path)


def reduce_classes(ids: np.ndarray, classes: ClassList, target: ClassList, source: str) -> np.ndarray:
    """A map of ids of one class list → ids of another, 0 = void; ``source`` is the map's file, for messages.

    Raises:
        InputError: an id that ``classes`` does not list.
    """
    table = {0: 0, **classes.to(target)}
    values, index = distinct(ids)
    for value in values.tolist():
        if value not in table:
            pixels = int((ids == value).sum())
            raise InputError(
                source,
                f"class id {value} at {pixels} pixels",
                f"0 (void) or an id of the {len(classes.categories)} classes '{classes.name}'",
                "Download the frame's labels again.",
            )
    return np.array([table[value] for value in values.tolist()], dtype=np.int64)[index]
