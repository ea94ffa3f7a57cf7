# SPDX-License-Identifier: Apache-2.0
"""Procedural rooms as training data: rendered by whoever needs one first, kept on disk for everybody else."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from panoptic_gs.camera import Camera
from panoptic_gs.network.data.views import SceneViews
from panoptic_gs.replacing import replacing
from panoptic_gs.synthetic.classes import CATEGORIES
from panoptic_gs.synthetic.path import inward_path, is_free
from panoptic_gs.synthetic.raycast import RoomRenderer
from panoptic_gs.synthetic.room import make_room

FIRST_TRAINING_SEED = 1_000_000
"""Rooms of lower seeds are never trained on: demos, benchmarks and tests use those."""
TEXEL = 0.2
"""Metres a texel of the baked light of a training room; 160×120 pixels show little of what finer ones would add."""


@dataclass(frozen=True)
class RoomSource:
    """Rooms by number, each with some views.

    Args:
        cache: folder that keeps what was rendered.
        rooms: how many rooms there are.
        views: of each room; two thirds on the path around it, the rest from anywhere, looking anywhere level.
        width, height: of the views in pixels.
        fov: least and largest horizontal field of view in degrees; one lens a room.
        first_seed: that of room 0.
    """

    cache: Path
    rooms: int
    views: int = 16
    width: int = 160
    height: int = 120
    fov: tuple[float, float] = (58.0, 84.0)
    first_seed: int = FIRST_TRAINING_SEED

    def __len__(self) -> int:
        return self.rooms

    def file(self, number: int) -> Path:
        """Where a room is kept."""
        name = f"{self.width}x{self.height}x{self.views}-{self.fov[0]:g}-{self.fov[1]:g}"
        return Path(self.cache) / name / f"{self.first_seed + number}.safetensors"

    def __getitem__(self, number: int) -> SceneViews:
        """The views of room ``number``, from the cache or rendered now."""
        file = self.file(number)
        try:
            tensors = load_file(file)
        except (FileNotFoundError, SafetensorError):
            tensors = self._render(number)
            with replacing(file) as temporary:
                save_file(tensors, temporary)
        return SceneViews(
            tensors["images"], tensors["depth"].astype(np.float32), tensors["segments"], tensors["categories"],
            tensors["viewmats"], tensors["Ks"], tuple(category.name for category in CATEGORIES),
        )  # fmt: skip

    def _render(self, number: int) -> dict[str, np.ndarray]:
        seed = self.first_seed + number
        rng = np.random.default_rng([seed, 20])
        renderer = RoomRenderer(make_room(seed))
        renderer.light(texel=TEXEL)
        fov = float(rng.uniform(*self.fov))
        around = self.views - self.views // 3
        cameras = inward_path(renderer, around, self.width, self.height, fov)
        cameras += [free_camera(renderer, rng, self.width, self.height, fov) for _ in range(self.views - around)]
        views = [renderer.view(camera, smooth=False) for camera in cameras]
        index = np.zeros(max(category.id for category in CATEGORIES) + 1, np.uint8)
        for position, category in enumerate(CATEGORIES):
            index[category.id] = position
        return {
            "images": np.stack([view.color for view in views]),
            "depth": np.stack([view.depth for view in views]).astype(np.float16),
            "segments": np.stack([view.segment for view in views]).astype(np.uint8),
            "categories": index[np.stack([view.category for view in views])],
            "viewmats": np.stack([camera.viewmat.double().numpy() for camera in cameras]),
            "Ks": np.stack([camera.K.double().numpy() for camera in cameras]),
        }


def free_camera(
    renderer: RoomRenderer, rng: np.random.Generator, width: int, height: int, fov_x: float, trials: int = 40
) -> Camera:
    """A camera anywhere in a room, held as people hold one: level or a little down, not close before an object.

    Args:
        renderer: of the room.
        rng: draws it.
        width, height: of the image in pixels.
        fov_x: horizontal field of view in degrees.
        trials: after so many that are blocked the last is taken.
    """
    half = np.array(renderer.room.size[:2]) / 2 - 0.4
    for _ in range(trials):
        eye = np.array([*rng.uniform(-half, half), rng.uniform(1.1, 1.8)])
        # Most of what a room shows lies across it; some views look at a near wall all the same.
        across = math.atan2(-eye[1], -eye[0]) + rng.normal(0, 0.9)
        pitch, roll = rng.normal(-0.15, 0.15), rng.normal(0, 0.05)
        forward = np.array([math.cos(across) * math.cos(pitch), math.sin(across) * math.cos(pitch), math.sin(pitch)])
        side = np.array([-math.sin(across), math.cos(across), 0.0])
        up = np.array([0, 0, math.cos(roll)]) + math.sin(roll) * side
        camera = Camera.look_at(eye.tolist(), (eye + forward).tolist(), up.tolist(), math.radians(fov_x), width, height)
        if is_free(renderer, camera):
            break
    return camera
