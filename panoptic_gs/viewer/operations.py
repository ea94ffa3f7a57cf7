# SPDX-License-Identifier: Apache-2.0
"""Edits as values: what was done to which object, so that it can be written down and done again."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

import numpy as np
import torch

from panoptic_gs.objects.boxes import Box
from panoptic_gs.records import Array, Name, Range
from panoptic_gs.uplift import LabelledScene
from panoptic_gs.viewer import edits
from panoptic_gs.viewer.appearance import shown_rows
from panoptic_gs.viewer.outlines import HEIGHT, screen_camera


@dataclass(frozen=True)
class Rename:
    """See :func:`~panoptic_gs.viewer.edits.rename`."""

    segment_id: int
    name: Name
    do: Literal["rename"] = "rename"

    def apply(self, scene: LabelledScene) -> LabelledScene:
        """The edited scene."""
        return edits.rename(scene, self.segment_id, self.name)


@dataclass(frozen=True)
class Recategorise:
    """See :func:`~panoptic_gs.viewer.edits.recategorise`."""

    segment_id: int
    category_id: int
    do: Literal["recategorise"] = "recategorise"

    def apply(self, scene: LabelledScene) -> LabelledScene:
        """The edited scene."""
        return edits.recategorise(scene, self.segment_id, self.category_id)


@dataclass(frozen=True)
class Merge:
    """See :func:`~panoptic_gs.viewer.edits.merge`."""

    segment_id: int
    into: int
    do: Literal["merge"] = "merge"

    def apply(self, scene: LabelledScene) -> LabelledScene:
        """The edited scene."""
        return edits.merge(scene, self.segment_id, self.into)


@dataclass(frozen=True, eq=False)
class SplitBox:
    """See :func:`~panoptic_gs.viewer.edits.split_box`; the new object is the scene's last segment."""

    segment_id: int
    center: Annotated[np.ndarray, Array(3)]
    axes: Annotated[np.ndarray, Array(3, 3)]
    size: Annotated[np.ndarray, Array(3)]
    do: Literal["split"] = "split"

    @classmethod
    def of(cls, segment_id: int, box: Box) -> SplitBox:
        """Split off what lies inside ``box``."""
        center, axes, size = (np.asarray(part, dtype=np.float64) for part in (box.center, box.axes, box.size))
        return cls(segment_id, center, axes, size)

    def apply(self, scene: LabelledScene) -> LabelledScene:
        """The edited scene."""
        return edits.split_box(scene, self.segment_id, Box(self.center, self.axes, self.size))[0]


@dataclass(frozen=True)
class SplitPieces:
    """See :func:`~panoptic_gs.viewer.edits.split_pieces`; the new objects are the scene's last segments."""

    segment_id: int
    do: Literal["split pieces"] = "split pieces"

    def apply(self, scene: LabelledScene) -> LabelledScene:
        """The edited scene."""
        return edits.split_pieces(scene, self.segment_id)[0]


@dataclass(frozen=True)
class SplitVotes:
    """See :func:`~panoptic_gs.viewer.edits.split_votes`; the new object is the scene's last segment."""

    segment_id: int
    other: int
    do: Literal["split votes"] = "split votes"

    def apply(self, scene: LabelledScene) -> LabelledScene:
        """The edited scene."""
        return edits.split_votes(scene, self.segment_id, self.other)[0]


@dataclass(frozen=True, eq=False)
class Clean:
    """See :func:`~panoptic_gs.viewer.edits.clean`; its strays are found when it is made, and written down with it."""

    segment_id: int
    strays: Annotated[np.ndarray, Array(None, dtype=np.int64)]
    do: Literal["clean"] = "clean"

    def apply(self, scene: LabelledScene) -> LabelledScene:
        """The edited scene."""
        return edits.clean(scene, self.segment_id, self.strays)


@dataclass(frozen=True, eq=False)
class Brush:
    """See :func:`~panoptic_gs.viewer.edits.brush`."""

    segment_id: int
    center: Annotated[np.ndarray, Array(3)]
    radius: Annotated[float, Range(above=0)]
    how: edits.BrushUse
    do: Literal["brush"] = "brush"

    def apply(self, scene: LabelledScene) -> LabelledScene:
        """The edited scene."""
        return edits.brush(scene, self.segment_id, self.center, self.radius, self.how)[0]


@dataclass(frozen=True, eq=False)
class Lasso:
    """See :func:`~panoptic_gs.viewer.edits.lasso`: an outline, the screen it was drawn on, and what that showed."""

    segment_id: int
    outline: Annotated[np.ndarray, Array(None, 2)]
    """Corners ``[P, 2]`` as shares of the screen's width and height, from its upper left."""
    wxyz: Annotated[np.ndarray, Array(4)]
    position: Annotated[np.ndarray, Array(3)]
    fov_y: Annotated[float, Range(above=0, below=np.pi)]
    aspect: Annotated[float, Range(0.05, 20)]
    how: edits.BrushUse
    through: bool = False
    hidden: tuple[int, ...] = ()
    min_confidence: float = 0.0
    unlabelled: bool = True
    do: Literal["lasso"] = "lasso"

    def apply(self, scene: LabelledScene) -> LabelledScene:
        """The edited scene."""
        size = max(1, round(HEIGHT * self.aspect)), HEIGHT
        best, share = scene.labels.best()
        drawn = shown_rows(best.numpy(), share.numpy(), self.hidden, self.min_confidence, self.unlabelled)
        camera = screen_camera(self.wxyz, self.position, self.fov_y, size)
        outline = self.outline * size
        return edits.lasso(
            scene, self.segment_id, camera, outline, self.how, self.through, torch.from_numpy(drawn)
        )[0]  # fmt: skip


@dataclass(frozen=True)
class Delete:
    """See :func:`~panoptic_gs.viewer.edits.delete`."""

    segment_id: int
    do: Literal["delete"] = "delete"

    def apply(self, scene: LabelledScene) -> LabelledScene:
        """The edited scene."""
        return edits.delete(scene, self.segment_id)


@dataclass(frozen=True, eq=False)
class Move:
    """See :func:`~panoptic_gs.viewer.edits.move`."""

    segment_id: int
    translation: Annotated[np.ndarray, Array(3)]
    strays: Annotated[np.ndarray, Array(None, dtype=np.int64)] = field(default_factory=lambda: np.zeros(0, np.int64))
    do: Literal["move"] = "move"

    def apply(self, scene: LabelledScene) -> LabelledScene:
        """The edited scene."""
        return edits.move(scene, self.segment_id, self.translation, self.strays)


Operation = (
    Rename | Recategorise | Merge | SplitBox | SplitPieces | SplitVotes | Clean | Brush | Lasso | Delete | Move
)  # fmt: skip
