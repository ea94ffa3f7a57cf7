# SPDX-License-Identifier: Apache-2.0
"""A photo, and what the scene shows from where it was taken."""

from __future__ import annotations

import base64
import io
import math
from typing import Any

import numpy as np
from PIL import Image

from panoptic_gs.camera import Camera
from panoptic_gs.objects.visibility import Sight, pixels_of_objects, sights
from panoptic_gs.scene import Frame, Scene
from panoptic_gs.uplift.view import render_view
from panoptic_gs.viewer.session import Session

MOST_VIEWS = 150
"""Photos, evenly chosen, in which objects are looked for."""
_WIDTH = 960  # of the pictures, at most


class Photos:
    """The photos of a scene folder beside the scene as it is now.

    Args:
        data: the scene folder.
    """

    def __init__(self, data: Scene) -> None:
        self.frames: list[Frame] = list(data.frames)
        step = max(1, math.ceil(len(self.frames) / MOST_VIEWS))
        self._numbers = list(range(0, len(self.frames), step))
        self._counted: tuple[object, np.ndarray] | None = None

    def sights(self, session: Session, segment_id: int) -> list[Sight]:
        """The photos that see an object, by their number in the scene folder, the best one first."""
        scene = session.scene
        cameras = [self.frames[number].camera for number in self._numbers]
        if self._counted is None or self._counted[0] is not scene:
            self._counted = scene, pixels_of_objects(scene, cameras, session.opened.rasterize_mode)
        members = session.table.members(segment_id)
        if not len(members):
            return []
        found = sights(scene, cameras, self._counted[1], members, segment_id)
        return [sight._replace(view=self._numbers[sight.view]) for sight in found]

    def nearest(self, eye: np.ndarray, direction: np.ndarray) -> int:
        """The number of the photo that was taken from closest by, and in about this direction."""
        eyes = np.stack([frame.camera.center.double().numpy() for frame in self.frames])
        ways = np.stack([frame.camera.viewmat[2, :3].double().numpy() for frame in self.frames])
        spread = max(float(np.linalg.norm(eyes.std(axis=0))), 1e-9)
        return int((np.linalg.norm(eyes - eye, axis=1) / spread - 2 * ways @ direction).argmin())

    def pictures(self, session: Session, number: int) -> dict[str, Any]:
        """Photo, rendered colours and objects of one photo as data addresses, and what is to be said of it."""
        frame = self.frames[number]
        scale = min(1.0, _WIDTH / frame.camera.width)
        size = max(1, round(frame.camera.width * scale)), max(1, round(frame.camera.height * scale))
        camera: Camera = frame.camera.resized(*size)
        view = render_view(session.scene, camera, session.opened.rasterize_mode)
        colors = session.object_colors(view.ids.cpu().numpy())
        photo = Image.fromarray(frame.read_image()).resize(size, Image.Resampling.LANCZOS)
        rgb = view.rgb_bytes
        error = ((np.asarray(photo, dtype=np.float64) - rgb) ** 2)[frame_counting(frame, size)]
        psnr = 10 * math.log10(255.0**2 / error.mean()) if error.size and error.mean() > 0 else None
        return {
            "name": frame.stem, "number": number, "count": len(self.frames), "width": size[0], "height": size[1],
            "psnr": None if psnr is None else round(psnr, 2), "photo": _uri(np.asarray(photo)), "render": _uri(rgb),
            "objects": _uri(colors),
        }  # fmt: skip


def frame_counting(frame: Frame, size: tuple[int, int]) -> np.ndarray:
    """Which pixels ``[H, W]`` of a photo of this size count: those that its mask leaves."""
    counting = frame.counting()
    if counting is None:
        return np.ones((size[1], size[0]), dtype=bool)
    return np.asarray(Image.fromarray(counting).resize(size, Image.Resampling.NEAREST))


def _uri(pixels: np.ndarray) -> str:
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(buffer, "WEBP", quality=85, method=2)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
