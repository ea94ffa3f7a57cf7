# SPDX-License-Identifier: Apache-2.0
"""From a seed to a scene folder: room, views, truth, simulated predictions."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from panoptic_gs.camera import Camera
from panoptic_gs.errors import InputError
from panoptic_gs.files import write_png
from panoptic_gs.panoptic import PanopticScene
from panoptic_gs.progress import Progress, silent
from panoptic_gs.raw_predictions import RawPredictions
from panoptic_gs.replacing import replacing_folder
from panoptic_gs.scene import Points, write_scene
from panoptic_gs.scene.depth import depth_to_millimetres
from panoptic_gs.synthetic.classes import CATEGORIES
from panoptic_gs.synthetic.path import inward_path
from panoptic_gs.synthetic.raycast import RoomRenderer, RoomView
from panoptic_gs.synthetic.room import Room, make_room
from panoptic_gs.synthetic.seed_points import sample_seed_points

TEST_EVERY = 5
TEST_OFFSET = 2

"""Is told a stage ("light", "views") and the share of it that is done."""


@dataclass(frozen=True, eq=False)
class SyntheticScene:
    """A room seen from a camera path: everything that goes into a scene folder, and exact depth."""

    room: Room
    cameras: dict[str, Camera]
    views: dict[str, RoomView]
    points: Points
    """Seed points: positions [P, 3] float32, colours [P, 3] uint8."""
    splits: dict[str, list[str]]

    @property
    def truth(self) -> PanopticScene:
        """The exact panoptic maps."""
        maps = {stem: view.segment for stem, view in self.views.items()}
        return PanopticScene(
            CATEGORIES, self.room.segments, maps, source=f"room {self.room.kind}, seed {self.room.seed}"
        )


def synthesize(
    seed: int = 0,
    views: int = 50,
    width: int = 320,
    height: int = 240,
    kind: str | None = None,
    seed_points: int = 30_000,
    progress: Progress = silent,
) -> SyntheticScene:
    """Make a room and render it from an inward-facing path; every fifth view is held out for testing.

    Args:
        seed: the same seed gives the same scene.
        views: number of views, at least 5.
        width: image width in pixels.
        height: image height in pixels.
        kind: one of `room.KINDS`; by default the seed takes them in turn.
        seed_points: most points to give.
        progress: called while it works.
    """
    if views < TEST_EVERY or min(width, height) < 16 or seed < 0:
        raise InputError(
            "synth",
            f"{views} views of {width}×{height}, seed {seed}",
            f"at least {TEST_EVERY} views of at least 16×16 pixels, a seed of 0 or more",
            "Choose larger numbers.",
        )
    room = make_room(seed, kind)
    renderer = RoomRenderer(room)
    path = inward_path(renderer, views, width, height)
    renderer.light(progress)
    digits = max(4, len(str(views)))
    cameras = {f"{index:0{digits}d}": camera for index, camera in enumerate(path, 1)}
    rendered: dict[str, RoomView] = {}
    for number, (stem, camera) in enumerate(cameras.items(), 1):
        rendered[stem] = renderer.view(camera)
        progress("views", number, views)
    stems = list(cameras)
    test = stems[TEST_OFFSET::TEST_EVERY]
    train = [stem for stem in stems if stem not in test]
    points = sample_seed_points([cameras[s] for s in train], [rendered[s] for s in train], seed_points, seed)
    return SyntheticScene(room, cameras, rendered, points, {"train": train, "test": test})


def write_synthetic_scene(
    root: Path,
    scene: SyntheticScene,
    predictions: PanopticScene,
    raw: RawPredictions | None = None,
    overwrite: bool = False,
) -> None:
    """Write the scene folder with `panoptic`, `panoptic_gt` and, where they are given, `predictions`, in one move.

    Raises:
        InputError: the folder has content and may not be replaced.
    """
    with replacing_folder(root, overwrite=overwrite, known_by="transforms.json") as folder:
        fill_scene_folder(folder, scene, predictions, raw)


def fill_scene_folder(
    folder: Path,
    scene: SyntheticScene,
    predictions: PanopticScene,
    raw: RawPredictions | None = None,
    depth: bool = False,
) -> None:
    """Write everything into an existing empty folder; the exact depth of all views where it is asked for."""
    images = {stem: view.color for stem, view in scene.views.items()}
    write_scene(folder, scene.cameras, images, scene.points, scene.splits, meters_per_unit=1.0)
    scene.truth.save(folder / "panoptic_gt")
    predictions.save(folder / "panoptic")
    if raw is not None:
        raw.save(folder / "predictions")
    for stem, view in scene.views.items() if depth else ():
        write_png(folder / "depth" / f"{stem}.png", depth_to_millimetres(view.depth))
