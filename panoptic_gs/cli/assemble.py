# SPDX-License-Identifier: Apache-2.0
"""What ``panoptic-gs predict --geometry … --masks …`` and ``panoptic-gs scene`` do alike: cameras, then masks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape

from panoptic_gs.errors import InputError
from panoptic_gs.progress import Progress

if TYPE_CHECKING:
    from panoptic_gs.labelling import Category
    from panoptic_gs.predict.geometry import Geometry
    from panoptic_gs.predict.photos import Photo
    from panoptic_gs.scene import Scene

PER_IMAGE_METHOD = "standard-v2"
"""How query masks of a single photo are merged where nothing else is said."""
_MOST_NAMES = 40  # of photos that are left out for one reason; all of them are in assembled.json


@dataclass(frozen=True)
class Assembly:
    """A scene folder put together from a way to find cameras and a network for masks."""

    out: Path
    geometry: str = "colmap"
    masks: str | None = None
    classes: str | None = None
    cameras: Path | None = None
    geometry_checkpoint: str | None = None
    trust_checkpoint: bool = False
    device: str = "cpu"
    seed_points: int = 50_000
    merge: str = "auto"
    source: str | None = None
    """The photos, in words that differ where files do; None where that does not matter."""

    @property
    def record(self) -> dict[str, Any]:
        """What decides what is found."""
        photos = {} if self.source is None else {"photos": self.source}
        return {**photos, "geometry": self.geometry, "geometry_checkpoint": self.geometry_checkpoint,
                "masks": self.masks, "classes": self.classes}  # fmt: skip

    def require_installed(self) -> None:
        """Say what is missing before anything heavy is loaded.

        Raises:
            InputError: a package is missing, or there is nothing of this name.
        """
        from panoptic_gs.predict.registry import GEOMETRIES, MASKS, require_installed

        if self.geometry not in GEOMETRIES:
            raise InputError(
                "--geometry", f"'{self.geometry}'", f"one of {', '.join(GEOMETRIES)}", "Choose one of these."
            )
        require_installed(self.geometry, GEOMETRIES)
        if self.masks is not None:
            require_installed(self.masks if self.masks in MASKS else "eomt", MASKS)

    def find_cameras(
        self,
        photos: Sequence[Photo],
        say: Callable[[str], None],
        progress: Progress,
        *,
        overwrite: bool,
        known: Scene | None = None,
    ) -> tuple[tuple[Photo, ...], Geometry]:
        """Write the scene folder; the photos that have cameras, and what was found."""
        from panoptic_gs.predict.assembled import write_geometry
        from panoptic_gs.predict.geometry import GeometryOptions, load_geometry

        options = GeometryOptions(
            self.cameras, self.geometry_checkpoint, self.device, self.seed_points,
            trust_checkpoint=self.trust_checkpoint, say=say,
        )  # fmt: skip
        found = load_geometry(self.geometry, options).find(photos, progress)
        placed = write_geometry(
            self.out, photos, found, self.record, known=known, overwrite=overwrite, progress=progress
        )
        return placed, found

    def find_masks(
        self, photos: Sequence[Photo], say: Callable[[str], None], progress: Progress
    ) -> tuple[int, list[str]]:
        """Write the masks of each photo; their number, and the photos without any."""
        from panoptic_gs.merge import merge_predictions
        from panoptic_gs.predict.assembled import generate_masks, merge_masks, predict_masks, track_masks
        from panoptic_gs.predict.masks import MaskGenerator, MaskOptions, MaskTracker, load_mask_predictor

        assert self.masks is not None
        predictor = load_mask_predictor(self.masks, MaskOptions(None, self.wanted(), self.device, say))
        if isinstance(predictor, MaskGenerator | MaskTracker):
            if self.merge != "auto":
                raise InputError(
                    "--merge", f"{self.merge}, with --masks {self.masks}", "a network whose queries are merged",
                    "Leave it out: these masks are not merged.",
                )  # fmt: skip
            if isinstance(predictor, MaskTracker):
                return track_masks(self.out, photos, predictor, progress)
            return generate_masks(self.out, photos, predictor, progress)
        predict_masks(self.out, photos, predictor, progress)
        method = PER_IMAGE_METHOD if self.merge == "auto" else self.merge
        return merge_masks(self.out, lambda raw: merge_predictions(raw, method), progress=progress)

    def wanted(self) -> tuple[Category, ...] | None:
        """The classes that are asked for."""
        from panoptic_gs.predict.class_names import read_classes

        return None if self.classes is None else read_classes(self.classes)


def chosen_photos(
    photos: Sequence[Photo], console: Console, progress: Progress, *, keep_all: bool
) -> tuple[tuple[Photo, ...], dict[str, str]]:
    """The photos without copies and blurred ones, which are named; and file name → why it is left out.

    Raises:
        InputError: two photos have one name and are no copies of each other.
    """
    from panoptic_gs.predict.photos import unique_names
    from panoptic_gs.predict.selection import select_photos

    left_out: dict[str, str] = {}
    if not keep_all:
        photos, left_out = select_photos(photos, progress)
    for name, why in left_out.items():
        console.print(f"  [yellow]left out      {escape(name)}: {escape(why)}[/]")
    return unique_names(photos), left_out


def print_geometry(console: Console, photos: Sequence[Photo], placed: Sequence[Photo], found: Geometry) -> None:
    """Say how many photos have cameras, and which have none."""
    console.print(f"  cameras       {len(placed)} of {len(photos)} photos; {escape('; '.join(found.notes))}")
    reasons: dict[str, list[str]] = {}
    for stem, why in found.left_out.items():
        reasons.setdefault(why, []).append(stem)
    for why, stems in reasons.items():
        names = ", ".join(stems[:_MOST_NAMES]) + (
            f" and {len(stems) - _MOST_NAMES} more" if stems[_MOST_NAMES:] else ""
        )
        console.print(f"  [yellow]left out      {escape(names)}: {escape(why)}[/]", soft_wrap=True)
    points = 0 if found.points is None else len(found.points[0])
    console.print(f"  seed points   {points:,}")


def print_masks(console: Console, count: int, photos: int, without: Sequence[str]) -> None:
    """Say how many masks there are, and which photos have none."""
    console.print(f"  masks         {count:,} in {photos} photos")
    if without:
        listed = ", ".join(without[:5]) + (" …" if len(without) > 5 else "")
        console.print(f"  [yellow]without masks {len(without)}: {escape(listed)}[/]")
