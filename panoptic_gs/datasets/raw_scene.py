# SPDX-License-Identifier: Apache-2.0
"""What a reader of a raw dataset gives: a scene with named frames, each read when asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from panoptic_gs.camera import Camera
from panoptic_gs.datasets.classes import ClassList
from panoptic_gs.datasets.seed_points import Points
from panoptic_gs.errors import InputError


@dataclass(frozen=True)
class Dropped:
    """A frame that could not be used, and why."""

    stem: str
    reason: str


@dataclass(frozen=True, eq=False)
class RawFrame:
    """A photo with its camera, depth and labels.

    Raises:
        InputError: shapes that do not belong together.
    """

    camera: Camera
    rgb: np.ndarray
    """``[H, W, 3]`` uint8, of the camera's size, without lens distortion."""
    depth: np.ndarray | None = None
    """``[h, w]`` float32 metres along the camera's z axis, 0 or not finite = none; of any size, it covers the photo."""
    classes: np.ndarray | None = None
    """``[H, W]`` integers: ids of the reader's class list, 0 = void."""
    instances: np.ndarray | None = None
    """``[H, W]`` integers: scene-wide ids of objects, 0 = none; needs ``classes``."""
    encoded: bytes | None = None
    """The photo's own file, which is then kept as it is; without it a PNG is written."""
    suffix: str = ".png"
    """File name ending of ``encoded``."""
    notes: tuple[str, ...] = ()
    """What the user should know; equal notes of several frames are counted."""
    labels: str = "labels"
    """Where ``classes`` were read, for messages."""
    majority: bool = True
    """Whether an instance takes the class that most of its pixels have over all frames; otherwise each (class,
    instance) pair is an object of its own."""

    def __post_init__(self) -> None:
        size = (self.camera.height, self.camera.width)
        if self.rgb.shape != (*size, 3) or self.rgb.dtype != np.uint8:
            raise InputError(
                "photo",
                f"{self.rgb.dtype} pixels of shape {list(self.rgb.shape)}",
                f"uint8 of shape {[*size, 3]} as its camera says",
                "Download the frame again.",
            )
        if self.classes is not None and self.instances is not None and self.classes.shape != self.instances.shape:
            raise InputError(
                self.labels,
                f"classes of shape {list(self.classes.shape)}, instances of shape {list(self.instances.shape)}",
                "equal shapes",
                "Download the frame again.",
            )


class RawScene(Protocol):
    """A scene of a raw dataset. It is pickled to worker processes, so it holds paths and numbers, no open files."""

    @property
    def source(self) -> str:
        """Dataset and scene in words, as in ``Hypersim ai_001_003``."""
        ...

    @property
    def classes(self) -> ClassList:
        """What the ids in :attr:`RawFrame.classes` mean."""
        ...

    @property
    def stems(self) -> Sequence[str]:
        """Names of the frames in the protocol's order: unique, no folder, no ending."""
        ...

    @property
    def dropped(self) -> Sequence[Dropped]:
        """Frames of the dataset that are not in ``stems`` because they are unusable (no pose, no photo)."""
        ...

    @property
    def notes(self) -> Sequence[str]:
        """What the user should know about the whole scene."""
        ...

    @property
    def splits(self) -> Mapping[str, Sequence[str]] | None:
        """The dataset's own split into ``train`` and ``test``, or None."""
        ...

    @property
    def test_every(self) -> int:
        """Without ``splits``: every how many frames, from the first, one is a test view."""
        ...

    @property
    def settings(self) -> Mapping[str, Any]:
        """Where it is read from and all options that change a frame, as JSON values."""
        ...

    def read(self, stem: str) -> RawFrame:
        """Read one frame.

        Raises:
            InputError: it cannot be used; the others are.
        """
        ...

    def seed_points(self, count: int) -> Points | None:
        """Seed points of the scene's own mesh or point cloud; None has them made from depth."""
        ...
