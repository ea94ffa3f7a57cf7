# SPDX-License-Identifier: Apache-2.0
"""How every command and page tells of a scene's objects: one table of them, one up, one unit.

Sizes, boxes and relations follow from what views show, from which way is up and from how long the unit is. Whoever
shows them gets all three here, so that no two places say different things of one object.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np

from panoptic_gs.backends import RasterizeMode
from panoptic_gs.camera import Camera
from panoptic_gs.objects.boxes import Box
from panoptic_gs.objects.opening import data_of
from panoptic_gs.objects.orientation import up_direction
from panoptic_gs.objects.seen import SeenSurfaces
from panoptic_gs.objects.table import ObjectTable
from panoptic_gs.records import Array, read_record
from panoptic_gs.scene import Scene
from panoptic_gs.uplift import LabelledScene
from panoptic_gs.uplift.placement import TRANSFORMS_FILE


class Survey:
    """The objects of a scene, as its views show them.

    Args:
        scene: Gaussians and labels.
        cameras: of all photos of the scene, whatever the command draws; without them boxes are fitted to the Gaussians
            alone, which lie before and behind surfaces.
        rasterize_mode: how the Gaussians were trained.
        up: ``[3]``; found out by default.

    Attributes:
        table: the scene's objects.
        up: ``[3]`` a unit vector, in which boxes stand.
    """

    def __init__(
        self,
        scene: LabelledScene,
        cameras: Sequence[Camera] = (),
        rasterize_mode: RasterizeMode = "classic",
        up: np.ndarray | None = None,
    ) -> None:
        self._seen = SeenSurfaces(scene, cameras, rasterize_mode) if cameras else None
        self.table = self.of(scene)
        means = scene.splats.means.numpy()
        self.up = up_direction(self.table, means, list(cameras)) if up is None else np.asarray(up, dtype=np.float64)

    def of(self, scene: LabelledScene) -> ObjectTable:
        """The objects of the same scene after edits."""
        return ObjectTable(scene, self._seen)


def photos_of(source: Path, data: Path | None = None) -> Scene | None:
    """The scene folder with the photos that a labelled scene was made from; None where it is not known.

    Args:
        source: what is opened.
        data: the folder, where it was said; else that of the training, unless it is gone or the training moved its
            cameras.

    Raises:
        InputError: the folder is no scene.
    """
    folder = data_of(source) if data is None else data
    if folder is None:
        return None
    photos = Scene.load(folder)
    return None if data is None and is_moved(source if source.is_dir() else source.parent, photos) else photos


@dataclass(frozen=True)
class _Moved:
    transform: Annotated[np.ndarray, Array(3, 4)]
    scale: float


def is_moved(run: Path, photos: Scene) -> bool:
    """Whether a training's Gaussians lie elsewhere than the cameras of the scene folder that it was trained on.

    Raises:
        InputError: the training's ``dataparser_transforms.json`` is malformed.
    """
    file = run / TRANSFORMS_FILE
    if not file.is_file():
        return False
    moved = read_record(file, _Moved, mend="Train again.")
    return bool(np.abs(moved.transform - photos.applied[:3]).max() > 1e-4 or abs(moved.scale - 1) >= 1e-4)


def unit_of(photos: Scene | None, said: float | None = None) -> float:
    """Metres of the scene's unit: as said, else as the scene folder says, else one."""
    if said is not None:
        return said
    return 1.0 if photos is None or photos.meters_per_unit is None else photos.meters_per_unit


def sides(box: Box, meters_per_unit: float = 1.0) -> tuple[float, float, float]:
    """A box's size as people read it, in metres: both sides on the ground, the longer first, and the height."""
    across, along, height = [*sorted(box.size[:2].tolist()), float(box.size[2])]
    return along * meters_per_unit, across * meters_per_unit, height * meters_per_unit


def said_size(box: Box, meters_per_unit: float = 1.0) -> str:
    """:func:`sides` as text; a thickness that is no more than a surface's blur is about that, or anything below."""
    turned = [*sorted(range(2), key=lambda axis: -box.size[axis]), 2]
    each = zip(turned, sides(box, meters_per_unit))
    return " × ".join(f"{'~' * (axis == box.unresolved)}{side:.2f}" for axis, side in each) + " m"


def counted(table: ObjectTable) -> str:
    """How many objects there are, in the words that every command uses."""
    things = sum(row.category.isthing for row in table.certain)
    return in_words(things, len(table.certain) - things, len(table.uncertain))


def in_words(things: int, stuff: int, uncertain: int) -> str:
    """As "12 objects, 3 stuff classes, 1 uncertain"; nothing is said of no uncertain ones."""
    doubted = f", {uncertain:,} uncertain" if uncertain else ""
    return f"{things:,} object{'s' * (things != 1)}, {stuff} stuff class{'es' * (stuff != 1)}{doubted}"
